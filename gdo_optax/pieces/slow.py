"""Second sets of weights beside the parameters, which `eval_params` reads."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine.combinators import recalled
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Rule, Whole, per_step, rule
from gdo_optax.engine.numerics import copy, weight_of_past, wide_dtype
from gdo_optax.engine.piece import Hyperparameter, piece
from gdo_optax.engine.states import EVAL_DISPLACEMENT, EVAL_WEIGHTS
from gdo_optax.engine.trees import absent, columns
from gdo_optax.pieces.sums import added, residual_in


@piece
def slow_weights(sync_period: Numeric = 5, slow_step_size: Hyperparameter = 0.5) -> Rule:
    """Every k-th step the slow weights go a share α of the way to the fast ones, and the fast ones go to them.

        φ ← φ + α·(θ − φ),   θ ← φ       when t is a multiple of k = sync_period

    The last piece of a chain. φ starts at the first parameters, lives in the state and is read by `eval_params`; the
    parameters are the fast weights θ and stay plain (optax.lookahead pairs them up in `LookaheadParams`). α = 1 changes
    nothing. φ is kept in at least float32: fast weights in half precision meet it to their rounding, others exactly.
    Without parameters the update raises ValueError.

    M. R. Zhang, J. Lucas, G. Hinton, J. Ba (2019), "Lookahead optimizer: k steps forward, 1 step back",
    arXiv:1907.08610, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = slow_weights(sync_period=1)
    >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)), jnp.zeros(1))[0]
    Array([0.5], dtype=float32)
    """
    sync = per_step(lambda count, sync_period: (count + 1) % sync_period == 0, sync_period=sync_period)
    return weights(_pulled, sync=sync, slow_step_size=slow_step_size)


def weights(f: Callable[..., tuple[Array, Array]], **hyper: Any) -> Rule:
    """(w, x, p) ↦ f(w, x, p, **hyper) = (w′, y): a second set of weights beside the parameters, for `eval_params`.

    w starts as a copy of the parameters in at least float32. Its update raises ValueError without parameters.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import piece
    >>> @piece
    ... def behind():
    ...     return weights(lambda w, x, p: (p, x))
    >>> behind().init(jnp.ones(1))["state"]
    {'eval_weights': Array([1.], dtype=float32)}
    """

    def second(m: dict[str, Array], x: Array, p: Array, **hyper: Numeric) -> tuple[dict[str, Array], Array]:
        w, y = f(m[EVAL_WEIGHTS], x, p, **hyper)
        return {EVAL_WEIGHTS: w}, y

    return rule(second, init={EVAL_WEIGHTS: _first_weights}, **hyper)


def _first_weights(p: Array) -> Array:
    return copy(p, wide_dtype(p))


def _pulled(slow: Array, x: Array, p: Array, sync: Array, slow_step_size: Numeric) -> tuple[Array, Array]:
    # x − (1−α)·(θ − φ) is φ′ − p: α = 1 leaves x as it is, and p + x is φ′ to the last bit
    x = jnp.where(sync, x - (1 - slow_step_size) * (p + x - slow), x)
    return jnp.where(sync, p + x, slow), x


@piece
def adaptive_slow_weights(sync_period: Numeric = 5, min_slow_step_size: Numeric = 0.1) -> Whole:
    """`slow_weights` whose share α is the best one for a quadratic of the estimated curvature Â.

        θ* = θ − Â⁻¹·g
        α = clip( (φ−θ*)ᵀ Â (φ−θₖ) / (φ−θₖ)ᵀ Â (φ−θₖ),  min_slow_step_size,  1 )

    One α for all parameters, where g is the last gradient and θ where it was taken. It stands in a `parallel` after the
    branches `gradient` and `curvature`, whose outputs it reads; see `adaptive_lookahead`.

    M. R. Zhang, J. Lucas, G. Hinton, J. Ba (2019), arXiv:1907.08610, Proposition 1.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import parallel, scale
    >>> slow, zero = adaptive_slow_weights(sync_period=1), jnp.zeros(1)
    >>> tx = parallel(lambda *outputs: outputs[-1], gradient=[], curvature=[scale(0.5)], fast=[scale(-2.0), slow])
    >>> tx.update(zero + 2, tx.init(zero), zero)[0]
    Array([-2.], dtype=float32)
    """

    def init(params: ArrayTree) -> dict[str, ArrayTree]:
        return {EVAL_WEIGHTS: jax.tree.map(_first_weights, params)}

    def update(
        x: ArrayTree, state: Any, params: Any, now: Now, sync_period: Numeric, least: Numeric
    ) -> tuple[ArrayTree, Any]:
        if params is None and jax.tree.leaves(x):
            raise ValueError("adaptive_slow_weights reads the parameters: call update(updates, state, params)")
        gradient, curvature = (recalled("adaptive_slow_weights", k, now.branches) for k in ("gradient", "curvature"))
        structure, rows = columns(x, params, state[EVAL_WEIGHTS], gradient, curvature)
        share = _best_share([row for row in rows if not absent(row[0])], least)
        sync = (now.count + 1) % sync_period == 0
        out = [
            (slow, x) if absent(x) else _pulled(slow, x, p, sync, share.astype(x.dtype)) for x, p, slow, _, _ in rows
        ]
        slow, y = (structure.unflatten(part) for part in zip(*out, strict=True)) if out else (state[EVAL_WEIGHTS], x)
        return y, {EVAL_WEIGHTS: slow}

    return Whole(init=init, update=update, hyper={"sync_period": sync_period, "least": min_slow_step_size})


def _best_share(rows: list[tuple], least: Numeric) -> Array:
    """α from (x, p, φ, g, Â) of every array: a quadratic's decrease and curvature along φ − θₖ."""
    down, curved = jnp.zeros(()), jnp.zeros(())
    for x, p, slow, g, curvature in rows:
        way = slow - p - x
        down += jnp.sum(((slow - p) * curvature + g) * way).astype(down.dtype)
        curved += jnp.sum(curvature * way**2).astype(curved.dtype)
    known = (curved > 0) & jnp.isfinite(curved) & jnp.isfinite(down)  # sums of large squares overflow
    return jnp.where(known, jnp.clip(down / jnp.where(known, curved, 1), least, 1), 1)


@piece
def temporal_average(decay: Numeric = 0.999) -> Rule:
    """The average of the parameters, corrected for its start; the parameters themselves go on as they are.

        θ̄ₜ = β·θ̄ₜ₋₁ + (1−β)·θₜ,   read as θ̄ₜ / (1−βᵗ)

    The last piece of a chain around any optimizer; `eval_params` reads it. What is kept is the corrected average
    itself, wₜ = wₜ₋₁ + (1−β)/(1−βᵗ)·(θₜ − wₜ₋₁). Without parameters the update raises ValueError.

    D. P. Kingma, J. Ba (2015), arXiv:1412.6980, section 7.2.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import eval_params
    >>> tx = temporal_average(0.5)
    >>> _, state = tx.update(jnp.ones(1), tx.init(jnp.zeros(1)), jnp.zeros(1))
    >>> _, state = tx.update(jnp.ones(1), state, jnp.ones(1))
    >>> eval_params(state, jnp.full(1, 2.0)).round(4)
    Array([1.6667], dtype=float32)
    """

    def share(age: Array, decay: Numeric) -> Array:
        return (1 - decay) / weight_of_past(age, decay)

    return weights(_averaged, share=per_step(share, decay=decay))


@piece
def polyak_average() -> Rule:
    """The plain mean of the parameters so far, θ̄ₜ = (θ₁ + … + θₜ)/t, as in `temporal_average`.

    B. T. Polyak, A. B. Juditsky (1992), "Acceleration of stochastic approximation by averaging",
    doi:10.1137/0330046.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import eval_params
    >>> tx = polyak_average()
    >>> _, state = tx.update(jnp.ones(1), tx.init(jnp.zeros(1)), jnp.zeros(1))
    >>> _, state = tx.update(jnp.ones(1), state, jnp.ones(1))
    >>> eval_params(state, jnp.full(1, 2.0))
    Array([1.5], dtype=float32)
    """
    return weights(_averaged, share=per_step(lambda age: 1 / age))


def _averaged(w: Array, x: Array, p: Array, share: Array) -> tuple[Array, Array]:
    return w + share * (p + x - w), x


@piece
def extrapolate(residual_dtype: Any = None) -> Rule:
    """A step, and then on along the line from where the last one arrived: Nesterov's y from his x.

        x_k = y_k + u
        y_{k+1} = x_k + (a_k − 1)/a_{k+1} · (x_k − x_{k−1}),   a_{k+1} = (1 + √(4a_k² + 1))/2,   a_0 = 1

    The last piece of a chain: u is the step that came in, the parameters are y, and x, which starts at the first
    parameters, is read by `eval_params`. The state is x_k − y_{k+1}, small where x and y are not; what rounding takes
    from it is kept, too, in `residual_dtype` if one is given.

    Yu. E. Nesterov (1983), Soviet Math. Dokl. 27:372-376.

    >>> import jax.numpy as jnp
    >>> tx, one = extrapolate(), jnp.ones(1)
    >>> _, state = tx.update(one, tx.init(one))
    >>> round(float(tx.update(one, state)[0][0]), 4)  # 1 + (a₁ − 1)/a₂
    1.2818
    """

    def onward(m: dict[str, Array], u: Array, age: Array, beyond: Array) -> tuple[dict[str, Array], Array]:
        d, a = m[EVAL_DISPLACEMENT], age / 2 + beyond
        rest = (1.5 + _growth(a)) / (a + 0.5 + _growth(a))  # 1 − (a_k − 1)/a_{k+1}, which near 1 would be rounded
        # x_k − y_{k+1} = −(1 − rest)·(u − d): u − d is x_k − x_{k−1}
        total, residual = added(d, -(u + rest * (d - u)), m.get("residual"))
        return {EVAL_DISPLACEMENT: total} | ({} if residual is None else {"residual": residual}), u - total

    def further(m: Array, count: Array) -> tuple[Array, Array]:
        beyond = m + _growth(count.astype(m.dtype) / 2 + m)
        return beyond, beyond

    slots = {EVAL_DISPLACEMENT: 0.0} | ({} if residual_dtype is None else {"residual": residual_in(residual_dtype)})
    # a₋₁ = 0, which makes a₀ = 1; the rest beyond t/2, as float32 would lose what a grows by beyond ½ once it is large
    return rule(onward, init=slots, beyond=per_step(further, init=0.0))


def _growth(a: Array) -> Array:
    """By how much a_{k+1} is more than a_k + ½: √(a² + ¼) − a, without the difference."""
    return 0.25 / (jnp.sqrt(a * a + 0.25) + a)
