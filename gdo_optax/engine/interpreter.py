"""The interpreter: what the nodes of a recipe do to a tree of arrays.

`advance` is the whole optimizer's update: it holds the clock and the dtypes. `walk` is that of a node anywhere in it. A
node without anything to run as Python is one compiled program, jitted or not, and in a program a leafwise node is one
function of one array, traced once for each shape.
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
from gdo_optax.engine.numerics import as_dtype, as_real
from gdo_optax.engine.states import map_slots
from gdo_optax.engine.trees import (
    absent,
    as_none,
    check_fits,
    check_floats,
    columns,
    each,
    is_complex,
    is_numeric,
    marks,
    of_numbers,
    overlaid,
    path_name,
    restored,
    rounded,
    selected,
    widened,
)


@dataclasses.dataclass(frozen=True)
class Now:
    """What a node knows beside arrays and its state.

    `count` is the clock: the number of updates so far; `age` is their number since the memories began. Where `keep` is
    False, or a row in the tree `rows`, no memory changes, and the output there means nothing. `branches` are outputs of
    the branches before this one, `extra` the arguments that the caller of the update has added.
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
        keep = keep if self.keep is None else self.keep if keep is None else self.keep & keep
        now, part = self.but(keep=keep, path=(*self.path, name)), self.whole.parts[name]
        if not self.whole.clocked:
            return walk(part, x, state, params, now)
        count = state["inner_count"]
        y, inner = walk(part, x, state["state"], params, now.but(count=count, age=count))
        return y, {"inner_count": _select(keep, None, optax.safe_increment(count), count), "state": inner}

    def kept(self, new: Any, old: Any) -> Any:
        """The new memories, or the old ones where `keep` is False."""
        return jax.tree.map(functools.partial(_select, self.keep, None), new, old)

    def value(self, path: Path, name: str, hyper: Any) -> Any:
        """A hyperparameter now."""
        known = self.values.get((*self.path, *path), {})
        return known[name] if name in known else hyper(self.count) if callable(hyper) else hyper


def advance(node: Node, x: ArrayTree, state: Any, params: Any, extra: Mapping[str, Any]) -> tuple[ArrayTree, Any]:
    """An optimizer's update, and its next state."""
    _check_state(state, {"count", "state"})
    check_floats(x)
    if not node.compiles:
        return _advance(node, x, state, params, Now(state["count"], state["count"], extra=extra))
    return program_of(node).advance(x, state, _arrays(params), outside(node, state["state"], state["count"]))


def _arrays(params: Any) -> Any:
    """The parameters, with None for all else that a model may contain, such as functions, which no program takes."""
    if all(isinstance(p, jax.Array) for p in jax.tree.leaves(params)):
        return params
    return jax.tree.map(lambda p: p if isinstance(p, jax.Array) or is_numeric(p) else None, params)


def _advance(node: Node, x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
    g, p = as_none(x), as_none(params)
    g, p = (g, p) if node.narrow else (widened(g, p), None if p is None else widened(p))
    y, body = walk(node, g, state["state"], p, now)
    return restored(y, x) if node.narrow else rounded(y, x, params), {
        "count": optax.safe_increment(now.count),
        "state": body,
    }


class Program:
    """What is compiled of a node: shared by all nodes with its key, and kept no longer than they are."""

    def __init__(self, node: Node) -> None:
        def whole(x: ArrayTree, state: Any, params: Any, values: Any) -> tuple[ArrayTree, Any]:
            now = Now(state["count"], state["count"], values=values, program=True)
            return _advance(node, x, state, params, now)

        def part(x: ArrayTree, state: Any, params: Any, known: dict[str, Any]) -> tuple[ArrayTree, Any]:
            return walk(node, x, state, params, Now(**known, program=True))

        self.advance, self.walk = jax.jit(whole), jax.jit(part)
        self.one = jax.jit(functools.partial(_one, node), static_argnums=0)


_programs: weakref.WeakValueDictionary[Any, Program] = weakref.WeakValueDictionary()


def program_of(node: Node) -> Program:
    """The node's program: made once for all nodes that compute the same."""
    found = vars(node).get("program")
    if found is None:
        found = vars(node)["program"] = _programs.get(node.program_key) or Program(node)
        _programs[node.program_key] = found
    return found


def outside(node: Node, state: Any, count: Array) -> dict[Path, dict[str, Any]]:
    """The hyperparameters that are no part of the program: arrays, and schedules that are called in each step."""
    found: dict[Path, dict[str, Any]] = {}

    def gather(path: Path, hyper: Mapping[str, Any], count: Array) -> None:
        if own := {k: jnp.asarray(h(count) if callable(h) else h) for k, h in hyper.items() if is_outside(h)}:
            found[path] = own
        for name, h in hyper.items():
            if isinstance(h, PerStep):
                gather((*path, name), h.hyper, count)

    def visit(node: Node, path: Path, state: Any, count: Array) -> None:
        if not node.outside:
            return
        gather(path, getattr(node, "hyper", {}), count)
        for name, part in node.parts.items():
            own = state.get(name, {}) if isinstance(state, dict) else {}
            clocked = isinstance(node, Whole) and node.clocked
            visit(part, (*path, name), *((own["state"], own["inner_count"]) if clocked else (own, count)))

    visit(node, (), state, count)
    return found


# ----------------------------------------------------------------------------------------------------- the whole tree


def walk(node: Node, x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
    """The output of a node, and its next state."""
    if node.compiles and not now.program:
        known = {k: getattr(now, k) for k in ("count", "age", "keep", "rows", "branches")}
        return program_of(node).walk(x, state, _arrays(params), {**known, "values": outside(node, state, now.count)})
    if isinstance(node, Whole):
        return _whole(node, x, state, params, now)
    if node.leafwise:
        return _leaves(node, x, state, params, now)
    _check_state(state, {name for name, part in node.parts.items() if part.remembers})
    new: dict[str, Any] = {}

    def run(name: str, part: Node, x: ArrayTree, params: Any, **changes: Any) -> ArrayTree:
        y, kept = walk(part, x, state.get(name, {}), params, now.but(path=(*now.path, name), **changes))
        new.update({name: kept} if part.remembers else {})
        return y

    if isinstance(node, Chain):
        for name, part in node.segments:
            if name is None:
                x, kept = walk(part, x, {k: state[k] for k in part.parts if k in state}, params, now)
                new.update(kept)
            else:
                x = run(name, part, x, params)
        return x, new
    if isinstance(node, Parallel):
        out: dict[str, ArrayTree] = {}
        for name, part in node.parts.items():
            out[name] = run(name, part, x, params, branches={**now.branches, **out})
        return each(node.merge, *out.values()), new
    assert isinstance(node, Masked)
    ((name, part),) = node.parts.items()
    y = run(name, part, selected(node.mask, x), None if params is None else selected(node.mask, params))
    return overlaid(node.mask, y, x), new


def _whole(node: Whole, x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
    y, new = node.update(
        x, state, params, now.but(whole=node), **{k: now.value((), k, h) for k, h in node.hyper.items()}
    )
    if (now.keep is None and now.rows is None) or not node.remembers:
        return y, new
    whole = node.foreign or node.rewrites
    own = new if whole else {k: v for k, v in new.items() if k not in node.parts}
    old = state if whole else {k: state[k] for k in own}
    if now.rows is not None:
        own = map_slots(node, functools.partial(_select, None), now.rows, own, old)
    own = now.kept(own, old)
    return y, own if whole else {**new, **own}


def _select(keep: Array | None, row: Array | None, new: Array, old: Array) -> Array:
    """The new memory, or the old one where it is to stay; rows are those of arrays of their own shape."""
    wanted = [w for w in (keep, row) if w is not None and (w is keep or w.shape == new.shape)]
    return jnp.where(functools.reduce(jnp.logical_and, wanted), new, old) if wanted else new


def _check_state(state: Any, wanted: set[str]) -> None:
    if not isinstance(state, dict) or set(state) != wanted:
        found = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"the state is another optimizer's: it holds {found}, not {sorted(wanted)}")


def _check_layout(node: Node, state: Any) -> None:
    """Raises where a state is not that of a leafwise node, at any depth."""
    inside = {name: part for name, part in node.parts.items() if part.remembers}
    _check_state(state, node.slots if isinstance(node, Rule) else set(inside))
    for name, part in inside.items():
        _check_layout(part, state[name])


# ---------------------------------------------------------------------------------------------------------- one array


def _leaves(node: Node, x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
    """A leafwise node: the numbers that all arrays share, and one function that is called for each array."""
    asked = {name for _, rule in node.rules for name in rule.asks}
    if "p" in asked and params is None and jax.tree.leaves(x):
        raise ValueError("this transformation reads the parameters: call update(updates, state, params)")
    _check_layout(node, state)
    values: dict[Path, Any] = {}
    new: dict[str, Any] = {}
    memories, slots = [], []
    for path, rule in node.rules:
        own = functools.reduce(lambda s, k: s.get(k, {}), path, state)
        values[path], numbers = _numbers(rule, path, own, now)
        kept = functools.reduce(lambda s, k: s.setdefault(k, {}), path if rule.remembers else (), new)
        kept.update(numbers)
        memories += [own[slot] for slot in rule.init]
        slots += [(path, slot, init, kept) for slot, init in rule.init.items()]
    beside = [t for t in (params, now.rows) if t is not None]
    structure, rows = columns(x, *memories, *beside, *now.branches.values())
    bits, large = _bits(node, x), xla.is_large([row[0] for row in rows if not absent(row[0])])

    def leaf(i: int, x: Any, *parts: Any) -> tuple[Any, tuple]:
        kept, rest = parts[: len(slots)], list(parts[len(slots) :])
        if absent(x):
            return x, kept
        p = None if params is None else rest.pop(0)
        row = None if now.rows is None else rest.pop(0)
        here = {path: mask[i] for path, mask in bits.items()}
        used = [init if all(here[m] for m in here if m == path[: len(m)]) else None for path, _, init, _ in slots]
        check_fits(x, p, kept, used, params is not None, functools.partial(_name, tree, i))
        fixed = tuple(here.items()), large and x.size >= xla.SMALL, _name(tree, i) if "path" in asked else None
        place = (now.count, i) if "key" in asked else None
        branches = dict(zip(now.branches, rest, strict=True))
        return program_of(node).one(fixed, x, p, kept, values, now.keep, row, branches, place)

    tree = x
    with of_numbers((x, params)):
        out = [leaf(i, *row) for i, row in enumerate(rows)]
    for k, (_, slot, _, kept) in enumerate(slots):
        kept[slot] = structure.unflatten([m[k] for _, m in out])
    return structure.unflatten([y for y, _ in out]), new


def _name(tree: ArrayTree, i: int) -> str:
    return path_name(jax.tree.leaves_with_path(tree, is_leaf=absent)[i][0])


def _bits(node: Node, x: ArrayTree, path: Path = ()) -> dict[Path, list[bool]]:
    """What every mask selects, array by array, inside of the masks around it."""
    found = {path: marks(node.mask, x)} if isinstance(node, Masked) else {}
    x = selected(node.mask, x) if isinstance(node, Masked) else x
    for name, part in node.parts.items():
        found |= _bits(part, x, (*path, name))
    return found


def _numbers(rule: Rule, path: Path, state: Any, now: Now) -> tuple[dict[str, Any], dict[str, Array]]:
    """What a rule is given that is the same for all arrays, and the numbers that it remembers."""
    t, age = (optax.safe_increment(n).astype(float) for n in (now.count, now.age))
    times, kept = {"count": now.count, "t": t, "age": age}, {}
    values: dict[str, Any] = {k: times[k] for k in ("t", "age") if k in rule.asks}
    for name, h in rule.hyper.items():
        if not isinstance(h, PerStep):
            values |= {name: now.value(path, name, h)} if callable(h) or is_outside(h) else {}
            continue
        given = {k: now.value((*path, name), k, v) for k, v in h.hyper.items()} | {k: times[k] for k in h.asks}
        if name not in rule.numbers:
            values[name] = h.f(**given)
            continue
        slot, _ = rule.numbers[name]
        m, values[name] = h.f(state[slot], **given)
        kept[slot] = _select(now.keep, None, jnp.asarray(m, state[slot].dtype), state[slot])
    return values, kept


@dataclasses.dataclass(frozen=True)
class Leaf:
    """What the rules of one array read beside the array, and `new`, where they put their next memories."""

    memories: Mapping[Path, Mapping[str, Any]]
    values: Mapping[Path, Mapping[str, Any]]
    given: Mapping[str, Any]
    keep: Array | None
    row: Array | None
    bits: Mapping[Path, bool]
    key: Any
    new: dict[Path, Any] = dataclasses.field(default_factory=dict)


def _one(
    node: Node, fixed: Any, x: Array, p: Any, kept: Any, values: Any, keep: Any, row: Any, branches: Any, place: Any
) -> tuple[Array, tuple]:
    """A leafwise node on one array: the output, and the next memories."""
    bits, large, name = fixed
    slots = [(path, slot) for path, rule in node.rules for slot in rule.init]
    memories: dict[Path, dict[str, Any]] = {}
    for (path, slot), m in zip(slots, kept, strict=True):
        memories.setdefault(path, {})[slot] = m

    def key(seed: Any) -> Any:
        count, i = place
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), count), i)

    leaf = Leaf(memories, values, {"p": p, "path": name}, keep, row, dict(bits), key)
    with of_numbers((x, p)):
        before = {k: xla.Value(b, stored=large) for k, b in branches.items()}
        y = _step(node, (), xla.Value(x, stored=large), before, leaf)
    return y.array, tuple(leaf.new.get(path, memories[path])[slot] for path, slot in slots)


def _step(node: Node, path: Path, x: xla.Value, before: dict[str, xla.Value], leaf: Leaf) -> xla.Value:
    """A node on one array; `before` are the outputs of earlier branches."""
    if isinstance(node, Rule):
        return _rule(node, path, x, before, leaf)
    if isinstance(node, Masked) and not leaf.bits[path]:
        return x
    if isinstance(node, Chain | Masked):
        for name, part in node.parts.items():
            x = _step(part, (*path, name), x, before, leaf)
        return x
    assert isinstance(node, Parallel)
    out: dict[str, xla.Value] = {}
    for name, branch in node.parts.items():
        source = x if branch.parts else x.for_another()  # an empty branch is one more consumer of its input
        out[name] = _step(branch, (*path, name), source, {**before, **out}, leaf)
    return xla.joined(node.merge, list(out.values()))


def _rule(rule: Rule, path: Path, x: xla.Value, before: dict[str, xla.Value], leaf: Leaf) -> xla.Value:
    """A rule on one array. Its memory is written here, and nowhere else."""
    numbers = {k: v for k, v in rule.hyper.items() if not (callable(v) or is_outside(v))}
    h = {**numbers, **leaf.values[path]}
    given = {**leaf.given, "branches": {k: v.array for k, v in before.items()}}
    given |= {k: h.pop(k) for k in ("t", "age") if k in rule.asks}
    if "key" in rule.asks:
        given["key"] = leaf.key(h.pop("seed", 0))
    old = leaf.memories.get(path, {})
    new, y = call(rule, x, old, h, given)
    if not rule.init:  # a rule may pass on what an earlier branch has computed
        return next((v for v in before.values() if v.array is y.array), y)
    kept: dict[str, Any] = {
        k: m if m is None else _select(leaf.keep, leaf.row, m.astype(old[k].dtype), old[k]) for k, m in new.items()
    }
    leaf.new[path] = kept
    for k, m in new.items():  # an output that is a memory, too, is read from the memory: one array is written, not two
        if m is y.array and kept[k].dtype == m.dtype:
            return xla.Value(kept[k], stored=x.recomputable)
    return y


def call(rule: Rule, x: xla.Value, m: Mapping[str, Any], h: dict[str, Any], given: Mapping[str, Any]) -> Any:
    """A rule's function: its next memory, as a dict, and its output."""
    real = jnp.finfo(x.array.dtype).dtype
    h = {k: as_real(v, x.array.dtype) for k, v in h.items()}
    h |= {k: as_dtype(v, real) if k in ("t", "age") else v for k, v in given.items() if k in rule.asks}
    if rule.measure:
        h["measured"] = x.measured(rule.measure)
    if not rule.init:
        return {}, x.then(lambda a: rule.f(a, **h))
    wide = {k: a if a is None else a.astype(x.array.dtype if is_complex(a) else real) for k, a in m.items()}
    single = set(rule.init) == {"memory"}
    new, y = rule.f(wide["memory"] if single else wide, x.array, **h)
    # an output that is a function of the input can be recomputed
    return {"memory": new} if single else new, x.then(y) if callable(y) else xla.Value(y)
