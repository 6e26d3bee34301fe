"""Schedules against their formulas in double precision, at their corners, beyond 2²⁴, and what they say to a slip."""

import inspect
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from gdo_optax.engine.ranges import RANGES
from tests.catalogue import cheap_jit, jit_for


LAST = 2**31 - 1
COUNTS = [0, 1, 2, 9, 10, 49, 99, 100, 101, 249, 250, 299, 300, 699, 700, 999, 1499, 1500, 1999, 3999, 7200]
FAR = [2**24 - 1, 2**24 + 1, 123_456_789, 2**30 + 1, LAST]


def cosine(count: int, period: int, t_mult: float = 1.0) -> tuple[float, int]:
    if t_mult == 1:
        count, length = count % period, period
    i = 0
    while t_mult > 1 and count >= (length := round(period * t_mult**i)):
        count, i = count - length, i + 1
    return math.cos(math.pi / 2 * count / length) ** 2, length


def ranger21(t: int, rate: float, steps: int, b2: float) -> float:
    up = math.ceil(2 / (1 - Fraction(str(b2))))  # in floats 2/(1 − 0.9) is more than 20
    up = math.floor(0.22 * steps) if up > 0.45 * steps else up
    down = math.ceil(0.72 * steps)
    if t <= down or rate <= 3e-5:
        return rate * min(1, t / up)
    return rate + (3e-5 - rate) * min(1, (t - down) / (steps - down))


def three_phase(it: int, last: int, cyc: int, peak: float, div: float) -> float:
    if it <= 2 * cyc:
        p = it / cyc if it <= cyc else 1 - (it - cyc) / cyc
        return peak * (1 + p * (div - 1)) / div
    return peak * (1 - 0.99 * min(1, (it - 2 * cyc) / (last - 2 * cyc))) / div


WARM = 1.5
CASES: dict[str, tuple[Callable[[], Any], Callable[[int], float]]] = {
    "inverse_sqrt": (lambda: g.inverse_sqrt_decay(0.3), lambda k: 0.3 / math.sqrt(k + 1)),
    "geometric": (lambda: g.geometric_decay(0.9, 1 - 1e-8), lambda k: 0.9 * (1 - 1e-8) ** k),
    "geometric_0": (lambda: g.geometric_decay(0.9, 0), lambda k: 0.9 * 0**k),
    "sutskever": (
        lambda: g.sutskever_momentum(0.999),
        lambda k: min(1 - 2 ** (-1 - math.log2(k // 250 + 1)), 0.999),
    ),
    "nesterov": (g.nesterov_momentum, lambda k: k / (k + 3)),
    "ahead": (lambda: g.ahead(g.nesterov_momentum(), 5), lambda k: (k + 5) / (k + 8)),
    "linear_warmup": (lambda: g.linear_warmup(1000, WARM), lambda k: WARM * min(1, (k + 1) / 1000)),
    "untuned_linear": (lambda: g.untuned_linear_warmup(0.99, WARM), lambda k: WARM * min(1, (k + 1) * 0.01 / 2)),
    "untuned_exponential": (
        lambda: g.untuned_exponential_warmup(0.999, WARM),
        lambda k: -WARM * math.expm1(-(1 - 0.999) * (k + 1)),
    ),
    "noam": (lambda: g.noam(512, 4000, 2.0), lambda k: 2 * 512**-0.5 * min((k + 1) ** -0.5, (k + 1) * 4000**-1.5)),
    "piecewise_linear": (
        lambda: g.piecewise_linear({2000: 0.5, 10: 0.0, 250: 3, LAST: 0.25}),
        lambda k: np.interp(k, [10, 250, 2000, LAST], [0, 3, 0.5, 0.25]).item(),
    ),
    "restarts": (lambda: g.warm_restarts(100), lambda k: cosine(k, 100)[0]),
    "restarts_2": (lambda: g.warm_restarts(100, 2, 0.1, 0.7), lambda k: 0.1 + 0.6 * cosine(k, 100, 2)[0]),
    "restarts_1.3": (lambda: g.warm_restarts(7, 1.3), lambda k: cosine(k, 7, 1.3)[0]),
    "lengths": (lambda: g.restart_lengths(100, 2), lambda k: cosine(k, 100, 2)[1]),
    "restarting_decay": (lambda: g.restarting_weight_decay(0.05, 9, 3), lambda k: 0.05 / cosine(k, 9, 3)[1] ** 0.5),
    "three_phase": (
        lambda: g.one_cycle_three_phase(1000, 2.0, pct=0.2).learning_rate,
        lambda k: three_phase(k, 999, 400, 2.0, 10),
    ),
    "three_phase_momentum": (
        lambda: g.one_cycle_three_phase(1000, 2.0, pct=0.2).momentum,
        lambda k: np.interp(k, [0, 400, 800], [0.95, 0.85, 0.95]).item(),
    ),
    "one_cycle_momentum": (
        lambda: g.one_cycle(1001, 2.0).momentum,
        lambda k: 0.85 + 0.1 * math.sin(math.pi / 2 * (1 - k / 300 if k < 300 else min(1, (k - 300) / 700))) ** 2,
    ),
    "one_cycle_linear": (
        lambda: g.one_cycle(1001, 2.0, anneal="linear").learning_rate,
        lambda k: np.interp(k, [0, 300, 1000], [2 / 25, 2, 2 / 25e4]).item(),
    ),
    "one_cycle_early": (
        lambda: g.one_cycle(1001, 2.0, pct_start=0.5, anneal="linear-cosine").learning_rate,
        lambda k: (
            np.interp(k, [0, 500], [2 / 25, 2]).item()
            if k < 500
            else 2 / 25e4 + (2 - 2 / 25e4) * math.cos(math.pi / 2 * min(1, (k - 500) / 500)) ** 2
        ),
    ),
    "ranger21": (lambda: g.ranger21_schedule(1e-3, 8000), lambda k: ranger21(k + 1, 1e-3, 8000, 0.999)),
    "ranger21_short": (lambda: g.ranger21_schedule(1e-3, 4210), lambda k: ranger21(k + 1, 1e-3, 4210, 0.999)),
    "ranger21_small": (lambda: g.ranger21_schedule(2e-5, 300, 0.9), lambda k: ranger21(k + 1, 2e-5, 300, 0.9)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_formula(name: str) -> None:
    make, exact = CASES[name]
    counts = COUNTS + (FAR if name != "ahead" else FAR[:-1])  # the last count has nothing ahead
    expected = np.array([exact(k) for k in counts])
    for x64, rtol in ((False, 4e-7), (True, 1e-12)):
        rtol = rtol if name != "geometric" else 4e-6  # ε of the exponent, which is 21 at the end
        with jax.enable_x64(x64), jax.debug_nans(True):
            counted = jnp.array(counts, jnp.int32)
            jit = jit_for(jnp.zeros(()))
            values = jit(make())(counted)
            assert values.dtype == (jnp.float64 if x64 else jnp.float32)
            assert not values.weak_type
            np.testing.assert_allclose(values, expected, rtol, atol=1e-30)
            np.testing.assert_array_equal(jit(jax.vmap(make()))(counted), values)
            one = make()(jnp.int32(250))
            assert (one.shape, one.dtype, one.weak_type) == ((), values.dtype, False)
            for count in (250, np.int64(250)):
                assert make()(count) == one


def test_numbers_of_the_papers() -> None:
    sutskever = [g.sutskever_momentum()(k).item() for k in (0, 249, 250, 500, 1000, 2000, 5000, 20_000)]
    np.testing.assert_allclose(sutskever, [0.5, 0.5, 0.75, 0.8333, 0.9, 0.9444, 0.9762, 0.99], atol=5e-5)
    np.testing.assert_allclose(g.noam(512)(3999), 6.988e-4, atol=5e-8)
    legacy = [5000 * 512**-0.5 * min((k + 1) * 8000**-1.5, (k + 1) ** -0.5) * 0.002 * 0.2 for k in (0, 9000)]
    np.testing.assert_allclose([g.noam(512, 8000, scale=2.0)(k) for k in (0, 9000)], legacy, 1e-6)
    np.testing.assert_allclose(g.normalized_weight_decay(0.025, 128, 50_000, 100), 0.025 * math.sqrt(128 / 5e6), 1e-15)
    assert g.normalized_weight_decay(0.05, 10, 1000, 4) == pytest.approx(g.restarting_weight_decay(0.05, 400)(0))


def test_restarts_are_exact() -> None:
    rate = g.warm_restarts(100, t_mult=2)
    for restart in (0, 100, 300, 700, 1500, 100 * (2**24 - 1)):
        assert rate(restart) == 1
        assert restart == 0 or 0 < rate(restart - 1) < 3e-4
    for period in (1, 7, 2**24 + 1):
        last = LAST // period * period
        assert g.warm_restarts(period)(last) == 1
        assert period == 1 or g.warm_restarts(period)(last - 1) < 0.06
    sgdr = [0.1 + 0.9 * (1 + math.cos(math.pi * k / 7)) / 2 for k in range(7)]
    np.testing.assert_allclose(g.warm_restarts(7, min_value=0.1)(jnp.arange(14)), sgdr * 2, rtol=1e-6)
    lengths = g.restart_lengths(2**29, 3)  # whose second period ends just after the last count
    assert [lengths(k) for k in (5, 2**29 - 1, 2**29, LAST)] == [2**29, 2**29, 3 * 2**29, 3 * 2**29]
    for k in (3, 2**28, LAST):  # in a period that is longer than there are counts
        beyond = math.cos(math.pi / 2 * (k - 3) / 3e9) ** 2
        np.testing.assert_allclose(g.warm_restarts(3, 1e9)(k), beyond, rtol=1e-6)


@jax.debug_nans(True)
def test_ends_of_cycles_are_exact() -> None:
    for n in (1, 2, 3, 4, 10, 101):
        for pct in (0.0, 0.3, 1.0):
            for anneal in ("cosine", "linear", "linear-cosine"):
                rate, momentum = g.one_cycle(n, 0.7, pct_start=pct, anneal=anneal)
                assert rate(n - 1) == rate(LAST) == np.float32(0.7 / 25 / 1e4)
                assert momentum(n - 1) == np.float32(0.95)
                up = min(max(int(n * pct), int(pct > 0)), n - 1)
                assert n == 1 or rate(0) == np.float32(0.7 if up == 0 else 0.7 / 25)
                assert up == n - 1 or (rate(up), momentum(up)) == (np.float32(0.7), np.float32(0.85))
            rate, momentum = g.one_cycle_three_phase(n, 0.7, pct=pct)
            cyc = int(n * (1 - pct) / 2)
            assert rate(n - 1) == rate(LAST) == np.float32(0.7 / 10 / 100)
            assert 2 * cyc >= n - 1 or rate(cyc) == np.float32(0.7 if cyc else 0.07)
    for steps in (1, 2, 3, 4, 5, 300):
        rate = g.ranger21_schedule(0.1, steps)
        assert rate(steps - 1) == rate(LAST) == np.float32(3e-5)
        assert rate(0) > 0


def test_one_cycle_is_that_of_optax() -> None:
    ours = g.one_cycle(101, 0.3).learning_rate(jnp.arange(101))
    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.vmap(optax.cosine_onecycle_schedule(100, 0.3))(jnp.arange(101))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_flat_part_is_flat_and_knots_are_exact() -> None:
    assert set(g.piecewise_linear({0: 0.1, 1000: 0.1})(jnp.arange(1000)).tolist()) == {float(np.float32(0.1))}
    knots = {2**24 + 1: 0.3, 2**30 + 7: 0.7, 5: 0.1}
    assert all(g.piecewise_linear(knots)(k) == np.float32(v) for k, v in knots.items())
    assert g.piecewise_linear({0: 0.0, 10: 1.0})(0) == 0
    assert g.piecewise_linear({3: 0.5})(7) == 0.5


def test_no_warm_up_starts_from_0() -> None:
    for warm in (g.linear_warmup(10), g.untuned_linear_warmup(), g.untuned_exponential_warmup(), g.noam(512)):
        assert warm(0) > 0
    assert g.linear_warmup(1)(0) == 1
    assert g.linear_warmup(2**25)(2**24 + 1) == (2**24 + 2) / 2**25  # 2²⁴ + 1 is no float32, its successor is


def test_ahead_does_not_wrap_around() -> None:
    seen = g.ahead(lambda count: count, 3)
    assert seen(jnp.int32(LAST)) == seen(jnp.int32(LAST - 1)) == LAST
    assert seen(jnp.int32(4)).dtype == jnp.int32


def test_schedules_drive_an_optimizer() -> None:
    """Under a constant gradient Adam's step is its rate, whatever b1 has been on the way."""
    rate, momentum = g.one_cycle(20, 0.1)
    tx = g.adam(rate, b1=momentum, eps=0.0)
    state = tx.init(jnp.zeros(1))
    for k in range(20):
        updates, state = tx.update(jnp.ones(1), state)
        np.testing.assert_allclose(updates, -rate(k)[None], rtol=1e-5)
    assert repr(g.sgd(rate)) == "sgd(one_cycle(20, 0.1).learning_rate)"
    assert repr(g.sgd(g.ranger21_schedule(0.1, 9))) == "sgd(ranger21_schedule(0.1, 9))"


MAKERS: dict[str, dict[str, Any]] = {
    "inverse_sqrt_decay": {"learning_rate": 0.1}, "geometric_decay": {"value": 0.9, "decay": 0.99},
    "sutskever_momentum": {}, "linear_warmup": {"warmup_steps": 10}, "untuned_linear_warmup": {},
    "untuned_exponential_warmup": {}, "noam": {"model_dim": 512}, "warm_restarts": {"period": 10},
    "restart_lengths": {"period": 10}, "restarting_weight_decay": {"weight_decay": 0.1, "period": 10},
    "normalized_weight_decay": {"weight_decay": 0.1, "batch_size": 1, "training_points": 1, "epochs": 1},
    "one_cycle": {"total_steps": 10, "peak_value": 1.0}, "one_cycle_three_phase": {"total_steps": 10, "peak_value": 1},
    "ranger21_schedule": {"learning_rate": 0.1, "steps": 10},
}  # fmt: skip


def maker(name: str) -> Callable[..., Any]:
    return getattr(g, name)


def wrong_calls() -> list[Any]:
    calls = []
    for name in MAKERS:
        for argument in inspect.signature(maker(name)).parameters:
            if argument in RANGES:
                legal = RANGES[argument]
                bad: list[Any] = [float("nan"), float("inf"), "0.1", None, True, jnp.ones(2), legal.low - 1]
                bad += [legal.low] if "[" not in legal.closed else []
                bad += [legal.high + 1] if legal.high < np.inf else []
                bad += [2.5] if legal.integer else []
                takes = argument == "learning_rate" and name in ("inverse_sqrt_decay", "ranger21_schedule")
                bad += [] if takes else [lambda count: 0.5]
                calls += [pytest.param(name, argument, v, id=f"{name}-{argument}-{i}") for i, v in enumerate(bad)]
    return calls


@pytest.mark.parametrize(("name", "argument", "value"), wrong_calls())
def test_values_outside_their_range(name: str, argument: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^{name}: {argument}(=| )") as error:
        maker(name)(**{**MAKERS[name], argument: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: g.ahead(0.9), TypeError, r"ahead: schedule=0.9 is not a schedule, a function of the count"),
        (lambda: g.ahead(g.relative_step, 0), ValueError, r"ahead: steps=0 is outside the integers of \[1, "),
        (lambda: g.geometric_decay(1, g.relative_step), TypeError, r"geometric_decay: decay cannot be a schedule"),
        (lambda: g.noam(512, scale=-1), ValueError, r"noam: scale: value=-1 is outside \[0, inf\)"),
        (lambda: g.noam(512, 0), ValueError, r"noam: warmup_steps=0 is outside .*\[1, .*: it counts steps"),
        (lambda: g.piecewise_linear(0.1), TypeError, r"knots=0.1 is not a dict step → value, such as \{0: 0.1, "),
        (lambda: g.piecewise_linear({}), ValueError, r"knots=\{\} is empty: give one value at least"),
        (lambda: g.piecewise_linear({0.5: 1}), ValueError, r"the step 0.5 of knots is outside the integers of \[0, "),
        (lambda: g.piecewise_linear({-1: 1}), ValueError, r"the step -1 of knots is outside"),
        (lambda: g.piecewise_linear({2**31: 1}), ValueError, r"the step 2147483648 of knots is outside"),
        (lambda: g.piecewise_linear({True: 1}), ValueError, r"the step True of knots is outside"),
        (lambda: g.piecewise_linear({3: math.nan}), ValueError, r"knots\[3\]: value=nan is outside \[0, inf\)"),
        (lambda: g.warm_restarts(10, min_value=2), ValueError, r"warm_restarts: min_value=2 is above peak_value=1.0"),
        (lambda: g.warm_restarts(1, 1 + 1e-9), ValueError, r"t_mult=1.000000001 makes more than 100 000 periods"),
        (lambda: g.restart_lengths(1, 1 + 1e-9), ValueError, r"restart_lengths: t_mult=.* makes more than"),
        (lambda: g.one_cycle(9, 1, anneal="cos"), ValueError, r"anneal='cos' is none of 'cosine', 'linear', 'linear-c"),
        (lambda: g.one_cycle(9, 1, momenta=0.9), ValueError, r"one_cycle: momenta=0.9 is no pair, .*\(0.95, 0.85\)"),
        (lambda: g.one_cycle(9, 1, momenta=(0.9, 1.0)), ValueError, r"momenta: momentum=1.0 is outside \[0, 1\)"),
        (lambda: g.one_cycle_three_phase(9, 1, momenta=(1,)), ValueError, r"one_cycle_three_phase: momenta=\(1,\) is"),
        (lambda: g.one_cycle(9, 1, pct_start=30), ValueError, r"pct_start=30 is outside \[0, 1\]: .* not per cent"),
        (lambda: jax.jit(lambda n: g.warm_restarts(n)(0))(9), TypeError, r"warm_restarts: period cannot be traced"),
        (lambda: jax.jit(lambda n: g.one_cycle(n, 1)[0](0))(9), TypeError, r"one_cycle: total_steps cannot be traced"),
        (lambda: jax.jit(lambda n: g.ranger21_schedule(1, n)(0))(9), TypeError, r"schedule: steps cannot be traced"),
    ],
)
def test_the_message_says_what_to_write(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_hyperparameters_may_be_traced_or_arrays() -> None:
    makers: list[Callable[[Any], Any]] = [
        g.inverse_sqrt_decay,
        lambda v: g.inverse_sqrt_decay(lambda count: v),
        lambda v: g.geometric_decay(v, v),
        g.sutskever_momentum,
        lambda v: g.linear_warmup(100, v),
        lambda v: g.untuned_linear_warmup(v, v),
        lambda v: g.untuned_exponential_warmup(v, v),
        lambda v: g.noam(512, 10, v),
        lambda v: g.piecewise_linear({0: v, 100: 0.5}),
        lambda v: g.warm_restarts(10, 2, v),
        lambda v: g.restarting_weight_decay(v, 10),
        lambda v: g.one_cycle(100, v, momenta=(v, 0.5)).momentum,
        lambda v: g.one_cycle(100, v).learning_rate,
        lambda v: g.one_cycle_three_phase(100, v, v + 1).learning_rate,
        lambda v: g.ranger21_schedule(v, 100),
    ]
    for x64 in (False, True):
        with jax.enable_x64(x64):
            for make in makers:
                known = make(0.75)(jnp.array([50, 99]))
                jitted = cheap_jit(lambda v, make=make: make(v)(jnp.array([50, 99])))
                for value in (jnp.float32(0.75), np.float64(0.75)):
                    np.testing.assert_allclose(make(value)(jnp.array([50, 99])), known, rtol=4e-6)
                    np.testing.assert_allclose(jitted(value), known, rtol=4e-6)
