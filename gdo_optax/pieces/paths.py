"""Pieces that depend on the path of an array in its tree."""

import re
from collections.abc import Mapping

import jax
import numpy as np
from chex import Array, Numeric

from gdo_optax.engine.nodes import Rule, rule
from gdo_optax.engine.piece import piece


@piece
def scale_by_path(factors: Mapping[str, Numeric]) -> Rule:
    """x ↦ c·x, a factor for every parameter: that of the first pattern found in its path, 1 where none is.

    The patterns are regular expressions, the paths such as "encoder/layer0/kernel". At the end of a chain it is a
    learning rate for every layer; with a factor of 0 the parameter stays. Raises TypeError for what is no pattern or
    no factor.

    J. Su (2019), bert4keras, https://github.com/bojone/bert4keras, parameter-wise learning rates.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_path({"embedding": 0.1, "^head/": 2.0})
    >>> g = {"embedding": jnp.ones(1), "head": {"bias": jnp.ones(1)}, "other": jnp.ones(1)}
    >>> tx.update(g, tx.init(None))[0]["head"]
    {'bias': Array([2.], dtype=float32)}
    """
    if not isinstance(factors, Mapping):
        raise TypeError(
            f"scale_by_path: {factors!r} is not a dict of patterns and their factors, such as {{'bias': 0.5}}"
        )
    for pattern, factor in factors.items():
        numeric = isinstance(factor, int | float | np.number | jax.Array) and not isinstance(factor, bool)
        if not isinstance(pattern, str) or not numeric:
            raise TypeError(
                f"scale_by_path: {pattern!r}: {factor!r} is not a pattern and its factor, such as 'bias': 0.5"
            )
    patterns = [re.compile(pattern) for pattern in factors]

    def scaled(x: Array, path: str, **numbers: Numeric) -> Array:
        found = (numbers[f"factor{i}"] for i, pattern in enumerate(patterns) if pattern.search(path))
        return next(found, 1) * x

    return rule(scaled, **{f"factor{i}": factor for i, factor in enumerate(factors.values())})
