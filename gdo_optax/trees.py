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

from gdo_optax.arithmetic import norm, total, wide_dtype
from gdo_optax.rows import Rows


Mask: TypeAlias = Any | Callable[[Any], Any]


def absent(x: Any) -> bool:
    """Whether x stands where an array could be but is none: None, or a leaf that a mask has taken out."""
    return x is None or isinstance(x, optax.MaskedNode)


def is_rows(x: Any) -> bool:
    """Whether x stands for a few rows of a table."""
    return isinstance(x, Rows)


def is_complex(x: Any) -> bool:
    """Whether x is an array of complex numbers, or stands for one."""
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, np.complexfloating)


def magnitudes(tree: ArrayTree) -> ArrayTree:
    """The tree with |x| in place of every complex x."""

    def of(x: Any) -> Any:
        return jax.eval_shape(jnp.abs, x) if isinstance(x, jax.ShapeDtypeStruct) else jnp.abs(x)

    return jax.tree.map(lambda x: of(x) if is_complex(x) else x, tree)


def columns(tree: ArrayTree, *beside: ArrayTree) -> tuple[Any, list[tuple]]:
    """The structure of `tree`, and its leaves, each with what stands at the same place of the trees `beside` it."""
    structure: Any = jax.tree.structure(tree, is_leaf=absent)
    if any(is_rows(x) for t in (tree, *beside) for x in jax.tree.leaves(t, is_leaf=is_rows)):
        raise TypeError("Rows are updated by sparse_rows alone: wrap the whole optimizer, sparse_rows(adam(1e-3))")
    leaves = jax.tree.leaves(tree, is_leaf=absent)
    try:
        return structure, list(zip(leaves, *map(structure.flatten_up_to, beside), strict=True))
    except ValueError as error:
        without = next(filter(None, (lone_path(other, tree) for other in beside)), None)
        alone = next(filter(None, (lone_path(tree, other) for other in beside)), None)
        why = f"{without!r} has no gradient, not even None" if without else f"{alone!r} has nothing but a gradient"
        why = why if without or alone else str(error).partition("\n")[0]
        raise ValueError(f"parameters and state must have the structure of the gradients: {why}") from None


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
    """f of every array of `tree` and what stands beside it; None and masked leaves pass through."""
    structure, rows = columns(tree, *beside)
    with of_numbers((tree, *beside)):
        return structure.unflatten([row[0] if absent(row[0]) else f(*row) for row in rows])


def of_numbers(tree: ArrayTree) -> contextlib.AbstractContextManager:
    """Where real factors meet complex numbers, which strict promotion would not let them."""
    if any(map(is_complex, jax.tree.leaves(tree))):
        return jax.numpy_dtype_promotion("standard")
    return contextlib.nullcontext()


def widened(tree: ArrayTree) -> ArrayTree:
    """The tree in at least float32; shapes stay shapes."""
    return jax.tree.map(_wide, tree, is_leaf=is_rows)


def _wide(x: Any) -> Any:
    if isinstance(x, Rows):
        return Rows(x.indices, _wide(x.values))
    if callable(x) or isinstance(x, str) or (hasattr(x, "dtype") and not jnp.issubdtype(x.dtype, np.number)):
        return x  # what else a model consists of, as a function or a key
    dtype = wide_dtype(x)
    return x.update(dtype=dtype) if isinstance(x, jax.ShapeDtypeStruct) else jnp.asarray(x, dtype)


def rounded(tree: ArrayTree, like: ArrayTree) -> ArrayTree:
    """The tree in the dtypes of `like`, integers aside."""

    def narrow(x: Any, y: Any) -> Any:
        return x if absent(x) or not jnp.issubdtype(y, jnp.inexact) else x.astype(y)

    return jax.tree.map(narrow, tree, jax.tree.map(jnp.result_type, like), is_leaf=absent)


def selected(mask: Mask, tree: ArrayTree) -> ArrayTree:
    """The tree with `optax.MaskedNode` where the mask, a tree of booleans, a prefix of one or a function, is False."""
    if not jax.tree.leaves(tree):
        return tree
    return jax.tree.map(lambda m, x: x if m else optax.MaskedNode(), _mask_of(mask, tree), tree)


def overlaid(mask: Mask, tree: ArrayTree, below: ArrayTree) -> ArrayTree:
    """`tree` where the mask is True, `below` elsewhere."""
    return jax.tree.map(lambda m, x, y: x if m else y, _mask_of(mask, below), tree, below)


def marks(mask: Mask, tree: ArrayTree) -> list[bool]:
    """Whether the mask is True, of one array of the tree after the other."""
    parts = jax.tree.map(lambda m, part: jax.tree.map(lambda _: bool(m), part), _mask_of(mask, tree), tree)
    return jax.tree.leaves(parts, is_leaf=absent)


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


def all_finite(tree: ArrayTree) -> Any:
    """Whether no array holds an infinity or a NaN, as one boolean array."""
    spoilt = [total(x - x) != 0 for x in jax.tree.leaves(tree)]  # a boolean for each element would be written out
    # counted: XLA on a CPU would write what `all` does out again for every array that depends on it
    return jnp.sum(jnp.array(spoilt or [False]).astype(jnp.float32)) == 0


def number_dtype(tree: ArrayTree) -> Any:
    """Of a number that belongs to no array: double precision where any array has it."""
    double = any(wide_dtype(p) in (jnp.float64, jnp.complex128) for p in jax.tree.leaves(tree))
    return jnp.float64 if double else jnp.float32


def global_norm(tree: ArrayTree) -> Any:
    """‖x‖₂ over all elements of all arrays together, in the dtype of the widest; finite for finite arrays."""
    norms = [norm(x) for x in jax.tree.leaves(tree)]
    dtype = number_dtype(norms)
    return norm(jnp.stack([n.astype(dtype) for n in norms] or [jnp.zeros((), dtype)]))


def _stand_in() -> Any:
    """What optax itself puts in place of a tree of parameters, a node without leaves: its masks know it."""
    seen: list[Any] = []

    def init(params: Any) -> tuple:
        seen.append(params)
        return ()

    optax.tree_map_params(init, lambda x: x, ())
    return seen[0]


_WHOLE = _stand_in()


def memories_of(init: Callable) -> tuple[list[bool], Any]:
    """Which parts of the states that `init` makes are memories of parameters, and the structure that the parts are in.

    It is told by what `init` makes of a stand-in.
    """
    outer: Any
    marks, outer = jax.tree.flatten(init(_WHOLE), is_leaf=lambda x: isinstance(x, type(_WHOLE)))
    return [isinstance(mark, type(_WHOLE)) for mark in marks], outer


def of_parameters(init: Callable, f: Callable, tree: ArrayTree, state: Any, *others: Any) -> Any:
    """`state` with f(leaf of `tree`, what the states hold of this parameter …) for whatever they hold of parameters.

    `init` made the states.
    """
    own, outer = memories_of(init)
    structure: Any = jax.tree.structure(tree, is_leaf=absent)

    def memories(here: bool, *parts: Any) -> Any:
        if not here:
            return parts[0]
        rows = zip(jax.tree.leaves(tree, is_leaf=absent), *map(structure.flatten_up_to, parts), strict=True)
        return structure.unflatten([row[1] if absent(row[0]) else f(*row) for row in rows])

    return outer.unflatten(map(memories, own, *map(outer.flatten_up_to, (state, *others))))


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
