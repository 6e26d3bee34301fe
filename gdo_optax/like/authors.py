"""What the authors' own code runs, where it is neither the paper nor our default."""

import jax.numpy as jnp
import optax
from chex import Array, Numeric

from gdo_optax.counting import Schedule, schedule, time_of
from gdo_optax.engine.combinators import adaptive, chain, parallel
from gdo_optax.engine.numerics import as_dtype, sma_length
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.trees import Mask
from gdo_optax.optimizers import lookahead as _lookahead
from gdo_optax.optimizers.bounded import adabound, adaboundw, amsbound
from gdo_optax.optimizers.factored import adafactor
from gdo_optax.optimizers.rectified import ranger
from gdo_optax.pieces.clocks import bias_correction, rectify
from gdo_optax.pieces.moments import ema
from gdo_optax.pieces.scales import inverse_root, scale, scale_by_learning_rate, square
from gdo_optax.pieces.weights import add_decayed_weights
from gdo_optax.schedules import ahead, complement, corrected_decay


SAME = (adafactor, adabound, adaboundw, amsbound, ranger)
"""What is ours in the authors' code too."""

__all__ = ["lookahead", "nadam", "radam"]


@piece
def nadam(learning_rate: Hyperparameter = 2e-3, b1: Numeric = 0.9, b2: Numeric = 0.9, eps: Numeric = 1e-16) -> Piece:
    """No schedule but the correction itself, μₜ = b1(1−b1ᵗ⁻¹)/(1−b1ᵗ); ε inside the root; b2 0.9 (Dozat's repository).

    >>> nadam(0.1)
    like.authors.nadam(0.1)
    """
    now = corrected_decay(b1)  # μₜ
    return chain(
        adaptive(
            direction=[
                parallel(
                    jnp.add,
                    momentum=[ema(now), scale(ahead(now))],  # μₜ₊₁·mₜ
                    gradient=[scale(complement(now))],  # (1−μₜ)·gₜ
                )
            ],
            scale=[square(), ema(corrected_decay(b2)), inverse_root(0, eps_root=eps)],  # g², vₜ, 1/√(vₜ+ε)
        ),
        scale_by_learning_rate(learning_rate),
    )


@piece
def radam(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Numeric = 0.999,
    eps: Numeric = 1e-8,
    weight_decay: Numeric = 0.0,
    mask: Mask | None = None,
) -> Piece:
    """Nothing moves before ρₜ ≥ 5, since 2021; ε is added to √vₜ before the correction; decoupled decay.

    >>> radam(0.1)
    like.authors.radam(0.1)
    """
    return chain(
        adaptive(
            direction=[ema(b1), bias_correction(b1)],  # m̂ₜ
            scale=[
                square(),
                ema(b2),
                inverse_root(eps),
                bias_correction(b2, power=-1 / 2),  # √(1−b2ᵗ)/(√vₜ+ε)
                rectify(b2, otherwise=0),  # ·rₜ, or 0
            ],
        ),
        add_decayed_weights(_decay_once_rectified(weight_decay, b2), mask),
        scale_by_learning_rate(learning_rate),
    )


@schedule
def _decay_once_rectified(weight_decay: Numeric, b2: Numeric) -> Schedule:
    """The decay where ρₜ ≥ 5, else 0."""

    def decay(count: Array) -> Array:
        rho, _ = sma_length(time_of(count), b2)
        return as_dtype(weight_decay, rho.dtype) * (rho >= 5).astype(rho.dtype)

    return decay


@piece
def lookahead(
    inner: optax.GradientTransformation, sync_period: Numeric = 5, slow_step_size: Hyperparameter = 0.8
) -> Piece:
    """Default α 0.8, the paper's of CIFAR.

    >>> from gdo_optax import sgd
    >>> lookahead(sgd(0.1))
    like.authors.lookahead(sgd(0.1))
    """
    return _lookahead.lookahead(inner, sync_period, slow_step_size)
