"""Adam with the proof of its convergence restored."""

import math
from typing import Any

import jax
from chex import Numeric

from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.moments import ema, mean, running_max
from gdo_optax.pieces.scales import inverse_root, scale_by_learning_rate, square
from gdo_optax.schedules import geometric_decay, inverse_sqrt_decay


@piece
def amsgrad(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    eps_root: Numeric = 0.0,
) -> Piece:
    """AMSGrad: Adam with a second moment that never shrinks.

        mₜ = b1·mₜ₋₁ + (1−b1)·gₜ,    m̂ₜ = mₜ / (1−b1ᵗ)
        vₜ = b2·vₜ₋₁ + (1−b2)·gₜ²,   v̄ₜ = max(v̄ₜ₋₁, vₜ),   v̂ₜ = v̄ₜ / (1−b2ᵗ)
        θₜ = θₜ₋₁ − α·m̂ₜ / (√v̂ₜ + ε)

    The paper corrects nothing, PyTorch after the maximum (as here), optax before it: there the first noisy g² stays the
    maximum for ever.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.
        eps_root: added inside the root, after the correction.

    Raises:
        ValueError: a value outside its range.

    Reference: S. J. Reddi, S. Kale, S. Kumar (2018), "On the convergence of Adam and beyond", arXiv:1904.09237,
    Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = amsgrad(0.1)
    >>> _, state = tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([0.0]), state)[0].round(4)
    Array([-0.067], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[ema(b1), bias_correction(b1)],  # mₜ, m̂ₜ
            scale=[
                square(),  # g²
                ema(b2),  # vₜ
                running_max(),  # v̄ₜ
                bias_correction(b2),  # v̂ₜ
                inverse_root(eps, eps_root),  # 1/(√v̂ₜ+ε)
            ],
        ),
        scale_by_learning_rate(learning_rate),
    )


@piece
def adamnc(
    learning_rate: Hyperparameter = 1e-3,
    b1: Numeric = 0.9,
    b1_decay: Numeric = 1 - 1e-8,
    eps: Numeric = 1e-8,
    residual_dtype: Any = None,
) -> Piece:
    """AdamNC: Adam with Adagrad's memory, a second moment that is the mean of all squares.

        b1ₜ = b1·λᵗ⁻¹,   b2ₜ = 1 − 1/t
        mₜ = b1ₜ·mₜ₋₁ + (1−b1ₜ)·gₜ
        vₜ = (g₁² + … + gₜ²)/t
        θₜ = θₜ₋₁ − α/√t · mₜ / (√vₜ + ε)

    Nothing is corrected, as in the paper: vₜ needs no correction, and the first steps are short by 1 − b1ᵗ. With b1 = 0
    it is Adagrad, whose 1/√(g₁² + … + gₜ²) is 1/√t · 1/√vₜ. The paper has no ε; without one a coordinate that has no
    gradient so far stays.

    Args:
        learning_rate: α ≥ 0, a number or a schedule, which is divided by √t.
        b1: the momentum of the first step, in [0, 1), a number.
        b1_decay: λ in [0, 1], a number: the factor by which the momentum falls in every step.
        eps: ε ≥ 0, outside the root.
        residual_dtype: in which to keep, too, what rounding takes from vₜ; as in `adagrad`.

    Raises:
        ValueError: a value outside its range.
        TypeError: a schedule for b1, which has its own.

    Reference: S. J. Reddi, S. Kale, S. Kumar (2018), "On the convergence of Adam and beyond", arXiv:1904.09237,
    Algorithm 3.

    >>> import jax.numpy as jnp
    >>> tx = adamnc(0.1, b1=0.5)
    >>> _, state = tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([4.0]), state)[0].round(6)
    Array([-0.053033], dtype=float32)
    """
    if callable(b1):
        raise TypeError("adamnc: b1 cannot be a schedule: it is where the paper's own schedule starts")
    known_as_1 = not isinstance(b1_decay, jax.core.Tracer) and b1_decay == 1  # as 1 − 10⁻⁸ is in float32
    falling = geometric_decay(b1, math.nextafter(1, 0) if known_as_1 else b1_decay)  # b1ₜ
    return chain(
        adaptive(
            direction=[ema(falling)],  # mₜ
            scale=[square(), mean(residual_dtype=residual_dtype), inverse_root(eps)],  # g², vₜ, 1/(√vₜ+ε)
        ),
        scale_by_learning_rate(inverse_sqrt_decay(learning_rate)),  # ·α/√t
    )
