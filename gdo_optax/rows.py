"""Gradients and updates of a few rows of a table, such as an embedding's, as indices and values."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """Some rows of a table (V, …), all others being 0: `indices` (k,) and `values` (k, …).

    It stands where the gradient or the update of the whole table could: parameters + rows are the parameters with these
    rows added, so that `optax.apply_updates` takes it. Values of the same index add up. An index outside 0 … V−1 means
    nothing, so that V pads a batch to a fixed k.

    >>> import jax.numpy as jnp
    >>> jnp.zeros(3) + Rows(jnp.array([2, 0, 2, 3]), jnp.array([1.0, 2.0, 4.0, 8.0]))
    Array([2., 0., 5.], dtype=float32)
    """

    indices: Array
    values: Array

    __array_ufunc__ = None  # so that a NumPy array, too, leaves the sum to __radd__

    def __radd__(self, table: Any) -> Array:
        table = jnp.asarray(table)
        return table.at[within(self.indices, len(table))].add(self.values.astype(table.dtype), mode="drop")


def within(indices: Array, size: int) -> Array:
    """The indices, `size` in place of those outside 0 … size−1."""
    return jnp.where((indices >= 0) & (indices < size), indices, size)


def distinct(indices: Array, size: int) -> tuple[Array, Array]:
    """The k indices, each once, sorted, `size` in what is left of k places; and which of these each of them is."""
    k, inside = indices.size, within(indices, size)
    once, place = jnp.unique(inside, return_inverse=True, size=k, fill_value=size)
    return once, place.reshape(indices.shape)


def summed(rows: Rows, size: int) -> Rows:
    """The same rows of a table of `size`, each once, sorted; what is left of the k places has index `size` and value 0.

    Values are added in their order; it takes O(k log k).

    >>> import jax.numpy as jnp
    >>> summed(Rows(jnp.array([2, 0, 2]), jnp.array([1.0, 2.0, 4.0])), 3)
    Rows(indices=Array([0, 2, 3], dtype=int32), values=Array([2., 5., 0.], dtype=float32))
    """
    indices, place = distinct(rows.indices, size)
    values = jax.ops.segment_sum(rows.values, place, num_segments=len(indices))
    return Rows(indices, jnp.where(beside(indices < size, values), values, 0))


def to_dense(rows: Rows, size: int) -> Array:
    """The table of `size` rows that it stands for.

    >>> import jax.numpy as jnp
    >>> to_dense(Rows(jnp.array([2, 0, 2]), jnp.array([1.0, 2.0, 4.0])), 3)
    Array([2., 0., 5.], dtype=float32)
    """
    return jnp.zeros((size, *rows.values.shape[1:]), rows.values.dtype) + rows


def taken(table: Array, indices: Array) -> Array:
    """The rows of a table at indices that are `within` it; zeros beyond."""
    return table.at[indices].get(mode="fill", fill_value=0)


def beside(flags: Array, values: Array) -> Array:
    """One flag for each row, (k,), in the rank of the values, (k, …)."""
    return flags.reshape(flags.shape + (1,) * (values.ndim - 1))
