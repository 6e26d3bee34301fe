"""What several workers tell each other, each with weights and gradients of its own.

Every worker runs the same pieces on an axis that `jax.vmap`, `jax.shard_map` or `jax.pmap` has given a name. Without a
name there is one worker, and nothing to tell.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine.combinators import part, recalled
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Rule, Whole, per_step, rule
from gdo_optax.engine.numerics import as_dtype, copy, wide_dtype
from gdo_optax.engine.piece import piece
from gdo_optax.engine.states import EVAL_WEIGHTS
from gdo_optax.engine.trees import absent, each


AxisName: TypeAlias = str | tuple[str, ...] | None


@piece
def worker_mean(axis_name: AxisName = None) -> Whole:
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

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        count_workers("worker_mean", axis_name)
        return each(lambda x: _mean(x, axis_name), x), state

    return Whole(update=update, communicates=True)


@piece
def synchronize(
    sync_period: Numeric = 10, outer: optax.GradientTransformation | None = None, axis_name: AxisName = None
) -> Whole:
    """Every H-th update all workers go to the mean of their weights, or to where an outer method goes from there.

        θᵢ ← 1/N · Σⱼ θⱼ                                           when t is a multiple of H = sync_period
        θ̃ ← outer(θ̃) with the gradient θ̃ − 1/N · Σⱼ θⱼ,   θᵢ ← θ̃   where there is an outer method

    The last piece of a chain. Between synchronisations nothing is sent. With an outer method θ̃ starts at the first
    parameters, equal on all workers, and is read by `eval_params`. The outer method's schedules count synchronisations.
    Without one nothing is remembered, and the weights to evaluate are the mean of the workers'.

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
    return _to_the_centre(sync_period, outer, axis_name)


def _to_the_mean(sync_period: Numeric, axis_name: AxisName) -> Whole:
    def update(x: ArrayTree, state: Any, params: Any, now: Now, sync_period: Numeric) -> tuple[ArrayTree, Any]:
        count_workers("synchronize", axis_name, x, params)

        def met(x: Array, p: Array) -> Array:  # one worker is its own mean: x to the last bit
            return x - ((p + x) - _mean(p + x, axis_name))

        due = (now.count + 1) % sync_period == 0
        return jax.lax.cond(due, lambda x: each(met, x, params), lambda x: x, x), state

    return Whole(update=update, communicates=True, hyper={"sync_period": sync_period})


def _to_the_centre(sync_period: Numeric, outer: optax.GradientTransformation, axis_name: AxisName) -> Whole:
    def init(params: ArrayTree, outer: Any) -> dict[str, Any]:
        return {"outer": outer, EVAL_WEIGHTS: _first_centre(params)}

    def update(x: ArrayTree, state: Any, params: Any, now: Now, sync_period: Numeric) -> tuple[ArrayTree, Any]:
        count_workers("synchronize", axis_name, x, params)

        def meet(x: ArrayTree, kept: Any, centre: ArrayTree) -> tuple[ArrayTree, Any, ArrayTree]:
            behind = each(lambda x, p, c: _mean(c - (p + x), axis_name), x, params, centre)
            step, kept = now.run("outer", behind, kept, centre)
            centre = _moved(centre, step)
            return each(lambda x, p, c: c - p, x, params, centre), kept, centre

        due = (now.count + 1) % sync_period == 0
        y, kept, centre = jax.lax.cond(due, meet, lambda *same: same, x, state["outer"], state[EVAL_WEIGHTS])
        return y, {"outer": kept, EVAL_WEIGHTS: centre}

    hyper = {"sync_period": sync_period}
    return Whole({"outer": part(outer)}, init, update, clocked=True, communicates=True, hyper=hyper)


@piece
def elastic(
    moving_rate: Numeric = 0.9, sync_period: Numeric = 10, axis_name: AxisName = None, offset: str | None = None
) -> Whole:
    """Every τ-th update, from the first, each worker and the centre pull at one another; x is a worker's own step.

        xᵢ ← xᵢ + uᵢ − α·(xᵢ − x̃)
        x̃ ← x̃ + α·Σᵢ (xᵢ − x̃)        α = β/N, β = moving_rate

    The last piece of a chain around any optimizer; both pulls are those before the step uᵢ. x̃ starts at the first
    parameters, equal on all workers, and is read by `eval_params`. One worker is held by an average of its own past.
    The pull is felt at the parameters, or at these plus the output of the branch `offset` of the same `parallel`.

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
    >>> first, p = tx.init(jnp.zeros(())), jnp.array([1.0, 3.0])
    >>> u, state = jax.vmap(lambda p: tx.update(0 * p, first, p), axis_name="workers")(p)
    >>> u, state["state"]["eval_weights"]
    (Array([-0.25, -0.75], dtype=float32), Array([1., 1.], dtype=float32))
    """

    def init(params: ArrayTree) -> dict[str, ArrayTree]:
        return {EVAL_WEIGHTS: _first_centre(params)}

    def update(
        x: ArrayTree, state: Any, params: Any, now: Now, moving_rate: Numeric, sync_period: Numeric
    ) -> tuple[ArrayTree, Any]:
        workers = count_workers("elastic", axis_name, x, params)
        here = params if offset is None else _moved(params, recalled("elastic", offset, now.branches))

        def pull(x: ArrayTree, centre: ArrayTree) -> tuple[ArrayTree, ArrayTree]:
            gap = each(lambda x, p, c: p - c, x, here, centre)
            pulled = each(lambda x, d: x - as_dtype(moving_rate, d.dtype) / workers * d, x, gap)
            return pulled, _moved(centre, each(lambda d: as_dtype(moving_rate, d.dtype) * _mean(d, axis_name), gap))

        due = now.count % sync_period == 0
        y, centre = jax.lax.cond(due, pull, lambda *same: same, x, state[EVAL_WEIGHTS])
        return y, {EVAL_WEIGHTS: centre}

    hyper = {"moving_rate": moving_rate, "sync_period": sync_period}
    return Whole(init=init, update=update, communicates=True, hyper=hyper)


@piece
def parameter_server(
    inner: optax.GradientTransformation, push_period: Numeric = 1, axis_name: AxisName = None
) -> Whole:
    """Gathers each worker's gradients, pushes their sum to a server, and returns the way to the server's weights.

        aᵢ ← aᵢ + gᵢ
        θ̃ ← inner(θ̃; a₁), then a₂, …,   aᵢ ← 0        when t is a multiple of push_period
        θ̃ − θᵢ                                          the output

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
    server = part(inner)

    def init(params: ArrayTree, inner: Any) -> dict[str, Any]:
        accrued = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=wide_dtype(p)), params)
        return {"inner": inner, "accrued": accrued, EVAL_WEIGHTS: _first_centre(params)}

    def update(g: ArrayTree, state: Any, params: Any, now: Now, push_period: Numeric) -> tuple[ArrayTree, Any]:
        workers = count_workers("parameter_server", axis_name, g, params)
        centre, accrued = state[EVAL_WEIGHTS], _moved(state["accrued"], g)

        def serve(carry: tuple[ArrayTree, Any], one: ArrayTree) -> tuple[Any, None]:
            way, kept = carry
            step, kept = now.run("inner", one, kept, _moved(centre, way))
            return (each(jnp.add, way, step), kept), None

        def push(kept: Any, accrued: ArrayTree) -> tuple[ArrayTree, Any, ArrayTree]:
            sums = each(lambda _, a: _gathered(a, axis_name, workers), g, accrued)
            still = each(lambda _, c: jnp.zeros_like(c), g, centre)
            (way, kept), _ = jax.lax.scan(serve, (still, kept), sums, length=workers)
            return way, kept, jax.tree.map(jnp.zeros_like, accrued)

        def wait(kept: Any, accrued: ArrayTree) -> tuple[ArrayTree, Any, ArrayTree]:
            return each(lambda _, c: jnp.zeros_like(c), g, centre), kept, accrued

        due = (now.count + 1) % push_period == 0
        way, kept, accrued = jax.lax.cond(due, push, wait, state["inner"], accrued)
        y = each(lambda way, c, p: (c - p) + way, way, centre, params)
        return y, {"inner": kept, "accrued": accrued, EVAL_WEIGHTS: _moved(centre, way)}

    # the server's time moves within an update: what is evaluated before a program would be that of its first step
    compiled = not server.outside
    hyper = {"push_period": push_period}
    return Whole({"inner": server}, init, update, clocked=True, compiled=compiled, communicates=True, hyper=hyper)


@piece
def fetch(branch: str = "server", fetch_period: Numeric = 1) -> Rule:
    """Returns the output of the branch when t is a multiple of fetch_period, else the input.

    It stands in a `parallel` after the branch of a `parameter_server`. Nothing is sent: every worker has a copy.

    Args:
        branch: the name of an earlier branch.
        fetch_period: an integer ≥ 1.

    Raises:
        ValueError: a value outside its range; in the update, no such branch.

    J. Dean et al. (2012), "Large scale distributed deep networks", NIPS, section 4.1.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import parallel, scale
    >>> tx = parallel(lambda server, worker: worker, server=[scale(2.0)], worker=[fetch("server", fetch_period=1)])
    >>> tx.update(jnp.ones(1), tx.init(None))[0]
    Array([2.], dtype=float32)
    """

    def fetched(x: Array, branches: Mapping[str, Array], due: Array) -> Array:
        return jnp.where(due, recalled("fetch", branch, branches), x)

    due = per_step(lambda count, fetch_period: (count + 1) % fetch_period == 0, fetch_period=fetch_period)
    return rule(fetched, due=due)


def count_workers(name: str, axis_name: AxisName, x: Any = None, params: Any = None) -> int:
    """The number of workers; raises ValueError where there is no such axis, or no parameters beside x."""
    if params is None and jax.tree.leaves(x):
        raise ValueError(f"{name} reads the parameters: call update(updates, state, params)")
    try:
        return 1 if axis_name is None else jax.lax.axis_size(axis_name)
    except NameError:
        raise ValueError(
            f"{name}: no axis is called {axis_name!r} here: run the update under jax.vmap(…, axis_name={axis_name!r}), "
            "jax.shard_map or jax.pmap, or leave axis_name out for one worker"
        ) from None


def _first_centre(params: ArrayTree) -> ArrayTree:
    """A second set of weights that starts as a copy of the first."""
    return jax.tree.map(lambda p: copy(p, wide_dtype(p)), params)


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
