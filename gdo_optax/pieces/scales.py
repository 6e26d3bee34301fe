"""Pointwise steps of a list: powers, roots and factors."""

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.engine import numerics
from gdo_optax.engine.nodes import Rule, rule
from gdo_optax.engine.piece import Hyperparameter, piece


@piece
def square() -> Rule:
    """x ↦ |x|², kept finite (see `numerics.square`).

    >>> import jax.numpy as jnp
    >>> tx = square()
    >>> tx.update(jnp.array([-3.0]), tx.init(None))[0]
    Array([9.], dtype=float32)
    """
    return rule(numerics.square)


@piece
def absolute() -> Rule:
    """x ↦ |x|.

    >>> import jax.numpy as jnp
    >>> tx = absolute()
    >>> tx.update(jnp.array([-3.0]), tx.init(None))[0]
    Array([3.], dtype=float32)
    """
    return rule(jnp.abs)


@piece
def sign() -> Rule:
    """x ↦ sign x, 0 at 0.

    >>> import jax.numpy as jnp
    >>> tx = sign()
    >>> tx.update(jnp.array([-3.0, 0.0]), tx.init(None))[0]
    Array([-1.,  0.], dtype=float32)
    """
    return rule(jnp.sign, real="a sign")


@piece
def reciprocal() -> Rule:
    """x ↦ 1/x, 0 at 0.

    >>> import jax.numpy as jnp
    >>> tx = reciprocal()
    >>> tx.update(jnp.array([4.0, 0.0]), tx.init(None))[0]
    Array([0.25, 0.  ], dtype=float32)
    """
    return rule(numerics.reciprocal)


@piece
def inverse_root(eps: Numeric = 1e-8, eps_root: Numeric = 0.0) -> Rule:
    """v ↦ 1/(√(v + eps_root) + eps), 0 where that divides by 0.

    >>> import jax.numpy as jnp
    >>> tx = inverse_root(eps=1.0)
    >>> tx.update(jnp.array([9.0]), tx.init(None))[0]
    Array([0.25], dtype=float32)
    """
    return rule(numerics.inverse_root, eps=eps, eps_root=eps_root)


@piece
def add_constant(constant: Numeric) -> Rule:
    """x ↦ x + constant.

    >>> import jax.numpy as jnp
    >>> tx = add_constant(0.5)
    >>> tx.update(jnp.array([1.0]), tx.init(None))[0]
    Array([1.5], dtype=float32)
    """
    return rule(lambda x, constant: x + constant, constant=constant)


@piece
def scale(step_size: Hyperparameter) -> Rule:
    """x ↦ step_size·x, the factor a number or a schedule (`optax.scale` and `optax.scale_by_schedule` in one).

    >>> import jax.numpy as jnp
    >>> tx = scale(0.5)
    >>> tx.update(jnp.array([1.0]), tx.init(None))[0]
    Array([0.5], dtype=float32)
    """
    return rule(lambda x, step_size: step_size * x, step_size=step_size)


@piece
def scale_by_learning_rate(learning_rate: Hyperparameter) -> Rule:
    """x ↦ −αₜ·x: the step itself, downhill; a schedule gets the count from 0, as in optax.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_learning_rate(0.5)
    >>> tx.update(jnp.array([1.0]), tx.init(None))[0]
    Array([-0.5], dtype=float32)
    """
    return rule(lambda x, learning_rate: -learning_rate * x, learning_rate=learning_rate)


@piece
def clip_by_block_rms(clipping_threshold: Numeric) -> Rule:
    """U ↦ U / max(1, RMS(U)/d), RMS over the whole array (Adafactor's update clipping; `optax.clip_by_block_rms`).

    >>> import jax.numpy as jnp
    >>> tx = clip_by_block_rms(1.0)
    >>> tx.update(jnp.array([3.0, -3.0]), tx.init(None))[0].round(5)
    Array([ 1., -1.], dtype=float32)
    """

    def clipped(x: Array, measured: Array, clipping_threshold: Numeric) -> Array:
        rms = measured / numerics.root_of_size(x)
        return x * (1 / jnp.maximum(1, rms / clipping_threshold))

    return rule(clipped, measure=numerics.norm, clipping_threshold=clipping_threshold)
