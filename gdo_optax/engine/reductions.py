"""Numbers from whole trees of arrays: norms, and whether all are finite."""

from typing import Any

import jax
import jax.numpy as jnp
from chex import ArrayTree

from gdo_optax.engine.numerics import norm, number_dtype
from gdo_optax.engine.trees import each
from gdo_optax.engine.xla import total


def all_finite(tree: ArrayTree) -> Any:
    """Whether no array holds an infinity or a NaN, as one boolean array."""

    def spoils(x: Any) -> Any:
        return total(x - x) != 0  # a boolean for each element would be materialized

    spoilt = jax.tree.leaves(each(spoils, tree))
    # counted: XLA on a CPU would write what `all` does out again for every array that depends on it
    return jnp.sum(jnp.array(spoilt or [False]).astype(jnp.float32)) == 0


def global_norm(tree: ArrayTree) -> Any:
    """‖x‖₂ over all elements of all arrays together, in the dtype of the widest; finite for finite arrays."""
    norms = jax.tree.leaves(each(norm, tree))
    dtype = number_dtype(norms)
    return norm(jnp.stack([n.astype(dtype) for n in norms] or [jnp.zeros((), dtype)]))
