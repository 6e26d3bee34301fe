"""The interpreter: what the nodes of a recipe do to a tree of arrays.

`start` and `advance` are the whole optimizer's: they hold the clock and the dtypes. `initial` and `walk` are those of a
node anywhere in it. A node without anything to run as Python is one compiled program, jitted or not; within a program a
leafwise node is one function of one array, traced once for each shape.

The state is {"count": int32, "state": …}. Below "state" it is nested dicts under the names of the parts. A rule has a
dict of slots, each a tree like the parameters or a number; what remembers nothing has no entry.
"""

import dataclasses
import functools
import weakref
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree

from gdo_optax.engine import xla
from gdo_optax.engine.nodes import Chain, Masked, Node, Parallel, Path, PerStep, Rule, Whole, is_outside
from gdo_optax.engine.numerics import as_dtype, as_real, wide_dtype
from gdo_optax.engine.trees import (
    absent,
    check_fits,
    check_floats,
    columns,
    each,
    is_complex,
    map_foreign,
    marks,
    number_dtype,
    of_numbers,
    overlaid,
    path_name,
    rounded,
    selected,
    widened,
)


@dataclasses.dataclass(frozen=True)
class Now:
    """What a node knows beside arrays and its state.

    `count` is the clock: the number of updates so far. `age` is the number since the memories began. Where `keep` is
    False, or a row of the tree `rows`, nothing that is remembered changes; the output there means nothing. `branches`
    are the outputs of the branches before this one, `extra` the arguments that the caller of the update has added.
    """

    count: Array
    age: Array
    keep: Array | None = None
    rows: ArrayTree | None = None
    branches: Mapping[str, ArrayTree] = dataclasses.field(default_factory=dict)
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    values: Mapping[Path, Mapping[str, Any]] = dataclasses.field(default_factory=dict)  # evaluated before the program
    path: Path = ()
    program: bool = False  # whether this is inside of a compiled program
    whole: Whole | None = None  # the node whose update this is given to

    def but(self, **changes: Any) -> "Now":
        """The same with changes."""
        return dataclasses.replace(self, **changes)

    def run(self, name: str, x: ArrayTree, state: Any, params: Any = None, keep: Any = None) -> tuple[ArrayTree, Any]:
        """The output and the next state of a part; where `keep` is False its state stays as it is."""
        assert self.whole is not None
        both = keep if self.keep is None else self.keep if keep is None else self.keep & keep
        now, part = self.but(keep=both, path=(*self.path, name)), self.whole.parts[name]
        if not self.whole.clocked:
            return walk(part, x, state, params, now)
        count = state["inner_count"]
        y, inner = walk(part, x, state["state"], params, now.but(count=count, age=count))
        return y, {"inner_count": _next(count, both), "state": inner}

    def value(self, path: Path, name: str, hyper: Any) -> Any:
        """A hyperparameter now."""
        known = self.values.get((*self.path, *path), {})
        return known[name] if name in known else hyper(self.count) if callable(hyper) else hyper


def start(node: Node, params: ArrayTree) -> dict[str, Any]:
    """The state of an optimizer before its first update."""
    params = jax.tree.map(lambda p: None if absent(p) else p, params, is_leaf=absent)
    state, _ = initial(node, params if getattr(node, "narrow", False) else widened(params))
    return {"count": jnp.zeros((), jnp.int32), "state": state}


def advance(node: Node, x: ArrayTree, state: Any, params: Any, extra: Mapping[str, Any]) -> tuple[ArrayTree, Any]:
    """An optimizer's update, and its next state."""
    if not isinstance(state, dict) or set(state) != {"count", "state"}:
        found = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"the state is another optimizer's: it holds {found}, not ['count', 'state']: init makes it")
    check_floats(x)
    if not node.compiles:
        return _advance(node, x, state, params, {}, extra, program=False)
    return program_of(node).advance(x, state, params, outside(node, state["state"], state["count"]))


def _advance(
    node: Node, x: ArrayTree, state: Any, params: Any, values: Any, extra: Any, program: bool
) -> tuple[ArrayTree, Any]:
    count, narrow = state["count"], getattr(node, "narrow", False)
    now = Now(count, count, extra=extra, values=values, program=program)
    wide = (x, params) if narrow else (widened(x, params), None if params is None else widened(params))
    y, body = walk(node, wide[0], state["state"], wide[1], now)
    return y if narrow else rounded(y, x, params), {"count": _next(count), "state": body}


def _next(count: Array, keep: Array | None = None) -> Array:
    return optax.safe_increment(count) if keep is None else jnp.where(keep, optax.safe_increment(count), count)


# ------------------------------------------------------------------------------------------------ the initial state


def initial(node: Node, like: ArrayTree) -> tuple[dict[str, Any], ArrayTree]:
    """A node's state, and what its output is like: the parameters, real where they are complex and it makes them so."""
    if isinstance(node, Rule):
        return _initial_rule(node, like)
    if isinstance(node, Masked):
        ((name, part),) = node.parts.items()
        state, after = initial(part, selected(node.mask, like))
        return ({name: state} if part.remembers else {}), overlaid(node.mask, after, like)
    states, outputs = {}, []
    for name, part in node.parts.items():
        states[name], after = initial(part, like)
        outputs.append(after)
        like = after if isinstance(node, Chain) else like
        if isinstance(node, Whole) and node.clocked:
            states[name] = {"inner_count": jnp.zeros((), jnp.int32), "state": states[name]}
    if isinstance(node, Whole):
        return (node.init(like, **states) if node.init else _kept(node, states)), like
    if isinstance(node, Parallel) and any(map(is_complex, jax.tree.leaves(like))):
        like = jax.tree.map(lambda *a: jax.eval_shape(node.merge, *a), *outputs)
    return _kept(node, states), like


def _kept(node: Node, states: dict[str, Any]) -> dict[str, Any]:
    return {name: state for name, state in states.items() if node.parts[name].remembers}


def _initial_rule(rule: Rule, like: ArrayTree) -> tuple[dict[str, Any], ArrayTree]:
    for path, p in jax.tree.leaves_with_path(like):
        if rule.real and is_complex(p):
            raise TypeError(
                f"{rule.real} is defined of real numbers, and the parameter {path_name(path)!r} is {p.dtype}: wrap the "
                "optimizer, optax.contrib.split_real_and_imaginary(…)"
            )

    def slot(init: Any) -> ArrayTree:
        def first(p: Any) -> Any:
            m = init(p) if callable(init) else jnp.full_like(p, init, dtype=wide_dtype(p))
            m = jnp.array(m, copy=True) if m is p and isinstance(p, jax.Array) else m  # or both could not be donated
            return m if m is None or rule.dtype is None else m.astype(rule.dtype)

        return jax.tree.map(first, like)

    state = {name: slot(init) for name, init in rule.init.items()}
    numbers = {slot: jnp.asarray(first, number_dtype(like)) for slot, first in rule.numbers.values()}
    return state | numbers, jax.tree.map(lambda p: _output(rule, p) if is_complex(p) else p, like)


def _output(rule: Rule, p: Any) -> Any:
    """What the rule makes of a complex array, as a shape."""

    def once(x: Array) -> Array:
        one = jnp.ones((), jnp.finfo(x.dtype).dtype)
        h = {k: one if isinstance(h, PerStep) or is_outside(h) or callable(h) else h for k, h in rule.hyper.items()}
        m = {name: init(x) if callable(init) else jnp.full_like(x, init) for name, init in rule.init.items()}
        key, given = jax.random.key(0), {"p": x, "t": one, "age": one, "path": "", "branches": {}}
        return _call(rule, xla.Value(x), m, h, given | {"key": key})[1].array

    with jax.numpy_dtype_promotion("standard"):
        return jax.eval_shape(once, p)


# --------------------------------------------------------------------------------------------------- the compiled part


class Program:
    """What is compiled of a node: shared by all nodes with its key, and kept no longer than they are."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.advance = jax.jit(lambda x, state, params, values: _advance(node, x, state, params, values, {}, True))
        self.walk = jax.jit(self._walk)
        self.one = jax.jit(functools.partial(_one, node), static_argnums=0)

    def _walk(self, x: ArrayTree, state: Any, params: Any, known: dict[str, Any]) -> tuple[ArrayTree, Any]:
        return walk(self.node, x, state, params, Now(**known, program=True))


_programs: weakref.WeakValueDictionary[Any, Program] = weakref.WeakValueDictionary()


def program_of(node: Node) -> Program:
    """The node's program: made once for all nodes that compute the same."""
    found = vars(node).get("_program")
    if found is None:
        found = _programs.get(node.program_key)
        if found is None:
            found = _programs[node.program_key] = Program(node)
        vars(node)["_program"] = found
    return found


def outside(node: Node, state: Any, count: Array) -> dict[Path, dict[str, Any]]:
    """The hyperparameters that are no part of the program: arrays, and schedules that are called in each step.

    Those of a part with a clock of its own are evaluated at its time.
    """
    found: dict[Path, dict[str, Any]] = {}

    def gather(path: Path, hyper: Mapping[str, Any], count: Array) -> None:
        found[path] = {k: jnp.asarray(h(count) if callable(h) else h) for k, h in hyper.items() if is_outside(h)}
        for name, h in hyper.items():
            if isinstance(h, PerStep):
                gather((*path, name), h.hyper, count)

    def visit(node: Node, path: Path, state: Any, count: Array) -> None:
        if not node.outside:
            return
        gather(path, getattr(node, "hyper", {}), count)
        for name, part in node.parts.items():
            own = state.get(name, {}) if isinstance(state, dict) else {}
            if isinstance(node, Whole) and node.clocked:
                visit(part, (*path, name), own["state"], own["inner_count"])
            else:
                visit(part, (*path, name), own, count)

    visit(node, (), state, count)
    return {path: values for path, values in found.items() if values}


# ----------------------------------------------------------------------------------------------------- the whole tree


def walk(node: Node, x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
    """The output of a node, and its next state."""
    if node.compiles and not now.program:
        known = {k: getattr(now, k) for k in ("count", "age", "keep", "rows", "branches")}
        values = outside(node, state, now.count)
        return program_of(node).walk(x, state, params, {**known, "values": values})
    if isinstance(node, Whole):
        return _whole(node, x, state, params, now)
    check_state(node, state)
    return (_leaves if node.leafwise else _parts)(node, x, state, params, now)


def check_state(node: Node, state: Any) -> None:
    """Raises where a state is another node's."""
    if isinstance(node, Rule):
        wanted = node.slots
    else:
        wanted = {name for name, part in node.parts.items() if part.remembers}
    if not isinstance(state, dict) or set(state) != wanted:
        found = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"the state is another optimizer's: it holds {found}, not {sorted(wanted)}")


def _parts(node: Node, x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
    """A node that joins others, of which one sees all arrays."""
    new: dict[str, Any] = {}

    def part(name: str | None, part: Node, x: ArrayTree, params: Any, now: Now) -> ArrayTree:
        if name is None:  # a segment of a chain
            y, kept = walk(part, x, {k: state[k] for k in part.parts if k in state}, params, now)
            new.update(kept)
            return y
        y, kept = walk(part, x, state.get(name, {}), params, now.but(path=(*now.path, name)))
        new.update({name: kept} if part.remembers else {})
        return y

    if isinstance(node, Chain):
        for name, each_part in node.segments:
            x = part(name, each_part, x, params, now)
        return x, new
    if isinstance(node, Parallel):
        out: dict[str, ArrayTree] = {}
        for name, branch in node.parts.items():
            out[name] = part(name, branch, x, params, now.but(branches={**now.branches, **out}))
        return each(node.merge, *out.values()), new
    assert isinstance(node, Masked)
    ((name, inner),) = node.parts.items()
    beside = None if params is None else selected(node.mask, params)
    return overlaid(node.mask, part(name, inner, selected(node.mask, x), beside, now), x), new


def _whole(node: Whole, x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
    hyper = {k: now.value((), k, h) for k, h in node.hyper.items()}
    y, new = node.update(x, state, params, now.but(whole=node), **hyper)
    if (now.keep is None and now.rows is None) or not node.remembers:
        return y, new
    if node.foreign:
        return y, _kept_foreign(node, x, new, state, now)
    own = {k: _kept_own(x, new[k], state[k], now) for k in new if k not in node.parts}
    return y, {**new, **own}


def _kept_own(x: ArrayTree, new: Any, old: Any, now: Now) -> Any:
    alike = jax.tree.structure(x, is_leaf=absent) == jax.tree.structure(new, is_leaf=absent)
    if now.rows is None or not alike:
        return jax.tree.map(lambda a, b: _select(now.keep, None, a, b), new, old)
    return each(lambda a, b, row: _select(now.keep, row, a, b), new, old, now.rows)


def _kept_foreign(node: Whole, x: ArrayTree, new: Any, old: Any, now: Now) -> Any:
    if now.rows is not None:
        new = map_foreign(node.init, lambda row, a, b: _select(None, row, a, b), now.rows, new, old)
    return jax.tree.map(lambda a, b: _select(now.keep, None, a, b), new, old)


def _select(keep: Array | None, row: Array | None, new: Array, old: Array) -> Array:
    """The new memory, the old one where it is to be kept as it is: rows are those of arrays of their own shape."""
    wanted = [w for w in (keep, row) if w is not None and (w is keep or w.shape == new.shape)]
    return jnp.where(functools.reduce(jnp.logical_and, wanted), new, old) if wanted else new


# ---------------------------------------------------------------------------------------------------------- one array


def _leaves(node: Node, x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
    """A leafwise node: one function of one array, called for each, and the numbers that all of them share."""
    rules = [(path, n) for path, n in node.walk() if isinstance(n, Rule)]
    asked = {name for _, rule in rules for name in rule.asks}
    if "p" in asked and params is None:
        raise ValueError("this transformation reads the parameters: call update(updates, state, params)")
    values, numbers = {}, {}
    for path, rule in rules:
        check_state(rule, own := _get(state, path))
        values[path], numbers[path] = _numbers(rule, path, own, now)
    slots = [(path, slot) for path, rule in rules for slot in rule.init]
    memories = [_get(state, path)[slot] for path, slot in slots]
    beside = [t for t in (params, now.rows) if t is not None]
    structure, rows = columns(x, *memories, *beside, *now.branches.values())
    check_fits(x, rows, [rule.init[slot] for path, rule in rules for slot in rule.init], params is not None)
    bits, large = _bits(node, x), xla.is_large([row[0] for row in rows if not absent(row[0])])

    def leaf(i: int, x: Any, *parts: Any) -> tuple[Any, list[Any]]:
        if absent(x):
            return x, list(parts[: len(slots)])
        kept, rest = list(parts[: len(slots)]), list(parts[len(slots) :])
        p = rest.pop(0) if params is not None else None
        row = rest.pop(0) if now.rows is not None else None
        name = names[i] if "path" in asked else None
        fixed = tuple((path, mask[i]) for path, mask in bits.items()), large and x.size >= xla.SMALL, name
        branches = dict(zip(now.branches, rest, strict=True))
        place = (now.count, i) if "key" in asked else None
        return program_of(node).one(fixed, x, p, kept, values, now.keep, row, branches, place)

    names = [path_name(path) for path, _ in jax.tree.leaves_with_path(x, is_leaf=absent)] if "path" in asked else []
    with of_numbers((x, params)):
        out = [leaf(i, *row) for i, row in enumerate(rows)]
    new: dict[str, Any] = {}
    for path, rule in rules:
        if rule.remembers:
            _put(new, path, dict(numbers[path]))
    for k, (path, slot) in enumerate(slots):
        _get(new, path)[slot] = structure.unflatten([kept[k] for _, kept in out])
    return structure.unflatten([y for y, _ in out]), new


def _get(tree: Any, path: Path) -> Any:
    return functools.reduce(lambda t, k: t.get(k, {}), path, tree)


def _put(tree: dict[str, Any], path: Path, value: dict[str, Any]) -> None:
    if not path:
        tree.update(value)
    else:
        _put(tree.setdefault(path[0], {}), path[1:], value)


def _bits(node: Node, x: ArrayTree) -> dict[Path, list[bool]]:
    """What every mask selects, array by array, inside of the masks around it."""
    found: dict[Path, list[bool]] = {}

    def visit(node: Node, path: Path, x: ArrayTree) -> None:
        if isinstance(node, Masked):
            found[path] = marks(node.mask, x)
            x = selected(node.mask, x)
        for name, part in node.parts.items():
            visit(part, (*path, name), x)

    visit(node, (), x)
    return found


def _numbers(rule: Rule, path: Path, state: Any, now: Now) -> tuple[dict[str, Any], dict[str, Array]]:
    """What a rule is given that is the same for all arrays, and the numbers that it remembers."""
    t, values, kept = optax.safe_increment(now.count).astype(float), {}, {}
    age = optax.safe_increment(now.age).astype(float)
    for name, h in rule.hyper.items():
        if isinstance(h, PerStep):
            given = {k: now.value((*path, name), k, v) for k, v in h.hyper.items()}
            given |= {k: v for k, v in {"count": now.count, "t": t, "age": age}.items() if k in h.asks}
            if h.init is None:
                values[name] = h.f(**given)
                continue
            slot, _ = rule.numbers[name]
            m, values[name] = h.f(state[slot], **given)
            kept[slot] = _select(now.keep, None, jnp.asarray(m, state[slot].dtype), state[slot])
        elif callable(h) or is_outside(h):
            values[name] = now.value(path, name, h)
    return values | {k: v for k, v in {"t": t, "age": age}.items() if k in rule.asks}, kept


@dataclasses.dataclass
class Leaf:
    """What the rules of one array read, beside the array itself, and what they write."""

    memories: dict[Path, dict[str, Any]]
    values: dict[Path, dict[str, Any]]
    given: dict[str, Any]
    keep: Array | None
    row: Array | None
    bits: dict[Path, bool]
    branches: dict[str, xla.Value]
    key: Any
    new: dict[Path, dict[str, Any]] = dataclasses.field(default_factory=dict)


def _one(
    node: Node, fixed: Any, x: Array, p: Any, kept: Any, values: Any, keep: Any, row: Any, branches: Any, place: Any
) -> tuple[Array, list[Any]]:
    """A leafwise node on one array."""
    bits, large, name = fixed
    slots = [(path, slot) for path, n in node.walk() if isinstance(n, Rule) for slot in n.init]
    memories: dict[Path, dict[str, Any]] = {}
    for (path, slot), m in zip(slots, kept, strict=True):
        memories.setdefault(path, {})[slot] = m

    def key(seed: Any) -> Any:
        count, i = place
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), count), i)

    known = {k: xla.Value(b, stored=large) for k, b in branches.items()}
    leaf = Leaf(memories, values, {"p": p, "path": name}, keep, row, dict(bits), known, key)
    with of_numbers((x, p)):
        y = _step(node, (), xla.Value(x, stored=large), leaf)
    return y.array, [leaf.new.get(path, memories[path])[slot] for path, slot in slots]


def _step(node: Node, path: Path, x: xla.Value, leaf: Leaf) -> xla.Value:
    """A node on one array."""
    if isinstance(node, Rule):
        return _rule(node, path, x, leaf)
    if isinstance(node, Chain):
        for name, part in node.parts.items():
            x = _step(part, (*path, name), x, leaf)
        return x
    if isinstance(node, Masked):
        ((name, part),) = node.parts.items()
        return _step(part, (*path, name), x, leaf) if leaf.bits[path] else x
    assert isinstance(node, Parallel)
    out, before = {}, leaf.branches
    for name, branch in node.parts.items():
        source = x if branch.parts else x.for_another()  # an empty branch is one more consumer of its input
        out[name] = _step(branch, (*path, name), source, leaf)
        leaf.branches = {**leaf.branches, name: out[name]}
    leaf.branches = before
    return xla.joined(node.merge, list(out.values()))


def _rule(rule: Rule, path: Path, x: xla.Value, leaf: Leaf) -> xla.Value:
    given = leaf.given | {"branches": {k: v.array for k, v in leaf.branches.items()}}
    h = {k: v for k, v in rule.hyper.items() if not (callable(v) or is_outside(v))} | leaf.values.get(path, {})
    given |= {k: h.pop(k) for k in ("t", "age") if k in rule.asks}
    if "key" in rule.asks:
        given["key"] = leaf.key(h.pop("seed", 0))
    m = leaf.memories.get(path, {})
    new, y = _call(rule, x, m, h, given)
    if rule.init:
        stored = {k: None if v is None else v.astype(m[k].dtype) for k, v in new.items()}
        stored = {k: None if v is None else _select(leaf.keep, leaf.row, v, m[k]) for k, v in stored.items()}
        leaf.new[path] = stored
        for k, v in new.items():  # an output that is remembered is read from the memory: one array is written, not two
            if v is y.array and stored[k].dtype == v.dtype:
                return xla.Value(stored[k], stored=x.recomputable)
    return next((v for v in leaf.branches.values() if v.array is y.array), y)


def _call(rule: Rule, x: xla.Value, m: dict[str, Any], h: dict[str, Any], given: dict[str, Any]) -> Any:
    """The rule's new memory, as a dict, and its output."""
    real = jnp.finfo(x.array.dtype).dtype
    h = {k: as_real(v, x.array.dtype) for k, v in h.items()}
    h |= {k: as_dtype(v, real) if k in ("t", "age") else v for k, v in given.items() if k in rule.asks}
    if rule.measure:
        h["measured"] = x.measured(rule.measure)
    if not rule.init:
        return {}, x.then(lambda a: rule.f(a, **h))
    wide = {k: None if a is None else a.astype(x.array.dtype if is_complex(a) else real) for k, a in m.items()}
    single = set(rule.init) == {"memory"}
    new, y = rule.f(wide["memory"] if single else wide, x.array, **h)
    new = {"memory": new} if single else new
    if callable(y):  # an output as a function of the input can be recomputed
        return new, x.then(y)
    return new, xla.Value(y)
