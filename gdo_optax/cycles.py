"""Schedules with a shape: warm-ups, polygons, restarts and cycles. All are pure functions count ↦ value."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import Array, Numeric

from gdo_optax import ranges
from gdo_optax.arithmetic import as_dtype


Schedule: TypeAlias = Callable[[Array], Array]


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
    _check("linear_warmup", warmup_steps=warmup_steps, peak_value=peak_value)

    def value(count: Array) -> Array:
        t = _time(count)
        return as_dtype(peak_value, t.dtype) * jnp.minimum(t / as_dtype(warmup_steps, t.dtype), 1)

    return value


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
    _check("untuned_linear_warmup", b2=b2, peak_value=peak_value)

    def value(count: Array) -> Array:
        t = _time(count)
        return as_dtype(peak_value, t.dtype) * jnp.minimum(t * as_dtype((1 - b2) / 2, t.dtype), 1)

    return value


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
    _check("untuned_exponential_warmup", b2=b2, peak_value=peak_value)

    def value(count: Array) -> Array:
        t = _time(count)
        return as_dtype(peak_value, t.dtype) * -jnp.expm1(-as_dtype(1 - b2, t.dtype) * t)

    return value


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
    _check("noam", model_dim=model_dim, warmup_steps=warmup_steps)
    _check("noam: scale", value=scale)

    def rate(count: Array) -> Array:
        t = _time(count)
        d, warmup, factor = (as_dtype(v, t.dtype) for v in (model_dim, warmup_steps, scale))
        return factor * (d * warmup) ** -0.5 * jnp.minimum(t / warmup, jnp.sqrt(warmup / t))

    return rate


def piecewise_linear(knots: Mapping[int, Numeric]) -> Schedule:
    """Piecewise linear: a straight line from knot to knot, constant before the first and after the last.

        at count = step the value is knots[step], exactly

    The values are absolute (optax's `piecewise_interpolate_schedule` multiplies them up, so that nothing can start from
    0). A knot {0: 0.0} makes the first update one of size 0, because it is asked for; `linear_warmup` does not.

    Args:
        knots: step ↦ value, the steps integers in [0, 2³¹), the values ≥ 0.

    Raises:
        ValueError: no knots; a value outside its range.
        TypeError: knots that are no mapping.

    Reference: J. Su (2019), bert4keras, https://github.com/bojone/bert4keras, piecewise linear learning rates.

    >>> rate = piecewise_linear({0: 0.1, 100: 0.3, 200: 0.0})
    >>> rate(50).round(6), rate(100), rate(1000)
    (Array(0.2, dtype=float32), Array(0.3, dtype=float32), Array(0., dtype=float32))
    """
    if not isinstance(knots, Mapping):
        raise TypeError(f"piecewise_linear: knots={knots!r} is not a dict step → value, such as {{0: 0.1, 1000: 0.0}}")
    if not knots:
        raise ValueError("piecewise_linear: knots={} is empty: give one value at least, such as {0: 0.1}")
    for step, value in knots.items():
        if isinstance(step, bool) or not isinstance(step, int | np.integer) or not 0 <= step < 2**31:
            raise ValueError(f"piecewise_linear: the step {step!r} of knots is outside the integers of [0, 2^31)")
        _check(f"piecewise_linear: knots[{step}]", value=value)
    steps, values = zip(*sorted(knots.items(), key=lambda knot: knot[0]), strict=True)
    return lambda count: _polygon(count, steps, values)


def warm_restarts(period: int, t_mult: float = 1.0, min_value: Numeric = 0.0, peak_value: Numeric = 1.0) -> Schedule:
    """Warm restarts: half a cosine from the peak down, again and again, each t_mult times as long as the one before.

        min + (peak − min)·(1 + cos(π·T_cur/Tᵢ))/2,   T₀ = period,   Tᵢ₊₁ = t_mult·Tᵢ

    T_cur is 0 in the first step of every period, and whole periods pass before every restart: 100 and 2 make it restart
    at the counts 100, 300, 700, 1500. With a t_mult that is no integer each Tᵢ is rounded to whole steps. As it is, it
    is the multiplier ηₜ of the paper, for the rate and for the weight decay.

    Args:
        period: T₀ ≥ 1, the steps before the first restart.
        t_mult: ≥ 1.
        min_value: the value that a period ends towards, ≥ 0.
        peak_value: the value that a period starts from, ≥ min_value.

    Raises:
        ValueError: a value outside its range; a t_mult so close to 1 that there are more than 100 000 restarts.

    Reference: I. Loshchilov, F. Hutter (2017), "SGDR: stochastic gradient descent with warm restarts",
    arXiv:1608.03983, equation 5; (2019), arXiv:1711.05101, appendix B.2.

    >>> rate = warm_restarts(100, t_mult=2)
    >>> rate(50).round(6), rate(100), rate(200).round(6), rate(300)
    (Array(0.5, dtype=float32), Array(1., dtype=float32), Array(0.5, dtype=float32), Array(1., dtype=float32))
    """
    _check("warm_restarts", period=period, t_mult=t_mult, min_value=min_value, peak_value=peak_value)
    if isinstance(min_value, int | float) and isinstance(peak_value, int | float) and min_value > peak_value:
        raise ValueError(f"warm_restarts: min_value={min_value} is above peak_value={peak_value}")
    restarts = _restarts("warm_restarts", period, t_mult)

    def value(count: Array) -> Array:
        left, gone, length = _in_period(count, *restarts)
        return _between(peak_value, min_value, left / length, gone / length, cosine=True)

    return value


def restart_lengths(period: int, t_mult: float = 1.0) -> Schedule:
    """Tᵢ: how many steps the present period of `warm_restarts(period, t_mult)` has, as a float.

    Raises ValueError for a period or a t_mult below 1.

    >>> lengths = restart_lengths(100, t_mult=2)
    >>> lengths(99), lengths(100), lengths(300)
    (Array(100., dtype=float32), Array(200., dtype=float32), Array(400., dtype=float32))
    """
    _check("restart_lengths", period=period, t_mult=t_mult)
    restarts = _restarts("restart_lengths", period, t_mult)
    return lambda count: _in_period(count, *restarts)[2]


def restarting_weight_decay(weight_decay: Numeric, period: int, t_mult: float = 1.0) -> Schedule:
    """Normalized weight decay under warm restarts: a longer period decays less in each step.

        λ = λ_norm·√(1/Tᵢ),   Tᵢ the steps of the present period

    Args:
        weight_decay: λ_norm ≥ 0; 0.025 to 0.05 in the paper.
        period: T₀ ≥ 1, as in `warm_restarts`.
        t_mult: ≥ 1, as there.

    Raises:
        ValueError: a value outside its range.

    Reference: I. Loshchilov, F. Hutter (2019), "Decoupled weight decay regularization", arXiv:1711.05101, appendix B.

    >>> decay = restarting_weight_decay(0.025, 100, t_mult=3)
    >>> decay(0).round(6), decay(100).round(6)
    (Array(0.0025, dtype=float32), Array(0.001443, dtype=float32))
    """
    _check("restarting_weight_decay", weight_decay=weight_decay, period=period, t_mult=t_mult)
    restarts = _restarts("restarting_weight_decay", period, t_mult)

    def decay(count: Array) -> Array:
        *_, length = _in_period(count, *restarts)
        return as_dtype(weight_decay, length.dtype) / jnp.sqrt(length)

    return decay


def normalized_weight_decay(
    weight_decay: Numeric, batch_size: Numeric, training_points: Numeric, epochs: Numeric
) -> Numeric:
    """Normalized weight decay: one λ_norm for trainings of any length.

        λ = λ_norm·√(b/(B·T))

    Args:
        weight_decay: λ_norm ≥ 0; 0.025 to 0.05 in the paper.
        batch_size: b ≥ 1.
        training_points: B ≥ 1, the size of the training set.
        epochs: T > 0, of the training or, with restarts, of the period (see `restarting_weight_decay`).

    Raises:
        ValueError: a value outside its range.

    Reference: I. Loshchilov, F. Hutter (2019), "Decoupled weight decay regularization", arXiv:1711.05101, appendix B.1.

    >>> round(normalized_weight_decay(0.025, batch_size=128, training_points=50_000, epochs=100), 7)
    0.0001265
    """
    _check(
        "normalized_weight_decay",
        weight_decay=weight_decay,
        batch_size=batch_size,
        training_points=training_points,
        epochs=epochs,
    )
    return weight_decay * (batch_size / training_points / epochs) ** 0.5


class OneCycle(NamedTuple):
    """What cycles: two schedules, for the learning rate and, the other way round, for the momentum (or b1)."""

    learning_rate: Schedule
    momentum: Schedule


_CURVES = {"cosine": (True, True), "linear": (False, False), "linear-cosine": (False, True)}


def one_cycle(
    total_steps: int,
    peak_value: Numeric,
    *,
    pct_start: float = 0.3,
    div_factor: Numeric = 25.0,
    final_div_factor: Numeric = 1e4,
    momenta: tuple[Numeric, Numeric] = (0.95, 0.85),
    anneal: str = "cosine",
) -> OneCycle:
    """One cycle: the rate goes up, then down to almost nothing, and the momentum the other way.

        rate       peak/div   → peak, at ⌊pct_start·steps⌋ → peak/div/final_div, in the last step
        momentum   momenta[0] → momenta[1]                 → momenta[0]

    The defaults are those of fastai 1, PyTorch and optax (which has no momentum); fastai's first version is
    anneal="linear-cosine" with pct_start=0.5. The last step gets the last value exactly. The first gets the peak only
    where pct_start is 0; a smaller share than a step is one step.

    Args:
        total_steps: the optimizer steps of the whole run, ≥ 1.
        peak_value: the largest learning rate, ≥ 0.
        pct_start: the share of the steps that go up, in [0, 1].
        div_factor: ≥ 1.
        final_div_factor: ≥ 1.
        momenta: the momentum at small and at large rates, each in [0, 1).
        anneal: "cosine", "linear", or "linear-cosine", straight up and as a cosine down.

    Raises:
        ValueError: a value outside its range; another anneal; momenta that are no pair.

    Reference: L. N. Smith, N. Topin (2017), "Super-convergence: very fast training of neural networks using large
    learning rates", arXiv:1708.07120; L. N. Smith (2018), arXiv:1803.09820.

    >>> rate, momentum = one_cycle(101, 0.5)
    >>> rate(0), rate(30), momentum(30), momentum(100)
    (Array(0.02, dtype=float32), Array(0.5, dtype=float32), Array(0.85, dtype=float32), Array(0.95, dtype=float32))
    """
    _check("one_cycle", total_steps=total_steps, peak_value=peak_value, pct_start=pct_start)
    _check("one_cycle", div_factor=div_factor, final_div_factor=final_div_factor)
    if anneal not in _CURVES:
        raise ValueError(f"one_cycle: anneal={anneal!r} is none of {', '.join(map(repr, _CURVES))}")
    slow, fast = _pair("one_cycle", momenta)
    last, first_value = int(total_steps) - 1, peak_value / div_factor
    peak = max(int(total_steps * pct_start), 1 if pct_start > 0 else 0)  # however short, it does not start at the peak
    steps, curves = (0, min(peak, last), last), _CURVES[anneal]
    return OneCycle(
        lambda count: _polygon(count, steps, (first_value, peak_value, first_value / final_div_factor), curves),
        lambda count: _polygon(count, steps, (slow, fast, slow), curves),
    )


def one_cycle_three_phase(
    total_steps: int,
    peak_value: Numeric,
    div_factor: Numeric = 10.0,
    pct: float = 0.1368,
    momenta: tuple[Numeric, Numeric] = (0.95, 0.85),
) -> OneCycle:
    """One cycle of three straight phases: up, down as far, and in the rest of the steps down to a hundredth of that.

        rate       peak/div   → peak, at c = ⌊steps·(1−pct)/2⌋ → peak/div, at 2c → peak/div/100, in the last step
        momentum   momenta[0] → momenta[1]                     → momenta[0]      → momenta[0]

    The `use_clr_beta` of fastai 0.7 (there pct is per cent, and the last value would be reached one step later).

    Args:
        total_steps: the optimizer steps of the whole run, ≥ 1.
        peak_value: the largest learning rate, ≥ 0.
        div_factor: ≥ 1.
        pct: the share of the steps after the cycle, in [0, 1].
        momenta: the momentum at small and at large rates, each in [0, 1).

    Raises:
        ValueError: a value outside its range; momenta that are no pair.

    Reference: L. N. Smith (2018), "A disciplined approach to neural network hyper-parameters: part 1",
    arXiv:1803.09820.

    >>> rate, momentum = one_cycle_three_phase(101, 0.5, pct=0.2)
    >>> rate(0), rate(40), rate(80), momentum(40)
    (Array(0.05, dtype=float32), Array(0.5, dtype=float32), Array(0.05, dtype=float32), Array(0.85, dtype=float32))
    """
    _check("one_cycle_three_phase", total_steps=total_steps, peak_value=peak_value, div_factor=div_factor, pct=pct)
    slow, fast = _pair("one_cycle_three_phase", momenta)
    half, low = int(total_steps * (1 - pct) / 2), peak_value / div_factor
    last = int(total_steps) - 1
    steps = (0, half, min(2 * half, last), last)
    return OneCycle(
        lambda count: _polygon(count, steps, (low, peak_value, low, low / 100)),
        lambda count: _polygon(count, steps, (slow, fast, slow, slow)),
    )


def ranger21_schedule(learning_rate: Numeric, steps: int, b2: Numeric = 0.999) -> Schedule:
    """Ranger21's schedule: an untuned linear warm-up, a plateau, and a straight warm-down to 3·10⁻⁵.

        α·t/W   up to t = W,   α   up to t = D,   then straight to 3·10⁻⁵ at t = steps, and no further;   t = count + 1
        W = ⌈2/(1−b2)⌉,   or ⌊0.22·steps⌋ where that is more than 45 % of the steps;   D = ⌈0.72·steps⌉

    A rate that is not above 3·10⁻⁵ stays as it is.

    Args:
        learning_rate: α ≥ 0, a number.
        steps: the optimizer steps of the whole run, an integer ≥ 1.
        b2: Adam's, in [0, 1), a number.

    Raises:
        ValueError: a value outside its range.
        TypeError: a schedule, or a traced value for steps or b2.

    Reference: L. Wright, N. Demeure (2021), "Ranger21: a synergistic deep learning optimizer", arXiv:2106.13731.

    >>> rate = ranger21_schedule(1e-3, 10_000)
    >>> [f"{rate(count):.6f}" for count in (999, 1999, 7199, 9999)]
    ['0.000500', '0.001000', '0.001000', '0.000030']
    """
    _check("ranger21_schedule", learning_rate=learning_rate, steps=steps, b2=b2)
    if isinstance(steps, jax.core.Tracer) or isinstance(b2, jax.core.Tracer):
        raise TypeError("ranger21_schedule: steps and b2 cannot be traced: they say when its phases end")
    up = math.ceil(2 / (1 - b2))
    up = math.floor(0.22 * steps) if up > 0.45 * steps else up
    final = min(learning_rate, 3e-5) if isinstance(learning_rate, int | float) else jnp.minimum(learning_rate, 3e-5)
    ends = (0, up, math.ceil(0.72 * steps), int(steps))
    rates = (0.0, learning_rate, learning_rate, final)
    return lambda count: _polygon(optax.safe_increment(jnp.asarray(count, int)), ends, rates)


def _check(name: str, **given: Numeric) -> None:
    """Numbers inside their ranges; schedules, which some of these names may be elsewhere, are none."""
    ranges.check(name, given)
    for argument, value in given.items():
        if callable(value):
            raise TypeError(f"{name}: {argument} cannot be a schedule")


def _pair(name: str, momenta: tuple[Numeric, Numeric]) -> tuple[Numeric, Numeric]:
    if not isinstance(momenta, tuple | list) or len(momenta) != 2:
        raise ValueError(f"{name}: momenta={momenta!r} is no pair, at small and at large rates, such as (0.95, 0.85)")
    for value in momenta:
        _check(f"{name}: momenta", momentum=value)
    return momenta[0], momenta[1]


def _time(count: Array) -> Array:
    """t = count + 1, added before it is rounded to a float."""
    return optax.safe_increment(jnp.asarray(count, int)).astype(float)


def _polygon(
    count: Array, steps: Sequence[int], values: Sequence[Numeric], cosine: Sequence[bool] | None = None
) -> Array:
    """On the way from values[i] at steps[i] to the next, straight or as half a cosine; constant before and after.

    Of several values at one step the last counts.
    """
    count, knots = jnp.asarray(count, int), jnp.asarray(steps, int)
    table = jnp.asarray([as_dtype(v, knots.astype(float).dtype) for v in values], float)
    passed = jnp.searchsorted(knots, count, side="right", method="compare_all")
    i, j = (jnp.clip(k, 0, len(steps) - 1) for k in (passed - 1, passed))
    gone, length = count - knots[i], jnp.maximum(knots[j] - knots[i], 1)
    left_share, gone_share = (part.astype(float) / length.astype(float) for part in (length - gone, gone))
    bent = False if cosine is None else jnp.asarray([*cosine, False])[i]
    on_the_way = _between(table[i], table[j], left_share, gone_share, bent)
    return jnp.where(table[i] == table[j], table[i], on_the_way)  # the weights may miss 1 by a rounding


def _between(start: Numeric, end: Numeric, left: Array, gone: Array, cosine: bool | Array) -> Array:
    """start·w + end·(1 − w), w from 1 to 0, straight or as half a cosine; `left` and `gone` are shares of the way.

    Both weights come from a count of whole steps and are exact at both ends, and nothing is subtracted: (1 + cos πx)/2
    is sin²(π(1−x)/2), and its complement sin²(πx/2).
    """
    weights = (w if cosine is False else jnp.where(cosine, jnp.sin(jnp.pi / 2 * w) ** 2, w) for w in (left, gone))
    return sum(as_dtype(v, left.dtype) * w for v, w in zip((start, end), weights, strict=True))


def _restarts(name: str, period: int, t_mult: float) -> tuple[np.ndarray, np.ndarray]:
    """The counts below 2³¹ at which a period starts, and how many steps it has; one period where all are alike."""
    starts, lengths = [0], [int(period)]
    while t_mult > 1 and starts[-1] + lengths[-1] < 2**31:
        starts.append(starts[-1] + lengths[-1])
        lengths.append(round(int(period) * float(t_mult) ** len(lengths)))
        if len(lengths) > 100_000:
            raise ValueError(f"{name}: t_mult={t_mult} makes more than 100 000 periods: give 1, or a larger one")
    return np.array(starts), np.array(lengths)


def _in_period(count: Array, starts: np.ndarray, lengths: np.ndarray) -> tuple[Array, Array, Array]:
    """The steps to the next restart and those since the last, counted as integers, and their sum, as floats."""
    count, first = jnp.asarray(count, int), jnp.asarray(starts, int)
    if len(starts) == 1:
        gone = count % int(lengths[0])
        return (int(lengths[0]) - gone).astype(float), gone.astype(float), jnp.full(gone.shape, lengths[0], float)
    i = jnp.searchsorted(first, count, side="right", method="compare_all") - 1
    ends = starts + lengths
    reached = np.minimum(ends, 2**31 - 1)  # the last period may end after the last count
    left = (jnp.asarray(reached, int)[i] - count).astype(float) + jnp.asarray(ends - reached, float)[i]
    return left, (count - first[i]).astype(float), jnp.asarray(lengths, float)[i]
