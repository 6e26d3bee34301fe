"""Pointwise steps of a list: powers, roots and factors."""

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax import arithmetic
from gdo_optax.core import Hyperparameter, Piece, magnitude, of_real, piece
from gdo_optax.makers import measured, pointwise


@piece
def square() -> Piece:
    """x ↦ |x|², kept finite (see `arithmetic.square`).

    >>> import jax.numpy as jnp
    >>> square().update(jnp.array([-3.0]), ())[0]
    Array([9.], dtype=float32)
    """
    return magnitude(pointwise(arithmetic.square))


@piece
def absolute() -> Piece:
    """x ↦ |x|.

    >>> import jax.numpy as jnp
    >>> absolute().update(jnp.array([-3.0]), ())[0]
    Array([3.], dtype=float32)
    """
    return magnitude(pointwise(jnp.abs))


@piece
def sign() -> Piece:
    """x ↦ sign x, 0 at 0.

    >>> import jax.numpy as jnp
    >>> sign().update(jnp.array([-3.0, 0.0]), ())[0]
    Array([-1.,  0.], dtype=float32)
    """
    return of_real(pointwise(jnp.sign), "a sign")


@piece
def reciprocal() -> Piece:
    """x ↦ 1/x, 0 at 0.

    >>> import jax.numpy as jnp
    >>> reciprocal().update(jnp.array([4.0, 0.0]), ())[0]
    Array([0.25, 0.  ], dtype=float32)
    """
    return pointwise(arithmetic.reciprocal)


@piece
def inverse_root(eps: Numeric = 1e-8, eps_root: Numeric = 0.0) -> Piece:
    """v ↦ 1/(√(v + eps_root) + eps), 0 where that divides by 0.

    >>> import jax.numpy as jnp
    >>> inverse_root(eps=1.0).update(jnp.array([9.0]), ())[0]
    Array([0.25], dtype=float32)
    """
    return pointwise(arithmetic.inverse_root, eps=eps, eps_root=eps_root)


@piece
def add_constant(constant: Numeric) -> Piece:
    """x ↦ x + constant.

    >>> import jax.numpy as jnp
    >>> add_constant(0.5).update(jnp.array([1.0]), ())[0]
    Array([1.5], dtype=float32)
    """
    return pointwise(lambda x, constant: x + constant, constant=constant)


@piece
def scale(step_size: Hyperparameter) -> Piece:
    """x ↦ step_size·x, the factor a number or a schedule (`optax.scale` and `optax.scale_by_schedule` in one).

    >>> import jax.numpy as jnp
    >>> scale(0.5).update(jnp.array([1.0]), ())[0]
    Array([0.5], dtype=float32)
    """
    return pointwise(lambda x, step_size: step_size * x, step_size=step_size)


@piece
def scale_by_learning_rate(learning_rate: Hyperparameter) -> Piece:
    """x ↦ −αₜ·x: the step itself, downhill; a schedule gets the count from 0, as in optax.

    >>> import jax.numpy as jnp
    >>> scale_by_learning_rate(0.5).update(jnp.array([1.0]), ())[0]
    Array([-0.5], dtype=float32)
    """
    return pointwise(lambda x, learning_rate: -learning_rate * x, learning_rate=learning_rate)


@piece
def clip_by_block_rms(clipping_threshold: Numeric) -> Piece:
    """U ↦ U / max(1, RMS(U)/d), RMS over the whole array (Adafactor's update clipping; `optax.clip_by_block_rms`).

    >>> import jax.numpy as jnp
    >>> clip_by_block_rms(1.0).update(jnp.array([3.0, -3.0]), ())[0]
    Array([ 1., -1.], dtype=float32)
    """

    def clipped(x: Array, length: Array, clipping_threshold: Numeric) -> Array:
        rms = length / arithmetic.root_of_size(x)
        return x * (1 / jnp.maximum(1, rms / clipping_threshold))

    return measured(clipped, clipping_threshold=clipping_threshold)
