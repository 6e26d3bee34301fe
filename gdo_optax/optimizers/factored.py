"""Second moments in sublinear memory."""

from typing import Any

from chex import Numeric

from gdo_optax.engine.combinators import chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.factored import scale_by_factored_rms
from gdo_optax.pieces.moments import ema
from gdo_optax.pieces.scales import clip_by_block_rms, scale_by_learning_rate
from gdo_optax.pieces.weights import scale_by_parameter_rms
from gdo_optax.schedules import relative_step


@piece
def adafactor(
    learning_rate: Hyperparameter = relative_step,
    decay_rate: Hyperparameter = 0.8,
    eps: Numeric = 1e-30,
    clipping_threshold: Numeric = 1.0,
    min_parameter_scale: Numeric | None = 1e-3,
    momentum: Hyperparameter | None = None,
    momentum_position: str = "after",
    factored_dims: str = "last",
    min_dim_size_to_factor: Numeric | None = None,
    residual_dtype: Any = None,
) -> Piece:
    """Adafactor: adaptive steps that keep rows and columns of the second moment and scale with the parameters.

        β₂ₜ = 1 − t⁻ᶜ,   ρₜ = min(10⁻², 1/√t)
        Rₜ = β₂ₜ·Rₜ₋₁ + (1−β₂ₜ)·rows(gₜ² + ε₁),   Cₜ = β₂ₜ·Cₜ₋₁ + (1−β₂ₜ)·columns(gₜ² + ε₁)
        Uₜ = gₜ / √(RₜCₜ / sum Rₜ)
        θₜ = θₜ₋₁ − max(ε₂, RMS(θₜ₋₁))·ρₜ · Uₜ / max(1, RMS(Uₜ)/d)

    The whole of the paper's algorithm, which has no momentum. A learning rate takes the place of ρₜ; the step stays
    relative to RMS(θ) unless min_parameter_scale is None. optax.adafactor has no ρₜ (without a rate its steps are 100
    times larger), factors the two largest axes and only from 128 on; here it is the last two, of any size, as in the
    authors' code. Momentum is an average, not corrected: of the finished steps in the authors' code and in optax, of
    the clipped Uₜ in Mesh TensorFlow and bert4keras, so that it follows a change of the rate at once.

    Args:
        learning_rate: ρₜ ≥ 0, a number or a schedule.
        decay_rate: c in (0, 1], a number or a schedule; `corrected_decay_rate(0.999)` gives Adam's corrected average.
        eps: ε₁ ≥ 0, added to the squared gradient.
        clipping_threshold: d > 0, the largest root mean square of Uₜ.
        min_parameter_scale: ε₂ ≥ 0, in the units of the parameters: how far parameters at 0 can move; None for steps
            that do not depend on the parameters.
        momentum: in [0, 1), a number or a schedule; None for none, and no memory of it.
        momentum_position: "after" the rate and the scale, or "before" them.
        factored_dims: which axes become rows and columns: the two "last" or the two "largest".
        min_dim_size_to_factor: an integer ≥ 1; arrays with a shorter axis keep the average whole; None for none.
        residual_dtype: in which to keep, too, what rounding takes from Rₜ and Cₜ, such as jnp.bfloat16: of vectors it
            is next to nothing, and after 20,000 steps the update is exact to 5 ulps, and without one to 25.

    Raises:
        ValueError: a value outside its range, another word; in the update, no parameters.

    Reference: N. Shazeer, M. Stern (2018), "Adafactor: adaptive learning rates with sublinear memory cost",
    arXiv:1804.04235, Algorithms 4 and 5.

    >>> import jax.numpy as jnp
    >>> tx = adafactor()
    >>> tx.update(jnp.array([4.0, -4.0]), tx.init(jnp.ones(2)), jnp.ones(2))[0]
    Array([-0.01,  0.01], dtype=float32)
    """
    if momentum_position not in ("after", "before"):
        raise ValueError(f"adafactor: momentum_position={momentum_position!r} is neither 'after' nor 'before'")
    averaged = [] if momentum is None else [ema(momentum)]
    relative = [] if min_parameter_scale is None else [scale_by_parameter_rms(min_parameter_scale)]
    return chain(
        scale_by_factored_rms(  # Rₜ, Cₜ of g²+ε₁, Uₜ
            decay_rate, eps, factored_dims, min_dim_size_to_factor, residual_dtype=residual_dtype
        ),
        clip_by_block_rms(clipping_threshold),  # /max(1, RMS(Uₜ)/d)
        *(averaged if momentum_position == "before" else []),
        *relative,  # ·max(ε₂, RMS(θₜ₋₁))
        scale_by_learning_rate(learning_rate),  # ·ρₜ
        *(averaged if momentum_position == "after" else []),
    )
