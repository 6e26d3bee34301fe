"""Second moments kept as rows and columns."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from chex import Array, Numeric

from gdo_optax.counting import Schedule, check_numbers, schedule, time_of
from gdo_optax.engine import numerics
from gdo_optax.engine.nodes import PerStep, Rule, per_step, rule
from gdo_optax.engine.piece import Hyperparameter, piece
from gdo_optax.pieces.sums import added


@piece
def factored_ema(
    decay_rate: Hyperparameter = 0.8,
    factored_dims: str = "last",
    min_dim_size_to_factor: Numeric | None = None,
    dtype: Any = None,
    residual_dtype: Any = None,
) -> Rule:
    """The average V of x with decay β₂ₜ = 1 − t⁻ᶜ, kept of a matrix as the averages of its rows and columns.

        Rₜ = β₂ₜ·Rₜ₋₁ + (1−β₂ₜ)·rowmean(x),   Cₜ = β₂ₜ·Cₜ₋₁ + (1−β₂ₜ)·colmean(x),   V = R·C / mean(R)

    Arrays of rank ≥ 2 are factored over two axes, all others being a batch of matrices, if neither is shorter than
    `min_dim_size_to_factor`; arrays that are not factored are averaged whole. As β₂₁ = 0 there is nothing to correct.
    The slots are "row", (n,) for an (n, m) matrix, "col", (m,), and "whole", for other arrays; each is None where it
    does not apply. Means in place of the paper's sums give the same V.

    `decay_rate` is c in (0, 1], a number or a schedule; `corrected_decay_rate` is that of Adam's second moment.
    `factored_dims` is "last", the two last axes, or "largest", the two longest; ValueError for any other. `dtype`
    stores the averages in less than float32. With a `residual_dtype` their rounding errors are kept, too (see
    `accumulated`): for vectors this costs next to nothing.

    N. Shazeer, M. Stern (2018), "Adafactor: adaptive learning rates with sublinear memory cost", arXiv:1804.04235,
    Algorithms 4 and 5, sections 3 and 7.2.

    >>> import jax.numpy as jnp
    >>> tx = factored_ema()
    >>> v, state = tx.update(jnp.array([[1.0, 2.0], [2.0, 4.0]]), tx.init(jnp.zeros((2, 2))))
    >>> v
    Array([[1., 2.],
           [2., 4.]], dtype=float32)
    """
    axes_of = _axes("factored_ema", factored_dims, min_dim_size_to_factor)

    def averaged(m: dict[str, Any], x: Array, weight: Array) -> tuple[dict[str, Any], Array]:
        def means(*axes: int) -> list[Array]:
            return [numerics.mean(x, axis) for axis in axes]

        new, parts = _factors(m, x, means, weight, axes_of(x.shape), dtype)
        return new, functools.reduce(jnp.multiply, parts)

    return rule(averaged, init=_slots(axes_of, dtype, residual_dtype), weight=_weight(decay_rate))


@piece
def scale_by_factored_rms(
    decay_rate: Hyperparameter = 0.8,
    eps: Numeric = 1e-30,
    factored_dims: str = "last",
    min_dim_size_to_factor: Numeric | None = None,
    dtype: Any = None,
    residual_dtype: Any = None,
) -> Rule:
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
    axes_of = _axes("scale_by_factored_rms", factored_dims, min_dim_size_to_factor)

    def scaled(m: dict[str, Any], g: Array, weight: Array, eps: Numeric) -> tuple[dict[str, Any], Callable]:
        def means(*axes: int) -> list[Array]:
            return [mean + eps for mean in numerics.mean_squares(g, *axes)]

        new, parts = _factors(m, numerics.square(g) + eps, means, weight, axes_of(g.shape), dtype, _inverse_root)
        # one after the other: XLA would materialize the product of two vectors as a matrix
        return new, lambda g: functools.reduce(jnp.multiply, parts, g)

    slots = _slots(axes_of, dtype, residual_dtype, jnp.abs)
    return rule(scaled, init=slots, weight=_weight(decay_rate), eps=eps)


def _weight(decay_rate: Hyperparameter) -> PerStep:
    """1 − β₂ₜ = t⁻ᶜ, which 1 − (1 − t⁻ᶜ) would round."""
    return per_step(lambda age, decay_rate: age ** -numerics.as_dtype(decay_rate, age.dtype), decay_rate=decay_rate)


def _inverse_root(v: Array) -> Array:
    return numerics.inverse_root(v, 0, 0.0)


Axes: TypeAlias = tuple[int, int] | None


def _axes(name: str, factored_dims: str, min_dim_size_to_factor: Numeric | None) -> Callable[[tuple[int, ...]], Axes]:
    """The two axes of a shape that are factored, or None."""
    if factored_dims not in ("last", "largest"):
        raise ValueError(f"{name}: factored_dims={factored_dims!r} is neither 'last' nor 'largest'")

    def axes_of(shape: tuple[int, ...]) -> Axes:
        if len(shape) < 2:
            return None
        two = np.argsort(shape)[-2:] if factored_dims == "largest" else (len(shape) - 2, len(shape) - 1)
        across, along = sorted(int(axis) for axis in two)
        return (across, along) if min(shape[across], shape[along]) >= (min_dim_size_to_factor or 0) else None

    return axes_of


def _slots(axes_of: Callable, dtype: Any, residual_dtype: Any, like: Callable = lambda zeros: zeros) -> dict[str, Any]:
    """The first memories: zeros, each with a residual if that has a dtype."""

    def slot(name: str, stored: Any, p: Array) -> Array | None:
        axes, zeros = axes_of(p.shape), like(jnp.zeros_like(p))
        if (axes is None) != (name == "whole"):
            return None
        # a sum over an axis is sharded as the parameter is
        zeros = zeros if axes is None else jnp.sum(zeros, axes[1] if name == "row" else axes[0])
        return zeros.astype(stored or zeros.dtype)

    slots = {name: functools.partial(slot, name, dtype) for name in ("row", "col", "whole")}
    if residual_dtype is None:
        return slots
    return slots | {_residual(name): functools.partial(slot, name, residual_dtype) for name in slots}


def _residual(slot: str) -> str:
    return f"{slot}_residual"


def _factors(
    m: dict[str, Any],
    x: Array,
    means: Callable,
    weight: Array,
    axes: Axes,
    dtype: Any,
    f: Callable[[Array], Array] = lambda v: v,
) -> tuple[dict[str, Any], list[Array]]:
    """The next memories, and the factors of f(V).

    `means` are those of x over two axes; f, V itself unless it is given, is one of products of factors.
    """
    new: dict[str, Any] = dict.fromkeys(m)

    def averaged(slot: str, x: Array) -> Array:
        y, residual = added(m[slot], weight * (x - m[slot]), m.get(_residual(slot)), dtype)
        new.update({slot: y} if residual is None else {slot: y, _residual(slot): residual})
        return y

    if axes is None:
        return new, [f(averaged("whole", x))]
    across, along = axes
    of_rows, of_cols = means(along, across)
    rows, columns = averaged("row", of_rows), averaged("col", of_cols)
    of_all = numerics.reciprocal(numerics.mean(rows, across))
    relative = rows * jnp.expand_dims(of_all, across)  # first, so that no product of two ε underflows
    return new, [jnp.expand_dims(f(relative), along), jnp.expand_dims(f(columns), across)]


@schedule
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
        t = time_of(count)
        window = numerics.weight_of_past(t, b2) / (1 - numerics.as_dtype(b2, t.dtype))
        return jnp.where(t > 1, jnp.log(window) / jnp.log(jnp.maximum(t, 2)), 1)

    return exponent
