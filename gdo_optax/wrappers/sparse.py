"""An optimizer of large tables that reads and writes only the rows of a batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree

from gdo_optax.engine.combinators import part
from gdo_optax.engine.interpreter import Now, walk
from gdo_optax.engine.nodes import Node, Whole
from gdo_optax.engine.piece import piece
from gdo_optax.engine.printing import show
from gdo_optax.engine.states import initial, map_slots
from gdo_optax.engine.trees import absent, is_rows, path_name
from gdo_optax.rows import Rows, summed, taken


@piece
def sparse_rows(inner: optax.GradientTransformation, counts: str = "global") -> Whole:
    """Sparse rows: `lazy(inner)` of gradients that are `Rows`, at a cost that does not grow with the table.

        I = {i : Σⱼ gⱼ ≠ 0 over the values gⱼ of index i}      the touched rows, at most k
        θᵢ, mᵢ, vᵢ ← inner                                      for i in I, gathered and scattered back
        θᵢ, mᵢ, vᵢ   unchanged                                  elsewhere, not even read

    For embeddings, of which a batch reads few rows. The updates of a gradient of `Rows` are `Rows`, which
    `optax.apply_updates` adds in place where the parameters are donated; dense gradients in the same tree are updated
    densely. The state holds that of `inner`. A row is table[i], also of a table with more axes or with one.

    With counts="global" t is the number of the update, as in TensorFlow's LazyAdam, and the result is that of `lazy`
    for a table (V, features), to the bit where the compiler contracts a·b + c in both or in neither. With counts="row"
    every row has a state of its own, and so a count: t is how often the row has been touched. Adam's first step of a
    late row is then the learning rate, where the global t leaves it uncorrected, 3.2 times as large. Dense arrays, too,
    are rows along their first axis then, and what `inner` computes over an array it computes over a row.

    With counts="global" a norm or mean that `inner` takes over an array (clipping, LAMB) is one over its touched rows.
    An inner that remembers arrays of another shape than the table's (Adafactor) takes counts="row".

    Args:
        inner: any optax transformation.
        counts: "global" or "row".

    Raises:
        ValueError: other counts; rows that do not fit their table; memories of another shape; no parameters.
        TypeError: an inner that is no transformation; indices that are no integers.

    Reference: TensorFlow Addons, LazyAdam; J. Su (2019), "Lazy optimizers", https://kexue.fm/archives/6869; counts of
    rows as in T. Dozat's NadamOptimizer.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import momentum
    >>> tx, table = sparse_rows(momentum(1.0, 0.5)), jnp.zeros((1000, 1))
    >>> gradient = Rows(jnp.array([7, 7]), jnp.array([[1.0], [2.0]]))
    >>> _, state = tx.update(gradient, tx.init(table), table)
    >>> updates, state = tx.update(gradient, state, table)
    >>> (table + updates)[6:9]
    Array([[ 0. ],
           [-4.5],
           [ 0. ]], dtype=float32)
    """
    node = part(inner)
    if counts not in ("global", "row"):
        raise ValueError(f'sparse_rows: counts={counts!r} is neither "global" nor "row"')
    return _together(node, show(inner)) if counts == "global" else _by_row(node)


def _together(node: Node, name: str) -> Whole:
    """One state of the whole tree; the inner update sees the touched rows as small tables."""

    def get(place: Place, m: Array) -> Array:
        if m.shape != place.shape:
            raise ValueError(
                f"sparse_rows: {name} remembers {m.shape} of a table {place.shape}, not row by row: "
                'take counts="row" or a dense gradient'
            )
        return taken(jnp.asarray(m), place.indices)

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        kept = state.get("inner", {})
        if not any(map(is_rows, _leaves(x))):
            y, new = now.run("inner", x, kept, params)
            return y, {"inner": new} if state else {}
        x = _touched(x, params)
        places = _where_rows(lambda g, p: Place(g.indices, jnp.shape(p)), lambda g, p: None, x, params)
        values = _where_rows(lambda g: g.values, lambda g: g, x)
        rows = _where_rows(lambda g, p: taken(p, g.indices), lambda g, p: p, x, params)
        y, new = now.run("inner", values, map_slots(node, get, places, kept), rows)
        y = _where_rows(lambda g, u: Rows(g.indices, u), lambda g, u: u, x, y)
        new = map_slots(node, lambda place, n, o: _put(place.indices, n, o), places, new, kept)
        return y, {"inner": new} if state else {}

    return Whole({"inner": node}, update=update)


@dataclasses.dataclass(frozen=True)
class Place:
    """The rows of a table that a gradient touches, and the shape of the table."""

    indices: Array
    shape: tuple[int, ...]


def _by_row(node: Node) -> Whole:
    """A state of its own, with a clock, for every row of every array, as if the row were the only parameter."""

    def init(params: ArrayTree) -> dict[str, Any]:
        structure: Any = jax.tree.structure(params, is_leaf=absent)

        def first(i: int, p: Any) -> Any:
            def of_row(row: Array) -> dict[str, Any]:
                state, _ = initial(node, _alone(structure, i, row))
                return {"inner_count": jnp.zeros((), jnp.int32), "state": state}

            return _of_rows(p)(of_row)(p)

        return {"inner": {str(i): first(i, p) for i, p in enumerate(_leaves(params)) if not absent(p)}}

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        x = _touched(x, params)
        structure: Any = jax.tree.structure(x, is_leaf=_leaf)

        def leaf(i: int, g: Any, states: Any, p: Any) -> tuple[Any, Any]:
            def one(g: Array, s: Any, p: Any) -> tuple[Array, Any]:
                there = now.but(count=s["inner_count"], age=s["inner_count"])
                y, new = walk(node, _alone(structure, i, g), s["state"], _alone(structure, i, p), there)
                count = optax.safe_increment(s["inner_count"])
                return structure.flatten_up_to(y)[i], {"inner_count": count, "state": new}

            if not is_rows(g):
                return _of_rows(g)(one)(g, states, p)
            y, new = jax.vmap(one)(g.values, _get(g.indices, states), taken(p, g.indices))
            return Rows(g.indices, y), _put_all(g.indices, new, states)

        leaves = _leaves(x)
        beside = [None] * len(leaves) if params is None else structure.flatten_up_to(params)
        inner, out = dict(state["inner"]), list(leaves)
        for i, (g, p) in enumerate(zip(leaves, beside, strict=True)):
            if not absent(g):
                out[i], inner[str(i)] = leaf(i, g, inner[str(i)], p)
        return structure.unflatten(out), {"inner": inner}

    return Whole(init=init, update=update, compiled=node.compiles and not node.outside)


def _of_rows(x: Array) -> Callable:
    """What makes a function of a row one of all rows of x; a number has none."""
    return jax.vmap if jnp.ndim(x) else lambda f: f


def _alone(structure: Any, place: int, x: Any) -> Any:
    """A tree of the structure with x in its place and nothing else."""
    if x is None:
        return None
    return structure.unflatten([x if i == place else None for i in range(structure.num_leaves)])


def _touched(x: ArrayTree, params: Any) -> ArrayTree:
    """The gradients, every `Rows` summed and without the rows whose sum is 0."""

    def touched(path: tuple, g: Any, p: Any) -> Any:
        if not is_rows(g):
            return g
        _check(path_name(path), g, p)
        rows = summed(g, len(p))
        moving = jnp.any(rows.values != 0, tuple(range(1, rows.values.ndim)))
        return Rows(jnp.where(moving, rows.indices, len(p)), rows.values)

    if params is None:
        if any(map(is_rows, _leaves(x))):
            raise ValueError("sparse_rows reads the rows of the parameters: call update(updates, state, params)")
        return x
    return jax.tree.map_with_path(touched, x, params, is_leaf=_leaf)


def _check(name: str, rows: Rows, table: Any) -> None:
    k, rest = jnp.shape(rows.indices), jnp.shape(table)[1:]
    if not jnp.issubdtype(jnp.result_type(rows.indices), jnp.integer):
        raise TypeError(f"sparse_rows: the indices of {name!r} are {rows.indices.dtype}: give integers")
    if len(k) != 1 or jnp.shape(rows.values) != (*k, *rest):
        raise ValueError(
            f"sparse_rows: {name!r} is a table {jnp.shape(table)}, but has indices {k} and values "
            f"{jnp.shape(rows.values)}: give (k,) and {('k', *rest)}".replace("'k'", "k")
        )


def _get(indices: Array, states: Any) -> Any:
    """The rows of all arrays of a state."""
    return jax.tree.map(lambda m: taken(jnp.asarray(m), indices), states)


def _put_all(indices: Array, new: Any, old: Any) -> Any:
    """The old state with new rows."""
    return jax.tree.map(lambda n, o: _put(indices, n, o), new, old)


def _put(indices: Array, new: Array, old: Array) -> Array:
    return jnp.asarray(old).at[indices].set(new.astype(old.dtype), mode="drop")


def _leaf(x: Any) -> bool:
    return absent(x) or is_rows(x)


def _leaves(tree: ArrayTree) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=_leaf)


def _where_rows(f: Callable, otherwise: Callable, x: ArrayTree, *beside: ArrayTree) -> Any:
    """f of what stands where x has `Rows`, the other function elsewhere."""
    return jax.tree.map(lambda g, *b: (f if is_rows(g) else otherwise)(g, *b), x, *beside, is_leaf=_leaf)
