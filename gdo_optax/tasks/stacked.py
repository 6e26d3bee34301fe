"""The gradients of T tasks, stacked along the first axis of every array: their sum, their norms and their products."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from chex import Array, ArrayTree

from gdo_optax.engine.numerics import number_dtype, root
from gdo_optax.engine.trees import Mask, excluding, inverted, overlaid, path_name


Shared: TypeAlias = str | Mask | None


def stacked(x: ArrayTree, tasks: int) -> list[Array]:
    """The arrays, or a ValueError where the first axis of one is not that of the tasks."""
    for path, g in jax.tree.leaves_with_path(x):
        if g.shape[:1] != (tasks,):
            at = f" at {path_name(path)!r}" if path else ""
            raise ValueError(
                f"the gradient{at} has the shape {g.shape}, but its first axis must be the {tasks} tasks: "
                "stack their gradients, as task_gradients does, and say how many there are, tasks="
            )
    return jax.tree.leaves(x)


def chosen(shared: Shared, tree: ArrayTree) -> list[bool]:
    """Whether `shared` selects it, for every array of a tree whose first axis is not that of the tasks."""
    if shared is None or not jax.tree.leaves(tree):
        return [True] * len(jax.tree.leaves(tree))
    mask = inverted(excluding(shared)) if isinstance(shared, str) else shared
    marked = overlaid(mask, jax.tree.map(lambda _: True, tree), tree)
    found = [x is True for x in jax.tree.leaves(marked)]
    if not any(found):
        paths = ", ".join(path_name(path) or "(one array)" for path, _ in jax.tree.leaves_with_path(tree))
        raise ValueError(f"shared={shared!r} selects none of the arrays; there are: {paths}")
    return found


def unstacked(x: ArrayTree) -> ArrayTree:
    """The shapes of the arrays without their first axis."""
    return jax.tree.map(lambda g: jax.ShapeDtypeStruct(g.shape[1:], g.dtype), x)


def combined(weights: Array, x: Array) -> Array:
    """Σ wᵢ·xᵢ over the first axis: no matrix product, so that the compiler writes no sum out before it is used."""
    return sum((w * row for w, row in zip(weights.astype(x.dtype), x, strict=True)), jnp.zeros_like(x[0]))


def norms(gradients: list[Array], tasks: int, dtype: Any) -> Array:
    """‖gᵢ‖ over all arrays together, (T,); infinite where the squares are, so that it can be told."""
    squares = [jnp.sum(jnp.real(g * g.conj()), tuple(range(1, g.ndim))).astype(dtype) for g in gradients]
    return root(sum(squares, jnp.zeros(tasks, dtype)))


def products(gradients: list[Array], tasks: int) -> Array:
    """gᵢ·gⱼ over all arrays together, (T, T)."""
    dtype = number_dtype(gradients)
    rows = [g.reshape(tasks, -1) for g in gradients]
    each_array = [jnp.real(jnp.matmul(r, r.conj().T, precision="highest")).astype(dtype) for r in rows]
    return sum(each_array, jnp.zeros((tasks, tasks), dtype))
