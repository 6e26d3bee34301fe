"""Keras 3: ε of 1e-7, corrections in the rate, rates inside velocities, and its own Nadam, Adafactor and LAMB."""

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.nodes import Rule, rule
from gdo_optax.engine.numerics import norm
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.like import paper as _paper
from gdo_optax.like import torch as _torch
from gdo_optax.like.torch import scale_by_capped_rate
from gdo_optax.optimizers import adagrad as _adagrad
from gdo_optax.optimizers.momentum import sgd
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.composite import scale_by_adam, scale_by_rms
from gdo_optax.pieces.factored import scale_by_factored_rms
from gdo_optax.pieces.moments import decayed_max, ema, running_max, total
from gdo_optax.pieces.scales import (
    absolute,
    add_constant,
    clip_by_block_rms,
    inverse_root,
    reciprocal,
    scale,
    scale_by_learning_rate,
    square,
)
from gdo_optax.pieces.weights import add_decayed_weights, scale_by_parameter_rms


SAME = (sgd,)
"""What is ours in Keras too."""

__all__ = [
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "amsgrad",
    "lamb",
    "momentum",
    "nadam",
    "nesterov",
    "rmsprop",
]


@piece
def momentum(learning_rate: Hyperparameter = 0.01, momentum: Hyperparameter = 0.9) -> Piece:
    """The rate is inside the velocity.

    >>> momentum(0.1)
    like.keras.momentum(0.1)
    """
    return _paper.momentum(learning_rate, momentum)


@piece
def nesterov(learning_rate: Hyperparameter = 0.01, momentum: Numeric = 0.9) -> Piece:
    """The rate is inside the velocity.

    >>> nesterov(0.1)
    like.keras.nesterov(0.1)
    """
    return _paper.nesterov(learning_rate, momentum)


@piece
def adagrad(
    learning_rate: Hyperparameter = 1e-3, initial_accumulator_value: Numeric = 0.1, eps: Numeric = 1e-7
) -> Piece:
    """The sum starts at 0.1, and ε is inside the root.

    >>> adagrad(0.1)
    like.keras.adagrad(0.1)
    """
    return chain(
        adaptive(direction=[], scale=[square(), total(initial_accumulator_value), inverse_root(0, eps_root=eps)]),
        scale_by_learning_rate(learning_rate),
    )


@piece
def rmsprop(learning_rate: Hyperparameter = 1e-3, decay: Hyperparameter = 0.9, eps: Numeric = 1e-7) -> Piece:
    """ε is 1e-7, inside the root.

    >>> rmsprop(0.1)
    like.keras.rmsprop(0.1)
    """
    return chain(scale_by_rms(decay, 0, eps), scale_by_learning_rate(learning_rate))


@piece
def adadelta(learning_rate: Hyperparameter = 1e-3, rho: Numeric = 0.95, eps: Numeric = 1e-7) -> Piece:
    """A rate of 1e-3, and ε 1e-7.

    >>> adadelta(0.1)
    like.keras.adadelta(0.1)
    """
    return _adagrad.adadelta(learning_rate, rho, eps)


@piece
def adam(
    learning_rate: Hyperparameter = 1e-3, b1: Hyperparameter = 0.9, b2: Hyperparameter = 0.999, eps: Numeric = 1e-7
) -> Piece:
    """ε is 1e-7, added to √vₜ before its correction.

    >>> adam(0.1)
    like.keras.adam(0.1)
    """
    return _paper.adam(learning_rate, b1, b2, eps)


@piece
def amsgrad(
    learning_rate: Hyperparameter = 1e-3, b1: Hyperparameter = 0.9, b2: Hyperparameter = 0.999, eps: Numeric = 1e-7
) -> Piece:
    """ε is 1e-7, added to the root of the maximum before its correction.

    >>> amsgrad(0.1)
    like.keras.amsgrad(0.1)
    """
    second = [square(), ema(b2), running_max(), inverse_root(eps), bias_correction(b2, power=-1 / 2)]
    return chain(
        adaptive(direction=[ema(b1), bias_correction(b1)], scale=second), scale_by_learning_rate(learning_rate)
    )


@piece
def adamw(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-7,
    weight_decay: Hyperparameter = 0.004,
) -> Piece:
    """ε is 1e-7, added to √vₜ before its correction; decays by 0.004 unless told not to.

    >>> adamw(0.1)
    like.keras.adamw(0.1)
    """
    second = [square(), ema(b2), inverse_root(eps), bias_correction(b2, power=-1 / 2)]
    return chain(
        adaptive(direction=[ema(b1), bias_correction(b1)], scale=second),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(learning_rate),
    )


@piece
def adamax(
    learning_rate: Hyperparameter = 1e-3, b1: Hyperparameter = 0.9, b2: Hyperparameter = 0.999, eps: Numeric = 1e-7
) -> Piece:
    """ε is added to the maximum, not to |gₜ| within it.

    >>> adamax(0.1)
    like.keras.adamax(0.1)
    """
    second = [absolute(), decayed_max(b2), add_constant(eps), reciprocal()]
    return chain(
        adaptive(direction=[ema(b1), bias_correction(b1)], scale=second), scale_by_learning_rate(learning_rate)
    )


@piece
def nadam(
    learning_rate: Hyperparameter = 1e-3, b1: Numeric = 0.9, b2: Hyperparameter = 0.999, eps: Numeric = 1e-7
) -> Piece:
    """m averages with a constant b1, and μₜ reaches b1 250 times sooner: 0.96ᵗ in place of 0.96^(t/250).

    >>> nadam(0.1)
    like.keras.nadam(0.1)
    """
    return _torch.nadam(learning_rate, b1, b2, eps, momentum_decay=1.0)


@piece
def adafactor(
    learning_rate: Hyperparameter = 1e-3,
    decay_rate: Numeric = 0.8,
    eps: Numeric = 1e-30,
    clipping_threshold: Numeric = 1.0,
    min_parameter_scale: Numeric = 1e-3,
) -> Piece:
    """The rate caps 1/√t, at 1e-3 unless given.

    >>> adafactor(0.1)
    like.keras.adafactor(0.1)
    """
    return chain(
        scale_by_factored_rms(decay_rate, eps),  # Uₜ
        clip_by_block_rms(clipping_threshold),
        scale_by_parameter_rms(min_parameter_scale),
        scale_by_capped_rate(learning_rate),  # ·min(αₜ, 1/√t)
        scale(-1.0),
    )


@piece
def lamb(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-7,
    weight_decay: Numeric = 0.0,
) -> Piece:
    """The decay comes first and outside the ratio, which is that of the decayed weights.

    >>> lamb(0.1)
    like.keras.lamb(0.1)
    """
    return chain(
        scale_by_adam(b1, b2, eps),  # uₜ
        _step_from_decayed(learning_rate, weight_decay),  # θ′ − α·‖θ′‖/‖uₜ‖·uₜ − θₜ₋₁
    )


@piece
def _step_from_decayed(learning_rate: Hyperparameter, weight_decay: Numeric) -> Rule:
    """u ↦ θ′ − α·‖θ′‖/‖u‖·u − θ, θ′ = (1 − α·λ)·θ: the trust ratio is that of the decayed weights."""

    def step(u: Array, p: Array, learning_rate: Numeric, weight_decay: Numeric) -> Array:
        left = (1 - learning_rate * weight_decay) * p
        of_p, of_u = norm(left), norm(u)
        ratio = jnp.where((of_p == 0) | (of_u == 0), 1, of_p / jnp.where(of_u == 0, 1, of_u))
        return left - learning_rate * ratio * u - p

    return rule(step, learning_rate=learning_rate, weight_decay=weight_decay)
