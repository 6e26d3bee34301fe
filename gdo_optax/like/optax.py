"""optax 0.2.8: its defaults, its ε inside the root, and its own Nadam, AMSGrad, Adafactor and LARS."""

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.nodes import Rule, rule
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.trees import Mask
from gdo_optax.optimizers import adagrad as _adagrad
from gdo_optax.optimizers import factored as _factored
from gdo_optax.optimizers import layerwise as _layerwise
from gdo_optax.optimizers import signs as _signs
from gdo_optax.optimizers.adam import adam, adamax
from gdo_optax.optimizers.decoupled import adamw
from gdo_optax.optimizers.lookahead import lookahead
from gdo_optax.optimizers.momentum import momentum, nesterov, sgd
from gdo_optax.optimizers.rectified import radam
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.composite import look_ahead, nesterov_ema, scale_by_rms
from gdo_optax.pieces.moments import ema, running_max, total, trace, variance
from gdo_optax.pieces.scales import inverse_root, scale_by_learning_rate, square
from gdo_optax.pieces.weights import add_decayed_weights, scale_to_parameter_norm


SAME = (sgd, momentum, nesterov, adam, adamax, adamw, radam, lookahead)
"""What is ours in optax too."""

__all__ = [
    "adadelta",
    "adafactor",
    "adagrad",
    "amsgrad",
    "lamb",
    "lars",
    "lion",
    "nadam",
    "rmsprop",
    "rmsprop_centered",
    "rmsprop_momentum",
    "rmsprop_nesterov",
]


@piece
def adagrad(
    learning_rate: Hyperparameter = 0.01, initial_accumulator_value: Numeric = 0.1, eps: Numeric = 1e-7
) -> Piece:
    """The sum starts at 0.1, and ε is inside the root.

    >>> adagrad(0.1)
    like.optax.adagrad(0.1)
    """
    return chain(
        adaptive(direction=[], scale=[square(), total(initial_accumulator_value), _inverse_root_of_sum(eps)]),
        scale_by_learning_rate(learning_rate),
    )


@piece
def _inverse_root_of_sum(eps: Numeric) -> Rule:
    """v ↦ 1/√(v + ε), and 0 where v is 0."""

    def inverse(v: Array, eps: Numeric) -> Array:
        return jnp.where(v > 0, 1 / jnp.sqrt(jnp.where(v > 0, v + eps, 1)), 0)

    return rule(inverse, eps=eps)


@piece
def rmsprop(learning_rate: Hyperparameter = 1e-3, decay: Hyperparameter = 0.9, eps: Numeric = 1e-8) -> Piece:
    """ε is inside the root.

    >>> rmsprop(0.1)
    like.optax.rmsprop(0.1)
    """
    return chain(scale_by_rms(decay, 0, eps), scale_by_learning_rate(learning_rate))


@piece
def rmsprop_centered(learning_rate: Hyperparameter = 1e-3, decay: Hyperparameter = 0.9, eps: Numeric = 1e-8) -> Piece:
    """ε is inside the root; there a difference E[g²] − E[g]² may turn into a NaN.

    >>> rmsprop_centered(0.1)
    like.optax.rmsprop_centered(0.1)
    """
    return chain(
        adaptive(direction=[], scale=[variance(decay), inverse_root(0, eps_root=eps)]),
        scale_by_learning_rate(learning_rate),
    )


@piece
def rmsprop_momentum(
    learning_rate: Hyperparameter = 1e-3,
    decay: Hyperparameter = 0.9,
    eps: Numeric = 1e-8,
    momentum: Hyperparameter = 0.9,
) -> Piece:
    """ε is inside the root, the rate inside the velocity.

    >>> rmsprop_momentum(0.1)
    like.optax.rmsprop_momentum(0.1)
    """
    return chain(scale_by_rms(decay, 0, eps), scale_by_learning_rate(learning_rate), trace(momentum))


@piece
def rmsprop_nesterov(
    learning_rate: Hyperparameter = 1e-3,
    decay: Hyperparameter = 0.9,
    eps: Numeric = 1e-8,
    momentum: Hyperparameter = 0.9,
) -> Piece:
    """ε is inside the root, the rate inside the velocity.

    >>> rmsprop_nesterov(0.1)
    like.optax.rmsprop_nesterov(0.1)
    """
    return chain(scale_by_rms(decay, 0, eps), scale_by_learning_rate(learning_rate), look_ahead(momentum))


@piece
def adadelta(learning_rate: Hyperparameter = 1.0, rho: Numeric = 0.9, eps: Numeric = 1e-6) -> Piece:
    """Default ρ 0.9.

    >>> adadelta(0.1)
    like.optax.adadelta(0.1)
    """
    return _adagrad.adadelta(learning_rate, rho, eps)


@piece
def nadam(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    eps_root: Numeric = 0.0,
) -> Piece:
    """A constant b1, no schedule of momenta.

    >>> nadam(0.1)
    like.optax.nadam(0.1)
    """
    return chain(
        adaptive(
            direction=[nesterov_ema(b1)],  # b1·mₜ/(1−b1ᵗ⁺¹) + (1−b1)·gₜ/(1−b1ᵗ)
            scale=[square(), ema(b2), bias_correction(b2), inverse_root(eps, eps_root)],
        ),
        scale_by_learning_rate(learning_rate),
    )


@piece
def amsgrad(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    eps_root: Numeric = 0.0,
) -> Piece:
    """v is corrected before the maximum, so that a first large g² stays for ever.

    >>> amsgrad(0.1)
    like.optax.amsgrad(0.1)
    """
    return chain(
        adaptive(
            direction=[ema(b1), bias_correction(b1)],
            scale=[square(), ema(b2), bias_correction(b2), running_max(), inverse_root(eps, eps_root)],
        ),
        scale_by_learning_rate(learning_rate),
    )


@piece
def adafactor(
    learning_rate: Hyperparameter = 1.0,
    decay_rate: Numeric = 0.8,
    eps: Numeric = 1e-30,
    clipping_threshold: Numeric = 1.0,
    min_parameter_scale: Numeric | None = 1e-3,
    momentum: Numeric | None = None,
    min_dim_size_to_factor: int = 128,
) -> Piece:
    """No relative step (the rate is 1 unless given); factors the two largest axes, from 128 on.

    >>> adafactor(0.1)
    like.optax.adafactor(0.1)
    """
    return _factored.adafactor(
        learning_rate,
        decay_rate,
        eps,
        clipping_threshold,
        min_parameter_scale,
        momentum,
        factored_dims="largest",
        min_dim_size_to_factor=min_dim_size_to_factor,
    )


@piece
def lamb(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-6,
    weight_decay: Hyperparameter = 0.0,
    mask: Mask | None = None,
) -> Piece:
    """No decay unless asked for.

    >>> lamb(0.1)
    like.optax.lamb(0.1)
    """
    return _layerwise.lamb(learning_rate, b1, b2, eps, weight_decay, mask)


@piece
def lars(
    learning_rate: Hyperparameter = 0.1,
    momentum: Hyperparameter = 0.9,
    weight_decay: Hyperparameter = 0.0,
    trust_coefficient: Numeric = 0.001,
    mask: Mask | None = None,
) -> Piece:
    """The ratio to the norm of the sum g + λ·θ, before the velocity; the rate inside it.

    >>> lars(0.1)
    like.optax.lars(0.1)
    """
    return chain(
        add_decayed_weights(weight_decay, mask),  # g + λ·θ
        scale_to_parameter_norm(trust_coefficient),  # ·c·‖θ‖/‖g+λθ‖
        scale_by_learning_rate(learning_rate),
        trace(momentum),
    )


@piece
def lion(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.99,
    weight_decay: Hyperparameter = 1e-3,
    mask: Mask | None = None,
) -> Piece:
    """Decays by 1e-3 unless told not to.

    >>> lion(0.1)
    like.optax.lion(0.1)
    """
    return _signs.lion(learning_rate, b1, b2, weight_decay, mask)
