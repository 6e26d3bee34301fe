"""Schedules: pure functions count ↦ value, the count from 0. Warm-ups and cycles are in `cycles`."""

import functools
import operator

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.counting import Schedule, check_numbers, compiled, schedule, time_of
from gdo_optax.engine import ranges
from gdo_optax.engine.numerics import as_dtype, log, weight_of_past


@compiled
def relative_step(count: Array) -> Array:
    """ρₜ = min(10⁻², 1/√t), t = count + 1: Adafactor's relative step.

    N. Shazeer, M. Stern (2018), arXiv:1804.04235, section 8.

    >>> import jax.numpy as jnp
    >>> relative_step(jnp.array(0)), relative_step(jnp.array(39_999))
    (Array(0.01, dtype=float32), Array(0.005, dtype=float32))
    """
    return jnp.minimum(0.01, 1 / jnp.sqrt(jnp.asarray(count, float) + 1))


@schedule
def nadam_momentum(b1: Numeric, momentum_decay: Numeric = 1 / 250) -> tuple[Schedule, Schedule]:
    """μₜ = b1·(1 − 0.5·0.96^(t/250)), t = count + 1: Nadam's momentum, from about b1/2 up to b1.

    `momentum_decay` stands in the place of 1/250 (1 in Keras). ValueError for a b1 outside [0, 1).

    T. Dozat (2016), https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, Algorithm 2.

    >>> import jax.numpy as jnp
    >>> nadam_momentum(0.9)(jnp.array(0)).round(5), nadam_momentum(0.9)(jnp.array(249)).round(5)
    (Array(0.45007, dtype=float32), Array(0.468, dtype=float32))
    """
    check_numbers("nadam_momentum", b1=b1, momentum_decay=momentum_decay)

    def growth(count: Array) -> tuple[Array, Numeric]:
        t = time_of(count)
        rate = log(0.96) * as_dtype(momentum_decay, t.dtype)  # of a power XLA would take the logarithm in float32
        return 0.5 * jnp.exp(t * rate), as_dtype(b1, t.dtype)

    def momentum(count: Array) -> Array:
        grown, b1 = growth(count)
        return b1 * (1 - grown)

    def rest(count: Array) -> Array:
        grown, b1 = growth(count)
        return (1 - b1) + b1 * grown

    return momentum, rest


@schedule
def corrected_decay(decay: Numeric) -> Schedule:
    """βₜ = β·(1−βᵗ⁻¹)/(1−βᵗ), t = count + 1: an average with it is one with β and its bias correction in one.

    Adam's decay as N. Shazeer and M. Stern (2018) write it, arXiv:1804.04235, section 7.1. ValueError for a decay
    outside [0, 1).

    >>> corrected_decay(0.9)(0), corrected_decay(0.9)(1).round(4)
    (Array(0., dtype=float32), Array(0.4737, dtype=float32))
    """
    check_numbers("corrected_decay", decay=decay)

    def corrected(count: Array) -> Array:
        t = time_of(count)
        return as_dtype(decay, t.dtype) * (weight_of_past(t - 1, decay) / weight_of_past(t, decay))

    return corrected


@schedule
def complement(of: Schedule) -> Schedule:
    """1 − of(count).

    For a β near 1 the difference loses digits; a schedule that knows better has the attribute `complement`.

    >>> complement(lambda count: 0.25)(0)
    0.75
    """
    return getattr(of, "complement", None) or (lambda count: 1 - of(count))


@schedule
def product(*factors: Numeric | Schedule) -> Schedule:
    """The product of schedules and numbers.

    >>> product(0.5, lambda count: 1 / (count + 1))(3)
    0.125
    """
    return lambda count: functools.reduce(operator.mul, (f(count) if callable(f) else f for f in factors))


@schedule
def ahead(schedule: Schedule, steps: int = 1) -> Schedule:
    """schedule(count + steps): a schedule some steps later; the largest count stays the largest.

    Raises ValueError for steps below 1, TypeError for a schedule that is a number.

    >>> ahead(nesterov_momentum(), steps=2)(1)
    Array(0.5, dtype=float32)
    """
    ranges.check("ahead", {"steps": steps})
    if not callable(schedule):
        raise TypeError(f"ahead: schedule={schedule!r} is not a schedule, a function of the count")

    def later(count: Array) -> Numeric:
        count = jnp.asarray(count)
        return schedule(jnp.minimum(count, jnp.iinfo(count.dtype).max - steps) + steps)

    return later


@schedule
def inverse_sqrt_decay(learning_rate: Numeric | Schedule) -> Schedule:
    """Inverse square root decay: as fast as the regret bounds of online learning ask for.

        αₜ = α/√t,   t = count + 1

    Args:
        learning_rate: α ≥ 0, a number or a schedule.

    Raises:
        ValueError: a learning rate below 0.

    Reference: D. P. Kingma, J. Ba (2015), "Adam: a method for stochastic optimization", arXiv:1412.6980, section 4.

    >>> inverse_sqrt_decay(0.3)(99).round(6)
    Array(0.03, dtype=float32)
    """
    ranges.check("inverse_sqrt_decay", {"learning_rate": learning_rate})

    def rate(count: Array) -> Array:
        t = time_of(count)
        alpha = learning_rate(count) if callable(learning_rate) else learning_rate
        return as_dtype(alpha, t.dtype) / jnp.sqrt(t)

    return rate


@schedule
def geometric_decay(value: Numeric, decay: Numeric) -> Schedule:
    """Geometric decay: the b1·λᵗ⁻¹ of the theory of Adam, AMSGrad and AdamNC.

        value·λ^count,   written value·exp(count·log λ)

    Their λ = 1 − 10⁻⁸ has to be given as a Python number: float32 has no such number, but it has its logarithm.

    Args:
        value: the value of the first step, ≥ 0.
        decay: λ in [0, 1), a number.

    Raises:
        ValueError: a value outside its range.
        TypeError: a schedule for decay.

    Reference: S. J. Reddi, S. Kale, S. Kumar (2018), "On the convergence of Adam and beyond", arXiv:1904.09237,
    corollary 1; D. P. Kingma, J. Ba (2015), arXiv:1412.6980, section 4.

    >>> geometric_decay(0.9, 1 - 1e-8)(100_000_000).round(5)  # 0.9/e
    Array(0.33109, dtype=float32)
    """
    ranges.check("geometric_decay", {"value": value, "decay": decay})
    if callable(decay):
        raise TypeError("geometric_decay: decay cannot be a schedule")

    def decayed(count: Array) -> Array:
        elapsed = jnp.asarray(count, float)
        slope = jnp.maximum(log(as_dtype(decay, elapsed.dtype)), -1e30)  # log 0 = -inf would make 0⁰ a NaN
        return as_dtype(value, elapsed.dtype) * jnp.exp(elapsed * slope)

    return decayed


@schedule
def sutskever_momentum(max_momentum: Numeric = 0.99) -> Schedule:
    """Sutskever's momentum: a half, then closer and closer to 1 every 250 steps, up to a bound.

        μₜ = min(1 − 2^(−1−log₂(⌊t/250⌋+1)), μ_max),   t = count

    It is written (n + ½)/(n + 1), n = ⌊t/250⌋. The paper goes back to 0.9 for the last 1000 steps.

    Args:
        max_momentum: μ_max in [0, 1), a number; up to 0.999 in the paper.

    Raises:
        ValueError: a value outside its range.

    Reference: I. Sutskever et al. (2013), "On the importance of initialization and momentum in deep learning", ICML.

    >>> sutskever_momentum()(249), sutskever_momentum()(250), sutskever_momentum()(100_000)
    (Array(0.5, dtype=float32), Array(0.75, dtype=float32), Array(0.99, dtype=float32))
    """
    ranges.check("sutskever_momentum", {"max_momentum": max_momentum})

    def momentum(count: Array) -> Array:
        n = (jnp.asarray(count, int) // 250).astype(float)
        return jnp.minimum((n + 0.5) / (n + 1), as_dtype(max_momentum, n.dtype))

    return momentum


@schedule
def nesterov_momentum() -> Schedule:
    """Nesterov's momentum, simplified: k/(k+3), k = count, for (aₖ−1)/aₖ₊₁ with aₖ₊₁ = (1+√(4aₖ²+1))/2.

    Reference: W. Su, S. Boyd, E. Candès (2014), arXiv:1503.01243, equation 1, where k is counted from 1.

    >>> nesterov_momentum()(0), nesterov_momentum()(3)
    (Array(0., dtype=float32), Array(0.5, dtype=float32))
    """

    def momentum(count: Array) -> Array:
        k = jnp.asarray(count, float)
        return k / (k + 3)

    return momentum
