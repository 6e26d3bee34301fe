"""Eight ideas around AdamW."""

from chex import Array, Numeric

from gdo_optax.cycles import ranger21_schedule
from gdo_optax.engine.combinators import chain, parallel, recall
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.gradients import centralize
from gdo_optax.pieces.moments import ema, running_max
from gdo_optax.pieces.scales import scale_by_learning_rate, square
from gdo_optax.pieces.slow import slow_weights
from gdo_optax.pieces.units import (
    adaptive_grad_clip,
    add_norm_loss,
    inverse_softplus_root,
    normalize,
    positive_negative_momentum,
    stable_weight_decay,
)


@piece
def ranger21(
    learning_rate: Hyperparameter,
    steps: Numeric,
    b1: Numeric = 0.9,
    b2: Numeric = 0.999,
    eps: Numeric = 1e-8,
    weight_decay: Hyperparameter = 1e-4,
    norm_loss: Hyperparameter = 1e-4,
    positive_negative_factor: Numeric = 1.0,
    sync_period: Numeric = 5,
) -> Piece:
    """Ranger21: AdamW with eight ideas around it, from clipped gradients to a rate that warms up and down.

        gₜ ← clipped unit by unit, centralized, divided by its standard deviation
        mₜ = b1²·mₜ₋₂ + (1−b1²)·gₜ,   m̂ₜ = ((1+β₀)·mₜ − β₀·mₜ₋₁) / √((1+β₀)²+β₀²) / (1−b1ᵗ)
        vₜ = b2·vₜ₋₁ + (1−b2)·gₜ²,   v̂ₜ = maxₛ vₛ / (1−b2ᵗ)
        uₜ = m̂ₜ / softplus(√v̂ₜ + ε) + λ·θₜ₋₁/√(mean v̂ₜ) + 2c·(1 − 1/‖θₜ₋₁‖)·θₜ₋₁
        θₜ = θₜ₋₁ − αₜ·uₜ,   every 5th step   φ ← φ + ½·(θₜ − φ),   θₜ ← φ

    The paper's mathematics. The authors' code decays and pulls to norm 1 only its last parameter, loses the maximum of
    v, and normalises the noise by b2. αₜ rises over 2/(1−b2) steps (over 22 % of a run for which that is more than
    45 %) and falls to 3e-5 over the last 28 %. mean v̂ is over all parameters, ‖θ‖ that of each output unit, the last
    axis. Read the slow weights φ with `eval_params`.

    Args:
        learning_rate: α ≥ 0, such as 1e-3, a number or a schedule: αₜ before it is warmed up and down.
        steps: of the whole training, an integer ≥ 1.
        b1: in [0, 1), a number.
        b2: in [0, 1), a number.
        eps: ε ≥ 0.
        weight_decay: λ ≥ 0, a number or a schedule: the stable weight decay.
        norm_loss: c ≥ 0, a number or a schedule.
        positive_negative_factor: β₀ ≥ 0; the authors' code has 1, its ports 0.9.
        sync_period: of the slow weights, an integer ≥ 1.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.
        TypeError: a schedule for b1.

    Reference: L. Wright, N. Demeure (2021), "Ranger21: a synergistic deep learning optimizer", arXiv:2106.13731,
    Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = ranger21(0.1, steps=10)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)), jnp.zeros(1))[0].shape
    (1,)
    """
    if callable(b1):
        raise TypeError("ranger21: b1 cannot be a schedule: two averages share its square")
    return chain(
        adaptive_grad_clip(),  # gₜ, clipped
        centralize(),  # − mean
        normalize(),  # / std
        parallel(
            _decayed,
            variance=[square(), ema(b2), running_max()],  # maxₛ vₛ, corrected by each reader: a v̂ for both is an array
            scale=[recall("variance"), bias_correction(b2), inverse_softplus_root(eps)],  # 1/softplus(√v̂ₜ+ε)
            direction=[positive_negative_momentum(b1, positive_negative_factor), bias_correction(b1)],  # m̂ₜ
            decay=[recall("variance"), bias_correction(b2), stable_weight_decay(weight_decay)],  # λ·θₜ₋₁/√(mean v̂ₜ)
        ),
        add_norm_loss(norm_loss, eps),  # + 2c·(1 − 1/‖θₜ₋₁‖)·θₜ₋₁
        scale_by_learning_rate(ranger21_schedule(learning_rate, steps, b2)),  # ·αₜ
        slow_weights(sync_period),  # φ
    )


def _decayed(variance: Array, scale: Array, direction: Array, decay: Array) -> Array:
    return scale * direction + decay
