"""PyTorch 2.13: its defaults, its L2 penalty on every method, and its own Adagrad, Nadam, RAdam and Adafactor."""

from typing import Any

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.counting import Schedule, schedule
from gdo_optax.engine.combinators import adaptive, chain, parallel
from gdo_optax.engine.nodes import Rule, per_step, rule
from gdo_optax.engine.numerics import as_dtype, mean
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.optimizers import adagrad as _adagrad
from gdo_optax.optimizers import adam as _adam
from gdo_optax.optimizers import convergent as _convergent
from gdo_optax.optimizers import decoupled as _decoupled
from gdo_optax.optimizers import momentum as _momentum
from gdo_optax.optimizers import rmsprop as _rmsprop
from gdo_optax.optimizers.signs import rprop
from gdo_optax.pieces.clocks import bias_correction, rectify
from gdo_optax.pieces.moments import ema, trace, variance
from gdo_optax.pieces.proximal import parameters
from gdo_optax.pieces.scales import clip_by_block_rms, inverse_root, scale, scale_by_learning_rate, square
from gdo_optax.pieces.weights import add_decayed_weights, scale_by_parameter_rms
from gdo_optax.schedules import ahead, complement, nadam_momentum


SAME = (rprop,)
"""What is ours in PyTorch too, defaults aside."""

__all__ = [
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "amsgrad",
    "momentum",
    "nadam",
    "nesterov",
    "radam",
    "rmsprop",
    "rmsprop_centered",
    "rmsprop_centered_momentum",
    "rmsprop_momentum",
    "sgd",
]


def _penalized(weight_decay: Hyperparameter, method: Piece) -> Piece:
    """The method on g + λ·θ; without the piece where there is no penalty."""
    none = isinstance(weight_decay, int | float) and weight_decay == 0
    return method if none else chain(add_decayed_weights(weight_decay), method)


@piece
def sgd(learning_rate: Hyperparameter = 1e-3, weight_decay: Hyperparameter = 0.0) -> Piece:
    """Default rate 1e-3; an L2 penalty.

    >>> sgd(0.1, weight_decay=0.01)
    like.torch.sgd(0.1, weight_decay=0.01)
    """
    return _penalized(weight_decay, _momentum.sgd(learning_rate))


@piece
def momentum(
    learning_rate: Hyperparameter = 1e-3, momentum: Hyperparameter = 0.9, weight_decay: Hyperparameter = 0.0
) -> Piece:
    """Default rate 1e-3; an L2 penalty; no dampening here.

    >>> momentum(0.1)
    like.torch.momentum(0.1)
    """
    return _penalized(weight_decay, _momentum.momentum(learning_rate, momentum))


@piece
def nesterov(
    learning_rate: Hyperparameter = 1e-3, momentum: Hyperparameter = 0.9, weight_decay: Hyperparameter = 0.0
) -> Piece:
    """Default rate 1e-3; an L2 penalty.

    >>> nesterov(0.1)
    like.torch.nesterov(0.1)
    """
    return _penalized(weight_decay, _momentum.nesterov(learning_rate, momentum))


@piece
def adagrad(
    learning_rate: Hyperparameter = 0.01,
    learning_rate_decay: Numeric = 0.0,
    initial_accumulator_value: Numeric = 0.0,
    eps: Numeric = 1e-10,
    weight_decay: Hyperparameter = 0.0,
) -> Piece:
    """The rate is divided by 1 + (t−1)·learning_rate_decay; an L2 penalty.

    >>> adagrad(0.1)
    like.torch.adagrad(0.1)
    """
    ours = _adagrad.adagrad(learning_rate, initial_accumulator_value, eps)
    return _penalized(weight_decay, chain(ours, scale(_hyperbolic_decay(learning_rate_decay))))


@schedule
def _hyperbolic_decay(learning_rate_decay: Numeric) -> Schedule:
    """1/(1 + count·decay)."""

    def decayed(count: Array) -> Array:
        elapsed = jnp.asarray(count, float)
        return 1 / (1 + elapsed * as_dtype(learning_rate_decay, elapsed.dtype))

    return decayed


@piece
def rmsprop(
    learning_rate: Hyperparameter = 0.01,
    decay: Hyperparameter = 0.99,
    eps: Numeric = 1e-8,
    weight_decay: Hyperparameter = 0.0,
) -> Piece:
    """Default rate 0.01 and decay 0.99; an L2 penalty.

    >>> rmsprop(0.1)
    like.torch.rmsprop(0.1)
    """
    return _penalized(weight_decay, _rmsprop.rmsprop(learning_rate, decay, eps))


@piece
def rmsprop_centered(
    learning_rate: Hyperparameter = 0.01,
    decay: Hyperparameter = 0.99,
    eps: Numeric = 1e-8,
    weight_decay: Hyperparameter = 0.0,
) -> Piece:
    """Default rate 0.01 and decay 0.99; an L2 penalty; there a difference E[g²] − E[g]² may turn into a NaN.

    >>> rmsprop_centered(0.1)
    like.torch.rmsprop_centered(0.1)
    """
    return _penalized(weight_decay, _rmsprop.rmsprop_centered(learning_rate, decay, eps))


@piece
def rmsprop_momentum(
    learning_rate: Hyperparameter = 0.01,
    decay: Hyperparameter = 0.99,
    eps: Numeric = 1e-8,
    momentum: Hyperparameter = 0.9,
    weight_decay: Hyperparameter = 0.0,
) -> Piece:
    """Default rate 0.01 and decay 0.99; an L2 penalty.

    >>> rmsprop_momentum(0.1)
    like.torch.rmsprop_momentum(0.1)
    """
    return _penalized(weight_decay, _rmsprop.rmsprop_momentum(learning_rate, decay, eps, momentum))


@piece
def rmsprop_centered_momentum(
    learning_rate: Hyperparameter = 0.01,
    decay: Hyperparameter = 0.99,
    eps: Numeric = 1e-8,
    momentum: Hyperparameter = 0.9,
    weight_decay: Hyperparameter = 0.0,
) -> Piece:
    """The velocity of centered steps: `centered=True` and `momentum` at once.

    >>> rmsprop_centered_momentum(0.1)
    like.torch.rmsprop_centered_momentum(0.1)
    """
    centered = adaptive(direction=[], scale=[variance(decay), inverse_root(eps)])
    return _penalized(weight_decay, chain(centered, trace(momentum), scale_by_learning_rate(learning_rate)))


@piece
def adadelta(
    learning_rate: Hyperparameter = 1.0, rho: Numeric = 0.9, eps: Numeric = 1e-6, weight_decay: Hyperparameter = 0.0
) -> Piece:
    """Default ρ 0.9; an L2 penalty.

    >>> adadelta(0.1)
    like.torch.adadelta(0.1)
    """
    return _penalized(weight_decay, _adagrad.adadelta(learning_rate, rho, eps))


@piece
def adam(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    weight_decay: Hyperparameter = 0.0,
) -> Piece:
    """An L2 penalty.

    >>> adam(0.1)
    like.torch.adam(0.1)
    """
    return _penalized(weight_decay, _adam.adam(learning_rate, b1, b2, eps))


@piece
def adamax(
    learning_rate: Hyperparameter = 2e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    weight_decay: Hyperparameter = 0.0,
) -> Piece:
    """An L2 penalty.

    >>> adamax(0.1)
    like.torch.adamax(0.1)
    """
    return _penalized(weight_decay, _adam.adamax(learning_rate, b1, b2, eps))


@piece
def amsgrad(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    weight_decay: Hyperparameter = 0.0,
) -> Piece:
    """An L2 penalty.

    >>> amsgrad(0.1)
    like.torch.amsgrad(0.1)
    """
    return _penalized(weight_decay, _convergent.amsgrad(learning_rate, b1, b2, eps))


@piece
def adamw(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    weight_decay: Hyperparameter = 1e-2,
) -> Piece:
    """Decays by 1e-2 unless told not to.

    >>> adamw(0.1)
    like.torch.adamw(0.1)
    """
    return _decoupled.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay)


@piece
def nadam(
    learning_rate: Hyperparameter = 2e-3,
    b1: Numeric = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    momentum_decay: Numeric = 4e-3,
    weight_decay: Hyperparameter = 0.0,
) -> Piece:
    """m averages with a constant b1, while its correction and the look-ahead follow μₜ; an L2 penalty.

    >>> nadam(0.1)
    like.torch.nadam(0.1)
    """
    now = nadam_momentum(b1, momentum_decay)  # μₜ
    direction = parallel(
        jnp.add,
        momentum=[ema(b1), scale(ahead(now)), bias_correction(now, ahead=1)],  # μₜ₊₁·mₜ / (1 − Πμ)
        gradient=[scale(complement(now)), bias_correction(now)],  # (1−μₜ)·gₜ / (1 − Πμ)
    )
    second = [square(), ema(b2), bias_correction(b2), inverse_root(eps)]  # g², vₜ, v̂ₜ, 1/(√v̂ₜ+ε)
    return _penalized(
        weight_decay, chain(adaptive(direction=[direction], scale=second), scale_by_learning_rate(learning_rate))
    )


@piece
def radam(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Numeric = 0.999,
    eps: Numeric = 1e-8,
    weight_decay: Hyperparameter = 0.0,
) -> Piece:
    """ε is added to √vₜ before the correction; an L2 penalty; it adapts where ρₜ > 5, which is our ρₜ ≥ 5.

    >>> radam(0.1)
    like.torch.radam(0.1)
    """
    second = [
        square(),
        ema(b2),
        inverse_root(eps),
        bias_correction(b2, power=-1 / 2),
        rectify(b2),
    ]  # rₜ·√(1−b2ᵗ)/(√vₜ+ε)
    first = [ema(b1), bias_correction(b1)]  # m̂ₜ
    return _penalized(
        weight_decay, chain(adaptive(direction=first, scale=second), scale_by_learning_rate(learning_rate))
    )


@piece
def adafactor(
    learning_rate: Hyperparameter = 0.01,
    decay_rate: Numeric = 0.8,
    eps: Numeric | None = None,
    clipping_threshold: Numeric = 1.0,
    min_parameter_scale: Numeric = 1e-3,
    weight_decay: Hyperparameter = 0.0,
) -> Piece:
    """The rate caps 1/√t; ε (None: that of the dtype) bounds mean R and √V from below; decay multiplied by the rate.

    >>> adafactor(0.1)
    like.torch.adafactor(0.1)
    """
    step = chain(
        adaptive(direction=[], scale=[square(), _bounded_factors(decay_rate, eps)]),  # Uₜ
        clip_by_block_rms(clipping_threshold),
        scale_by_parameter_rms(min_parameter_scale),
        scale_by_capped_rate(learning_rate),  # ·ρₜ
    )
    decay = [parameters(), scale(weight_decay), scale(learning_rate)]
    return chain(parallel(jnp.add, step=[step], decay=decay), scale(-1.0))


@piece
def scale_by_capped_rate(learning_rate: Hyperparameter) -> Rule:
    """x ↦ min(αₜ, 1/√t)·x: a rate that caps the relative step of Adafactor.

    >>> tx = scale_by_capped_rate(2.0)
    >>> tx.update(jnp.array([3.0]), tx.init(None))[0]
    Array([3.], dtype=float32)
    """

    def capped(count: Array, learning_rate: Numeric) -> Array:
        relative = 1 / jnp.sqrt(count.astype(float) + 1)
        return jnp.minimum(as_dtype(learning_rate, relative.dtype), relative)

    return rule(lambda x, rate: rate * x, rate=per_step(capped, learning_rate=learning_rate))


@piece
def _bounded_factors(decay_rate: Numeric, eps: Numeric | None) -> Rule:
    """g² ↦ 1/√max(V, ε²), V = R·C / max(mean R, ε)."""

    def scaled(m: dict[str, Any], x: Array, share: Array, eps: Numeric | None = None) -> tuple[dict[str, Any], Array]:
        least = jnp.finfo(x.dtype).eps.item() if eps is None else eps

        def averaged(m: Array, x: Array) -> Array:
            return m + share * (x - m)

        if x.ndim < 2:
            whole = averaged(m["whole"], x)
            return m | {"whole": whole}, 1 / jnp.maximum(jnp.sqrt(whole), least)
        row, col = averaged(m["row"], mean(x, -1)), averaged(m["col"], mean(x, -2))
        ratio = row / jnp.maximum(mean(row, -1, keepdims=True), least)
        scale = 1 / jnp.maximum(jnp.sqrt(ratio[..., :, None] * col[..., None, :]), least)
        return m | {"row": row, "col": col}, scale

    slots = {
        "row": lambda p: jnp.sum(jnp.zeros_like(p), -1) if p.ndim > 1 else None,
        "col": lambda p: jnp.sum(jnp.zeros_like(p), -2) if p.ndim > 1 else None,
        "whole": lambda p: jnp.zeros_like(p) if p.ndim < 2 else None,
    }
    share = per_step(lambda age, decay_rate: age ** -as_dtype(decay_rate, age.dtype), decay_rate=decay_rate)
    return rule(scaled, init=slots, share=share, **({} if eps is None else {"eps": eps}))
