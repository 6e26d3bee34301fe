"""Around an optimizer: several workers that descend together, and gradients that come late."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine.combinators import chain, parallel, part
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Rule, Whole, rule
from gdo_optax.engine.numerics import wide_dtype
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.trees import absent, each
from gdo_optax.pieces.scales import scale_by_learning_rate
from gdo_optax.pieces.workers import AxisName, fetch, parameter_server, synchronize


@piece
def local_sgd(
    inner: optax.GradientTransformation,
    sync_period: Numeric = 10,
    outer: optax.GradientTransformation | None = None,
    axis_name: AxisName = None,
) -> Piece:
    """Local SGD: every worker steps alone, and all meet at the mean of their weights every H-th update.

        θᵢ ← inner(θᵢ; gᵢ)
        θᵢ ← 1/N · Σⱼ θⱼ                                           when t is a multiple of H
        θ̃ ← outer(θ̃) with the gradient θ̃ − 1/N · Σⱼ θⱼ,   θᵢ ← θ̃   where there is an outer method

    A hundredth of the communication for H = 100. With `outer=momentum(α, β)` it is SlowMo (whose γ, divided out and
    multiplied in again, cancels while the rate does not change), with `outer=nesterov(0.7, 0.9)` and an inner AdamW it
    is DiLoCo, with `outer=sgd(α)` Lookahead over workers. The inner states stay the workers' own; `eval_params` reads
    θ̃ where there is an outer method. One worker without one is the inner optimizer itself.

    Args:
        inner: any optax transformation.
        sync_period: H, an integer ≥ 1.
        outer: any optax transformation, or None for the plain mean; its counts count synchronisations.
        axis_name: of the workers' axis under vmap, shard_map or pmap; None is one worker.

    Raises:
        ValueError: a value outside its range; in the update, no parameters or no such axis.
        TypeError: an inner or outer that is no transformation.

    Reference: S. U. Stich (2019), "Local SGD converges fast and communicates little", arXiv:1805.09767, Algorithm 1;
    J. Wang et al. (2020), "SlowMo", arXiv:1910.00643, Algorithm 1; A. Douillard et al. (2023), "DiLoCo",
    arXiv:2311.08105, Algorithm 1.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx, p = local_sgd(sgd(0.5), sync_period=1, axis_name="workers"), jnp.zeros(2)
    >>> jax.vmap(lambda g, p: tx.update(g, tx.init(p), p)[0], axis_name="workers")(jnp.array([2.0, 6.0]), p)
    Array([-2., -2.], dtype=float32)
    """
    return chain(
        inner,  # θᵢ
        synchronize(sync_period, outer, axis_name),  # θ̃
    )


@piece
def downpour(
    inner: optax.GradientTransformation,
    learning_rate: Hyperparameter = 0.01,
    push_period: Numeric = 1,
    fetch_period: Numeric = 1,
    axis_name: AxisName = None,
) -> Piece:
    """Downpour SGD: workers descend alone, push their gradients to a server now and then, and fetch its weights.

        aᵢ ← aᵢ + gᵢ,   θᵢ ← θᵢ − α·gᵢ
        θ̃ ← inner(θ̃; aᵢ) for i = 1, …, N,   aᵢ ← 0        when t is a multiple of push_period
        θᵢ ← θ̃                                              when t is a multiple of fetch_period

    The paper's server runs Adagrad, which its authors found to make the method robust. Here the workers are in step
    and push in their order, where the paper's come as they please; between pushes nothing is sent. Every worker keeps a
    copy of the server, whose weights `eval_params` reads. One worker that pushes and fetches in every update is `inner`
    itself.

    Args:
        inner: the server's method, any optax transformation; its counts and schedules count pushed sums.
        learning_rate: α ≥ 0 of the workers' own steps, a number or a schedule.
        push_period: an integer ≥ 1.
        fetch_period: an integer ≥ 1.
        axis_name: of the workers' axis under vmap, shard_map or pmap; None is one worker.

    Raises:
        ValueError: a value outside its range; in the update, no parameters or no such axis.
        TypeError: an inner that is no transformation.

    Reference: J. Dean et al. (2012), "Large scale distributed deep networks", NIPS, section 4.1 and Algorithm 7.1.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from gdo_optax import adagrad
    >>> tx, p = downpour(adagrad(0.5), 0.1, axis_name="workers"), jnp.zeros(2)
    >>> jax.vmap(lambda g, p: tx.update(g, tx.init(p), p)[0], axis_name="workers")(jnp.array([3.0, 4.0]), p)
    Array([-0.9, -0.9], dtype=float32)
    """
    return parallel(
        _last,
        server=[parameter_server(inner, push_period, axis_name)],  # aᵢ, θ̃ − θᵢ
        worker=[scale_by_learning_rate(learning_rate), fetch("server", fetch_period)],  # −α·gᵢ, or θ̃ − θᵢ
    )


def _last(server: Array, worker: Array) -> Array:
    return worker


@piece
def delay(inner: optax.GradientTransformation, delay: int) -> Piece | Whole:
    """Stale gradients: update t steps with the gradient of update t − d, as one of many workers would.

        θₜ = inner(θₜ₋₁; gₜ₋d)        t > d;   θₜ = θ₀ before

    What asynchronous training costs, on one machine: d is how many updates the others have made between reading the
    weights and writing the step. The inner optimizer waits for the first gradient; its own terms, such as a decay, are
    taken at the weights of now. d words of state per parameter; d = 0 is the inner optimizer itself.

    Args:
        inner: any optax transformation.
        delay: d, an integer ≥ 0.

    Raises:
        ValueError: a value outside its range.
        TypeError: an inner that is no transformation; a traced delay.

    Reference: H. B. McMahan, M. Streeter (2014), "Delay-tolerant algorithms for asynchronous distributed online
    learning", NIPS, section 2.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx, p = delay(sgd(1.0), 1), jnp.zeros(1)
    >>> first, state = tx.update(jnp.array([2.0]), tx.init(p))
    >>> first, tx.update(jnp.array([3.0]), state)[0]
    (Array([0.], dtype=float32), Array([-2.], dtype=float32))
    """
    if delay == 0:
        return chain(inner)
    number = int(delay)

    def init(params: ArrayTree, inner: Any) -> dict[str, Any]:
        return {"memory": jax.tree.map(lambda p: _slots(p, number), params), "inner": inner}

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        slot, memory = now.count % number, state["memory"]
        late = each(lambda x, m: jax.lax.dynamic_index_in_dim(m, slot, keepdims=False).astype(x.dtype), x, memory)
        memory = each(lambda m, x: m if absent(x) else m.at[slot].set(x.astype(m.dtype)), memory, x)

        def step(inner: Any) -> tuple[ArrayTree, Any]:
            return now.run("inner", late, inner, params)

        def wait(inner: Any) -> tuple[ArrayTree, Any]:
            return each(jnp.zeros_like, late), inner

        y, inner = jax.lax.cond(now.age >= number, step, wait, state["inner"])
        return y, {"memory": memory, "inner": inner}

    return Whole({"inner": part(inner)}, init, update, clocked=True)


@piece
def random_delay(max_delay: int, seed: Numeric = 0) -> Rule:
    """Every coordinate of the gradient arrives by itself, 0, 1, … or D updates late; what arrives together is added up.

        yₜ[c] = Σ { gₛ[c] : s + dₛ[c] = t },   dₛ[c] uniform on 0, …, D

    How processors that write to the same memory without locks see each other's steps: late, and not as a whole. The
    delays are drawn anew from `seed`, the count and the array's place in the tree. Give workers seeds of their own.
    D + 1 words of state per parameter.

    Args:
        max_delay: D, an integer ≥ 0.
        seed: an integer.

    Raises:
        ValueError: a value outside its range.
        TypeError: a traced max_delay.

    B. Recht, C. Re, S. Wright, F. Niu (2011), "Hogwild!: a lock-free approach to parallelizing stochastic gradient
    descent", arXiv:1106.5730, section 4.

    >>> import jax.numpy as jnp
    >>> tx, g = random_delay(max_delay=1), jnp.ones(5)
    >>> now, state = tx.update(g, tx.init(g))
    >>> late, _ = tx.update(0 * g, state)
    >>> now + late
    Array([1., 1., 1., 1., 1.], dtype=float32)
    """
    slots = int(max_delay) + 1

    def arrived(m: Array, x: Array, key: Array) -> tuple[Array, Array]:  # m[i] arrives i updates from now
        late = jax.random.randint(key, x.shape, 0, slots, jnp.int32)
        place = jnp.arange(slots, dtype=jnp.int32).reshape(-1, *[1] * x.ndim)
        m = m + jnp.where(place == late[None], x[None], 0)
        return jnp.concatenate([m[1:], jnp.zeros_like(m[:1])]), m[0]

    return rule(arrived, init=lambda p: _slots(p, slots), seed=seed)


def _slots(p: Array, number: int) -> Array:
    """Zeros for so many gradients."""
    return jnp.zeros_like(p, dtype=wide_dtype(p), shape=(number, *jnp.shape(p)))
