"""Warm-ups: schedules that begin with small steps, but never with none. All are pure functions count ↦ value."""

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.counting import Schedule, check_numbers, schedule, time_of
from gdo_optax.engine.numerics import as_dtype


@schedule
def linear_warmup(warmup_steps: Numeric, peak_value: Numeric = 1.0) -> Schedule:
    """Linear warm-up, whose first step is a step: optax's starts from 0.

        peak·min(1, t/T),   t = count + 1

    Args:
        warmup_steps: T ≥ 1, the step from which on the value is the peak.
        peak_value: ≥ 0.

    Raises:
        ValueError: a value outside its range.

    Reference: P. Goyal et al. (2017), "Accurate, large minibatch SGD", arXiv:1706.02677, section 2.2.

    >>> warmup = linear_warmup(4, 0.1)
    >>> warmup(0), warmup(3), warmup(1000)
    (Array(0.025, dtype=float32), Array(0.1, dtype=float32), Array(0.1, dtype=float32))
    """
    check_numbers("linear_warmup", warmup_steps=warmup_steps, peak_value=peak_value)

    def value(count: Array) -> Array:
        t = time_of(count)
        return as_dtype(peak_value, t.dtype) * jnp.minimum(t / as_dtype(warmup_steps, t.dtype), 1)

    return value


@schedule
def untuned_linear_warmup(b2: Numeric = 0.999, peak_value: Numeric = 1.0) -> Schedule:
    """Untuned linear warm-up: as long as Adam's second moment remembers, 2/(1−b2) steps.

        peak·min(1, t·(1−b2)/2),   t = count + 1

    Args:
        b2: Adam's, in [0, 1), a number.
        peak_value: ≥ 0.

    Raises:
        ValueError: a value outside its range.
        TypeError: a schedule for b2.

    Reference: J. Ma, D. Yarats (2019), "On the adequacy of untuned warmup for adaptive optimization", arXiv:1910.04209,
    section 5.

    >>> untuned_linear_warmup(0.999)(999).round(6), untuned_linear_warmup(0.999)(1999)
    (Array(0.5, dtype=float32), Array(1., dtype=float32))
    """
    check_numbers("untuned_linear_warmup", b2=b2, peak_value=peak_value)

    def value(count: Array) -> Array:
        t = time_of(count)
        return as_dtype(peak_value, t.dtype) * jnp.minimum(t * as_dtype((1 - b2) / 2, t.dtype), 1)

    return value


@schedule
def untuned_exponential_warmup(b2: Numeric = 0.999, peak_value: Numeric = 1.0) -> Schedule:
    """Untuned exponential warm-up: the peak is approached as fast as Adam's second moment forgets.

        peak·(1 − exp(−(1−b2)·t)),   t = count + 1

    Args:
        b2: Adam's, in [0, 1), a number.
        peak_value: ≥ 0.

    Raises:
        ValueError: a value outside its range.
        TypeError: a schedule for b2.

    Reference: J. Ma, D. Yarats (2019), "On the adequacy of untuned warmup for adaptive optimization", arXiv:1910.04209,
    section 5.

    >>> untuned_exponential_warmup(0.999)(999).round(5)
    Array(0.63212, dtype=float32)
    """
    check_numbers("untuned_exponential_warmup", b2=b2, peak_value=peak_value)

    def value(count: Array) -> Array:
        t = time_of(count)
        return as_dtype(peak_value, t.dtype) * -jnp.expm1(-as_dtype(1 - b2, t.dtype) * t)

    return value


@schedule
def noam(model_dim: Numeric, warmup_steps: Numeric = 4000, scale: Numeric = 1.0) -> Schedule:
    """Noam: the Transformer's linear warm-up and inverse square root decay.

        scale·d^(−½)·min(t^(−½), t·T^(−3/2)),   t = count + 1

    Its largest value, at t = T, is scale/√(d·T).

    Args:
        model_dim: d ≥ 1, the width of the model.
        warmup_steps: T ≥ 1.
        scale: ≥ 0; the paper's is 1.

    Raises:
        ValueError: a value outside its range.

    Reference: A. Vaswani et al. (2017), "Attention is all you need", arXiv:1706.03762, equation 3.

    >>> noam(512)(3999).round(7)
    Array(0.0006988, dtype=float32)
    """
    check_numbers("noam", model_dim=model_dim, warmup_steps=warmup_steps)
    check_numbers("noam: scale", value=scale)

    def rate(count: Array) -> Array:
        t = time_of(count)
        d, warmup, factor = (as_dtype(v, t.dtype) for v in (model_dim, warmup_steps, scale))
        return factor * (d * warmup) ** -0.5 * jnp.minimum(t / warmup, jnp.sqrt(warmup / t))

    return rate
