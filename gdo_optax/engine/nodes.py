"""What a method is, as data. Nothing here computes: the interpreter walks the nodes.

    Rule       one line of a paper, on one array
    Chain      parts in series
    Parallel   the same input through every part; the outputs are merged array by array
    Masked     a part, on some arrays only
    Whole      an update that sees all arrays at once: a norm over the tree, a wrapper, somebody else's transformation

Nodes with equal keys compute the same, up to the values of hyperparameters that are arrays or schedules: they share one
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
"""What the function of a rule is given if it names it, after its memory and its input."""

GIVEN_PER_STEP = {"count", "t", "age"}
"""What the function of a `PerStep` is given if it names it, after its own past."""


class Same:
    """A key that equals only a key of the same object."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def key_of(value: Any, depth: int = 0) -> Any:
    """A hashable key, equal for values that compute the same: functions of the same code that captured equal values.

    This is the one place that decides what computes the same. Types count: 1 is neither 1.0 nor True. Arrays and all
    else that is not known here are compared by identity.
    """
    if value is None or isinstance(value, bool | int | str | float | complex):
        return type(value), repr(value) if isinstance(value, float | complex) else value
    keys = functools.partial(key_of, depth=depth + 1)
    if depth > 16:  # a function that captured itself
        return Same(value)
    if isinstance(value, tuple | list):
        return type(value), *map(keys, value)
    if isinstance(value, Mapping):
        return Mapping, *((k, keys(v)) for k, v in value.items())
    if isinstance(value, functools.partial):
        return functools.partial, keys(value.func), keys(value.args), keys(value.keywords)
    if isinstance(value, types.FunctionType):
        try:
            captured = [cell.cell_contents for cell in value.__closure__ or ()]
        except ValueError:  # a variable without a value yet
            return Same(value)
        return (
            value.__code__,
            Same(value.__globals__),
            keys(captured),
            keys(value.__defaults__),
            keys(value.__kwdefaults__),
        )
    return getattr(value, "program_key", Same(value))


def is_array(value: Any) -> bool:
    """Whether a hyperparameter is an array: an operand of the program, and no part of it."""
    return isinstance(value, jax.Array | np.ndarray | np.generic)


def is_outside(value: Any) -> bool:
    """Whether a hyperparameter is evaluated before the program: an array, or a schedule that is not to be compiled."""
    return is_array(value) or (callable(value) and not getattr(value, "compiles", False))


def _hyper_key(hyper: Mapping[str, Any]) -> Any:
    return tuple((k, "outside" if is_outside(h) else key_of(h)) for k, h in hyper.items())


def _asked(f: Callable, positional: int, given: set[str], hyper: Mapping[str, Any]) -> tuple[str, ...]:
    """The given names among f's parameters; raises TypeError where f and the hyperparameters do not fit."""
    if taken := (GIVEN | GIVEN_PER_STEP | {"m", "x"}) & set(hyper):
        raise TypeError(f"the engine gives {min(taken)!r} to every rule, so no hyperparameter can have this name")
    try:
        parameters = list(inspect.signature(f).parameters.values())[positional:]
    except (TypeError, ValueError):  # some compiled functions have no signature
        return ()
    names = {p.name for p in parameters}
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in given | set(hyper)]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return tuple(names & given)
    if missing or not set(hyper) <= names:
        odd = f"asks for {missing[0]!r}" if missing else f"does not ask for {min(set(hyper) - names)!r}"
        raise TypeError(f"the function of this rule {odd}; it can have {sorted(given)} and {sorted(hyper)}")
    return tuple(p.name for p in parameters if p.name in given)


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """What all nodes answer; `parts` are the nodes inside, by name."""

    parts: Mapping[str, "Node"] = dataclasses.field(default_factory=dict)
    narrow = False

    @functools.cached_property
    def leafwise(self) -> bool:
        """Whether no array depends on another."""
        return not isinstance(self, Whole) and all(part.leafwise for part in self.parts.values())

    @functools.cached_property
    def compiles(self) -> bool:
        """Whether nothing in it has to run as Python in each step."""
        return all(part.compiles for part in self.parts.values())

    @functools.cached_property
    def remembers(self) -> bool:
        """Whether it has an entry in the state."""
        return any(part.remembers for part in self.parts.values())

    @functools.cached_property
    def outside(self) -> bool:
        """Whether any hyperparameter is evaluated before the program."""
        hyper = list(getattr(self, "hyper", {}).values())
        hyper += [v for h in hyper if isinstance(h, PerStep) for v in h.hyper.values()]
        return any(map(is_outside, hyper)) or any(part.outside for part in self.parts.values())

    @functools.cached_property
    def program_key(self) -> Any:
        """Equal for nodes that compute the same."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return type(self), *(_hyper_key(v) if k == "hyper" else key_of(v) for k, v in fields.items())

    @functools.cached_property
    def rules(self) -> list[tuple[Path, "Rule"]]:
        """The rules of a leafwise node, each with its path."""
        return [(path, node) for path, node in self.walk() if isinstance(node, Rule)]

    def walk(self, path: Path = ()) -> Iterator[tuple[Path, "Node"]]:
        """This node and all below it, each with its path: layout, masks and rules are read off this."""
        yield path, self
        for name, part in self.parts.items():
            yield from part.walk((*path, name))


@dataclasses.dataclass(frozen=True, eq=False)
class PerStep:
    """A hyperparameter that is computed once a step, for all arrays; see `per_step`."""

    f: Callable[..., Any]
    init: float | Mapping[str, float] | None = None
    hyper: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    asks: tuple[str, ...] = dataclasses.field(init=False, default=())
    compiles = True

    def __post_init__(self) -> None:
        vars(self)["asks"] = _asked(self.f, int(self.init is not None), GIVEN_PER_STEP, self.hyper)

    @functools.cached_property
    def program_key(self) -> Any:
        """Equal for numbers that are computed alike."""
        return PerStep, key_of(self.f), key_of(self.init), _hyper_key(self.hyper)


@dataclasses.dataclass(frozen=True, eq=False)
class Rule(Node):
    """One line of a paper, on one array; made by `rule`.

    >>> rule(lambda x, factor: factor * x, factor=2.0).asks
    ()
    """

    f: Callable[..., Any] = max
    init: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    measure: Callable[[Any], Any] | None = None
    dtype: Any = None
    real: str | None = None
    hyper: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    asks: tuple[str, ...] = dataclasses.field(init=False, default=())

    def __post_init__(self) -> None:
        named = {k: v for k, v in self.hyper.items() if k != "seed"}  # which the key is made of
        vars(self)["asks"] = _asked(self.f, 2 if self.init else 1, GIVEN, named)

    @functools.cached_property
    def numbers(self) -> dict[str, tuple[str, float]]:
        """The hyperparameters that depend on their own past, each with its slot and the slot's first value."""
        inits = {k: h.init for k, h in self.hyper.items() if isinstance(h, PerStep) and h.init is not None}
        return {k: next(iter(i.items())) if isinstance(i, Mapping) else (k, i) for k, i in inits.items()}

    @functools.cached_property
    def slots(self) -> set[str]:
        """The names in its part of the state."""
        return {*self.init, *(slot for slot, _ in self.numbers.values())}

    @functools.cached_property
    def remembers(self) -> bool:
        """Whether it has an entry in the state."""
        return bool(self.slots)


class Chain(Node):
    """Parts in series; none is the identity."""

    @functools.cached_property
    def segments(self) -> list[tuple[str | None, Node]]:
        """The parts; neighbours that are leafwise are one chain, without a name."""
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
class Parallel(Node):
    """The same input through every part; `merge` takes their outputs for one array."""

    merge: Callable[..., Any] = max


@dataclasses.dataclass(frozen=True, eq=False)
class Masked(Node):
    """A part, for the arrays that the mask selects; other arrays pass through."""

    mask: Any = True


@dataclasses.dataclass(frozen=True, eq=False)
class Whole(Node):
    """An update that sees all arrays at once: update(x, state, params, now, **hyper) → (y, state).

    `init(params, **states of the parts)` returns the state, a dict; without an `init` only the parts are remembered.
    The update runs a part by `now.run(name, …)`. Parts that run less often than this node are `clocked`: each has a
    clock of its own. `reads` names the extra arguments that the update needs; None is unknown. A `narrow` update gets
    arrays in their own dtypes, so only another narrow node may stand around it. `compiled=False` runs the update as
    Python where nothing else compiles it. `rewrites` says that the update changes the states of its parts.
    `communicates` and `stacked` tell wrappers that the update meets other workers, and that it takes the stacked
    gradients of several tasks.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from gdo_optax import piece
    >>> @piece
    ... def sum_of_all():
    ...     def update(x, state, params, now):
    ...         total = sum(jnp.sum(a) for a in jax.tree.leaves(x))
    ...         return jax.tree.map(lambda a: jnp.full_like(a, total), x), state
    ...     return Whole(update=update)
    >>> tx = sum_of_all()
    >>> tx.update([jnp.ones(2), jnp.ones(1)], tx.init(None))[0]
    [Array([3., 3.], dtype=float32), Array([3.], dtype=float32)]
    """

    init: Callable[..., Any] | None = None
    update: Callable[..., tuple[Any, Any]] = max
    clocked: bool = False
    reads: tuple[str, ...] | None = ()
    narrow: bool = False
    compiled: bool = True
    rewrites: bool = False
    foreign: bool = False
    communicates: bool = False
    stacked: bool = False
    hyper: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def compiles(self) -> bool:
        """Whether nothing in it has to run as Python in each step."""
        return self.compiled and self.reads == () and all(part.compiles for part in self.parts.values())

    @functools.cached_property
    def remembers(self) -> bool:
        """Whether it has an entry in the state."""
        return self.init is not None or any(part.remembers for part in self.parts.values())


def rule(
    f: Callable[..., Any],
    /,
    init: Any = None,
    measure: Callable[[Any], Any] | None = None,
    dtype: Any = None,
    real: str | None = None,
    **hyper: Any,
) -> Rule:
    """One line of a paper, as a function of one array that asks for what it names.

        f(x, …) → y             without an `init`
        f(m, x, …) → (m′, y)    with one

    After memory and input, f may name `p` (the parameter), `t` (the step, 1, 2, …), `age` (steps since the memory
    began), `path`, `key` (random, made from the hyperparameter `seed`), `measured`, `branches`, and hyperparameters:
    numbers, arrays, schedules count ↦ value, or `per_step` ones. Arrays arrive in the precision of x.

    `init` is a number, a function of the parameter, or a dict of these, one for each slot of a memory that is then a
    dict. A memory is kept in at least float32, or in `dtype`. `measure(x)` is a few numbers such as a norm; f gets them
    as `measured`. `real` names what is undefined for complex numbers, which `init` then refuses.

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
    return Rule({}, f, slots, measure, None if dtype is None else np.dtype(dtype), real, hyper)


def per_step(f: Callable[..., Any], /, init: float | Mapping[str, float] | None = None, **hyper: Any) -> PerStep:
    """A hyperparameter that is computed once a step: f(…) → value; with an `init`, f(m, …) → (m′, value).

    f may name `count` (from 0), `t` and `age` (from 1), and hyperparameters of its own. Its memory is one number, in a
    slot of the rule that has the hyperparameter's name, or another: `init={"weight": 0.0}`.

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
