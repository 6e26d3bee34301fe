"""Direction and scale in one: the two products that several methods share."""

from chex import Numeric

from gdo_optax.combinators import adaptive
from gdo_optax.core import Hyperparameter, Piece, piece
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.moments import ema
from gdo_optax.pieces.scales import inverse_root, square


@piece
def scale_by_rms(decay: Hyperparameter = 0.9, eps: Numeric = 1e-8, eps_root: Numeric = 0.0) -> Piece:
    """g ↦ g / (√(E[g²] + eps_root) + eps): RMSprop's direction. optax.scale_by_rms puts its eps inside the root.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_rms(0.75)
    >>> tx.update(jnp.array([3.0]), tx.init(jnp.zeros(1)))[0]
    Array([2.], dtype=float32)
    """
    return adaptive(direction=[], scale=[square(), ema(decay), inverse_root(eps, eps_root)])


@piece
def scale_by_adam(
    b1: Hyperparameter = 0.9, b2: Hyperparameter = 0.999, eps: Numeric = 1e-8, eps_root: Numeric = 0.0
) -> Piece:
    """g ↦ m̂ₜ / (√(v̂ₜ + eps_root) + eps): Adam's direction.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_adam()
    >>> tx.update(jnp.array([3.0]), tx.init(jnp.zeros(1)))[0]
    Array([1.], dtype=float32)
    """
    return adaptive(
        direction=[ema(b1), bias_correction(b1)],  # mₜ, m̂ₜ
        scale=[square(), ema(b2), bias_correction(b2), inverse_root(eps, eps_root)],  # g², vₜ, v̂ₜ, 1/(√v̂ₜ+ε)
    )
