"""Second moments kept as rows and columns."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from chex import Array, Numeric

from gdo_optax.engine import numerics
from gdo_optax.engine.piece import Hyperparameter, Piece, piece, totals
from gdo_optax.counting import check_numbers
from gdo_optax.makers import added, recurrent, sum_from
from gdo_optax.schedules import Schedule


@piece
def factored_ema(
    decay_rate: Hyperparameter = 0.8,
    factored_dims: str = "last",
    min_dim_size_to_factor: Numeric | None = None,
    dtype: Any = None,
    residual_dtype: Any = None,
) -> Piece:
    """The average V of x with decay β₂ₜ = 1 − t⁻ᶜ, kept of a matrix as the averages of its rows and columns.

        Rₜ = β₂ₜ·Rₜ₋₁ + (1−β₂ₜ)·rowmean(x),   Cₜ = β₂ₜ·Cₜ₋₁ + (1−β₂ₜ)·colmean(x),   V = R·C / mean(R)

    Arrays of rank ≥ 2 are factored over two axes, all others being a batch of matrices, if neither is shorter than
    `min_dim_size_to_factor`; what is not factored is averaged whole. As β₂₁ = 0 there is nothing to correct. The state
    of an (n, m) matrix is {"row": (n,), "col": (m,)}. Means in place of the paper's sums give the same V.

    `decay_rate` is c in (0, 1], a number or a schedule; `corrected_decay_rate` is that of Adam's second moment.
    `factored_dims` is "last", the two last axes, or "largest", the two longest; ValueError for any other. `dtype`
    stores the averages in less than float32; in a `residual_dtype` what rounding takes from them is kept, too (see
    `accumulated`), which of vectors is next to nothing.

    N. Shazeer, M. Stern (2018), "Adafactor: adaptive learning rates with sublinear memory cost", arXiv:1804.04235,
    Algorithms 4 and 5, sections 3 and 7.2.

    >>> import jax.numpy as jnp
    >>> tx = factored_ema()
    >>> v, state = tx.update(jnp.array([[1.0, 2.0], [2.0, 4.0]]), tx.init(jnp.zeros((2, 2))))
    >>> v
    Array([[1., 2.],
           [2., 4.]], dtype=float32)
    """
    initial, factors = _factored("factored_ema", factored_dims, min_dim_size_to_factor, dtype, residual_dtype)

    def rule(m: Any, x: Array, t: Numeric, decay_rate: Numeric) -> tuple[Any, Array]:
        new, parts = factors(m, x, lambda *axes: [numerics.mean(x, axis) for axis in axes], t**-decay_rate)
        return new, functools.reduce(jnp.multiply, parts)

    return recurrent(rule, initial, t=optax.safe_increment, decay_rate=decay_rate)


@piece
def scale_by_factored_rms(
    decay_rate: Hyperparameter = 0.8,
    eps: Numeric = 1e-30,
    factored_dims: str = "last",
    min_dim_size_to_factor: Numeric | None = None,
    dtype: Any = None,
    residual_dtype: Any = None,
) -> Piece:
    """g ↦ g/√Vₜ, Vₜ the `factored_ema` of g² + ε₁: Adafactor's direction.

    Of a matrix g·√(mean(R)/R)·√(1/C), row by row and column by column: neither V nor a root is ever as large as it. 0
    where V is. optax.scale_by_factored_rms is the same with β₂ₜ = 1 − (t+1)⁻ᶜ, the first decay not being 0.

    N. Shazeer, M. Stern (2018), arXiv:1804.04235, Algorithm 4.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_factored_rms()
    >>> tx.update(jnp.array([[1.0, 2.0], [-2.0, 4.0]]), tx.init(jnp.zeros((2, 2))))[0]
    Array([[ 1.,  1.],
           [-1.,  1.]], dtype=float32)
    """
    initial, factors = _factored("scale_by_factored_rms", factored_dims, min_dim_size_to_factor, dtype, residual_dtype)

    def rule(m: Any, g: Array, t: Numeric, decay_rate: Numeric, eps: Numeric) -> tuple[Any, Array]:
        def means(*axes: int) -> list[Array]:
            return [mean + eps for mean in numerics.mean_squares(g, *axes)]

        new, parts = factors(m, numerics.square(g) + eps, means, t**-decay_rate, _inverse_root)
        # one after the other: the product of two vectors would be written out as a matrix
        return new, lambda g: functools.reduce(jnp.multiply, parts, g)

    def of_magnitudes(zeros: Array) -> Any:
        return initial(jnp.abs(zeros))

    return recurrent(rule, of_magnitudes, t=optax.safe_increment, decay_rate=decay_rate, eps=eps)


def _inverse_root(v: Array) -> Array:
    return numerics.inverse_root(v, 0, 0.0)


def _factored(
    name: str, factored_dims: str, min_dim_size_to_factor: Numeric | None, dtype: Any, residual_dtype: Any
) -> tuple[Callable, Callable]:
    """The first memory of an array of zeros, and (memory, x, means, 1 − β₂ₜ, f) ↦ the next one and the factors of f(V).

    `means` are those of x over two axes; f, V itself unless it is given, is one of products of factors.
    """
    if factored_dims not in ("last", "largest"):
        raise ValueError(f"{name}: factored_dims={factored_dims!r} is neither 'last' nor 'largest'")

    def axes_of(shape: tuple[int, ...]) -> tuple[int, int] | None:
        if len(shape) < 2:
            return None
        two = np.argsort(shape)[-2:] if factored_dims == "largest" else (len(shape) - 2, len(shape) - 1)
        across, along = sorted(int(axis) for axis in two)
        return (across, along) if min(shape[across], shape[along]) >= (min_dim_size_to_factor or 0) else None

    def initial(zeros: Array) -> Array | dict[str, Any]:
        axes, zeros = axes_of(zeros.shape), zeros.astype(dtype or zeros.dtype)
        if axes is None:
            return sum_from(zeros, residual_dtype)
        vectors = {"row": jnp.sum(zeros, axes[1]), "col": jnp.sum(zeros, axes[0])}  # sharded as the parameter is
        return {k: sum_from(v, residual_dtype) for k, v in vectors.items()}

    def factors(
        m: Any, x: Array, means: Callable, weight: Numeric, f: Callable[[Array], Array] = lambda v: v
    ) -> tuple[Any, list[Array]]:
        def averaged(m: Any, x: Array) -> tuple[Any, Array]:  # 1 − β₂ₜ = t⁻ᶜ, which 1 − (1 − t⁻ᶜ) would round
            return added(m, weight * (x - totals(m).astype(x.dtype)))

        axes = axes_of(x.shape)
        if axes is None:
            new, v = averaged(m, x)
            return new, [f(v)]
        across, along = axes
        of_rows, of_cols = means(along, across)
        (row, rows), (col, columns) = averaged(m["row"], of_rows), averaged(m["col"], of_cols)
        of_all = numerics.reciprocal(numerics.mean(rows, across))
        relative = rows * jnp.expand_dims(of_all, across)  # first, so that no product of two ε underflows
        parts = [jnp.expand_dims(f(relative), along), jnp.expand_dims(f(columns), across)]
        return {"row": row, "col": col}, parts

    return initial, factors


def corrected_decay_rate(b2: Numeric) -> Schedule:
    """The cₜ with which 1 − t⁻ᶜ is the decay of Adam's corrected average, b2·(1−b2ᵗ⁻¹)/(1−b2ᵗ).

        cₜ = log((1−b2ᵗ)/(1−b2)) / log t

    It falls from nearly 1, the plain mean, to that of a fixed window. The first decay is 0 whatever c is. ValueError
    for a b2 outside [0, 1).

    N. Shazeer, M. Stern (2018), arXiv:1804.04235, section 7.1.

    >>> count = 99
    >>> round(1 - 100 ** -float(corrected_decay_rate(0.9)(count)), 4)
    0.9
    """
    check_numbers("corrected_decay_rate", b2=b2)

    def exponent(count: Array) -> Array:
        t = optax.safe_increment(jnp.asarray(count, int)).astype(float)
        window = numerics.weight_of_past(t, b2) / (1 - numerics.as_dtype(b2, t.dtype))
        return jnp.where(t > 1, jnp.log(window) / jnp.log(jnp.maximum(t, 2)), 1)

    return exponent
