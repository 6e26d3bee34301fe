"""When to stop and what to draw: early stopping as a state machine, batches as functions of the count."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization
from sklearn.datasets import load_digits

import gdo_optax as g
from tests.catalogue import avals
from tests.oracles import strategies


RANDOM = np.random.default_rng(0)
CURVE = np.exp(-np.arange(60) / 10) + 0.1 * RANDOM.standard_normal(60)
FAULTY = [np.nan, np.inf, 3.0, np.nan, 2.0, -np.inf, -np.inf, 1.0, np.inf]
CASES = [
    (CURVE, {"patience": 5}),
    (CURVE, {"patience": 3, "min_delta": 0.05}),
    (-CURVE, {"patience": 7, "min_delta": 0.01, "mode": "max"}),
    (np.ones(5), {"patience": 0}),
    (np.ones(5), {"patience": 1}),
    (FAULTY, {"patience": 3}),
    ([-np.inf, np.nan, 1.0], {"patience": 9, "mode": "max"}),
    (np.arange(5.0), {"patience": 9, "mode": "max", "min_delta": 1.0}),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_stopping_equals_the_oracle_in_a_scan(case: int) -> None:
    values, settings = CASES[case]
    with jax.enable_x64(True):
        stopping = g.early_stopping(**settings)
        state = stopping.init({"w": jnp.full(2, -1.0), "none": None})

        def step(state: Any, seen: Any) -> Any:
            i, value = seen
            state = stopping.update(value, state, {"w": jnp.full(2, i.astype(float)), "none": None})
            return state, state

        n = len(values)
        last, states = jax.jit(lambda s: jax.lax.scan(step, s, (jnp.arange(n), jnp.asarray(values))))(state)
        assert avals(last) == avals(state)
    expected = strategies.early_stopping(values, **settings)
    for name in ("best", "best_step", "waited", "stopped"):
        np.testing.assert_array_equal(getattr(states, name), [e[name] for e in expected], err_msg=name)
    np.testing.assert_array_equal(states.params["w"][:, 0], states.best_step)  # those of the best, −1 before


def test_stopping_ends_a_loop_of_the_device() -> None:
    """A `while_loop` that asks for it, on a loss that turns up at step 20."""
    stopping = g.early_stopping(patience=4)
    state = stopping.init(jnp.zeros(()))

    @jax.jit
    def run(state: Any) -> Any:
        def body(carry: Any) -> Any:
            x, state = carry
            return x + 1, stopping.update((x - 20) ** 2, state, x)

        return jax.lax.while_loop(lambda c: ~c[1].stopped, body, (jnp.zeros(()), state))

    x, state = run(state)
    assert (float(x), float(state.params), float(state.best), int(state.count)) == (25, 20, 0, 25)


def test_every_model_of_a_vmap_stops_for_itself() -> None:
    stopping = g.early_stopping(patience=2)
    state = jax.vmap(stopping.init)(jnp.zeros((2, 3)))
    for values in ([1.0, 1.0], [2.0, 0.5], [2.0, 0.25]):
        state = jax.vmap(stopping.update)(jnp.array(values), state, jnp.zeros((2, 3)))
    assert state.stopped.tolist() == [True, False]


def test_half_precision_parameters_and_a_saved_state() -> None:
    stopping = g.early_stopping(patience=2)
    state = stopping.init(jnp.ones(2, jnp.bfloat16))
    after = jax.jit(stopping.update)(jnp.float16(0.1), state, jnp.zeros(2, jnp.bfloat16))
    assert avals(after) == avals(state)
    assert after.params.dtype == jnp.bfloat16
    restored = serialization.from_bytes(state, serialization.to_bytes(after))
    assert int(restored.best_step) == 0


def test_the_state_keeps_its_own_copy() -> None:
    """Parameters may be donated afterwards."""
    params = jnp.ones(3)
    state = g.early_stopping().init(params)
    params.delete()
    assert (state.params == 1).all()


def test_an_epoch_has_every_example_once_and_the_next_another_order() -> None:
    batches = jax.jit(g.shuffled(examples=10, batch_size=3, seed=1))
    epochs = [np.concatenate([batches(3 * e + i) for i in range(3)]) for e in range(50)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 50
    assert {i for epoch in epochs for i in range(10) if i not in epoch} == set(range(10))  # left over: others
    assert batches(0).dtype == jnp.int32
    counts = np.bincount(np.concatenate(epochs), minlength=10)
    assert counts.sum() == 450
    assert counts.min() > 35
    other = g.shuffled(10, 3, seed=2)
    assert not np.array_equal(other(0), batches(0))
    firsts = np.array([epoch[0] for epoch in epochs])
    assert len(set(firsts)) >= 8  # no place is anyone's


def test_a_curriculum_begins_with_what_is_easy() -> None:
    difficulty = RANDOM.permutation(100).astype(float)
    batches = jax.jit(g.curriculum(difficulty, 8, pace=lambda count: 0.1 + 0.018 * count.astype(float), seed=3))
    for count in (0, 10, 25, 50, 10**6):
        drawn = np.asarray(batches(count))
        assert len(set(drawn)) == 8
        assert difficulty[drawn].max() < np.ceil(min(0.1 + 0.018 * count, 1) * 100) + 0.5
    many = np.concatenate([batches(50 + i) for i in range(100)])
    assert set(many) == set(range(100))
    assert max(difficulty[batches(25 + i)].max() for i in range(5)) > 40
    assert not np.array_equal(batches(60), batches(61))


def test_a_curriculum_never_has_fewer_than_a_batch() -> None:
    batches = g.curriculum(np.arange(9), 4, pace=lambda count: 0.0)
    assert sorted(batches(0).tolist()) == [0, 1, 2, 3]
    share = g.curriculum(np.arange(10), 1, pace=lambda count: 0.35)  # 3.5 of 10 examples are 4
    assert {int(share(count)[0]) for count in range(60)} == {0, 1, 2, 3}
    tied = g.curriculum(np.zeros(9), 4, pace=lambda count: 0.0)
    assert sorted(tied(0).tolist()) == [0, 1, 2, 3]


def test_a_training_in_one_scan() -> None:
    """Shuffled digits, adam and early stopping on held-out data: nothing but functions of arrays."""
    x, y = load_digits(return_X_y=True)
    x, y = jnp.asarray(x / 16, jnp.float32), jnp.asarray(y)
    n, tx, stopping = 1500, g.adam(0.03), g.early_stopping(patience=3)
    batches = g.shuffled(n, 100)

    def loss(w: Any, x: Any, y: Any) -> Any:
        return -jnp.mean(jax.nn.log_softmax(x @ w)[jnp.arange(len(y)), y])

    def step(carry: Any, count: Any) -> Any:
        w, state, stop = carry
        i = batches(count)
        updates, state = tx.update(jax.grad(loss)(w, x[i], y[i]), state, w)
        w = w + updates
        due = (count + 1) % (n // 100) == 0
        held_out = loss(w, x[n:], y[n:])
        after = stopping.update(held_out, stop, w)
        return (w, state, jax.tree.map(lambda a, b: jnp.where(due, a, b), after, stop)), held_out

    w = jnp.zeros((64, 10))
    (_, _, stop), losses = jax.jit(lambda c: jax.lax.scan(step, c, jnp.arange(600)))((w, tx.init(w), stopping.init(w)))
    epochs = np.asarray(losses)[14::15]
    assert bool(stop.stopped)
    assert float(stop.best) == epochs[: int(stop.count)].min()
    assert float(loss(stop.params, x[n:], y[n:])) == pytest.approx(float(stop.best), rel=1e-5)
    assert float(jnp.mean(jnp.argmax(x[n:] @ stop.params, 1) == y[n:])) > 0.85


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: g.early_stopping(-1), ValueError, "early_stopping: patience=-1 is outside"),
        (lambda: g.early_stopping(2.5), ValueError, "it counts evaluations without improvement"),
        (lambda: g.early_stopping(min_delta=-0.1), ValueError, "min_delta=-0.1 is outside"),
        (lambda: g.early_stopping(mode="least"), ValueError, 'neither "min", for a loss, nor "max"'),
        (lambda: g.early_stopping().update(jnp.ones(2), g.early_stopping().init({}), {}), ValueError, r"shape \(2,\)"),
        (lambda: g.shuffled(0, 1), ValueError, "examples=0 is outside"),
        (lambda: g.shuffled(5, 6), ValueError, "batch_size=6 is more than there are examples, 5"),
        (lambda: g.shuffled(5, 2.5), ValueError, "shuffled: batch_size=2.5 is outside the integers"),
        (lambda: g.curriculum(np.ones((2, 2)), 1, lambda c: 1.0), ValueError, r"difficulty, \(2, 2\), must be \(N,\)"),
        (lambda: g.curriculum(np.array([1.0, np.nan]), 1, lambda c: 1.0), ValueError, "one number for every example"),
        (lambda: g.curriculum(np.ones(3), 1, 0.5), TypeError, "curriculum: pace=0.5 is no function of the count"),
        (lambda: g.curriculum(np.ones(3), 4, lambda c: 1.0), ValueError, "batch_size=4 is more than"),
    ],
)
def test_what_is_said_to_a_wrong_call(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
