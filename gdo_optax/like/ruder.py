"""S. Ruder (2016), "An overview of gradient descent optimization algorithms", arXiv:1609.04747: the survey's forms."""

import jax.numpy as jnp
from chex import Numeric

from gdo_optax.engine.combinators import adaptive, chain, parallel
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.like.paper import adamax, momentum, nesterov
from gdo_optax.optimizers.adagrad import adadelta
from gdo_optax.optimizers.adam import adam
from gdo_optax.optimizers.momentum import sgd
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.composite import scale_by_rms
from gdo_optax.pieces.moments import ema, total
from gdo_optax.pieces.scales import inverse_root, scale, scale_by_learning_rate, square


SAME = (sgd, adadelta, adam)
"""What is ours in the survey too. Its momentum, nesterov and adamax are those of `like.paper`."""

__all__ = ["adagrad", "adamax", "momentum", "nadam", "nesterov", "rmsprop"]


@piece
def adagrad(learning_rate: Hyperparameter = 0.01, eps: Numeric = 1e-8) -> Piece:
    """ε is inside the root.

    >>> adagrad(0.1)
    like.ruder.adagrad(0.1)
    """
    return chain(
        adaptive(direction=[], scale=[square(), total(), inverse_root(0, eps_root=eps)]),
        scale_by_learning_rate(learning_rate),
    )


@piece
def rmsprop(learning_rate: Hyperparameter = 1e-3, decay: Hyperparameter = 0.9, eps: Numeric = 1e-8) -> Piece:
    """ε is inside the root.

    >>> rmsprop(0.1)
    like.ruder.rmsprop(0.1)
    """
    return chain(scale_by_rms(decay, 0, eps), scale_by_learning_rate(learning_rate))


@piece
def nadam(
    learning_rate: Hyperparameter = 2e-3, b1: Numeric = 0.9, b2: Hyperparameter = 0.999, eps: Numeric = 1e-8
) -> Piece:
    """A constant b1, and the look-ahead corrected for today: b1·m̂ₜ + (1−b1)·gₜ/(1−b1ᵗ).

    >>> nadam(0.1)
    like.ruder.nadam(0.1)
    """
    return chain(
        adaptive(
            direction=[
                parallel(
                    jnp.add,
                    momentum=[ema(b1), scale(b1), bias_correction(b1)],  # b1·m̂ₜ
                    gradient=[scale(1 - b1), bias_correction(b1)],  # (1−b1)·gₜ/(1−b1ᵗ)
                )
            ],
            scale=[square(), ema(b2), bias_correction(b2), inverse_root(eps)],
        ),
        scale_by_learning_rate(learning_rate),
    )
