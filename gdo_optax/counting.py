"""What schedules are made of: the time, numbers that are checked, and the way between two values."""

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
import optax
from chex import Array, Numeric

from gdo_optax import ranges
from gdo_optax.arithmetic import as_dtype


Schedule: TypeAlias = Callable[[Array], Numeric]


def time_of(count: Array) -> Array:
    """t = count + 1, added before it is rounded to a float."""
    return optax.safe_increment(jnp.asarray(count, int)).astype(float)


def check_numbers(name: str, **given: Numeric) -> None:
    """Numbers inside their ranges; schedules, which some of these names may be elsewhere, are none."""
    ranges.check(name, given)
    for argument, value in given.items():
        if callable(value):
            raise TypeError(f"{name}: {argument} cannot be a schedule")


def between(start: Numeric, end: Numeric, left: Array, gone: Array, cosine: bool | Array) -> Array:
    """start·w + end·(1 − w), w from 1 to 0, straight or as half a cosine; `left` and `gone` are shares of the way.

    Both weights come from a count of whole steps and are exact at both ends, and nothing is subtracted: (1 + cos πx)/2
    is sin²(π(1−x)/2), and its complement sin²(πx/2).
    """
    weights = (w if cosine is False else jnp.where(cosine, jnp.sin(jnp.pi / 2 * w) ** 2, w) for w in (left, gone))
    return sum(as_dtype(v, left.dtype) * w for v, w in zip((start, end), weights, strict=True))
