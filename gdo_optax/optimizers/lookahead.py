"""Slow weights around any optimizer."""

import optax
from chex import Numeric

from gdo_optax.engine.combinators import chain, parallel
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.moments import ema
from gdo_optax.pieces.scales import square
from gdo_optax.pieces.slow import adaptive_slow_weights, slow_weights
from gdo_optax.wrappers.restarts import interpolate_state, restart_state


@piece
def lookahead(
    inner: optax.GradientTransformation,
    sync_period: Numeric = 5,
    slow_step_size: Hyperparameter = 0.5,
    inner_state: str = "keep",
) -> Piece:
    """Lookahead: k steps forward with any optimizer, then one step back towards where they started.

        θₜ = inner(θₜ₋₁)
        φ ← φ + α·(θₜ − φ),   θₜ ← φ       when t is a multiple of k

    The parameters are the fast weights θ, plain as ever; `eval_params(state, params)` reads the slow ones φ
    (optax.lookahead needs `LookaheadParams`). The inner optimizer gets every extra argument of the update; Lookaheads
    may be nested. The paper has k = 5, α = 0.5 for ImageNet and α = 0.8 for CIFAR and as its code's default.

    At a synchronisation the inner optimizer may "keep" its state, as in the paper's experiments, "reset" it, or
    "interpolate" its first moments with those after the synchronisation before, m ← α·m + (1−α)·m° (which the authors'
    code gets wrong: there m° and m are the same memory; see `interpolate_state` for other moments).

    Args:
        inner: any optax transformation.
        sync_period: k, an integer ≥ 1.
        slow_step_size: α in (0, 1], a number or a schedule; 1 is the inner optimizer itself.
        inner_state: "keep", "reset" or "interpolate".

    Raises:
        ValueError: a value outside its range; another inner_state; in the update, no parameters.
        TypeError: an inner that is no transformation.

    Reference: M. R. Zhang, J. Lucas, G. Hinton, J. Ba (2019), "Lookahead optimizer: k steps forward, 1 step back",
    arXiv:1907.08610, Algorithm 1 and section 4.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx = lookahead(sgd(1.0), sync_period=1)
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)), jnp.zeros(1))[0]
    Array([-1.], dtype=float32)
    """
    if inner_state == "reset":
        inner = restart_state(inner, sync_period)
    elif inner_state == "interpolate":
        inner = interpolate_state(inner, sync_period, slow_step_size)
    elif inner_state != "keep":
        raise ValueError(f'lookahead: inner_state={inner_state!r} is none of "keep", "reset" and "interpolate"')
    return chain(
        inner,  # θₜ
        slow_weights(sync_period, slow_step_size),  # φ
    )


@piece
def adaptive_lookahead(
    inner: optax.GradientTransformation,
    sync_period: Numeric = 5,
    min_slow_step_size: Numeric = 0.1,
    b2: Hyperparameter = 0.999,
) -> Piece:
    """Adaptive Lookahead: the step back is the best one for a quadratic model of the loss.

        Â = v̂ₜ, the corrected average of gₜ²,   θ* = θ − Â⁻¹·gₜ
        α = clip( (φ−θ*)ᵀ Â (φ−θₜ) / (φ−θₜ)ᵀ Â (φ−θₜ),  α_low,  1 )
        φ ← φ + α·(θₜ − φ),   θₜ ← φ       when t is a multiple of k

    One α for all parameters. The gradient is the step's own, taken one step before θₜ, for there is none at θₜ yet; the
    curvature is the diagonal of the empirical Fisher matrix. See `lookahead` for everything else.

    Args:
        inner: any optax transformation.
        sync_period: k, an integer ≥ 1.
        min_slow_step_size: α_low in (0, 1].
        b2: the decay of the curvature's average, in [0, 1), a number or a schedule.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.
        TypeError: an inner that is no transformation.

    Reference: M. R. Zhang, J. Lucas, G. Hinton, J. Ba (2019), "Lookahead optimizer: k steps forward, 1 step back",
    arXiv:1907.08610, Proposition 1.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx = adaptive_lookahead(sgd(1.0), sync_period=1)
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)), jnp.zeros(1))[0].round(4)
    Array([-0.5], dtype=float32)
    """
    return parallel(
        _last,
        gradient=[],  # gₜ
        curvature=[square(), ema(b2), bias_correction(b2)],  # Â
        fast=[inner, adaptive_slow_weights(sync_period, min_slow_step_size)],  # θₜ, φ
    )


def _last(*outputs: Numeric) -> Numeric:
    return outputs[-1]
