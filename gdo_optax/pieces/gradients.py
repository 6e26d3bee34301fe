"""What is done to the raw gradient."""

import math

import jax.numpy as jnp
from chex import Array

from gdo_optax.core import Piece, piece
from gdo_optax.makers import pointwise


@piece
def centralize(out_axis: int = -1) -> Piece:
    """g ↦ g − mean of g over all axes but `out_axis`: each output unit's gradient sums to 0; vectors stay as they are.

    The output axis is the last of Flax's kernels, (in, out) and (height, width, in, out); optax.centralize keeps the
    first, as PyTorch lays them out.

    H. Yong et al. (2020), "Gradient centralization", arXiv:2004.01461, equation 1.

    >>> import jax.numpy as jnp
    >>> centralize().update(jnp.array([[1.0, 0.0], [3.0, 0.0]]), ())[0]
    Array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """

    def centralized(g: Array) -> Array:
        if g.ndim < 2:
            return g
        others = tuple(i for i in range(g.ndim) if i != out_axis % g.ndim)
        return g - jnp.sum(g, others, keepdims=True) / max(math.prod(g.shape[i] for i in others), 1)

    return pointwise(centralized)
