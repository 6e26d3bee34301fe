"""The walk over trees of arrays: what stands beside a leaf, what passes through, and which dtype it is computed in."""

import contextlib
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import ArrayTree

from gdo_optax.engine.numerics import promoted, wide_dtype
from gdo_optax.rows import Rows


Mask: TypeAlias = Any | Callable[[Any], Any]


def absent(x: Any) -> bool:
    """Whether x stands where an array could be but is none: None, or a leaf that a mask has taken out."""
    return x is None or isinstance(x, optax.MaskedNode)


def as_none(tree: ArrayTree) -> ArrayTree:
    """The tree with None for every leaf that a mask of optax has taken out."""
    return jax.tree.map(lambda x: None if absent(x) else x, tree, is_leaf=absent)


def restored(tree: ArrayTree, like: ArrayTree) -> ArrayTree:
    """The tree with what is absent of `like` as it is there."""
    structure, rows = columns(like, tree, rows=True)
    return structure.unflatten([x if absent(x) else y for x, y in rows])


def is_rows(x: Any) -> bool:
    """Whether x stands for a few rows of a table."""
    return isinstance(x, Rows)


def is_complex(x: Any) -> bool:
    """Whether x is an array of complex numbers, or stands for one."""
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, np.complexfloating)


def columns(tree: ArrayTree, *beside: ArrayTree, rows: bool = False) -> tuple[Any, list[tuple]]:
    """The structure of `tree`, and its leaves, each with its counterparts in the trees `beside` it."""
    structure: Any
    leaves, structure = jax.tree.flatten(tree, is_leaf=lambda x: absent(x) or is_rows(x))
    if not rows and any(is_rows(x) for t in (tree, *beside) for x in jax.tree.leaves(t, is_leaf=is_rows)):
        raise TypeError("Rows are updated by sparse_rows alone: wrap the whole optimizer, sparse_rows(adam(1e-3))")
    try:
        return structure, list(zip(leaves, *map(structure.flatten_up_to, beside), strict=True))
    except ValueError as error:
        without = next(filter(None, (lone_path(other, tree) for other in beside)), None)
        alone = next(filter(None, (lone_path(tree, other) for other in beside)), None)
        why = f"{without!r} has no gradient, not even None" if without else f"{alone!r} has nothing but a gradient"
        why = why if without or alone else str(error).partition("\n")[0]
        raise ValueError(f"parameters and state must have the structure of the gradients: {why}") from None


def check_fits(x: Any, p: Any, memories: tuple, inits: list[Any], paired: bool, name: Callable[[], str]) -> None:
    """Raises where an array has another shape than its parameter, or its memories another than `inits` make."""
    same = not paired or jnp.shape(p) == x.shape
    if same and all(init is None or _fits(x, m, init) for m, init in zip(memories, inits, strict=True)):
        return
    other = "has no array" if absent(p) else f"has the shape {jnp.shape(p)}"
    whose = "the state was made for another" if same else f"the parameter {other}"
    raise ValueError(f"the gradient of {name()!r} has the shape {x.shape}, but {whose}")


def _fits(x: Any, memory: Any, init: Any) -> bool:
    if getattr(memory, "shape", None) == x.shape:
        return True
    made = jax.eval_shape(init, jax.ShapeDtypeStruct(x.shape, x.dtype)) if callable(init) else x
    return getattr(made, "shape", None) == getattr(memory, "shape", None)


def lone_path(tree: ArrayTree, other: ArrayTree) -> str | None:
    """The name of the first path of `tree` that in the other is none, nor inside of one, nor around one."""
    here, there = (
        [tuple(path_name((key,)) for key in path) for path, _ in jax.tree.leaves_with_path(t, is_leaf=absent)]
        for t in (tree, other)
    )
    ends, inside = set(there), {path[:n] for path in there for n in range(len(path) + 1)}
    lone = (p for p in here if p not in inside and not any(p[:n] in ends for n in range(len(p))))
    return next(map("/".join, lone), None)


def check_floats(updates: ArrayTree) -> None:
    """Raises for what has no derivative: integers, booleans, `float0`, and what is no array at all."""
    if all(map(_is_float, jax.tree.leaves(updates, is_leaf=is_rows))):
        return
    for path, x in jax.tree.leaves_with_path(updates, is_leaf=is_rows):
        if not _is_float(x):
            kind = x.dtype if hasattr(x, "dtype") else type(x).__name__
            raise TypeError(f"the gradient of {path_name(path)!r} is {kind}: give floats, or None for what is fixed")


def _is_float(x: Any) -> bool:
    x = x.values if isinstance(x, Rows) else x
    return isinstance(x, float | complex) or (hasattr(x, "dtype") and jnp.issubdtype(x.dtype, np.inexact))


def each(f: Callable, tree: ArrayTree, *beside: ArrayTree) -> ArrayTree:
    """f of every array of `tree` and its counterparts in the trees beside it; None and masked leaves pass through."""
    structure, rows = columns(tree, *beside)
    if len(rows) >= MANY and any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree)):
        f = jax.jit(f)  # traced once for each shape, so that a program grows by one line an array
    with of_numbers((tree, *beside)):
        return structure.unflatten([row[0] if absent(row[0]) else f(*row) for row in rows])


MANY = 8
"""From so many arrays on a function of one array is traced once for each shape."""


def of_numbers(tree: ArrayTree) -> contextlib.AbstractContextManager:
    """Where real factors meet complex numbers, which strict promotion would not let them."""
    if any(map(is_complex, jax.tree.leaves(tree))):
        return jax.numpy_dtype_promotion("standard")
    return contextlib.nullcontext()


def widened(tree: ArrayTree, beside: ArrayTree | None = None) -> ArrayTree:
    """The tree in at least float32, and in at least the precision of the tree beside it; shapes stay shapes."""
    if beside is None:
        return jax.tree.map(_wide, tree, is_leaf=is_rows)
    structure, rows = columns(tree, beside, rows=True)
    return structure.unflatten([x if absent(x) else _wide(x, p) for x, p in rows])


def _wide(x: Any, beside: Any = None) -> Any:
    if isinstance(x, Rows):
        return Rows(x.indices, _wide(x.values, beside))
    if not is_numeric(x):
        return x  # what else a model may contain, such as a function or a key
    dtype = wide_dtype(x)
    if is_numeric(beside) and is_complex(x) == is_complex(beside):
        dtype = promoted(dtype, wide_dtype(beside))
    return x.update(dtype=dtype) if isinstance(x, jax.ShapeDtypeStruct) else jnp.asarray(x, dtype)


def is_numeric(x: Any) -> bool:
    """Whether x is a number or an array of numbers."""
    if callable(x) or isinstance(x, str) or x is None:
        return False
    return not hasattr(x, "dtype") or jnp.issubdtype(x.dtype, np.number)


def rounded(tree: ArrayTree, like: ArrayTree, beside: ArrayTree | None = None) -> ArrayTree:
    """The tree in the dtypes of `like`, or in those of the tree beside it where these are wider."""

    def narrow(x: Any, y: Any, p: Any = None) -> Any:
        if absent(x):
            return x
        dtype = jnp.result_type(x.values if isinstance(x, Rows) else x)
        if is_numeric(p) and jnp.issubdtype(jnp.result_type(p), jnp.inexact):
            dtype = promoted(dtype, jnp.result_type(p))
        return Rows(y.indices, y.values.astype(dtype)) if isinstance(y, Rows) else y.astype(dtype)

    structure, rows = columns(like, tree, *(() if beside is None else (beside,)), rows=True)
    return structure.unflatten([narrow(*row) for row in rows])


def selected(mask: Mask, tree: ArrayTree) -> ArrayTree:
    """The tree with None where the mask, a tree of booleans, a prefix of one or a function, is False."""
    if not jax.tree.leaves(tree):
        return tree
    return jax.tree.map(lambda m, x: x if m else jax.tree.map(lambda _: None, x), _mask_of(mask, tree), tree)


def overlaid(mask: Mask, tree: ArrayTree, below: ArrayTree) -> ArrayTree:
    """`tree` where the mask is True, `below` elsewhere."""
    if not jax.tree.leaves(below):
        return tree
    return jax.tree.map(lambda m, x, y: x if m else y, _mask_of(mask, below), tree, below)


def marks(mask: Mask, tree: ArrayTree) -> list[bool]:
    """Whether the mask is True, of one array of the tree after the other."""
    if jax.tree.leaves(tree):
        tree = jax.tree.map(lambda m, part: jax.tree.map(lambda _: bool(m), part), _mask_of(mask, tree), tree)
    return [x is True for x in jax.tree.leaves(tree, is_leaf=absent)]


def excluding(*patterns: str) -> Callable[[ArrayTree], ArrayTree]:
    """A mask: False where the path of an array, such as "encoder/norm/bias", contains a match of any of the patterns.

    The patterns are regular expressions; TypeError for one that is no string.

    >>> excluding("bias", "^norm/")({"kernel": 0.0, "bias": 0.0, "norm": {"scale": 0.0}})
    {'bias': False, 'kernel': True, 'norm': {'scale': False}}
    """
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(
                f'excluding: {pattern!r} is no string: give the patterns one by one, excluding("bias", "norm")'
            )
    compiled = [re.compile(pattern) for pattern in patterns]

    def mask(tree: ArrayTree) -> ArrayTree:
        return jax.tree.map_with_path(lambda path, _: not any(c.search(path_name(path)) for c in compiled), tree)

    return mask


def inverted(mask: Mask) -> Mask:
    """The mask of all that `mask` leaves out."""
    return lambda tree: jax.tree.map(lambda m: not m, _mask_of(mask, tree))


def map_like(f: Callable, tree: ArrayTree, *others: ArrayTree) -> ArrayTree:
    """f(leaf of `tree`, its counterparts …); where the leaf is absent, the first counterpart as it is."""
    structure: Any
    leaves, structure = jax.tree.flatten(tree, is_leaf=absent)
    rows = zip(leaves, *map(structure.flatten_up_to, others), strict=True)
    return structure.unflatten([row[1] if absent(row[0]) or absent(row[1]) else f(*row) for row in rows])


def path_name(path: tuple) -> str:
    """A path as people write it: "encoder/layer/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def replaced(tree: ArrayTree, by: ArrayTree) -> ArrayTree:
    """`tree` with the arrays that `by` holds at the same paths; the two may differ in the classes of their nodes."""
    arrays = {_names(path): x for path, x in jax.tree.leaves_with_path(by, is_leaf=absent)}

    def at(path: tuple, x: Any) -> Any:
        prefixes = (_names(path[:n]) for n in range(len(path), -1, -1))
        new: Any = next((arrays[p] for p in prefixes if p in arrays), None)
        return x if absent(new) else new.astype(jnp.result_type(x))

    return jax.tree.map_with_path(at, tree)


def displaced(tree: ArrayTree, by: ArrayTree) -> ArrayTree:
    """What `by` holds, each array moved by that of `tree` at its path; the two may differ in their nodes' classes."""
    arrays = {_names(path): x for path, x in jax.tree.leaves_with_path(tree)}
    return jax.tree.map_with_path(lambda path, d: arrays[_names(path)].astype(d.dtype) + d, by)


def _names(path: tuple) -> tuple[str, ...]:
    return tuple(map(str, path))


def _mask_of(mask: Mask, tree: ArrayTree) -> Any:
    # some model classes are trees that can be called: only a leaf is taken for a function, which sees no Rows
    whole = jax.tree.map(lambda x: x.values if isinstance(x, Rows) else x, tree, is_leaf=is_rows)
    found = mask(whole) if callable(mask) and jax.tree_util.all_leaves([mask]) else mask
    for m in [None] if found is None else jax.tree.leaves(found):
        if not isinstance(m, bool | np.bool_):
            raise TypeError(f"mask: {m!r} is neither True nor False, nor a function of the tree that gives such a tree")
    structure: Any = jax.tree.structure(found)
    try:
        structure.flatten_up_to(whole)
    except ValueError as error:
        missing, alone = lone_path(whole, found), lone_path(found, whole)
        why = f"{missing!r} is not in it" if missing else f"{alone!r} is in it alone"
        why = why if missing or alone else str(error).partition("\n")[0]
        raise ValueError(f"mask: its structure is no prefix of the tree's: {why}") from None
    return found
