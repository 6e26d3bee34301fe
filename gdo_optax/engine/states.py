"""The state of an optimizer: how it is made, what in it is like the parameters, where second weights are.

It is {"count": int32, "state": …}: the clock, and below it dicts under the names of the parts. A rule has a dict of
slots, each a tree like the parameters or a number. A part that remembers nothing has no entry; an array that a mask
leaves out is None.
"""

import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree

from gdo_optax.engine import xla
from gdo_optax.engine.nodes import Chain, Masked, Node, Parallel, PerStep, Rule, Whole, is_outside
from gdo_optax.engine.numerics import number_dtype, wide_dtype
from gdo_optax.engine.trees import (
    absent,
    as_none,
    columns,
    displaced,
    is_complex,
    map_like,
    of_numbers,
    overlaid,
    path_name,
    replaced,
    selected,
    widened,
)


EVAL_WEIGHTS, EVAL_DISPLACEMENT = "eval_weights", "eval_displacement"
"""The slots of second weights, and of their distance from the parameters; no parameter may have these names."""


def start(node: Node, params: ArrayTree) -> dict[str, Any]:
    """The state before the first update."""
    params = as_none(params)
    for path, _ in jax.tree.leaves_with_path(params):
        if {EVAL_WEIGHTS, EVAL_DISPLACEMENT} & set(path_name(path).split("/")):
            raise ValueError(f"the parameter {path_name(path)!r} has a name that eval_params looks for: rename it")
    state, _ = initial(node, params if node.narrow else widened(params))
    return {"count": jnp.zeros((), jnp.int32), "state": state}


def initial(
    node: Node, like: ArrayTree, before: Mapping[str, ArrayTree] = types.MappingProxyType({})
) -> tuple[dict[str, Any], ArrayTree]:
    """The state of a node whose input is like this tree, and what its output is like: the dtypes may differ.

    `before` is what the outputs of earlier branches are like.
    """
    if isinstance(node, Rule):
        return _of_rule(node, like, before)
    if isinstance(node, Masked):
        ((name, part),) = node.parts.items()
        state, after = initial(part, selected(node.mask, like), before)
        return ({name: state} if part.remembers else {}), overlaid(node.mask, after, like)
    states: dict[str, Any] = {}
    outputs: dict[str, ArrayTree] = {}
    for name, part in node.parts.items():
        branches = {**before, **outputs} if isinstance(node, Parallel) else before
        states[name], outputs[name] = initial(
            part, widened(like) if node.narrow and not part.narrow else like, branches
        )
        like = outputs[name] if isinstance(node, Chain) else like
        if isinstance(node, Whole) and node.clocked:
            states[name] = {"inner_count": jnp.zeros((), jnp.int32), "state": states[name]}
    if isinstance(node, Whole) and node.init:
        return node.init(like, **states), like
    if isinstance(node, Parallel) and any(map(is_complex, jax.tree.leaves(like))):
        with of_numbers(like):
            merged = jax.tree.map(lambda *a: jax.eval_shape(node.merge, *a), *outputs.values())
            like = jax.tree.map(_as_real_as, like, merged)
    return {name: state for name, state in states.items() if node.parts[name].remembers}, like


def _of_rule(rule: Rule, like: ArrayTree, before: Mapping[str, ArrayTree]) -> tuple[dict[str, Any], ArrayTree]:
    for path, p in jax.tree.leaves_with_path(like):
        if rule.real and is_complex(p):
            raise TypeError(
                f"{rule.real} is defined for real numbers, and the parameter {path_name(path)!r} is {p.dtype}: wrap "
                "the optimizer, optax.contrib.split_real_and_imaginary(…)"
            )

    def first(init: Any, p: Any) -> Any:
        m = init(p) if callable(init) else jnp.full_like(p, init, dtype=wide_dtype(p))
        m = jnp.array(m, copy=True) if m is p and isinstance(p, jax.Array) else m  # or both could not be donated
        return m if m is None or rule.dtype is None else m.astype(rule.dtype)

    state = {name: jax.tree.map(lambda p, i=init: first(i, p), like) for name, init in rule.init.items()}
    numbers = {slot: jnp.asarray(value, number_dtype(like)) for slot, value in rule.numbers.values()}

    def after(p: Any, *branches: Any) -> Any:
        return _output(rule, p, dict(zip(before, branches, strict=True))) if is_complex(p) else p

    structure, rows = columns(like, *before.values())
    return state | numbers, structure.unflatten([after(*row) for row in rows])


def _output(rule: Rule, p: Any, before: dict[str, Any]) -> Any:
    """The complex parameter, or its magnitude if the rule's output is real."""
    from gdo_optax.engine.interpreter import call  # which is built on this file

    def once(x: Array, before: dict[str, Any]) -> Array:
        one = jnp.ones((), jnp.finfo(x.dtype).dtype)
        h = {k: one if isinstance(h, PerStep) or is_outside(h) or callable(h) else h for k, h in rule.hyper.items()}
        h.pop("seed", None)
        m = {name: init(x) if callable(init) else jnp.full_like(x, init) for name, init in rule.init.items()}
        given = {"p": x, "t": one, "age": one, "path": "", "branches": before, "key": jax.random.key(0)}
        return call(rule, xla.Value(x), m, h, given)[1].array

    with jax.numpy_dtype_promotion("standard"):
        return _as_real_as(p, jax.eval_shape(once, p, before))


def _as_real_as(p: Any, output: Any) -> Any:
    """The parameter, or its magnitude where the output for it is real."""
    if not is_complex(p) or is_complex(output):
        return p
    return jax.eval_shape(jnp.abs, p) if isinstance(p, jax.ShapeDtypeStruct) else jnp.abs(p)


def map_slots(node: Node, f: Callable, tree: ArrayTree, *states: Any) -> Any:
    """The first of a node's states with f(leaf of `tree`, its counterparts …) for all that is like the parameters."""
    first = states[0]
    if isinstance(node, Whole) and node.foreign:
        own, outer = _foreign_slots(node.init)
        parts = zip(*map(outer.flatten_up_to, states), strict=True)
        return outer.unflatten([map_like(f, tree, *p) if slot else p[0] for slot, p in zip(own, parts, strict=True)])

    def entry(name: str, *entries: Any) -> Any:
        if part := node.parts.get(name):
            if not isinstance(node, Whole) or not node.clocked:
                return map_slots(part, f, tree, *entries)
            return {**entries[0], "state": map_slots(part, f, tree, *(e["state"] for e in entries))}
        here: Any = jax.tree.structure(tree, is_leaf=absent)
        alike = here == jax.tree.structure(entries[0], is_leaf=absent)
        number = isinstance(entries[0], jax.Array) and entries[0].ndim == 0  # beside a parameter that is a lone array
        slot = name in node.init if isinstance(node, Rule) else alike and not number
        return map_like(f, tree, *entries) if slot else entries[0]

    return {name: entry(name, *(s[name] for s in states)) for name in first}


def _foreign_slots(init: Any) -> tuple[list[bool], Any]:
    """Which parts of a foreign state are trees like the parameters, and the structure that the parts are in.

    optax's own stand-in for a tree of parameters, a node without leaves, shows where they go.
    """
    seen: list[Any] = []

    def spy(params: Any) -> tuple:
        seen.append(params)
        return ()

    optax.tree_map_params(spy, lambda x: x, ())
    outer: Any
    marks, outer = jax.tree.flatten(init(seen[0]), is_leaf=lambda x: isinstance(x, type(seen[0])))
    return [isinstance(mark, type(seen[0])) for mark in marks], outer


def eval_params(state: Any, params: ArrayTree) -> ArrayTree:
    """The weights to evaluate with: slow or averaged ones where the optimizer's state holds any, else `params`.

    Where second weights are nested (a Lookahead of a Lookahead) the outermost are returned. A masked parameter is
    returned as it is. The weights have the dtypes of `params`.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import lookahead, sgd
    >>> params = jnp.ones(1)
    >>> eval_params(lookahead(sgd(0.1)).init(params), params), eval_params(sgd(0.1).init(params), params)
    (Array([1.], dtype=float32), Array([1.], dtype=float32))
    """
    plain = params
    for _, kind, tree in sorted(_second_weights(state, 0), key=lambda found: -found[0]):
        params = replaced(params, by=tree if kind == EVAL_WEIGHTS else displaced(plain, tree))
    return params


def _second_weights(state: Any, depth: int) -> list[tuple[int, str, Any]]:
    """The second weights in a state, each with its depth."""
    items: Mapping[Any, Any]
    if isinstance(state, list | tuple):
        items = dict(zip(getattr(state, "_fields", range(len(state))), state, strict=True))
    else:
        items = (
            state if isinstance(state, Mapping) else {} if hasattr(state, "dtype") else getattr(state, "__dict__", {})
        )
    found: list[tuple[int, str, Any]] = []
    for name, value in items.items():
        second = name in (EVAL_WEIGHTS, EVAL_DISPLACEMENT)
        found += [(depth, name, value)] if second else _second_weights(value, depth + 1)
    return found
