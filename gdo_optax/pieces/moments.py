"""What is remembered of the past: averages, sums and maxima, coordinate by coordinate."""

from typing import Any

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.engine import numerics
from gdo_optax.engine.nodes import Rule, per_step, rule
from gdo_optax.engine.piece import Hyperparameter, piece
from gdo_optax.pieces.sums import accumulated, kept
from gdo_optax.schedules import complement


@piece
def ema(decay: Hyperparameter, dtype: Any = None, residual_dtype: Any = None) -> Rule:
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
        return rule(kept(numerics.average), init=0.0, dtype=dtype, decay=decay, **new)

    def step(m: Array, x: Array, decay: Numeric, new: Numeric | None = None) -> Array:
        return numerics.average(0.0, x - m, decay, new)

    return accumulated(step, 0.0, dtype, residual_dtype, decay=decay, **new)


@piece
def trace(decay: Hyperparameter, dtype: Any = None) -> Rule:
    """mₜ = β·mₜ₋₁ + xₜ, m₀ = 0: the velocity of the heavy ball (`optax.trace`).

    >>> import jax.numpy as jnp
    >>> tx = trace(0.5)
    >>> _, m = tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([1.0]), m)[0]
    Array([1.5], dtype=float32)
    """
    return rule(kept(lambda m, x, decay: decay * m + x), init=0.0, dtype=dtype, decay=decay)


@piece
def total(initial_accumulator_value: Numeric = 0.0, dtype: Any = None, residual_dtype: Any = None) -> Rule:
    """Gₜ = Gₜ₋₁ + xₜ, G₀ = initial_accumulator_value: the running sum.

    With a `residual_dtype` what rounding takes from it is kept, too (see `accumulated`).

    >>> import jax.numpy as jnp
    >>> tx = total(0.5)
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
    Array([2.5], dtype=float32)
    """
    return accumulated(lambda m, x: x, initial_accumulator_value, dtype, residual_dtype)


@piece
def mean(dtype: Any = None, residual_dtype: Any = None) -> Rule:
    """m̄ₜ = m̄ₜ₋₁ + (xₜ − m̄ₜ₋₁)/t: the plain mean of all that came, in which nothing is forgotten.

    With a `residual_dtype` what rounding takes from it is kept, too (see `accumulated`).

    >>> import jax.numpy as jnp
    >>> tx = mean()
    >>> _, m = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([1.0]), m)[0]
    Array([1.5], dtype=float32)
    """
    # the two products apart, as x − m itself may overflow
    weight = per_step(lambda age: 1 / age)
    return accumulated(lambda m, x, weight: weight * x - weight * m, 0.0, dtype, residual_dtype, weight=weight)


@piece
def running_max(dtype: Any = None) -> Rule:
    """v̂ₜ = max(v̂ₜ₋₁, xₜ), v̂₀ = 0: the largest so far, for x ≥ 0 (AMSGrad).

    >>> import jax.numpy as jnp
    >>> tx = running_max()
    >>> _, m = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([1.0]), m)[0]
    Array([2.], dtype=float32)
    """
    return rule(kept(jnp.maximum), init=0.0, dtype=dtype)


@piece
def sum_before(delay: int) -> Rule:
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

    def shifted(m: Array, x: Array) -> tuple[Array, Array]:
        return jnp.concatenate([m, x[None]])[1:], jnp.sum(m, 0)

    return rule(shifted, init=lambda p: jnp.zeros_like(p, shape=(int(delay), *p.shape)))


@piece
def max_before() -> Rule:
    """xₜ ↦ max(0, x₁, …, xₜ₋₁): the largest so far without this one.

    >>> import jax.numpy as jnp
    >>> tx = max_before()
    >>> first, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> first, tx.update(jnp.array([1.0]), state)[0]
    (Array([0.], dtype=float32), Array([2.], dtype=float32))
    """
    return rule(lambda m, x: (jnp.maximum(m, x), m), init=0.0)


@piece
def decayed_max(decay: Hyperparameter, dtype: Any = None, residual_dtype: Any = None) -> Rule:
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
        return jnp.maximum(numerics.average(u, 0.0, decay), x)

    if residual_dtype is None:
        return rule(kept(larger), init=0.0, dtype=dtype, decay=decay)
    return accumulated(step, 0.0, dtype, residual_dtype, decay=decay)


@piece
def two_rate_ema(b1: Hyperparameter, b2: Hyperparameter, dtype: Any = None) -> Rule:
    """cₜ = b1·mₜ₋₁ + (1−b1)·xₜ, emitted; mₜ = b2·mₜ₋₁ + (1−b2)·xₜ, m₀ = 0, kept: Lion's average.

    What is remembered is longer than what is acted on, where b1 < b2.

    X. Chen et al. (2023), "Symbolic discovery of optimization algorithms", arXiv:2302.06675, Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = two_rate_ema(0.5, 0.75)
    >>> y, state = tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))
    >>> y, state["state"]["memory"]
    (Array([2.], dtype=float32), Array([1.], dtype=float32))
    """
    # where b1 ≤ b2, cₜ is also the average of xₜ with the new m, beside which the old one need not be kept
    known = isinstance(b1, int | float) and isinstance(b2, int | float) and 0 < b1 <= b2
    from_new = known and dtype is None

    def averages(m: Array, x: Array, b1: Numeric, b2: Numeric) -> tuple[Array, Array]:
        new = numerics.average(m, x, b2)
        return new, numerics.average(new, x, b1 / b2) if from_new else numerics.average(m, x, b1)

    return rule(averages, init=0.0, dtype=dtype, b1=b1, b2=b2)


@piece
def variance(decay: Hyperparameter, dtype: Any = None) -> Rule:
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

    def around_mean(m: dict[str, Array], x: Array, decay: Numeric) -> tuple[dict[str, Array], Array]:
        mean = numerics.average(m["mean"], x, decay)
        inverse = numerics.reciprocal(jnp.asarray(decay, m["variance"].dtype))
        # from the new mean: a second reader of the old one would make the compiler copy it
        v = numerics.average(m["variance"], numerics.capped(numerics.square(x - mean) * inverse), decay)
        return {"mean": mean, "variance": v}, v

    return rule(around_mean, init={"mean": 0.0, "variance": magnitude}, dtype=dtype, decay=decay)


@piece
def scale_by_adadelta(rho: Numeric = 0.95, eps: Numeric = 1e-6, dtype: Any = None) -> Rule:
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

    def in_units(m: dict[str, Array], g: Array, rho: Numeric, eps: Numeric) -> tuple[dict[str, Array], Array]:
        square, quotient = numerics.square(g), numerics.quotient
        squares = numerics.average(m["squares"], square, rho)  # E[g²]ₜ
        updates = numerics.average(m["updates"], (m["updates"] + eps) * quotient(square, squares + eps), rho)
        size = quotient(updates + rho * eps, rho * (squares + eps) + (1 - rho) * square)  # (Δₜ/gₜ)²
        return {"squares": squares, "updates": updates}, numerics.root(size) * g

    return rule(in_units, init={"squares": magnitude, "updates": magnitude}, dtype=dtype, rho=rho, eps=eps)


def magnitude(p: Array) -> Array:
    """The first memory of magnitudes: zeros, which are real."""
    return jnp.zeros_like(p, dtype=jnp.finfo(p.dtype).dtype)
