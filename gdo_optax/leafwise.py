"""What all makers come to: one function on every array, with its memory, the time and hyperparameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.arithmetic import as_real, norm, norm_apart
from gdo_optax.core import Piece, assemble
from gdo_optax.grouping import Recomputable, recomputable
from gdo_optax.trees import absent, columns, number_dtype, of_numbers, path_name


class Running(NamedTuple):
    """A hyperparameter that depends on its own past: s₀ = initial(), sₜ = step(sₜ₋₁, count), the count from 0.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import pointwise
    >>> halved = pointwise(lambda x, share: share * x, share=Running(lambda s, count: s / 2, lambda: 1.0))
    >>> halved.update(jnp.ones(1), halved.init(jnp.ones(1)))[0]
    Array([0.5], dtype=float32)
    """

    step: Callable[[Array, Array], Numeric]
    initial: Callable[[], Numeric]


def leafwise(
    f: Callable[..., tuple[Any, Array]],
    hyper: dict[str, Any],
    *,
    initial: Callable[[Any], Any] | None = None,
    timed: bool = False,
    paired: bool = False,
    state: type | None = None,
    beside: Callable[[ArrayTree, Any], list[dict[str, Any]]] | None = None,
    normed: bool = False,
) -> Piece:
    """(m, x, t, p; hyperparameters) ↦ (m′, y), or (m′, x ↦ y), on every leaf.

    Its state is a tree of m's; where f or a schedule among the hyperparameters asks for the time {"count", "memory",
    "running"}, of which there is what is kept, or a `state` of these three. `beside` may give each leaf keywords of its
    own, from the whole tree and the count; where it is `normed` f gets the `length` of x. What is emitted can be
    computed again, and need not be written out for a norm, if it is kept, a function of x, or nothing is kept.
    """
    running = {k: h for k, h in hyper.items() if isinstance(h, Running)}
    timed = timed or bool(running) or any(map(callable, hyper.values()))

    def init(params: ArrayTree) -> Any:
        memory = jax.tree.map(initial, params) if initial else None
        first = {k: jnp.asarray(h.initial(), number_dtype(params)) for k, h in running.items()}
        return _closed(state, jnp.zeros((), jnp.int32), memory, first) if timed else memory

    def evaluated(kept: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """The time, the running numbers and all hyperparameters of this update."""
        if not timed:
            return None, {}, hyper
        count, _, past = _opened(state, kept)
        now = {k: jnp.asarray(h.step(past[k], count), past[k].dtype) for k, h in running.items()}
        values = {k: h(count) if callable(h) else h for k, h in hyper.items()} | now
        return optax.safe_increment(count), now, values

    def wide_update(
        x: ArrayTree, kept: Any, params: ArrayTree | None = None, common: Any = None, go: Any = None, **_: Any
    ) -> tuple[ArrayTree, Any]:
        if paired and params is None:
            raise ValueError("this transformation reads the parameters: call update(updates, state, params)")
        time, now, values = common or evaluated(kept)
        count, memory, past = _opened(state, kept) if timed else (None, kept, {})
        source, x = (x, x.array) if isinstance(x, Recomputable) else (None, x)

        def leaf(own: dict[str, Any], x: Array, p: Array, m: Any) -> tuple[Any, Any]:
            if absent(x):
                return m, x
            t = time.astype(jnp.finfo(x.dtype).dtype) if timed else None
            own = {k: as_real(v, x.dtype) for k, v in values.items()} | own
            if normed:
                own["length"] = norm_apart(x, source.again) if source and source.again else norm(x)
            new, y = f(m, x, t, p, **own)
            read = y if callable(y) else None if initial else lambda x: f(m, x, t, p, **own)[1]
            y = y(x) if callable(y) else y
            if go is not None and initial:
                new, y = _if_it_goes(go, new, m, y)
            return new, recomputable(source, y, jax.tree.leaves(new), read) if source else y

        structure, rows = columns(x, params if paired else x, memory if initial else x)
        _check_shapes(x, rows, initial)
        owns = beside(x, count) if beside else [{}] * len(rows)
        with of_numbers((x, params)):
            out = [leaf(own, *row) for own, row in zip(owns, rows, strict=True)]
        memory = structure.unflatten([m for m, _ in out]) if initial else None
        if go is not None:
            time, now = jax.tree.map(lambda a, b: jnp.where(go, a, b), (time, now), (count, past))
        return structure.unflatten([y for _, y in out]), _closed(state, time, memory, now) if timed else memory

    common = None if beside else evaluated
    return assemble(init, wide_update, remembers=bool(initial) or timed, waits=True, common=common)


def _if_it_goes(go: Array, new: Any, m: Any, y: Array) -> tuple[Any, Array]:
    """The memory, and what is emitted: read from the memory where it is in it, so that only that is written."""
    kept = jax.tree.map(lambda a, b: jnp.where(go, a, b), new, m)
    return kept, next((k for a, k in zip(*map(jax.tree.leaves, (new, kept)), strict=True) if a is y), y)


def _closed(state: type | None, count: Array, memory: Any, running: dict[str, Array]) -> Any:
    """The state that holds them: a type of its own, or a dict of what there is."""
    if state:
        return state(count, memory, running or ())
    return {"count": count} | ({} if memory is None else {"memory": memory}) | ({"running": running} if running else {})


def _opened(state: type | None, kept: Any) -> tuple[Array, Any, dict[str, Array]]:
    """Count, memory and running numbers of a state, or a ValueError where it is another piece's."""
    ours = isinstance(kept, state) if state else isinstance(kept, dict) and "count" in kept
    if not ours:
        wanted = state.__name__ if state else "dict with a count"
        raise ValueError(f"the state is another optimizer's: it is a {type(kept).__name__}, not a {wanted}")
    count, memory, running = kept if state else (kept["count"], kept.get("memory"), kept.get("running"))
    return count, memory, running or {}


def _check_shapes(x: ArrayTree, rows: list[tuple], initial: Callable | None) -> None:
    """Raises where an array's parameter has another shape, or its memory one that `initial` does not make of it."""
    for i, (a, p, m) in enumerate(rows):
        if absent(a) or (jnp.shape(p) == a.shape and (not initial or _fits(m, a, initial))):
            continue
        name = path_name(jax.tree.leaves_with_path(x, is_leaf=absent)[i][0])
        other = "has no array" if absent(p) else f"has the shape {jnp.shape(p)}"
        whose = f"the parameter {other}" if absent(p) or jnp.shape(p) != a.shape else "the state was made for another"
        raise ValueError(f"the gradient of {name!r} has the shape {a.shape}, but {whose}")


def _fits(m: Any, x: Array, initial: Callable) -> bool:
    if getattr(m, "shape", None) == x.shape:
        return True
    made = jax.eval_shape(initial, jax.ShapeDtypeStruct(x.shape, x.dtype))
    return jax.tree.map(jnp.shape, m) == jax.tree.map(jnp.shape, made)
