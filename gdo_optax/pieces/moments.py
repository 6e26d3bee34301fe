"""What is remembered of the past: averages, sums and maxima, coordinate by coordinate."""

from typing import Any

import jax.numpy as jnp
import optax
from chex import Array, Numeric

from gdo_optax import arithmetic
from gdo_optax.core import Hyperparameter, Piece, magnitude, piece
from gdo_optax.makers import accumulated, memory, recurrent
from gdo_optax.schedules import complement


@piece
def ema(decay: Hyperparameter, dtype: Any = None, residual_dtype: Any = None) -> Piece:
    """mₜ = β·mₜ₋₁ + (1−β)·xₜ, m₀ = 0: the exponential moving average, not bias-corrected.

    `decay` is β in [0, 1), a number or a schedule; `dtype` stores m in less than float32, rounded to the nearest: in
    bfloat16, 0.999 stalls, as its steps are smaller than the rounding; `store` rounds so that they count. With a
    `residual_dtype` what rounding takes from m is kept, too (see `accumulated`). `optax.ema` debiases unless told not
    to; here that is `bias_correction`, a piece of its own.

    >>> import jax.numpy as jnp
    >>> tx = ema(0.9)
    >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))[0]
    Array([0.1], dtype=float32)
    """
    new = {"new": complement(decay)} if callable(decay) else {}
    if residual_dtype is None:
        return memory(arithmetic.average, dtype=dtype, decay=decay, **new)

    def step(m: Array, x: Array, decay: Numeric, new: Numeric | None = None) -> Array:
        return arithmetic.average(0.0, x - m, decay, new)

    return accumulated(step, 0.0, dtype, residual_dtype, decay=decay, **new)


@piece
def trace(decay: Hyperparameter, dtype: Any = None) -> Piece:
    """mₜ = β·mₜ₋₁ + xₜ, m₀ = 0: the velocity of the heavy ball (`optax.trace`).

    >>> import jax.numpy as jnp
    >>> tx = trace(0.5)
    >>> _, m = tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([1.0]), m)[0]
    Array([1.5], dtype=float32)
    """
    return memory(lambda m, x, decay: decay * m + x, dtype=dtype, decay=decay)


@piece
def total(initial_accumulator_value: Numeric = 0.0, dtype: Any = None, residual_dtype: Any = None) -> Piece:
    """Gₜ = Gₜ₋₁ + xₜ, G₀ = initial_accumulator_value: the running sum.

    With a `residual_dtype` what rounding takes from it is kept, too (see `accumulated`).

    >>> import jax.numpy as jnp
    >>> tx = total(0.5)
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
    Array([2.5], dtype=float32)
    """
    return accumulated(lambda m, x: x, initial_accumulator_value, dtype, residual_dtype)


@piece
def mean(dtype: Any = None, residual_dtype: Any = None) -> Piece:
    """m̄ₜ = m̄ₜ₋₁ + (xₜ − m̄ₜ₋₁)/t: the plain mean of all that came, in which nothing is forgotten.

    With a `residual_dtype` what rounding takes from it is kept, too (see `accumulated`).

    >>> import jax.numpy as jnp
    >>> tx = mean()
    >>> _, m = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([1.0]), m)[0]
    Array([1.5], dtype=float32)
    """

    def weight(count: Array) -> Array:
        return 1 / optax.safe_increment(count).astype(float)

    # the two products apart, as x − m itself may overflow
    return accumulated(lambda m, x, weight: weight * x - weight * m, 0.0, dtype, residual_dtype, weight=weight)


@piece
def running_max(dtype: Any = None) -> Piece:
    """v̂ₜ = max(v̂ₜ₋₁, xₜ), v̂₀ = 0: the largest so far, for x ≥ 0 (AMSGrad).

    >>> import jax.numpy as jnp
    >>> tx = running_max()
    >>> _, m = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([1.0]), m)[0]
    Array([2.], dtype=float32)
    """
    return memory(jnp.maximum, dtype=dtype)


@piece
def sum_before(delay: int) -> Piece:
    """xₜ ↦ xₜ₋₁ + … + xₜ₋d, d = delay: the sum of the last few inputs without this one.

    Summed anew each time: a running sum would keep the rounding of everything it has let go.

    >>> import jax.numpy as jnp
    >>> tx = sum_before(2)
    >>> state = tx.init(jnp.zeros(1))
    >>> for x in (1.0, 2.0, 3.0, 4.0):
    ...     y, state = tx.update(jnp.array([x]), state)
    >>> y
    Array([5.], dtype=float32)
    """

    def rule(m: Array, x: Array) -> tuple[Array, Array]:
        return jnp.concatenate([m, x.astype(m.dtype)[None]])[1:], jnp.sum(m, 0).astype(x.dtype)

    return recurrent(rule, lambda zeros: jnp.zeros_like(zeros, shape=(int(delay), *zeros.shape)))


@piece
def max_before() -> Piece:
    """xₜ ↦ max(0, x₁, …, xₜ₋₁): the largest so far without this one.

    >>> import jax.numpy as jnp
    >>> tx = max_before()
    >>> tx.update(jnp.array([2.0]), jnp.array([1.0]))
    (Array([1.], dtype=float32), Array([2.], dtype=float32))
    """

    def rule(m: Array, x: Array) -> tuple[Array, Array]:
        return jnp.maximum(m, x).astype(m.dtype), m.astype(x.dtype)

    return recurrent(rule)


@piece
def decayed_max(decay: Hyperparameter, dtype: Any = None, residual_dtype: Any = None) -> Piece:
    """uₜ = max(β·uₜ₋₁, xₜ), u₀ = 0: the largest so far, slowly forgotten, for x ≥ 0 (AdaMax).

    With a `residual_dtype` what rounding takes from it is kept, too (see `accumulated`).

    >>> import jax.numpy as jnp
    >>> tx = decayed_max(0.5)
    >>> _, u = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([0.0]), u)[0]
    Array([1.], dtype=float32)
    """

    def step(u: Array, x: Array, decay: Numeric) -> Array:
        return jnp.maximum(-(1 - decay) * u, x - u)

    def larger(u: Array, x: Array, decay: Numeric) -> Array:
        # as an average with 0: a product with a rounded β would compound its error over the steps
        return jnp.maximum(arithmetic.average(u, 0.0, decay), x)

    if residual_dtype is None:
        return memory(larger, dtype=dtype, decay=decay)
    return accumulated(step, 0.0, dtype, residual_dtype, decay=decay)


@piece
def two_rate_ema(b1: Hyperparameter, b2: Hyperparameter, dtype: Any = None) -> Piece:
    """cₜ = b1·mₜ₋₁ + (1−b1)·xₜ, emitted; mₜ = b2·mₜ₋₁ + (1−b2)·xₜ, m₀ = 0, kept: Lion's average.

    What is remembered is longer than what is acted on, where b1 < b2.

    X. Chen et al. (2023), "Symbolic discovery of optimization algorithms", arXiv:2302.06675, Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = two_rate_ema(0.5, 0.75)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))
    (Array([2.], dtype=float32), Array([1.], dtype=float32))
    """
    # where b1 ≤ b2, cₜ is also the average of xₜ with the new m, beside which the old one need not be kept
    known = isinstance(b1, int | float) and isinstance(b2, int | float) and 0 < b1 <= b2
    from_new = known and dtype is None

    def rule(m: Array, x: Array, b1: Numeric, b2: Numeric) -> tuple[Array, Array]:
        new = arithmetic.average(m, x, b2)
        return new, arithmetic.average(new, x, b1 / b2) if from_new else arithmetic.average(m, x, b1)

    return recurrent(rule, dtype=dtype, b1=b1, b2=b2)


@piece
def variance(decay: Hyperparameter, dtype: Any = None) -> Piece:
    """Vₜ = E[x²]ₜ − E[x]ₜ², both averages with decay β and from 0: the variance around the average, never negative.

        mₜ = β·mₜ₋₁ + (1−β)·xₜ
        Vₜ = β·Vₜ₋₁ + (1−β)/β·(xₜ − mₜ)²,   0 where β = 0

    That is the same number without the difference, which cancels where x hardly changes (and may be negative by
    rounding, where optax and PyTorch take its root). Of a constant x it goes to 0 as βᵗ.

    >>> import jax.numpy as jnp
    >>> tx = variance(0.5)
    >>> v, state = tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))
    >>> v, tx.update(jnp.array([4.0]), state)[0]
    (Array([4.], dtype=float32), Array([3.], dtype=float32))
    """

    def rule(m: dict[str, Array], x: Array, decay: Numeric) -> tuple[dict[str, Array], Array]:
        mean = arithmetic.average(m["mean"], x, decay)
        inverse = arithmetic.reciprocal(jnp.asarray(decay, m["variance"].dtype))
        # from the new mean: a second reader of the old one would make the compiler copy it
        v = arithmetic.average(m["variance"], arithmetic.capped(arithmetic.square(x - mean) * inverse), decay)
        return {"mean": mean, "variance": v}, v

    def initial(zeros: Array) -> dict[str, Array]:
        return {"mean": zeros, "variance": jnp.abs(zeros)}

    return magnitude(recurrent(rule, initial, dtype, decay=decay))


@piece
def scale_by_adadelta(rho: Numeric = 0.95, eps: Numeric = 1e-6, dtype: Any = None) -> Piece:
    """g ↦ Δₜ, in the units of the parameters: as long as past updates, in proportion to past gradients.

        E[g²]ₜ = ρ·E[g²]ₜ₋₁ + (1−ρ)·gₜ²
        Δₜ² = (E[Δ²]ₜ₋₁ + ε) / (E[g²]ₜ + ε) · gₜ²
        E[Δ²]ₜ = ρ·E[Δ²]ₜ₋₁ + (1−ρ)·Δₜ²

    What is averaged is Δ as emitted, before any learning rate. Of Δ itself (E[Δ²]ₜ₋₁ + ε) is written as
    (E[Δ²]ₜ + ρ·ε) / (ρ + (1−ρ)·gₜ²/(E[g²]ₜ + ε)), the same number, so that the old average need not be kept beside the
    new one. `dtype` stores both averages in less than float32.

    M. D. Zeiler (2012), arXiv:1212.5701, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_adadelta(rho=0.75, eps=0.75)
    >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))[0].round(4)
    Array([0.866], dtype=float32)
    """

    def rule(m: dict[str, Array], g: Array, rho: Numeric, eps: Numeric) -> tuple[dict[str, Array], Array]:
        square, quotient = arithmetic.square(g), arithmetic.quotient
        squares = arithmetic.average(m["squares"], square, rho)  # E[g²]ₜ
        updates = arithmetic.average(m["updates"], (m["updates"] + eps) * quotient(square, squares + eps), rho)
        size = quotient(updates + rho * eps, rho * (squares + eps) + (1 - rho) * square)  # (Δₜ/gₜ)²
        return {"squares": squares, "updates": updates}, arithmetic.root(size) * g

    def initial(zeros: Array) -> dict[str, Array]:
        return {"squares": jnp.abs(zeros), "updates": jnp.abs(zeros)}

    return recurrent(rule, initial, dtype, rho=rho, eps=eps)
