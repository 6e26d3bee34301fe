"""Adaptive only when the variance of the scale is known to be finite."""

from chex import Numeric

from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.trees import Mask
from gdo_optax.pieces.clocks import bias_correction, rectify
from gdo_optax.pieces.gradients import centralize
from gdo_optax.pieces.moments import ema
from gdo_optax.pieces.scales import inverse_root, scale_by_learning_rate, square
from gdo_optax.pieces.slow import slow_weights
from gdo_optax.pieces.weights import add_decayed_weights


@piece
def radam(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Numeric = 0.999,
    eps: Numeric = 1e-8,
    eps_root: Numeric = 0.0,
    threshold: Numeric = 5.0,
) -> Piece:
    """RAdam: Adam that starts as momentum and adapts only as far as its second moment can be trusted.

        ρ∞ = 2/(1−b2) − 1,   ρₜ = ρ∞ − 2t·b2ᵗ/(1−b2ᵗ)
        rₜ = √((ρₜ−4)(ρₜ−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρₜ))
        θₜ = θₜ₋₁ − α·rₜ·m̂ₜ / (√v̂ₜ + ε)   where ρₜ ≥ 5, else   θₜ₋₁ − α·m̂ₜ

    The threshold is that of the authors' library, TensorFlow Addons and optax; the paper's is 4, strictly, and PyTorch
    has 5, strictly (with the usual b2 only step 5 differs). The authors' library has skipped the first steps altogether
    since 2021; here they are steps of momentum, as in the paper. optax computes ρₜ as a difference that cancels.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number; with b2 ≤ 0.6 it never adapts.
        eps: ε ≥ 0, outside the root.
        eps_root: added inside the root, after the correction.
        threshold: the least ρₜ to adapt at, ≥ 4.

    Raises:
        ValueError: a value outside its range.
        TypeError: a schedule for b2.

    Reference: L. Liu et al. (2020), "On the variance of the adaptive learning rate and beyond", arXiv:1908.03265,
    Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = radam(0.1)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0].round(6)
    Array([-0.4], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[ema(b1), bias_correction(b1)],  # mₜ, m̂ₜ
            scale=[
                square(),  # g²
                ema(b2),  # vₜ
                bias_correction(b2),  # v̂ₜ
                inverse_root(eps, eps_root),  # 1/(√v̂ₜ+ε)
                rectify(b2, threshold),  # ·rₜ, or 1
            ],
        ),
        scale_by_learning_rate(learning_rate),
    )


@piece
def ranger(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.95,
    b2: Numeric = 0.999,
    eps: Numeric = 1e-5,
    weight_decay: Hyperparameter = 0.0,
    mask: Mask | None = None,
    threshold: Numeric = 5.0,
    sync_period: Numeric = 6,
    slow_step_size: Hyperparameter = 0.5,
) -> Piece:
    """Ranger: RAdam on centralized gradients, inside Lookahead.

        gₜ ← gₜ − mean(gₜ) over all axes but the output's
        rₜ, m̂ₜ as in RAdam,   vₜ = b2·vₜ₋₁ + (1−b2)·gₜ²
        θₜ = θₜ₋₁ − α·( rₜ·√(1−b2ᵗ)·m̂ₜ / (√vₜ + ε) + λ·θₜ₋₁ )   where ρₜ ≥ 5, else   θₜ₋₁ − α·( m̂ₜ + λ·θₜ₋₁ )
        every 6th step   φ ← φ + ½·(θₜ − φ),   θₜ ← φ

    The author's ranger.py of 2020-04-11 with its constants, ε added before the correction. The output axis is the last,
    as in Flax; there it is the first, as in PyTorch. Read the slow weights φ with `eval_params`.

    Args:
        learning_rate: α ≥ 0, a number or a schedule; the author advises a flat one that falls in the last quarter.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number.
        eps: ε ≥ 0, outside the root, before the correction.
        weight_decay: λ ≥ 0, a number or a schedule, multiplied by α.
        mask: which parameters decay, as in `adamw`.
        threshold: the least ρₜ to adapt at, ≥ 4.
        sync_period: k, an integer ≥ 1.
        slow_step_size: the share of the way to the fast weights, in (0, 1].

    Raises:
        ValueError: a value outside its range; in the update, no parameters.
        TypeError: a schedule for b2.

    Reference: L. Wright (2019), "New deep learning optimizer, Ranger",
    https://github.com/lessw2020/Ranger-Deep-Learning-Optimizer; with L. Liu et al. (2020), arXiv:1908.03265,
    M. R. Zhang et al. (2019), arXiv:1907.08610, and H. Yong et al. (2020), arXiv:2004.01461.

    >>> import jax.numpy as jnp
    >>> tx = ranger(0.1)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)), jnp.zeros(1))[0].round(6)
    Array([-0.4], dtype=float32)
    """
    return chain(
        centralize(),  # gₜ − mean
        adaptive(
            direction=[ema(b1), bias_correction(b1)],  # mₜ, m̂ₜ
            scale=[
                square(),  # g²
                ema(b2),  # vₜ
                inverse_root(eps),  # 1/(√vₜ+ε)
                bias_correction(b2, power=-1 / 2),  # ·√(1−b2ᵗ)
                rectify(b2, threshold),  # ·rₜ, or 1
            ],
        ),
        add_decayed_weights(weight_decay, mask),  # + λ·θₜ₋₁
        scale_by_learning_rate(learning_rate),
        slow_weights(sync_period, slow_step_size),  # φ
    )
