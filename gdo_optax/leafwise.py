"""What all makers come to: one function on every array, with its memory, the time and hyperparameters."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.arithmetic import apart, as_real
from gdo_optax.core import Piece, assemble
from gdo_optax.grouping import Recomputable, array_of, recomputable
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


@dataclasses.dataclass(frozen=True, eq=False)
class Rule:
    """(m, x, t, p; hyperparameters) ↦ (m′, y), or (m′, x ↦ y), on every leaf.

    Its state is a tree of m's; where f or a schedule among the hyperparameters asks for the time {"count", "memory",
    "running"}, of which there is what is kept, or a `state` of these three. `beside` may give each leaf keywords of its
    own, from the whole tree and the count; f gets what is to be `measured` of x under this name. What is emitted can
    be computed again, and need not be written out to be measured, if it is kept, a function of x, or nothing is kept.
    It `waits` unless y is told from m′ that it need not have kept: that would be one more array.
    """

    f: Callable[..., tuple[Any, Array]]
    hyper: dict[str, Any]
    initial: Callable[[Any], Any] | None = None
    timed: bool = False
    paired: bool = False
    state: type | None = None
    beside: Callable[[ArrayTree, Any], list[dict[str, Any]]] | None = None
    measured: Callable[[Array], Any] | None = None
    waits: bool = True

    @functools.cached_property
    def running(self) -> dict[str, Running]:
        """The hyperparameters that depend on their own past."""
        return {k: h for k, h in self.hyper.items() if isinstance(h, Running)}

    @functools.cached_property
    def counts(self) -> bool:
        """Whether there is a count in its state."""
        return self.timed or bool(self.running) or any(map(callable, self.hyper.values()))

    def init(self, params: ArrayTree) -> Any:
        """The state before the first update."""
        memory = jax.tree.map(self.initial, params) if self.initial else None
        first = {k: jnp.asarray(h.initial(), number_dtype(params)) for k, h in self.running.items()}
        return self.closed(jnp.zeros((), jnp.int32), memory, first)

    def common(self, kept: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """The time, the running numbers and all hyperparameters of this update."""
        if not self.counts:
            return None, {}, self.hyper
        count, _, past = self.opened(kept)
        now = {k: jnp.asarray(h.step(past[k], count), past[k].dtype) for k, h in self.running.items()}
        values = {k: h(count) if callable(h) else h for k, h in self.hyper.items()} | now
        return optax.safe_increment(count), now, values

    def update(
        self,
        x: ArrayTree,
        kept: Any,
        params: ArrayTree | None = None,
        common: Any = None,
        go: Array | None = None,
        touched: ArrayTree | None = None,
        **_: Any,
    ) -> tuple[ArrayTree, Any]:
        """What is emitted for a tree of x's, and the next state."""
        if self.paired and params is None:
            raise ValueError("this transformation reads the parameters: call update(updates, state, params)")
        time, now, values = common or self.common(kept)
        count, memory, past = self.opened(kept)
        source, x = x if isinstance(x, Recomputable) else None, array_of(x)
        structure, rows = columns(x, params if self.paired else x, memory if self.initial else x)
        _check_shapes(x, rows, self.initial)
        owns = self.beside(x, count) if self.beside else [{}] * len(rows)
        at = [None] * len(rows) if touched is None else structure.flatten_up_to(touched)

        def leaf(x: Any, p: Any, m: Any, own: dict[str, Any], where: Array | None) -> tuple[Any, Any]:
            if absent(x):
                return m, x
            h = {k: as_real(v, x.dtype) for k, v in values.items()} | own
            new, y, read = self.applied(x, p, m, time, h, source)
            new, y = _if_it_goes(go, where, new, m, y) if self.initial else (new, y)
            return new, recomputable(source, y, jax.tree.leaves(new), read) if source else y

        with of_numbers((x, params)):
            out = [leaf(x, p, m, own, where) for (x, p, m), own, where in zip(rows, owns, at, strict=True)]
        memory = structure.unflatten([m for m, _ in out]) if self.initial else None
        if go is not None:
            time, now = jax.tree.map(lambda a, b: jnp.where(go, a, b), (time, now), (count, past))
        return structure.unflatten([y for _, y in out]), self.closed(time, memory, now)

    def applied(
        self, x: Array, p: Any, m: Any, time: Any, h: dict[str, Any], source: Recomputable | None
    ) -> tuple[Any, Array, Callable | None]:
        """m′, y, and y as a function of x, if it is one."""
        t = time.astype(jnp.finfo(x.dtype).dtype) if self.counts else None
        if self.measured:
            again = source.reread if source and source.again else None
            h["measured"] = apart(self.measured, x, again) if again else self.measured(x)
        new, y = self.f(m, x, t, p, **h)
        if callable(y):
            return new, y(x), y
        return new, y, None if self.initial else lambda x: self.f(m, x, t, p, **h)[1]

    def closed(self, count: Any, memory: Any, running: dict[str, Array]) -> Any:
        """The state that holds them: a type of its own, or a dict of what there is."""
        if not self.counts:
            return memory
        if self.state:
            return self.state(count, memory, running or ())
        parts = {"count": count, "memory": memory, "running": running or None}
        return {k: part for k, part in parts.items() if part is not None}

    def opened(self, kept: Any) -> tuple[Any, Any, dict[str, Array]]:
        """Count, memory and running numbers of a state, or a ValueError where it is another piece's."""
        if not self.counts:
            return None, kept, {}
        if not (isinstance(kept, self.state) if self.state else isinstance(kept, dict) and "count" in kept):
            wanted = self.state.__name__ if self.state else "dict with a count"
            raise ValueError(f"the state is another optimizer's: it is a {type(kept).__name__}, not a {wanted}")
        count, memory, running = kept if self.state else (kept["count"], kept.get("memory"), kept.get("running"))
        return count, memory, running or {}


def leafwise(f: Callable[..., tuple[Any, Array]], hyper: dict[str, Any], **asked: Any) -> Piece:
    """The piece of a `Rule`."""
    rule = Rule(f, hyper, **asked)
    remembers, common = bool(rule.initial) or rule.counts, None if rule.beside else rule.common
    return assemble(rule.init, rule.update, remembers=remembers, waits=rule.waits, common=common)


def _if_it_goes(go: Array | None, rows: Array | None, new: Any, m: Any, y: Array) -> tuple[Any, Array]:
    """The memory, and what is emitted: read from the memory where it is in it, so that only that is written.

    What is remembered in the shape of the parameter stays as it is in `rows` that are not touched, all of it where it
    does not `go`.
    """
    if go is None and rows is None:
        return new, y

    def pick(a: Array, b: Array) -> Array:
        wanted = [w for w in (go, rows) if w is not None and (w is go or w.shape == a.shape)]
        return jnp.where(functools.reduce(jnp.logical_and, wanted), a, b) if wanted else a

    kept = jax.tree.map(pick, new, m)
    return kept, next((k for a, k in zip(*map(jax.tree.leaves, (new, kept)), strict=True) if a is y), y)


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
