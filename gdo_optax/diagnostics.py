"""What can be measured of a loss before any optimizer is chosen."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from chex import Array, ArrayTree

from gdo_optax.engine.numerics import norm, reciprocal, wide_dtype


class Interference(NamedTuple):
    """Between n patterns, both (n, n): the cosines of their gradients, and what a step on one does to the others."""

    cosines: Array
    effects: Array


def interference(loss: Callable[..., Array], params: ArrayTree, batches: ArrayTree) -> Interference:
    """Interference: how much learning one pattern undoes, or helps, another.

        cosines[i, j] = ⟨gᵢ, gⱼ⟩/(‖gᵢ‖·‖gⱼ‖),   effects[i, j] = −⟨gᵢ, gⱼ⟩

    An effect is the change of loss i per unit of rate in a step of gradient descent on pattern j, to first order: above
    0 pattern j undoes pattern i, on the diagonal it is the progress itself. A gradient of 0 has cosine 0 with all.

    Args:
        loss: loss(params, pattern), a number.
        params: a tree of arrays.
        batches: n patterns, or batches, a tree of arrays that are stacked along their first axis.

    Raises:
        ValueError: no parameters; patterns that are not as many in all arrays.

    Reference: R. S. Sutton (1986), "Two problems with backpropagation and other steepest-descent learning procedures
    for networks", Proc. 8th Annual Conference of the Cognitive Science Society.

    >>> import jax.numpy as jnp
    >>> patterns = jnp.array([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    >>> cosines, effects = interference(jnp.vdot, jnp.ones(2), patterns)
    >>> cosines[0], effects[0, 0], effects[0, 2]
    (Array([ 1.,  0., -1.], dtype=float32), Array(-9., dtype=float32), Array(3., dtype=float32))
    """
    if not jax.tree.leaves(params):
        raise ValueError("interference: params holds no arrays to learn")
    gradients = _rows(jax.vmap(jax.grad(loss), in_axes=(None, 0))(params, batches))
    size = jnp.max(jnp.abs(gradients), axis=1, initial=0)
    scaled = gradients * reciprocal(size)[:, None]  # squares of what is at most 1 neither overflow nor vanish
    length = jax.vmap(norm)(scaled)
    units = scaled * reciprocal(length)[:, None]
    cosines = jnp.matmul(units, units.T, precision="highest")
    norms = size * length
    return Interference(cosines, -cosines * norms[:, None] * norms[None, :])


def _rows(gradients: ArrayTree) -> Array:
    """All gradients of a pattern as one row, in at least float32; a complex number as the two it consists of."""
    wide = [g.reshape(len(g), -1).astype(wide_dtype(g)) for g in jax.tree.leaves(gradients)]
    parts = [part for g in wide for part in ((g.real, g.imag) if jnp.iscomplexobj(g) else (g,))]
    dtype = max((part.dtype for part in parts), key=lambda d: d.itemsize)
    return jnp.concatenate([part.astype(dtype) for part in parts], axis=1)
