"""Ranger's relatives: other steps inside the same slow weights."""

from chex import Numeric

from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.clocks import bias_correction, rectify
from gdo_optax.pieces.composite import quasi_hyperbolic
from gdo_optax.pieces.moments import ema, running_max
from gdo_optax.pieces.scales import inverse_root, scale_by_learning_rate, square
from gdo_optax.pieces.slow import slow_weights
from gdo_optax.pieces.units import inverse_softplus_root
from gdo_optax.pieces.weights import add_decayed_weights


@piece
def ranger_qh(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    nu1: Hyperparameter = 0.7,
    nu2: Hyperparameter = 1.0,
    eps: Numeric = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    sync_period: Numeric = 6,
    slow_step_size: Hyperparameter = 0.5,
) -> Piece:
    """RangerQH: QHAdam inside Lookahead.

        uₜ = ((1−ν₁)·gₜ + ν₁·m̂ₜ) / (√((1−ν₂)·gₜ² + ν₂·v̂ₜ) + ε) + λ·θₜ₋₁
        θₜ = θₜ₋₁ − α·uₜ,   every 6th step   φ ← φ + ½·(θₜ − φ),   θₜ ← φ

    See `qhadam` and `lookahead`. The author's code, whose decay is decoupled and multiplied by the rate. Read the slow
    weights φ with `eval_params`.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        nu1: ν₁ in [0, 1], a number or a schedule: the share of the average gradient.
        nu2: ν₂ in [0, 1], a number or a schedule: the share of the average square.
        eps: ε ≥ 0, outside the root.
        weight_decay: λ ≥ 0, a number or a schedule, multiplied by α.
        sync_period: k, an integer ≥ 1.
        slow_step_size: the share of the way to the fast weights, in (0, 1].

    Raises:
        ValueError: a value outside its range; in the update, no parameters.

    Reference: L. Wright (2019), https://github.com/lessw2020/Ranger-Deep-Learning-Optimizer, rangerqh.py; with J. Ma,
    D. Yarats (2019), arXiv:1810.06801.

    >>> import jax.numpy as jnp
    >>> tx = ranger_qh(0.1)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)), jnp.zeros(1))[0].round(6)
    Array([-0.1], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[quasi_hyperbolic(b1, nu1)],  # (1−ν₁)·gₜ + ν₁·m̂ₜ
            scale=[square(), quasi_hyperbolic(b2, nu2), inverse_root(eps)],  # (1−ν₂)·gₜ² + ν₂·v̂ₜ, 1/(√+ε)
        ),
        add_decayed_weights(weight_decay),  # + λ·θₜ₋₁
        scale_by_learning_rate(learning_rate),
        slow_weights(sync_period, slow_step_size),  # φ
    )


@piece
def ranger_va(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.95,
    b2: Numeric = 0.999,
    eps: Numeric = 1e-5,
    weight_decay: Hyperparameter = 0.0,
    threshold: Numeric = 5.0,
    sync_period: Numeric = 6,
    slow_step_size: Hyperparameter = 0.5,
) -> Piece:
    """RangerVA: RAdam with AMSGrad's second moment and a calibrated denominator, inside Lookahead.

        v̄ₜ = max(v̄ₜ₋₁, vₜ),   v̂ₜ = v̄ₜ / (1−b2ᵗ)
        uₜ = rₜ·m̂ₜ / softplus(√v̂ₜ + ε) + λ·θₜ₋₁   where ρₜ ≥ 5, else   m̂ₜ + λ·θₜ₋₁
        θₜ = θₜ₋₁ − α·uₜ,   every 6th step   φ ← φ + ½·(θₜ − φ),   θₜ ← φ

    What the author's code means to do; it updates v twice a step and never rectifies. softplus(z) = log(1 + e⁵⁰ᶻ)/50.
    Read the slow weights φ with `eval_params`.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number.
        eps: ε ≥ 0, outside the root.
        weight_decay: λ ≥ 0, a number or a schedule, multiplied by α.
        threshold: the least ρₜ to adapt at, ≥ 4.
        sync_period: k, an integer ≥ 1.
        slow_step_size: the share of the way to the fast weights, in (0, 1].

    Raises:
        ValueError: a value outside its range; in the update, no parameters.
        TypeError: a schedule for b2.

    Reference: L. Wright (2019), https://github.com/lessw2020/Ranger-Deep-Learning-Optimizer, Ranger913A; with Q. Tong,
    G. Liang, J. Bi (2019), arXiv:1908.00700.

    >>> import jax.numpy as jnp
    >>> tx = ranger_va(0.1)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)), jnp.zeros(1))[0].round(6)
    Array([-0.4], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[ema(b1), bias_correction(b1)],  # mₜ, m̂ₜ
            scale=[
                square(),  # g²
                ema(b2),  # vₜ
                running_max(),  # v̄ₜ
                bias_correction(b2),  # v̂ₜ
                inverse_softplus_root(eps),  # 1/softplus(√v̂ₜ+ε)
                rectify(b2, threshold),  # ·rₜ, or 1
            ],
        ),
        add_decayed_weights(weight_decay),  # + λ·θₜ₋₁
        scale_by_learning_rate(learning_rate),
        slow_weights(sync_period, slow_step_size),  # φ
    )
