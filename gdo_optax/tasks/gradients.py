"""The gradients of several losses, of one forward pass."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from chex import Array, ArrayTree

from gdo_optax.engine.numerics import number_dtype
from gdo_optax.engine.trees import path_name


def task_gradients(losses_fn: Callable, params: ArrayTree, *args: Any, has_aux: bool = False) -> tuple[Any, ArrayTree]:
    """The losses of T tasks and the gradient of each, stacked along a first axis: what the balancers take.

    As `jax.value_and_grad`, for several losses: one forward pass, then one backward pass for each task, all at once
    (which takes T times the memory of a gradient). A loss that reads no shared layer has zeros there.

    Args:
        losses_fn: a function of `params` and `args` that returns an array (T,) or a list or tuple of numbers.
        params: a tree of arrays.
        args: what else the function takes.
        has_aux: whether the function returns a pair, the second of which is handed out as it is.

    Returns:
        The losses, (T,), in at least float32, or the pair of them and what was handed out; and the gradients, in the
        dtypes of `params`, (T, …) in every array.

    Raises:
        ValueError: losses that are no (T,).
        TypeError: parameters that are no real or complex numbers.

    >>> import jax.numpy as jnp
    >>> losses_fn = lambda p, x: [p["w"] * x, (p["w"] - 1) ** 2]
    >>> losses, gradients = task_gradients(losses_fn, {"w": jnp.float32(3.0)}, 2.0)
    >>> losses, gradients
    (Array([6., 4.], dtype=float32), {'w': Array([2., 4.], dtype=float32)})
    """
    for path, p in jax.tree.leaves_with_path(params):
        if not jnp.issubdtype(jnp.result_type(p), jnp.inexact):
            raise TypeError(f"the parameter at {path_name(path)!r} has no gradient, it is {jnp.result_type(p)}")

    def losses_of(p: ArrayTree) -> tuple[Array, Any]:
        out = losses_fn(p, *args)
        losses, aux = out if has_aux else (out, ())
        return _one_array(losses), aux

    losses, pullback, aux = jax.vjp(losses_of, params, has_aux=True)
    (gradients,) = jax.vmap(pullback)(jnp.eye(len(losses), dtype=losses.dtype))
    return ((losses, aux) if has_aux else losses), gradients


def _one_array(losses: Any) -> Array:
    """The losses as one array, (T,), in at least float32."""
    parts = losses if isinstance(losses, list | tuple) else None
    if (any(map(np.ndim, parts)) or not parts) if parts is not None else np.ndim(losses) != 1:
        shapes = jax.tree.map(np.shape, losses)
        raise ValueError(f"losses_fn returned {shapes}, shapes that are not one number for each task")
    dtype = number_dtype(losses)
    return jnp.stack([jnp.asarray(x, dtype) for x in parts]) if parts else losses.astype(dtype)
