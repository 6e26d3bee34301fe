"""Several pieces in one: the products and sums that several methods share."""

import jax.numpy as jnp
from chex import Numeric

from gdo_optax.engine.combinators import adaptive, parallel
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.moments import ema, trace
from gdo_optax.pieces.scales import inverse_root, scale, square
from gdo_optax.schedules import ahead, complement


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
    >>> tx.update(jnp.array([3.0]), tx.init(jnp.zeros(1)))[0].round(6)
    Array([1.], dtype=float32)
    """
    return adaptive(
        direction=[ema(b1), bias_correction(b1)],  # mₜ, m̂ₜ
        scale=[square(), ema(b2), bias_correction(b2), inverse_root(eps, eps_root)],  # g², vₜ, v̂ₜ, 1/(√v̂ₜ+ε)
    )


@piece
def quasi_hyperbolic(decay: Hyperparameter, nu: Hyperparameter) -> Piece:
    """x ↦ (1−ν)·xₜ + ν·x̂ₜ, x̂ the corrected average with `decay`: between the plain x (ν = 0) and it.

    J. Ma, D. Yarats (2019), "Quasi-hyperbolic momentum and Adam for deep learning", arXiv:1810.06801, section 4.

    >>> import jax.numpy as jnp
    >>> tx = quasi_hyperbolic(0.5, nu=0.75)
    >>> _, state = tx.update(jnp.array([0.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([3.0]), state)[0]
    Array([2.25], dtype=float32)
    """
    return parallel(
        jnp.add,
        gradient=[scale(_rest(nu))],  # (1−ν)·xₜ
        average=[ema(decay), bias_correction(decay), scale(nu)],  # ν·x̂ₜ
    )


@piece
def look_ahead(momentum: Hyperparameter) -> Piece:
    """x ↦ xₜ + μₜ₊₁·vₜ, vₜ = μₜ·vₜ₋₁ + xₜ: the heavy ball seen from where its velocity is about to carry it.

    I. Sutskever, J. Martens, G. Dahl, G. Hinton (2013), ICML, equations 3 and 4, with the gradient taken at the
    looked-ahead parameters: there the next step's momentum counts, μₜ₊₁ (optax and PyTorch know one momentum only).

    >>> import jax.numpy as jnp
    >>> tx = look_ahead(0.5)
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
    Array([3.], dtype=float32)
    """
    soon = ahead(momentum) if callable(momentum) else momentum
    return parallel(jnp.add, gradient=[], velocity=[trace(momentum), scale(soon)])


@piece
def nesterov_ema(decay: Hyperparameter) -> Piece:
    """x ↦ βₜ₊₁·mₜ/(1−βᵗ⁺¹) + (1−βₜ)·xₜ/(1−βᵗ), mₜ = βₜ·mₜ₋₁ + (1−βₜ)·xₜ: the corrected average, one step ahead.

    Where `decay` is a schedule the powers are products of the βs, as in `bias_correction`.

    T. Dozat (2016), "Incorporating Nesterov momentum into Adam", ICLR workshop, Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = nesterov_ema(0.5)
    >>> tx.update(jnp.array([3.0]), tx.init(jnp.zeros(1)))[0]
    Array([4.], dtype=float32)
    """
    soon = ahead(decay) if callable(decay) else decay
    return parallel(
        jnp.add,
        momentum=[ema(decay), scale(soon), bias_correction(decay, ahead=1)],  # βₜ₊₁·mₜ/(1−βᵗ⁺¹)
        gradient=[scale(_rest(decay)), bias_correction(decay)],  # (1−βₜ)·xₜ/(1−βᵗ)
    )


def _rest(part: Hyperparameter) -> Hyperparameter:
    """1 − part."""
    return complement(part) if callable(part) else 1 - part
