"""What several workers tell each other, each with weights and gradients of its own.

Every worker runs the same pieces on an axis that `jax.vmap`, `jax.shard_map` or `jax.pmap` has given a name. Without a
name there is one worker, and nothing to tell.
"""

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine.numerics import as_dtype, copy, wide_dtype
from gdo_optax.engine.combinators import initial_state, run_update, single
from gdo_optax.engine.piece import ITSELF, Piece, Weights, assemble, piece
from gdo_optax.makers import pointwise
from gdo_optax.engine.trees import absent, each


AxisName: TypeAlias = str | tuple[str, ...] | None


class Synchronized(NamedTuple):
    """The state of the outer method, and the weights that the workers share."""

    outer: Any
    centre: Weights


class Served(NamedTuple):
    """The state of the server's method, the gradients that wait to be pushed, and the server's weights."""

    inner: Any
    accrued: ArrayTree
    centre: Weights


@piece
def worker_mean(axis_name: AxisName = None) -> Piece:
    """g ↦ the mean of g over the workers: synchronous data parallelism, N batches of b as one of N·b.

        ḡ = 1/N · Σᵢ gᵢ

    The first piece of a chain: workers that start together stay together. Each worker's gradient has to be its own: at
    replicated parameters under `jax.shard_map`, JAX has already added the gradients up (there, differentiate at
    `jax.lax.pcast(params, axis_name, to="varying")`).

    Args:
        axis_name: of the workers' axis; None is one worker.

    Raises:
        ValueError: in the update, no such axis.

    J. Dean et al. (2012), "Large scale distributed deep networks", NIPS, section 4.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> tx = worker_mean("workers")
    >>> jax.vmap(lambda g: tx.update(g, tx.init(None))[0], axis_name="workers")(jnp.array([1.0, 5.0]))
    Array([3., 3.], dtype=float32)
    """

    def mean(x: Array) -> Array:
        count_workers("worker_mean", axis_name)
        return _mean(x, axis_name)

    return pointwise(mean)


@piece
def synchronize(
    sync_period: Numeric = 10, outer: optax.GradientTransformation | None = None, axis_name: AxisName = None
) -> Piece:
    """Every H-th update all workers go to the mean of their weights, or to where an outer method goes from there.

        θᵢ ← 1/N · Σⱼ θⱼ                                           when t is a multiple of H = sync_period
        θ̃ ← outer(θ̃) with the gradient θ̃ − 1/N · Σⱼ θⱼ,   θᵢ ← θ̃   where there is an outer method

    The last piece of a chain. Between synchronisations nothing is sent. With an outer method θ̃ starts at the first
    parameters, equal on all workers, and is read by `eval_params`; without one only a count is remembered, and weights
    to evaluate are the mean of the workers'. Its schedules count synchronisations.

    Args:
        sync_period: H, an integer ≥ 1.
        outer: any optax transformation, or None.
        axis_name: of the workers' axis; None is one worker.

    Raises:
        ValueError: a value outside its range; in the update, no parameters or no such axis.
        TypeError: an outer that is no transformation.

    S. U. Stich (2019), "Local SGD converges fast and communicates little", arXiv:1805.09767, Algorithm 1.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> tx, p = synchronize(sync_period=1, axis_name="workers"), jnp.zeros(2)
    >>> jax.vmap(lambda u, p: tx.update(u, tx.init(p), p)[0], axis_name="workers")(jnp.array([1.0, 5.0]), p)
    Array([3., 3.], dtype=float32)
    """
    if outer is None:
        return _to_the_mean(sync_period, axis_name)
    return _to_the_centre(sync_period, single(outer), axis_name)


def _to_the_mean(sync_period: Numeric, axis_name: AxisName) -> Piece:
    def init(params: ArrayTree) -> dict[str, Array]:
        return {"count": jnp.zeros((), jnp.int32)}

    def wide_update(x: ArrayTree, state: dict[str, Array], params: Any = None, **_: Any) -> tuple[ArrayTree, dict]:
        count_workers("synchronize", axis_name, params)

        def met(x: Array, p: Array) -> Array:  # one worker is its own mean: x to the last bit
            return x - ((p + x) - _mean(p + x, axis_name))

        due = (state["count"] + 1) % sync_period == 0
        y = jax.lax.cond(due, lambda x: each(met, x, params), lambda x: x, x)
        return y, {"count": optax.safe_increment(state["count"])}

    return assemble(init, wide_update)


def _to_the_centre(sync_period: Numeric, outer: optax.GradientTransformation, axis_name: AxisName) -> Piece:
    def init(params: ArrayTree) -> Synchronized:
        return Synchronized(initial_state(outer, params), first_centre(params))

    def wide_update(x: ArrayTree, state: Synchronized, params: Any = None, **extra: Any) -> tuple[ArrayTree, Any]:
        count_workers("synchronize", axis_name, params)

        def meet(x: ArrayTree, kept: Any, centre: ArrayTree) -> tuple[ArrayTree, Any, ArrayTree]:
            behind = each(lambda x, p, c: _mean(c - (p + x), axis_name), x, params, centre)
            step, kept = run_update(outer, behind, kept, centre, **extra)
            centre = _moved(centre, step)
            return each(lambda x, p, c: c - p, x, params, centre), kept, centre

        due = (state.centre.count + 1) % sync_period == 0
        y, kept, centre = jax.lax.cond(due, meet, lambda *same: same, x, state.outer, state.centre.weights)
        return y, Synchronized(kept, Weights(optax.safe_increment(state.centre.count), centre))

    return assemble(init, wide_update, body=ITSELF)


@piece
def elastic(
    moving_rate: Numeric = 0.9, sync_period: Numeric = 10, axis_name: AxisName = None, offset: str | None = None
) -> Piece:
    """Every τ-th update, from the first, each worker and the centre pull at one another; x is a worker's own step.

        xᵢ ← xᵢ + uᵢ − α·(xᵢ − x̃)
        x̃ ← x̃ + α·Σᵢ (xᵢ − x̃)        α = β/N, β = moving_rate

    The last piece of a chain around any optimizer; both pulls are those before the step uᵢ. x̃ starts at the first
    parameters, equal on all workers, and is read by `eval_params`. One worker is held by an average of its own past.
    The pull is felt at the parameters, or at these plus what the branch `offset` of the same `parallel` emitted.

    Args:
        moving_rate: β in [0, 1]; 0 lets all go alone.
        sync_period: τ, an integer ≥ 1.
        axis_name: of the workers' axis; None is one worker.
        offset: the name of an earlier branch, or None.

    Raises:
        ValueError: a value outside its range; in the update, no parameters, no such axis or no such branch.

    S. Zhang, A. Choromanska, Y. LeCun (2015), "Deep learning with elastic averaging SGD", arXiv:1412.6651,
    equations 5 and 6.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> tx = elastic(moving_rate=0.5, axis_name="workers")
    >>> centre, p = tx.init(jnp.zeros(())), jnp.array([1.0, 3.0])
    >>> u, state = jax.vmap(lambda p: tx.update(0 * p, centre, p), axis_name="workers")(p)
    >>> u, state.weights
    (Array([-0.25, -0.75], dtype=float32), Array([1., 1.], dtype=float32))
    """

    def wide_update(x: ArrayTree, state: Weights, params: Any = None, **extra: Any) -> tuple[ArrayTree, Weights]:
        workers = count_workers("elastic", axis_name, params)
        here = params if offset is None else _moved(params, _branch("elastic", offset, extra))

        def pull(x: ArrayTree, centre: ArrayTree) -> tuple[ArrayTree, ArrayTree]:
            gap = each(lambda x, p, c: p - c, x, here, centre)
            pulled = each(lambda x, d: x - as_dtype(moving_rate, d.dtype) / workers * d, x, gap)
            return pulled, _moved(centre, each(lambda d: as_dtype(moving_rate, d.dtype) * _mean(d, axis_name), gap))

        due = state.count % sync_period == 0
        y, centre = jax.lax.cond(due, pull, lambda *same: same, x, state.weights)
        return y, Weights(optax.safe_increment(state.count), centre)

    return assemble(first_centre, wide_update)


@piece
def parameter_server(
    inner: optax.GradientTransformation, push_period: Numeric = 1, axis_name: AxisName = None
) -> Piece:
    """Gathers each worker's gradients, pushes their sum to a server, and emits the way to the server's weights.

        aᵢ ← aᵢ + gᵢ
        θ̃ ← inner(θ̃; a₁), then a₂, …,   aᵢ ← 0        when t is a multiple of push_period
        θ̃ − θᵢ                                          emitted

    Every worker keeps the same copy of the server, which takes the sums one after another in the workers' order. θ̃
    starts at the first parameters, equal on all workers, and is read by `eval_params`. See `downpour`.

    Args:
        inner: the server's method, any optax transformation; its counts and schedules count sums.
        push_period: an integer ≥ 1.
        axis_name: of the workers' axis; None is one worker.

    Raises:
        ValueError: a value outside its range; in the update, no parameters or no such axis.
        TypeError: an inner that is no transformation.

    J. Dean et al. (2012), "Large scale distributed deep networks", NIPS, section 4.1.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx, p = parameter_server(sgd(0.5), axis_name="workers"), jnp.zeros(2)
    >>> jax.vmap(lambda g, p: tx.update(g, tx.init(p), p)[0], axis_name="workers")(jnp.array([1.0, 5.0]), p)
    Array([-3., -3.], dtype=float32)
    """
    inner = single(inner)

    def init(params: ArrayTree) -> Served:
        accrued = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=wide_dtype(p)), params)
        return Served(initial_state(inner, params), accrued, first_centre(params))

    def wide_update(g: ArrayTree, state: Served, params: Any = None, **extra: Any) -> tuple[ArrayTree, Served]:
        workers = count_workers("parameter_server", axis_name, params)
        count, centre, _ = state.centre
        accrued = _moved(state.accrued, g)

        def serve(carry: tuple[ArrayTree, Any], one: ArrayTree) -> tuple[Any, None]:
            way, kept = carry
            step, kept = run_update(inner, one, kept, _moved(centre, way), **extra)
            return (each(jnp.add, way, step), kept), None

        def push(kept: Any, accrued: ArrayTree) -> tuple[ArrayTree, Any, ArrayTree]:
            sums = each(lambda _, a: _gathered(a, axis_name, workers), g, accrued)
            still = each(lambda _, c: jnp.zeros_like(c), g, centre)
            (way, kept), _ = jax.lax.scan(serve, (still, kept), sums, length=workers)
            return way, kept, jax.tree.map(jnp.zeros_like, accrued)

        def wait(kept: Any, accrued: ArrayTree) -> tuple[ArrayTree, Any, ArrayTree]:
            return each(lambda _, c: jnp.zeros_like(c), g, centre), kept, accrued

        due = (count + 1) % push_period == 0
        way, kept, accrued = jax.lax.cond(due, push, wait, state.inner, accrued)
        y = each(lambda way, c, p: (c - p) + way, way, centre, params)
        return y, Served(kept, accrued, Weights(optax.safe_increment(count), _moved(centre, way)))

    return assemble(init, wide_update, body=ITSELF)


@piece
def fetch(branch: str = "server", fetch_period: Numeric = 1) -> Piece:
    """x ↦ what the branch emitted, in place of x, when t is a multiple of fetch_period; else x.

    It stands in a `parallel` after the branch of a `parameter_server`. Nothing is sent: every worker has a copy.

    Args:
        branch: the name of an earlier branch.
        fetch_period: an integer ≥ 1.

    Raises:
        ValueError: a value outside its range; in the update, no such branch.

    J. Dean et al. (2012), "Large scale distributed deep networks", NIPS, section 4.1.

    >>> import jax.numpy as jnp
    >>> tx = fetch("server", fetch_period=1)
    >>> tx.update(jnp.ones(1), tx.init(None), server=jnp.zeros(1))[0]
    Array([0.], dtype=float32)
    """

    def init(params: ArrayTree) -> dict[str, Array]:
        return {"count": jnp.zeros((), jnp.int32)}

    def wide_update(x: ArrayTree, state: dict[str, Array], params: Any = None, **extra: Any) -> tuple[ArrayTree, dict]:
        due = (state["count"] + 1) % fetch_period == 0
        y = each(lambda x, way: jnp.where(due, way, x), x, _branch("fetch", branch, extra))
        return y, {"count": optax.safe_increment(state["count"])}

    return assemble(init, wide_update)


def count_workers(name: str, axis_name: AxisName, params: Any = ()) -> int:
    """How many there are; a ValueError where there is no such axis, or where there are no parameters."""
    if params is None:
        raise ValueError(f"{name} reads the parameters: call update(updates, state, params)")
    try:
        return 1 if axis_name is None else jax.lax.axis_size(axis_name)
    except NameError:
        raise ValueError(
            f"{name}: no axis is called {axis_name!r} here: run the update under jax.vmap(…, axis_name={axis_name!r}), "
            "jax.shard_map or jax.pmap, or leave axis_name out for one worker"
        ) from None


def first_centre(params: ArrayTree) -> Weights:
    """A second set of weights that starts as a copy of the first."""
    return Weights(jnp.zeros((), jnp.int32), jax.tree.map(lambda p: copy(p, wide_dtype(p)), params))


def _mean(x: Array, axis_name: AxisName) -> Array:
    return x if axis_name is None else jax.lax.pmean(x, axis_name)


def _gathered(x: Array, axis_name: AxisName, workers: int) -> Array:
    """(workers, …), as a sum with zeros: JAX knows of a sum, not of gathered arrays, that all workers have the same."""
    if axis_name is None:
        return x[None]
    own = jnp.arange(workers, dtype=jnp.int32).reshape(-1, *[1] * x.ndim) == jax.lax.axis_index(axis_name)
    return jax.lax.psum(jnp.where(own, x[None], 0), axis_name)


def _moved(weights: ArrayTree, step: ArrayTree) -> ArrayTree:
    """w + u; what has no step stays."""
    return each(lambda w, u: w if absent(u) else w + u, weights, step)


def _branch(name: str, branch: str, extra: dict[str, Any]) -> ArrayTree:
    if branch not in extra:
        raise ValueError(f"{name}: no branch {branch!r} came before this one; there are {sorted(extra)}")
    return extra[branch]
