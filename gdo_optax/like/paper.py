"""The papers to the letter, where our default follows their authors' code, or what has become usual."""

from chex import Numeric

from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.trees import Mask
from gdo_optax.optimizers.adagrad import adadelta, adagrad, adagrad_full_matrix
from gdo_optax.optimizers.adam import qhadam
from gdo_optax.optimizers.convergent import adamnc
from gdo_optax.optimizers.decoupled import adamwr, sgdwr
from gdo_optax.optimizers.evaluating import heun, nesterov_1983_backtracking
from gdo_optax.optimizers.factored import adafactor
from gdo_optax.optimizers.lars import lars, lars_2017
from gdo_optax.optimizers.layerwise import nlamb, nnlamb
from gdo_optax.optimizers.lookahead import adaptive_lookahead, lookahead
from gdo_optax.optimizers.momentum import aggmo, nesterov_1983, sgd
from gdo_optax.optimizers.penalized import adagrad_mirror, adagrad_rda
from gdo_optax.optimizers.ranger21 import ranger21
from gdo_optax.optimizers.ranger_kin import ranger_qh
from gdo_optax.optimizers.rectified import ranger
from gdo_optax.optimizers.rmsprop import rmsprop_centered, rmsprop_momentum, rmsprop_nesterov
from gdo_optax.optimizers.signs import delta_bar_delta, hinton_gains, lion
from gdo_optax.pieces.bounds import clip_by_bounds, following
from gdo_optax.pieces.clocks import bias_correction, rectify
from gdo_optax.pieces.composite import look_ahead, nesterov_ema, scale_by_adam, scale_by_rms
from gdo_optax.pieces.moments import decayed_max, ema, running_max, trace
from gdo_optax.pieces.scales import (
    absolute,
    inverse_root,
    reciprocal,
    scale,
    scale_by_learning_rate,
    square,
)
from gdo_optax.pieces.weights import add_decayed_weights, trust_ratio
from gdo_optax.schedules import inverse_sqrt_decay, nadam_momentum, product
from gdo_optax.wrappers.accumulation import accumulate
from gdo_optax.wrappers.layers import layerwise
from gdo_optax.wrappers.rows import lazy


SAME = (
    accumulate,
    adadelta,
    adafactor,
    adagrad,
    adagrad_full_matrix,
    adagrad_mirror,
    adagrad_rda,
    adamnc,
    adamwr,
    adaptive_lookahead,
    aggmo,
    delta_bar_delta,
    heun,
    hinton_gains,
    lars,
    lars_2017,
    layerwise,
    lazy,
    lion,
    lookahead,
    nesterov_1983,
    nesterov_1983_backtracking,
    nlamb,
    nnlamb,
    qhadam,
    ranger,
    ranger21,
    ranger_qh,
    rmsprop_centered,
    rmsprop_momentum,
    rmsprop_nesterov,
    sgd,
    sgdwr,
)
"""What is ours in its paper too."""

__all__ = [
    "adabound",
    "adam",
    "adamax",
    "adamw",
    "amsbound",
    "amsgrad",
    "lamb",
    "momentum",
    "nadam",
    "nesterov",
    "radam",
    "rmsprop",
    "sgdw",
]


@piece
def momentum(learning_rate: Hyperparameter = 0.01, momentum: Hyperparameter = 0.9) -> Piece:
    """The rate is inside the velocity: Δθₜ = p·Δθₜ₋₁ − αₜ·gₜ (Qian 1999).

    >>> momentum(0.1)
    like.paper.momentum(0.1)
    """
    return chain(
        scale_by_learning_rate(learning_rate),  # −αₜ·gₜ
        trace(momentum),  # Δθₜ
    )


@piece
def nesterov(learning_rate: Hyperparameter = 0.01, momentum: Hyperparameter = 0.9) -> Piece:
    """The rate is inside the velocity: vₜ = μₜ·vₜ₋₁ − αₜ·∇f(θ + μₜ·vₜ₋₁) (Sutskever et al. 2013).

    >>> nesterov(0.1)
    like.paper.nesterov(0.1)
    """
    return chain(
        scale_by_learning_rate(learning_rate),  # −αₜ·gₜ
        look_ahead(momentum),  # −αₜ·gₜ + μₜ₊₁·vₜ
    )


@piece
def rmsprop(learning_rate: Hyperparameter = 1e-3, decay: Hyperparameter = 0.9) -> Piece:
    """No ε; 0/0 is 0.

    >>> rmsprop(0.1)
    like.paper.rmsprop(0.1)
    """
    return chain(scale_by_rms(decay, eps=0), scale_by_learning_rate(learning_rate))


@piece
def adam(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
) -> Piece:
    """The form at the end of section 2: ε̂ is added to √vₜ before its correction.

    >>> adam(0.1)
    like.paper.adam(0.1)
    """
    return chain(
        adaptive(
            direction=[ema(b1), bias_correction(b1)],  # m̂ₜ
            scale=[square(), ema(b2), inverse_root(eps), bias_correction(b2, power=-1 / 2)],  # √(1−b2ᵗ)/(√vₜ+ε̂)
        ),
        scale_by_learning_rate(learning_rate),
    )


@piece
def adamax(learning_rate: Hyperparameter = 2e-3, b1: Hyperparameter = 0.9, b2: Hyperparameter = 0.999) -> Piece:
    """No ε; 0/0 is 0.

    >>> adamax(0.1)
    like.paper.adamax(0.1)
    """
    return chain(
        adaptive(direction=[ema(b1), bias_correction(b1)], scale=[absolute(), decayed_max(b2), reciprocal()]),
        scale_by_learning_rate(learning_rate),
    )


@piece
def nadam(learning_rate: Hyperparameter = 2e-3, b1: Numeric = 0.99, b2: Numeric = 0.999, eps: Numeric = 1e-8) -> Piece:
    """v̂ₜ has one more factor b2 (Algorithm 2).

    >>> nadam(0.1)
    like.paper.nadam(0.1)
    """
    second = [square(), ema(b2), bias_correction(b2), scale(b2), inverse_root(eps)]  # g², vₜ, v̂ₜ, ·b2
    return chain(
        adaptive(direction=[nesterov_ema(nadam_momentum(b1))], scale=second),
        scale_by_learning_rate(learning_rate),
    )


@piece
def amsgrad(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 0.0,
) -> Piece:
    """Nothing is corrected, and there is no ε; 0/0 is 0.

    >>> amsgrad(0.1)
    like.paper.amsgrad(0.1)
    """
    return chain(
        adaptive(direction=[ema(b1)], scale=[square(), ema(b2), running_max(), inverse_root(eps)]),
        scale_by_learning_rate(learning_rate),
    )


@piece
def adamw(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    weight_decay: Hyperparameter = 1e-2,
    schedule: Hyperparameter = 1.0,
    mask: Mask | None = None,
) -> Piece:
    """A schedule multiplies step and decay, the rate the step alone (Algorithm 2).

    >>> adamw(0.1)
    like.paper.adamw(0.1)
    """
    return chain(
        scale_by_adam(b1, b2, eps),  # m̂ₜ/(√v̂ₜ+ε)
        scale(learning_rate),  # ·α
        add_decayed_weights(weight_decay, mask),  # + λ·θₜ₋₁
        scale_by_learning_rate(schedule),  # ·ηₜ
    )


@piece
def sgdw(
    learning_rate: Hyperparameter = 0.05,
    momentum: Hyperparameter = 0.9,
    weight_decay: Hyperparameter = 1e-2,
    schedule: Hyperparameter = 1.0,
    mask: Mask | None = None,
) -> Piece:
    """A schedule and the rate inside the velocity; the decay is multiplied by the schedule alone (Algorithm 1).

    >>> sgdw(0.1)
    like.paper.sgdw(0.1)
    """
    return chain(
        scale(learning_rate),  # α·gₜ
        scale(schedule),  # ηₜ·α·gₜ
        trace(momentum),  # mₜ
        add_decayed_weights(product(schedule, weight_decay), mask),  # + ηₜ·λ·θₜ₋₁
        scale(-1.0),
    )


@piece
def adabound(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Numeric = 0.999,
    final_learning_rate: Hyperparameter = 0.1,
    gamma: Numeric | None = None,
) -> Piece:
    """Nothing is corrected, there is no ε, the clipped rate is divided by √t, and γ is 1−b2 (Algorithm 2).

    >>> adabound(0.1)
    like.paper.adabound(0.1)
    """
    return _bounded([square(), ema(b2)], learning_rate, b1, final_learning_rate, 1 - b2 if gamma is None else gamma)


@piece
def amsbound(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Numeric = 0.999,
    final_learning_rate: Hyperparameter = 0.1,
    gamma: Numeric | None = None,
) -> Piece:
    """Nothing is corrected, there is no ε, the clipped rate is divided by √t, and γ is 1−b2.

    >>> amsbound(0.1)
    like.paper.amsbound(0.1)
    """
    second = [square(), ema(b2), running_max()]
    return _bounded(second, learning_rate, b1, final_learning_rate, 1 - b2 if gamma is None else gamma)


def _bounded(
    second: list[Piece], learning_rate: Hyperparameter, b1: Hyperparameter, final: Hyperparameter, gamma: Numeric
) -> Piece:
    bounds = clip_by_bounds(following(final, learning_rate), gamma)
    return chain(
        adaptive(
            direction=[ema(b1)],  # mₜ
            scale=[*second, inverse_root(0), scale(learning_rate), bounds],  # clip(α/√vₜ, ηₗ, ηᵤ)
        ),
        scale_by_learning_rate(inverse_sqrt_decay(1.0)),  # /√t
    )


@piece
def lamb(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-6,
    weight_decay: Hyperparameter = 0.01,
    mask: Mask | None = None,
) -> Piece:
    """Without bias correction, as in the paper's first versions and its appendix.

    >>> lamb(0.1)
    like.paper.lamb(0.1)
    """
    return chain(
        adaptive(direction=[ema(b1)], scale=[square(), ema(b2), inverse_root(eps)]),  # mₜ/(√vₜ+ε)
        add_decayed_weights(weight_decay, mask),
        trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )


@piece
def radam(learning_rate: Hyperparameter = 1e-3, b1: Hyperparameter = 0.9, b2: Numeric = 0.999) -> Piece:
    """Adapts where ρₜ > 4, one step sooner; no ε; 0/0 is 0 (Algorithm 2).

    >>> radam(0.1)
    like.paper.radam(0.1)
    """
    return chain(
        adaptive(
            direction=[ema(b1), bias_correction(b1)],
            scale=[square(), ema(b2), bias_correction(b2), inverse_root(0), rectify(b2, threshold=4)],
        ),
        scale_by_learning_rate(learning_rate),
    )
