"""Gradients of the rows that are looked up, without one of the whole table."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from chex import Array, ArrayTree

from gdo_optax.engine.trees import path_name
from gdo_optax.rows import Rows, distinct, taken


def row_gradients(
    loss_fn: Callable, params: ArrayTree, ids: Mapping[str, Array], *args: Any, has_aux: bool = False
) -> tuple[Any, ArrayTree]:
    """The loss and its gradients, those of the tables that `ids` are looked up in as `Rows`: what `sparse_rows` takes.

        I = the distinct ids, i = I[j]        j numbers the rows that are read
        L(θ[I], j, …)                         the loss of small tables and renumbered ids, differentiated as it is

    As `jax.value_and_grad`, but `loss_fn` is given, in place of each table (V, …), its rows that are read, as many as
    there are ids, and in place of the ids the numbers of their rows in it: the loss is the same, and no array as large
    as the table is made. A flax.linen module checks the shape of its table: build it within `loss_fn` for the rows that
    it is given, `nn.Embed(len(table), …)`. A table that is also read in another way, as by a tied output layer, has a
    dense gradient: leave it out of `ids`. An id outside 0 … V−1 reads zeros and has no gradient.

    Args:
        loss_fn: a function of `params`, `ids` and `args` that returns a number.
        params: a tree of arrays.
        ids: integers of any shape, under a regular expression that the path of a table, such as "words/embedding",
            contains a match of; tables of one length may share them.
        args: what else the function takes.
        has_aux: whether the function returns a pair, the second of which is handed out as it is.

    Returns:
        What `jax.value_and_grad` returns, the gradients of the tables being `Rows` of distinct indices.

    Raises:
        ValueError: a pattern that matches no array, or one that another matches too, or tables of different lengths.
        TypeError: ids that are no integers.

    >>> import jax.numpy as jnp
    >>> table, ids = jnp.arange(1000.0), jnp.array([5, 7, 5])
    >>> value, gradients = row_gradients(lambda p, ids: jnp.sum(p["x"][ids["x"]]), {"x": table}, {"x": ids})
    >>> gradients["x"].indices, gradients["x"].values
    (Array([   5,    7, 1000], dtype=int32), Array([2., 1., 0.], dtype=float32))
    """
    structure: Any
    named, structure = jax.tree_util.tree_flatten_with_path(params)
    keys = [_key(path_name(path), ids) for path, _ in named]
    arrays = [p for _, p in named]
    sizes = {k: _length(k, i, [p for p, key in zip(arrays, keys, strict=True) if key == k]) for k, i in ids.items()}
    numbered = {k: distinct(i, sizes[k]) for k, i in ids.items()}
    small = [p if k is None else taken(p, numbered[k][0]) for p, k in zip(arrays, keys, strict=True)]
    places = {k: place for k, (_, place) in numbered.items()}
    value, gradients = jax.value_and_grad(loss_fn, has_aux=has_aux)(structure.unflatten(small), places, *args)
    leaves = zip(structure.flatten_up_to(gradients), keys, strict=True)
    return value, structure.unflatten([g if k is None else Rows(numbered[k][0], g) for g, k in leaves])


def _key(name: str, ids: Mapping[str, Array]) -> str | None:
    """The pattern that a path contains a match of."""
    found = [k for k in ids if re.search(k, name)]
    if len(found) > 1:
        raise ValueError(f"row_gradients: {found} all match {name!r}: give one pattern for a table")
    return found[0] if found else None


def _length(key: str, ids: Array, tables: list[Array]) -> int:
    """The number of rows of the tables of one pattern."""
    if not jnp.issubdtype(jnp.result_type(ids), jnp.integer):
        raise TypeError(f"row_gradients: the ids of {key!r} are {jnp.result_type(ids)}: give integers")
    lengths = {jnp.shape(p)[0] if jnp.ndim(p) else 0 for p in tables}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"row_gradients: {key!r} matches arrays {[jnp.shape(p) for p in tables]}, not tables of one length"
        )
    return lengths.pop()
