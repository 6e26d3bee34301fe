"""Nothing is compiled anew, nothing grows, nothing drifts: long runs, counts at their ends, schedules past 2²⁴."""

import inspect
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdo_optax as g
from benchmarks import soak
from gdo_optax.family import Entry, get
from tests.catalogue import FAMILY, avals, cheap_jit


MAX = jnp.iinfo(jnp.int32).max
FAR = 2**24


def counts(state: Any) -> list[jax.Array]:
    return [a for a in jax.tree.leaves(state) if a.dtype == jnp.int32]


def with_counts(state: Any, change: Callable[[jax.Array], Any]) -> Any:
    return jax.tree.map(lambda a: change(a) if a.dtype == jnp.int32 else a, state)


@pytest.mark.parametrize("entry", FAMILY)
def test_one_trace_whatever_the_numbers(entry: Entry) -> None:
    """A thousand steps, all numbers new in each; then one more with the counts at their end, where they stay."""
    run = soak.traced_steps(entry, 1000, cheap_jit)
    assert run.traces == 1
    chex.assert_tree_all_finite((run.params, run.state.inner_state))
    assert {"learning_rate"} <= set(run.state.hyperparams)
    assert all(int(c) <= 1000 for c in counts(run.state))

    last = with_counts(run.state, lambda a: jnp.full_like(a, MAX))
    numbers = {k: np.float32(v) for k, v in run.state.hyperparams.items() if k in run.changed}
    params, state = run.step(run.params, last, numbers, np.float32(1))
    assert run.traces == 1
    chex.assert_tree_all_finite((params, state.inner_state))
    assert all(int(c) == MAX for c in counts(state))


@pytest.mark.parametrize("entry", FAMILY)
@pytest.mark.parametrize("x64", [False, True], ids=["x32", "x64"])
def test_traced_numbers_change_no_type(entry: Entry, x64: bool) -> None:
    """Shape, dtype and weak type of state and updates, with numbers as JAX and NumPy have them in either mode."""
    numbers = next(soak.moving_hyperparameters(entry, 1))
    with jax.enable_x64(x64):
        kinds = (np.float32, np.float64) if x64 else (np.float32,)
        for dtype in (jnp.float32, jnp.float64) if x64 else (jnp.bfloat16, jnp.float32):
            params = jnp.ones((2, 3), dtype)
            for kind in kinds:
                traced = {k: kind(v) for k, v in numbers.items()}
                state = jax.eval_shape(lambda h, p=params: entry(**h).init(p), traced)
                updates, after = jax.eval_shape(lambda h, s, p: entry(**h).update(p, s, p), traced, state, params)
                assert avals(after) == avals(state)
                assert avals(updates) == avals(jax.eval_shape(lambda p: p, params))


@pytest.mark.parametrize("entry", FAMILY)
def test_a_hundred_thousand_steps_stay_finite(entry: Entry) -> None:
    ran = soak.soak(entry, 100_000, cheap_jit)
    assert ran.finite
    assert 0 < ran.largest < 10
    assert not counts(ran.state) or max(int(c) for c in counts(ran.state)) == 100_000


@pytest.mark.parametrize("name", ["sgd", "adam", "lookahead"])
def test_a_loop_keeps_as_many_arrays_as_it_had(name: str) -> None:
    arrays, memory = soak.leak(get(name), 5000, cheap_jit)
    assert arrays[0] == arrays[1]
    assert memory[1] - memory[0] < 2**20


PERIODS = {
    "lookahead": lambda: g.lookahead(g.sgd(0.1), 5),
    "local_sgd": lambda: g.local_sgd(g.sgd(0.1), 5),
    "easgd": lambda: g.easgd(0.1, sync_period=5),
    "eamsgd": lambda: g.eamsgd(0.1, sync_period=5),
    "downpour": lambda: g.downpour(g.sgd(0.1), push_period=5, fetch_period=5),
    "restart_state": lambda: g.restart_state(g.momentum(0.1), 5),
    "interpolate_state": lambda: g.interpolate_state(g.momentum(0.1), 5, 0.5),
}


@pytest.mark.parametrize("name", PERIODS)
def test_periods_are_kept_where_floats_no_longer_count(name: str) -> None:
    """Past 2²⁴ as at the beginning, to the last bit."""
    tx, x = PERIODS[name](), jnp.ones(1)
    update, start = cheap_jit(tx.update), tx.init(x)
    paths = []
    for since in (0, FAR + 4):  # a multiple of 5, and odd after one step
        p, state, path = x, with_counts(start, lambda a, since=since: a + jnp.int32(since)), []
        for t in range(12):
            u, state = update(jnp.full(1, 1.0 + t), state, p)
            p = p + u
            path.append(float(p[0]))
        paths.append(path)
    assert paths[0] == paths[1]
    assert len(set(paths[0])) > 2


def corrected(k: int) -> float:
    return 0.999 * -np.expm1(k * np.log(0.999)) / -np.expm1((k + 1) * np.log(0.999))


# The schedules that tests/test_schedules.py does not take past 2²⁴.
FORMULAS: dict[str, tuple[Callable[[Any], Any], Callable[[int], float]]] = {
    "relative_step": (g.relative_step, lambda k: min(0.01, (k + 1) ** -0.5)),
    "nadam_momentum": (g.nadam_momentum(0.99), lambda k: 0.99 * (1 - 0.5 * 0.96 ** ((k + 1) / 250))),
    "nadam_slowly": (g.nadam_momentum(0.99, 1e-7), lambda k: 0.99 * (1 - 0.5 * 0.96 ** ((k + 1) * 1e-7))),
    "corrected_decay": (g.corrected_decay(0.999), corrected),
    "corrected_decay_rate": (
        g.corrected_decay_rate(0.999),
        lambda k: np.log(-np.expm1((k + 1) * np.log(0.999)) / (1 - 0.999)) / np.log(k + 1),
    ),
    "complement": (g.complement(g.relative_step), lambda k: 1 - (k + 1) ** -0.5),
}
BEYOND = [FAR - 1, FAR, FAR + 1, FAR + 3, 123_456_789, 2**30 + 1, 2**31 - 2]


@pytest.mark.parametrize("name", FORMULAS)
def test_schedules_are_exact_where_floats_no_longer_count(name: str) -> None:
    schedule, exact = FORMULAS[name]
    expected = [exact(k) for k in BEYOND]
    for x64, rtol in ((False, 4e-7), (True, 1e-12)):
        with jax.enable_x64(x64):
            np.testing.assert_allclose([schedule(jnp.int32(k)) for k in BEYOND], expected, rtol)


# What must not be the same in two steps in a row, each on its way at 2²⁴.
MOVING: dict[str, Callable[[Any], Any]] = {
    "piecewise_linear": g.piecewise_linear({FAR: 0.0, FAR + 8: 1.0}),
    "warm_restarts": g.warm_restarts(64),
    "one_cycle": g.one_cycle(FAR + 9, 1.0, anneal="linear").learning_rate,
    "one_cycle_cosine": g.one_cycle(FAR + 9, 1.0, final_div_factor=1e20).learning_rate,
    "one_cycle_three_phase": g.one_cycle_three_phase(FAR + 9, 1.0).learning_rate,
    "ranger21_schedule": g.ranger21_schedule(1e-3, FAR + 9),
    "ahead": g.ahead(g.warm_restarts(64), 3),
}


@pytest.mark.parametrize("name", MOVING)
def test_no_two_steps_are_one(name: str) -> None:
    """As the update of an optimizer sees them, whose count has come that far."""
    tx, x, rate = g.sgd(MOVING[name]), jnp.ones(()), jax.jit(MOVING[name])  # as the step, which is compiled
    state = with_counts(tx.init(x), lambda a: a + jnp.int32(FAR))
    seen = []
    for k in range(7):
        update, state = tx.update(x, state)
        assert -float(update) == float(rate(jnp.int32(FAR + k)))
        seen.append(float(update))
    assert len(set(seen)) == 7
    assert [int(c) for c in counts(state)] == [FAR + 7]


def test_restarts_and_steps_fall_on_their_counts() -> None:
    """(2²⁴ + 4)/5 is a whole number; Sutskever's momentum goes up at the multiples of 250."""
    assert float(g.warm_restarts(5)(jnp.int32(FAR + 4))) == 1
    assert float(g.warm_restarts(5)(jnp.int32(FAR + 5))) < 1
    change = -(-FAR // 250) * 250
    with jax.enable_x64(True):
        before, then, after = (float(g.sutskever_momentum(0.9999999)(jnp.int32(change + i))) for i in (-1, 0, 1))
    assert before < then == after


def test_batches_are_dealt_on_past_where_floats_no_longer_count() -> None:
    """Every epoch holds every example once."""
    batches = g.shuffled(12, 3)
    first = FAR  # a multiple of 4, the batches of an epoch
    epochs = [np.concatenate([batches(jnp.int32(first + 4 * e + i)) for i in range(4)]) for e in range(2)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(12))
    assert epochs[0].tolist() != epochs[1].tolist()


def test_the_numbers_that_move_are_those_of_the_method() -> None:
    for entry in map(get, ("adam", "adafactor", "ranger21", "rprop")):
        moving = list(soak.moving_hyperparameters(entry, 3))
        assert set(moving[0]) <= set(inspect.signature(entry.build).parameters)
        assert all(moving[1][k] != moving[2][k] for k in moving[0] if moving[0][k])
