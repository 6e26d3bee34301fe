"""Methods for many workers, and for gradients that come late."""

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.engine import numerics
from gdo_optax.engine.combinators import chain, parallel, recall
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.moments import max_before, sum_before, total, trace
from gdo_optax.pieces.scales import scale, scale_by_learning_rate
from gdo_optax.pieces.workers import AxisName, elastic
from gdo_optax.schedules import ahead
from gdo_optax.wrappers.workers import delay as delayed
from gdo_optax.wrappers.workers import random_delay


@piece
def easgd(
    learning_rate: Hyperparameter = 0.01,
    moving_rate: Numeric = 0.9,
    sync_period: Numeric = 10,
    axis_name: AxisName = None,
) -> Piece:
    """Elastic averaging SGD: workers on springs, all tied to one centre that they pull along.

        xᵢ ← xᵢ − η·gᵢ − α·(xᵢ − x̃)
        x̃ ← x̃ + α·Σᵢ (xᵢ − x̃)        every τ-th update, from the first; α = β/N, else α = 0

    Workers may stay apart and look at different places, where `local_sgd` throws them together. The pulls are those
    before the step, as in the paper's synchronous form. `eval_params` reads the centre x̃, which is what is trained.

    Args:
        learning_rate: η ≥ 0, a number or a schedule.
        moving_rate: β = N·α in [0, 1]; 0 is plain SGD on every worker.
        sync_period: τ, an integer ≥ 1.
        axis_name: of the workers' axis under vmap, shard_map or pmap; None is one worker.

    Raises:
        ValueError: a value outside its range; in the update, no parameters or no such axis.

    Reference: S. Zhang, A. Choromanska, Y. LeCun (2015), "Deep learning with elastic averaging SGD", arXiv:1412.6651,
    equations 5 and 6, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx, start = easgd(0.1, moving_rate=0.5, sync_period=1), jnp.zeros(1)
    >>> tx.update(jnp.array([1.0]), tx.init(start), start + 2)[0]
    Array([-1.1], dtype=float32)
    """
    return chain(
        scale_by_learning_rate(learning_rate),  # −η·gᵢ
        elastic(moving_rate, sync_period, axis_name),  # −α·(xᵢ − x̃), x̃
    )


@piece
def eamsgd(
    learning_rate: Hyperparameter = 0.01,
    moving_rate: Numeric = 0.9,
    sync_period: Numeric = 10,
    momentum: Hyperparameter = 0.9,
    axis_name: AxisName = None,
) -> Piece:
    """Elastic averaging SGD with Nesterov's momentum on every worker.

        vᵢ ← δ·vᵢ − η·∇f(xᵢ + δ·vᵢ)
        xᵢ ← xᵢ + vᵢ − α·(xᵢ − x̃)
        x̃ ← x̃ + α·Σᵢ (xᵢ − x̃)        every τ-th update, from the first; α = β/N, else α = 0

    The parameters are the points where the gradient is taken, yᵢ = xᵢ + δ·vᵢ, as in `nesterov`; the pull is felt at xᵢ.
    If δ is a schedule, the look-ahead uses the next step's value. `eval_params` reads the centre x̃.

    Args:
        learning_rate: η ≥ 0, a number or a schedule.
        moving_rate: β = N·α in [0, 1]; 0 is Nesterov's momentum on every worker.
        sync_period: τ, an integer ≥ 1.
        momentum: δ in [0, 1), a number or a schedule.
        axis_name: of the workers' axis under vmap, shard_map or pmap; None is one worker.

    Raises:
        ValueError: a value outside its range; in the update, no parameters or no such axis.

    Reference: S. Zhang, A. Choromanska, Y. LeCun (2015), "Deep learning with elastic averaging SGD", arXiv:1412.6651,
    Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx, start = eamsgd(0.5, moving_rate=0.5, sync_period=1, momentum=0.5), jnp.zeros(1)
    >>> tx.update(jnp.array([1.0]), tx.init(start), start + 2)[0]
    Array([-1.75], dtype=float32)
    """
    soon = ahead(momentum) if callable(momentum) else momentum
    return chain(
        scale_by_learning_rate(learning_rate),  # −η·g
        parallel(
            _last,
            velocity=[trace(momentum)],  # v′ = δ·v − η·g
            behind=[parallel(jnp.subtract, step=[], velocity=[recall("velocity")])],  # −δ·v, from yᵢ back to xᵢ
            step=[
                parallel(jnp.add, step=[], ahead=[recall("velocity"), scale(soon)]),  # −η·g + δ·v′
                elastic(moving_rate, sync_period, axis_name, offset="behind"),  # −α·(xᵢ − x̃), x̃
            ],
        ),
    )


def _last(*outputs: Array) -> Array:
    return outputs[-1]


@piece
def adaptive_revision(
    learning_rate: Hyperparameter = 0.01, delay: int = 0, initial_accumulator_value: Numeric = 1.0
) -> Piece:
    """AdaptiveRevision: Adagrad for gradients that come late, which also corrects the steps it has taken meanwhile.

        z ← z + g² + 2·g·b,   z′ ← max(z′, z)        b = Σ of what was applied between reading and writing
        θ ← θ − α·g/√z′ + (α/√z′_old − α/√z′)·b

    The gradient of update t − d is applied at update t, and b sums the d applied before it. Where late gradients point
    the way of those before them, z grows faster than Adagrad's sum and the steps get smaller; where they disagree it
    grows more slowly. d = 0 is Adagrad with ε = 0. A rate that is a schedule counts applied gradients. 2 + 2d words of
    state per parameter.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        delay: d, an integer ≥ 0.
        initial_accumulator_value: z₀ ≥ 0.

    Raises:
        ValueError: a value outside its range.
        TypeError: a traced delay.

    Reference: H. B. McMahan, M. Streeter (2014), "Delay-tolerant algorithms for asynchronous distributed online
    learning", NIPS, Algorithm AdaptiveRevision.

    >>> import jax.numpy as jnp
    >>> tx = adaptive_revision(0.1, initial_accumulator_value=0.0)
    >>> tx.update(jnp.array([4.0, 0.0]), tx.init(jnp.zeros(2)))[0]
    Array([-0.1, -0. ], dtype=float32)
    """
    return delayed(
        chain(
            parallel(
                _revised,
                gradient=[],  # g
                missed=[sum_before(delay)],  # b
                squares=[
                    parallel(_squared, gradient=[], missed=[recall("missed")]),  # g² + 2·g·b
                    total(initial_accumulator_value),  # z
                ],
                largest=[recall("squares"), max_before()],  # z′_old
            ),
            scale_by_learning_rate(learning_rate),
        ),
        delay,
    )


def _squared(g: Array, missed: Array) -> Array:
    product = numerics.capped(2 * g * missed)
    return numerics.square(g) - numerics.capped(-product)  # both ends finite


def _revised(g: Array, missed: Array, z: Array, largest: Array) -> Array:
    before, now = (numerics.inverse_root(v, 0.0, 0.0) for v in (largest, jnp.maximum(largest, z)))
    return g * now - missed * (before - now)


@piece
def hogwild(learning_rate: Hyperparameter = 0.01, max_delay: int = 4, seed: Numeric = 0) -> Piece:
    """Hogwild!: many processors write their steps to one memory without locks, and each coordinate is late by itself.

        θₜ[c] = θₜ₋₁[c] − α·Σ { gₛ[c] : s + dₛ[c] = t },   dₛ[c] uniform on 0, …, D

    A model of it on one machine, for sparse gradients: where few steps share a coordinate nothing is lost, where many
    do, D acts as a delay. Nothing is lost by overwriting; what arrives together is added up. D + 1 words of state per
    parameter.

    Args:
        learning_rate: α ≥ 0, a number or a schedule, whose time is that of the arrival.
        max_delay: D, an integer ≥ 0; 0 is plain SGD.
        seed: an integer.

    Raises:
        ValueError: a value outside its range.
        TypeError: a traced max_delay.

    Reference: B. Recht, C. Re, S. Wright, F. Niu (2011), "Hogwild!: a lock-free approach to parallelizing stochastic
    gradient descent", arXiv:1106.5730, section 4.

    >>> import jax.numpy as jnp
    >>> tx = hogwild(0.5, max_delay=0)
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
    Array([-1.], dtype=float32)
    """
    return chain(
        random_delay(max_delay, seed),  # Σ gₛ
        scale_by_learning_rate(learning_rate),
    )
