"""Second moments in sublinear memory."""

from chex import Numeric

from gdo_optax.combinators import adaptive, chain
from gdo_optax.core import Hyperparameter, Piece, piece
from gdo_optax.pieces.factored import factored_ema
from gdo_optax.pieces.scales import add_constant, clip_by_block_rms, inverse_root, scale_by_learning_rate, square
from gdo_optax.pieces.weights import scale_by_parameter_rms
from gdo_optax.schedules import relative_step


@piece
def adafactor(
    learning_rate: Hyperparameter = relative_step,
    decay_rate: Numeric = 0.8,
    eps: Numeric = 1e-30,
    clipping_threshold: Numeric = 1.0,
    min_parameter_scale: Numeric = 1e-3,
) -> Piece:
    """Adafactor: adaptive steps that keep rows and columns of the second moment and scale with the parameters.

        β₂ₜ = 1 − t⁻ᶜ,   ρₜ = min(10⁻², 1/√t)
        Rₜ = β₂ₜ·Rₜ₋₁ + (1−β₂ₜ)·rows(gₜ² + ε₁),   Cₜ = β₂ₜ·Cₜ₋₁ + (1−β₂ₜ)·columns(gₜ² + ε₁)
        Uₜ = gₜ / √(RₜCₜ / sum Rₜ)
        θₜ = θₜ₋₁ − max(ε₂, RMS(θₜ₋₁))·ρₜ · Uₜ / max(1, RMS(Uₜ)/d)

    The whole of the paper's algorithm without momentum. A learning rate takes the place of ρₜ; the step stays relative
    to RMS(θ). optax.adafactor has no ρₜ (without a rate its steps are 100 times larger), factors the two largest axes
    and only from 128 on; here it is the last two, of any size, as in the authors' code.

    Args:
        learning_rate: ρₜ ≥ 0, a number or a schedule.
        decay_rate: c in (0, 1].
        eps: ε₁ ≥ 0, added to the squared gradient.
        clipping_threshold: d > 0, the largest root mean square of Uₜ.
        min_parameter_scale: ε₂ ≥ 0, in the units of the parameters: how far parameters at 0 can move.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.

    Reference: N. Shazeer, M. Stern (2018), "Adafactor: adaptive learning rates with sublinear memory cost",
    arXiv:1804.04235, Algorithms 4 and 5.

    >>> import jax.numpy as jnp
    >>> tx = adafactor()
    >>> tx.update(jnp.array([4.0, -4.0]), tx.init(jnp.ones(2)), jnp.ones(2))[0]
    Array([-0.01,  0.01], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[],
            scale=[square(), add_constant(eps), factored_ema(decay_rate), inverse_root(0)],  # g², +ε₁, Vₜ, 1/√Vₜ
        ),
        clip_by_block_rms(clipping_threshold),  # /max(1, RMS(Uₜ)/d)
        scale_by_parameter_rms(min_parameter_scale),  # ·max(ε₂, RMS(θₜ₋₁))
        scale_by_learning_rate(learning_rate),  # ·ρₜ
    )
