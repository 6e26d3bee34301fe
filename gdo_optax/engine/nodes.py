"""What a method is, as data: five kinds of nodes. Nothing here computes; the interpreter walks them.

    Rule       one line of a paper, on one array
    Chain      parts in series
    Parallel   the same input through every part, and the outputs merged array by array
    Masked     a part, on some arrays only
    Whole      an update that sees all arrays at once: a norm over the tree, a wrapper, somebody else's transformation

Two nodes with equal keys do the same, up to the values of hyperparameters that are arrays or schedules. They share one
compiled program.
"""

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np


Path: TypeAlias = tuple[str, ...]

GIVEN = {"p", "t", "age", "path", "key", "measured", "branches"}
"""What a rule is given if it names it, beside its memory and its input, which come first."""

GIVEN_ONCE = {"count", "t", "age"}
"""What a `PerStep` is given if it names it, beside its own past, which comes first."""


class Same:
    """A key that equals only a key of the very same object."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def key_of(value: Any, depth: int = 0) -> Any:
    """A hashable key, equal for values that compute the same: functions of the same code that captured the same values.

    This is the one place that decides what is equal. Types count: 1 is neither 1.0 nor True. An array equals itself.
    """
    if value is None or isinstance(value, bool | int | str | float | complex | np.dtype):
        return type(value), repr(value) if isinstance(value, float | complex) else value
    if depth > 16:  # a function that captured itself
        return Same(value)
    keys = functools.partial(key_of, depth=depth + 1)
    if isinstance(value, tuple | list):
        return type(value), *map(keys, value)
    if isinstance(value, dict):
        return dict, *((k, keys(v)) for k, v in value.items())
    if isinstance(value, functools.partial):
        return functools.partial, keys(value.func), keys(value.args), keys(value.keywords)
    if isinstance(value, types.FunctionType):
        try:
            captured = [cell.cell_contents for cell in value.__closure__ or ()]
        except ValueError:  # captured before it has a value
            return Same(value)
        module = Same(value.__globals__)
        return value.__code__, module, keys(captured), keys(value.__defaults__), keys(value.__kwdefaults__)
    return getattr(value, "program_key", Same(value))


def is_array(value: Any) -> bool:
    """Whether a hyperparameter is an array, traced or not: an operand of the program, and no part of it."""
    return isinstance(value, jax.Array | np.ndarray | np.generic)


def is_outside(value: Any) -> bool:
    """Whether a hyperparameter is evaluated before the program: an array, or a schedule that is not to be compiled."""
    return is_array(value) or (callable(value) and not getattr(value, "compiles", False))


def _hyper_key(hyper: Mapping[str, Any]) -> Any:
    return tuple((k, "outside" if is_outside(h) else key_of(h)) for k, h in hyper.items())


def _asked(what: str, f: Callable, positional: int, given: set[str], hyper: Mapping[str, Any]) -> tuple[str, ...]:
    """The given names among f's parameters; raises where f and the hyperparameters do not fit."""
    try:
        parameters = list(inspect.signature(f).parameters.values())[positional:]
    except (TypeError, ValueError):  # some compiled functions have no signature
        return ()
    if taken := (GIVEN | GIVEN_ONCE | {"m", "x"}) & set(hyper):
        raise TypeError(f"{what}: {min(taken)!r} is given by the engine and cannot name a hyperparameter")
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return tuple(p.name for p in parameters if p.name in given)
    names = {p.name for p in parameters}
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in given | set(hyper)]
    if missing or not set(hyper) <= names:
        odd = f"asks for {missing[0]!r}" if missing else f"does not ask for {min(set(hyper) - names)!r}"
        raise TypeError(f"{what}: its function {odd}; hyperparameters are {sorted(hyper)}, given are {sorted(given)}")
    return tuple(p.name for p in parameters if p.name in given)


class Node:
    """What all nodes answer."""

    parts: Mapping[str, "Node"] = types.MappingProxyType({})
    leafwise: bool = True  # no array depends on another
    compiles: bool = True  # nothing in it has to run as Python in each step
    remembers: bool = False  # it has an entry in the state

    @functools.cached_property
    def outside(self) -> bool:
        """Whether any hyperparameter has to be evaluated before the program."""
        values = [*getattr(self, "hyper", {}).values()]
        values += [v for h in values if isinstance(h, PerStep) for v in h.hyper.values()]
        return any(map(is_outside, values)) or any(part.outside for part in self.parts.values())

    def walk(self, path: Path = ()) -> Iterator[tuple[Path, "Node"]]:
        """This node and all below it, each with its path: layout, masks and rules are read off this."""
        yield path, self
        for name, part in self.parts.items():
            yield from part.walk((*path, name))


@dataclasses.dataclass(frozen=True, eq=False)
class PerStep:
    """A hyperparameter that is computed once a step, for all arrays: f(…) → value; with an `init`, f(m, …) → (m′, value).

    f asks for what it names: `count` (int32, from 0), `t` and `age` (floats, from 1), and hyperparameters of its own.
    What it remembers is a number, in a slot of the rule that has the hyperparameter's name, or another, {name: init}.
    """

    f: Callable[..., Any]
    init: float | Mapping[str, float] | None = None
    hyper: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    compiles = True

    def __post_init__(self) -> None:
        self.asks  # noqa: B018, which raises where f and the hyperparameters do not fit

    @functools.cached_property
    def asks(self) -> tuple[str, ...]:
        """What it is given."""
        return _asked("per_step", self.f, int(self.init is not None), GIVEN_ONCE, self.hyper)

    @functools.cached_property
    def program_key(self) -> Any:
        """Equal for numbers that are computed alike."""
        return PerStep, key_of(self.f), key_of(self.init), _hyper_key(self.hyper)


@dataclasses.dataclass(frozen=True, eq=False)
class Rule(Node):
    """One line of a paper, on one array: f(x, …) → y; with an `init`, f(m, x, …) → (m′, y).

    `init` has for every slot of the memory a number, or a function of the parameter. `measure(x)` is a few numbers,
    which f is given as `measured`. `real` says what is undefined for complex numbers.
    """

    f: Callable[..., Any]
    init: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    measure: Callable[[Any], Any] | None = None
    dtype: Any = None
    real: str | None = None
    hyper: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.asks  # noqa: B018

    @functools.cached_property
    def asks(self) -> tuple[str, ...]:
        """What it is given."""
        return _asked("rule", self.f, 2 if self.init else 1, GIVEN, {k: v for k, v in self.hyper.items() if k != "seed"})

    @functools.cached_property
    def numbers(self) -> dict[str, tuple[str, float]]:
        """The hyperparameters that depend on their own past, each with its slot and what is in it at first."""
        inits = {k: h.init for k, h in self.hyper.items() if isinstance(h, PerStep) and h.init is not None}
        return {k: next(iter(i.items())) if isinstance(i, Mapping) else (k, i) for k, i in inits.items()}

    @functools.cached_property
    def slots(self) -> set[str]:
        """The names in its part of the state."""
        return {*self.init, *(slot for slot, _ in self.numbers.values())}

    @functools.cached_property
    def remembers(self) -> bool:  # type: ignore[override]
        return bool(self.slots)

    @functools.cached_property
    def program_key(self) -> Any:
        fields = (self.f, dict(self.init), self.measure, None if self.dtype is None else np.dtype(self.dtype), self.real)
        return Rule, *map(key_of, fields), _hyper_key(self.hyper)


@dataclasses.dataclass(frozen=True, eq=False)
class Joined(Node):
    """A node with parts."""

    parts: Mapping[str, Node] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def leafwise(self) -> bool:  # type: ignore[override]
        return all(part.leafwise for part in self.parts.values())

    @functools.cached_property
    def compiles(self) -> bool:  # type: ignore[override]
        return all(part.compiles for part in self.parts.values())

    @functools.cached_property
    def remembers(self) -> bool:  # type: ignore[override]
        return any(part.remembers for part in self.parts.values())

    @functools.cached_property
    def program_key(self) -> Any:
        own = [key_of(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name != "parts"]
        return type(self), *own, *((name, part.program_key) for name, part in self.parts.items())


class Chain(Joined):
    """Parts in series; none is the identity."""

    @functools.cached_property
    def segments(self) -> list[tuple[str | None, Node]]:
        """The parts, neighbours that are leafwise joined to one chain, which has no name."""
        out: list[tuple[str | None, Node]] = []
        for name, part in self.parts.items():
            if not part.leafwise:
                out.append((name, part))
            elif out and out[-1][0] is None:
                out[-1] = None, Chain({**out[-1][1].parts, name: part})
            else:
                out.append((None, Chain({name: part})))
        return out


@dataclasses.dataclass(frozen=True, eq=False)
class Parallel(Joined):
    """The same input through every part; `merge` takes what they return for an array."""

    merge: Callable[..., Any] = max


@dataclasses.dataclass(frozen=True, eq=False)
class Masked(Joined):
    """A part, for the arrays that the mask selects; other arrays pass through."""

    mask: Any = True

    @functools.cached_property
    def program_key(self) -> Any:
        leaves, structure = jax.tree.flatten(self.mask)
        mask = key_of(self.mask) if callable(self.mask) else (structure, key_of(leaves))
        return Masked, mask, *((name, part.program_key) for name, part in self.parts.items())


@dataclasses.dataclass(frozen=True, eq=False)
class Whole(Joined):
    """An update that sees all arrays at once: update(x, state, params, now, **hyper) → (y, state).

    `init(params, **states of the parts)` returns the state, a dict; without an `init` nothing but the parts is
    remembered. The update runs a part by `now.run(name, …)`. `clocked` parts run less often than this node, so each has
    a clock of its own. `reads` names the extra arguments of the update; None is unknown, as it is of a foreign
    transformation. A `narrow` update sees arrays in the dtypes they come in; it cannot stand inside others. `compiled`
    says that the update may be compiled. `communicates` and `stacked` tell wrappers that the update meets other
    workers, and that it takes the gradients of several tasks.
    """

    init: Callable[..., Any] | None = None
    update: Callable[..., tuple[Any, Any]] = max  # type: ignore[assignment]
    clocked: bool = False
    reads: tuple[str, ...] | None = ()
    narrow: bool = False
    compiled: bool = True
    foreign: bool = False
    communicates: bool = False
    stacked: bool = False
    hyper: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    leafwise = False  # type: ignore[assignment]

    @functools.cached_property
    def compiles(self) -> bool:  # type: ignore[override]
        return self.compiled and self.reads == () and all(part.compiles for part in self.parts.values())

    @functools.cached_property
    def remembers(self) -> bool:  # type: ignore[override]
        return self.init is not None or any(part.remembers for part in self.parts.values())

    @functools.cached_property
    def program_key(self) -> Any:
        fields = (f for f in dataclasses.fields(self) if f.name not in ("parts", "hyper"))
        own = [key_of(getattr(self, f.name)) for f in fields]
        return Whole, *own, _hyper_key(self.hyper), *((k, part.program_key) for k, part in self.parts.items())


def rule(
    f: Callable[..., Any],
    init: Any = None,
    measure: Callable[[Any], Any] | None = None,
    dtype: Any = None,
    real: str | None = None,
    **hyper: Any,
) -> Rule:
    """A `Rule`. One that has a single memory, of an `init` that is no dict, has it as an array in place of a dict.

    Hyperparameters are numbers, arrays, schedules count ↦ value (from 0), or made by `per_step`. The function gets them
    by name; arrays come in the precision of x. The memory is kept in at least float32, or in `dtype`.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import piece, rule
    >>> @piece
    ... def decay(weight_decay):
    ...     return rule(lambda x, p, weight_decay: x + weight_decay * p, weight_decay=weight_decay)
    >>> tx, p = decay(0.5), jnp.array([2.0])
    >>> tx.update(jnp.array([1.0]), tx.init(p), p)[0]
    Array([2.], dtype=float32)
    """
    slots = {} if init is None else init if isinstance(init, dict) else {"memory": init}
    return Rule(f, slots, measure, dtype, real, hyper)


def per_step(f: Callable[..., Any], init: float | Mapping[str, float] | None = None, **hyper: Any) -> PerStep:
    """A hyperparameter that is computed once a step from the time and its own past; see `PerStep`.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import piece, rule
    >>> @piece
    ... def halved():
    ...     return rule(lambda x, share: share * x, share=per_step(lambda m: (m / 2, m), init=1.0))
    >>> tx = halved()
    >>> _, state = tx.update(jnp.ones(1), tx.init(jnp.ones(1)))
    >>> tx.update(jnp.ones(1), state)[0]
    Array([0.5], dtype=float32)
    """
    return PerStep(f, init, hyper)
