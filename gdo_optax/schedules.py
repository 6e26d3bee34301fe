"""Schedules: pure functions count ↦ value, the count from 0."""

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
from chex import Array, Numeric


Schedule: TypeAlias = Callable[[Array], Numeric]


def relative_step(count: Array) -> Array:
    """ρₜ = min(10⁻², 1/√t), t = count + 1: Adafactor's relative step (arXiv:1804.04235, section 8).

    >>> import jax.numpy as jnp
    >>> relative_step(jnp.array(0)), relative_step(jnp.array(39_999))
    (Array(0.01, dtype=float32), Array(0.005, dtype=float32))
    """
    return jnp.minimum(0.01, 1 / jnp.sqrt(jnp.asarray(count, float) + 1))


def nadam_momentum(b1: Numeric, ahead: int = 0) -> Schedule:
    """μₜ = b1·(1 − 0.5·0.96^(t/250)), t = count + 1 + ahead: Nadam's momentum, from about b1/2 up to b1.

    >>> import jax.numpy as jnp
    >>> nadam_momentum(0.9)(jnp.array(0)).round(5), nadam_momentum(0.9)(jnp.array(249)).round(5)
    (Array(0.45007, dtype=float32), Array(0.468, dtype=float32))
    """

    def momentum(count: Array) -> Array:
        return b1 * (1 - 0.5 * 0.96 ** ((jnp.asarray(count, float) + 1 + ahead) / 250))

    return momentum


def complement(schedule: Schedule) -> Schedule:
    """1 − schedule(count).

    >>> complement(lambda count: 0.25)(0)
    0.75
    """
    return lambda count: 1 - schedule(count)
