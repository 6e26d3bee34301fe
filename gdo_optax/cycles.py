"""Schedules with a shape: polygons, one cycle, and Ranger21's plateau. All are pure functions count ↦ value."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import Array, Numeric

from gdo_optax.counting import Schedule, between, check_numbers, schedule
from gdo_optax.engine import ranges
from gdo_optax.engine.numerics import as_dtype


@schedule
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
        check_numbers(f"piecewise_linear: knots[{step}]", value=value)
    steps, values = zip(*sorted(knots.items(), key=lambda knot: knot[0]), strict=True)
    return lambda count: _polygon(count, steps, values)


class OneCycle(NamedTuple):
    """Two schedules: one for the learning rate and, the other way round, one for the momentum (or b1)."""

    learning_rate: Schedule
    momentum: Schedule


_CURVES = {"cosine": (True, True), "linear": (False, False), "linear-cosine": (False, True)}


@schedule
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
    check_numbers("one_cycle", total_steps=total_steps, peak_value=peak_value, pct_start=pct_start)
    check_numbers("one_cycle", div_factor=div_factor, final_div_factor=final_div_factor)
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


@schedule
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
    check_numbers(
        "one_cycle_three_phase", total_steps=total_steps, peak_value=peak_value, div_factor=div_factor, pct=pct
    )
    slow, fast = _pair("one_cycle_three_phase", momenta)
    half, low = int(total_steps * (1 - pct) / 2), peak_value / div_factor
    last = int(total_steps) - 1
    steps = (0, half, min(2 * half, last), last)
    return OneCycle(
        lambda count: _polygon(count, steps, (low, peak_value, low, low / 100)),
        lambda count: _polygon(count, steps, (slow, fast, slow, slow)),
    )


@schedule
def ranger21_schedule(learning_rate: Numeric | Schedule, steps: int, b2: Numeric = 0.999) -> Schedule:
    """Ranger21's schedule: an untuned linear warm-up, a plateau, and a straight warm-down to 3·10⁻⁵.

        α·t/W   up to t = W,   α   up to t = D,   then straight to 3·10⁻⁵ at t = steps, and no further;   t = count + 1
        W = ⌈2/(1−b2)⌉,   or ⌊0.22·steps⌋ where that is more than 45 % of the steps;   D = ⌈0.72·steps⌉

    A rate that is not above 3·10⁻⁵ stays as it is.

    Args:
        learning_rate: α ≥ 0, a number or a schedule of its own, which is warmed up and down.
        steps: the optimizer steps of the whole run, an integer ≥ 1.
        b2: Adam's, in [0, 1), a number.

    Raises:
        ValueError: a value outside its range.
        TypeError: a schedule or a traced value for steps or b2.

    Reference: L. Wright, N. Demeure (2021), "Ranger21: a synergistic deep learning optimizer", arXiv:2106.13731.

    >>> rate = ranger21_schedule(1e-3, 10_000)
    >>> [f"{rate(count):.6f}" for count in (999, 1999, 7199, 9999)]
    ['0.000500', '0.001000', '0.001000', '0.000030']
    """
    check_numbers("ranger21_schedule", steps=steps, b2=b2)
    ranges.check("ranger21_schedule", {"learning_rate": learning_rate})
    if isinstance(b2, jax.core.Tracer):
        raise TypeError("ranger21_schedule: b2 cannot be traced: it says how long the warm-up is")
    up = math.ceil(round(2 / (1 - b2), 6))  # 2/(1 − 0.9) is more than 20
    up = math.floor(0.22 * steps) if up > 0.45 * steps else up

    def rate(count: Array) -> Array:
        t = optax.safe_increment(jnp.asarray(count, int))
        risen = _polygon(t, (0, up), (0.0, 1.0))
        fallen = _polygon(t, (math.ceil(0.72 * steps), int(steps)), (0.0, 1.0))
        alpha = as_dtype(learning_rate(count) if callable(learning_rate) else learning_rate, risen.dtype)
        return risen * (1 - fallen) * alpha + fallen * jnp.minimum(alpha, 3e-5)

    return rate


def _pair(name: str, momenta: tuple[Numeric, Numeric]) -> tuple[Numeric, Numeric]:
    if not isinstance(momenta, tuple | list) or len(momenta) != 2:
        raise ValueError(f"{name}: momenta={momenta!r} is no pair, at small and at large rates, such as (0.95, 0.85)")
    for value in momenta:
        check_numbers(f"{name}: momenta", momentum=value)
    return momenta[0], momenta[1]


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
    on_the_way = between(table[i], table[j], left_share, gone_share, bent)
    return jnp.where(table[i] == table[j], table[i], on_the_way)  # the weights may miss 1 by a rounding
