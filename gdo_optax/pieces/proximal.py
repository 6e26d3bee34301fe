"""Penalties that act where a step arrives, and boxes that it must not leave."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import optax
from chex import Array, Numeric

from gdo_optax.engine import numerics, ranges
from gdo_optax.engine.combinators import series
from gdo_optax.engine.nodes import Parallel, Rule, rule
from gdo_optax.engine.piece import piece
from gdo_optax.pieces.sums import kept


@piece
def parameters() -> Rule:
    """x ↦ p: the parameters, in place of the input.

    >>> import jax.numpy as jnp
    >>> tx = parameters()
    >>> tx.update(jnp.zeros(1), tx.init(None), jnp.ones(1))[0]
    Array([1.], dtype=float32)
    """
    return rule(lambda x, p: p)


@piece
def first_parameters() -> Rule:
    """x ↦ p₀: the parameters that the training started from, kept in at least float32, in place of the input.

    >>> import jax.numpy as jnp
    >>> tx = first_parameters()
    >>> tx.update(jnp.zeros(1), tx.init(jnp.ones(1)), 2 * jnp.ones(1))[0]
    Array([1.], dtype=float32)
    """
    return rule(kept(lambda first, x: first), init=lambda p: numerics.copy(p, numerics.wide_dtype(p)))


@piece
def proximal(
    direction: Sequence[optax.GradientTransformation],
    scale: Sequence[optax.GradientTransformation],
    centre: Sequence[optax.GradientTransformation],
    l1: Numeric = 0.0,
    l2: Numeric = 0.0,
) -> Parallel:
    """g ↦ argmin over z of d·z + l1·|z| + l2/2·z² + (z − c)²/(2s), less p: `adaptive`, with a penalty.

    Three lists of pieces are fed the same gradient: the direction d, the scale s ≥ 0, and the centre c from which s·d
    is subtracted. Without a penalty the parameters arrive at c − s·d. What l1 holds at 0 arrives at 0 exactly.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import absolute, reciprocal
    >>> tx = proximal(direction=[], scale=[absolute(), reciprocal()], centre=[parameters()], l1=0.5)
    >>> tx.update(jnp.array([2.0, 2.0]), tx.init(None), jnp.array([1.0, 3.0]))[0]
    Array([-1.  , -1.25], dtype=float32)
    """

    def step(x: Array, p: Array, branches: Mapping[str, Array], l1: Numeric, l2: Numeric) -> Array:
        d, s, c = (branches[name] for name in ("direction", "scale", "centre"))
        pull, shrink = s * l1, s * l2
        z = c - s * d
        moved = (-s * d - pull * jnp.sign(z) - shrink * c) / (1 + shrink) + (c - p)  # the difference, not of two sums
        return jnp.where(jnp.abs(z) <= pull, -p, moved)

    lists = {"direction": direction, "scale": scale, "centre": centre}
    branches = {name: series(name, pieces) for name, pieces in lists.items()}
    return Parallel({**branches, "step": rule(step, l1=l1, l2=l2)}, _last)


def _last(*outputs: Array) -> Array:
    return outputs[-1]


@piece
def project_to_box(low: Numeric | None = None, high: Numeric | None = None) -> Rule:
    """x ↦ clip(p + x, low, high) − p: a step that would leave the box ends at its border; None is no border.

    Last in a chain; project_to_box(low=0) is optax.keep_params_nonnegative. Borders other than 0 hold to the rounding
    of p + x. ValueError where low > high.

    S. J. Reddi, S. Kale, S. Kumar (2018), arXiv:1904.09237, Algorithm 2: the projection onto F, which for a box is the
    same in every diagonal metric.

    >>> import jax.numpy as jnp
    >>> tx = project_to_box(low=0.0)
    >>> tx.update(jnp.array([-2.0, -2.0]), tx.init(None), jnp.array([1.0, 3.0]))[0]
    Array([-1., -2.], dtype=float32)
    """
    if low is not None and high is not None:
        ranges.check_order("project_to_box", low=low, high=high)
    ends = {name: end for name, end in (("low", low), ("high", high)) if end is not None}

    def within(x: Array, p: Array, low: Numeric | None = None, high: Numeric | None = None) -> Array:
        return jnp.clip(x, None if low is None else low - p, None if high is None else high - p)

    return rule(within, real="a border", **ends) if ends else rule(lambda x, p: x)
