"""Second moments kept as rows and columns."""

import jax.numpy as jnp
import optax
from chex import Array, Numeric

from gdo_optax.arithmetic import mean, reciprocal
from gdo_optax.core import Piece, piece
from gdo_optax.makers import recurrent


@piece
def factored_ema(decay_rate: Numeric = 0.8) -> Piece:
    """The average V of x with decay β₂ₜ = 1 − t⁻ᶜ, kept of a matrix as the averages of its rows and columns.

        Rₜ = β₂ₜ·Rₜ₋₁ + (1−β₂ₜ)·rowmean(x),   Cₜ = β₂ₜ·Cₜ₋₁ + (1−β₂ₜ)·colmean(x),   V = R·C / mean(R)

    Arrays of rank ≥ 2 are factored over their last two axes, leading ones being a batch of matrices; others are
    averaged whole. `decay_rate` is c in (0, 1]; as β₂₁ = 0 there is nothing to correct. The state of an (n, m) matrix
    is {"row": (n,), "col": (m,)}. Means in place of the paper's sums give the same V.

    N. Shazeer, M. Stern (2018), "Adafactor: adaptive learning rates with sublinear memory cost", arXiv:1804.04235,
    Algorithms 4 and 5, sections 3 and 7.2.

    >>> import jax.numpy as jnp
    >>> tx = factored_ema()
    >>> v, state = tx.update(jnp.array([[1.0, 2.0], [2.0, 4.0]]), tx.init(jnp.zeros((2, 2))))
    >>> v
    Array([[1., 2.],
           [2., 4.]], dtype=float32)
    """

    def initial(p: Array) -> Array | dict[str, Array]:
        zeros = jnp.zeros_like(p)
        return {"row": jnp.sum(zeros, -1), "col": jnp.sum(zeros, -2)} if zeros.ndim > 1 else zeros  # sharded as p is

    def rule(m: Array | dict[str, Array], x: Array, t: Numeric, decay_rate: Numeric) -> tuple[Array, Array]:
        weight = t**-decay_rate  # 1 − β₂ₜ, which 1 − (1 − t⁻ᶜ) would round

        def averaged(m: Array, x: Array) -> Array:
            return m + weight * (x - m)

        if x.ndim < 2:
            return averaged(m, x), averaged(m, x)
        row, col = averaged(m["row"], mean(x, -1)), averaged(m["col"], mean(x, -2))
        share = row * reciprocal(mean(row, -1, keepdims=True))  # first, so that no product of two ε underflows
        return {"row": row, "col": col}, share[..., :, None] * col[..., None, :]

    return recurrent(rule, initial, t=optax.safe_increment, decay_rate=decay_rate)
