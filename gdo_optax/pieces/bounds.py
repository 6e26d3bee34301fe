"""Bounds between which step sizes stay."""

import math

import jax
import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.counting import Schedule, schedule
from gdo_optax.engine import ranges
from gdo_optax.engine.nodes import Rule, per_step, rule
from gdo_optax.engine.numerics import as_dtype
from gdo_optax.engine.piece import Hyperparameter, piece


@piece
def clip_by_bounds(final_learning_rate: Hyperparameter = 0.1, gamma: Numeric = 1e-3) -> Rule:
    """η ↦ clip(η, ηₗ(t), ηᵤ(t)), bounds that close in on the final rate from both sides.

        ηₗ(t) = η*·(1 − 1/(γt+1)),   ηᵤ(t) = η*·(1 + 1/(γt))

    It belongs at the end of a `scale` branch, on α/√v: per-coordinate step sizes that end as those of SGD.
    `final_learning_rate` is η*, in the unit of the learning rate, or a schedule.

    L. Luo, Y. Xiong, Y. Liu, X. Sun (2019), "Adaptive gradient methods with dynamic bound of learning rate",
    arXiv:1902.09843, section 4.

    >>> import jax.numpy as jnp
    >>> tx = clip_by_bounds(0.1, gamma=1.0)
    >>> tx.update(jnp.array([0.0, 9.0]), tx.init(jnp.zeros(2)))[0]
    Array([0.05, 0.2 ], dtype=float32)
    """

    def lower(t: Array, final: Numeric, gamma: Numeric) -> Array:
        closed = as_dtype(gamma, t.dtype) * t
        return as_dtype(final, t.dtype) * (closed / (closed + 1))  # 1 − 1/(γt+1), no difference taken

    def upper(t: Array, final: Numeric, gamma: Numeric) -> Array:
        return as_dtype(final, t.dtype) * (1 + 1 / (as_dtype(gamma, t.dtype) * t))

    ends = {"final": final_learning_rate, "gamma": gamma}
    return rule(jnp.clip, min=per_step(lower, **ends), max=per_step(upper, **ends))


@piece
def clip_step_size(lower_bound: Hyperparameter, upper_bound: Hyperparameter) -> Rule:
    """η ↦ clip(η, ηₗ, ηᵤ), bounds that stay where they are or follow schedules of their own.

    At the end of a `scale` branch, as `clip_by_bounds`. ValueError for numbers the wrong way round.

    >>> import jax.numpy as jnp
    >>> tx = clip_step_size(0.1, 1.0)
    >>> tx.update(jnp.array([0.0, 0.5, 9.0]), tx.init(None))[0]
    Array([0.1, 0.5, 1. ], dtype=float32)
    """
    ranges.check_order("clip_step_size", lower_bound=lower_bound, upper_bound=upper_bound)
    return rule(jnp.clip, min=lower_bound, max=upper_bound)


def following(final: Hyperparameter, learning_rate: Hyperparameter) -> Hyperparameter:
    """The final rate, in proportion to a schedule of the learning rate (the authors' final_lr·lr/base_lr).

    >>> rate = following(0.5, lambda count: 0.1 / (1 + jnp.asarray(count, float)))
    >>> [round(float(rate(count)), 3) for count in (0, 4)]
    [0.5, 0.1]
    """
    if callable(final) or not callable(learning_rate) or (isinstance(final, float) and math.isinf(final)):
        return final
    first = learning_rate(jnp.int32(0))
    if not isinstance(first, jax.core.Tracer) and first == 0:
        raise ValueError(
            "learning_rate(0) is 0, but the bounds follow learning_rate(t)/learning_rate(0): start the warm-up above 0 "
            "or give final_learning_rate a schedule of its own"
        )

    return in_proportion(final, learning_rate)


@schedule
def in_proportion(value: Numeric, to: Schedule) -> Schedule:
    """value·to(count)/to(0): a number that follows a schedule.

    >>> in_proportion(0.5, lambda count: 1 / (1 + count))(3)
    0.125
    """
    return lambda count: value * to(count) / to(0 * count)
