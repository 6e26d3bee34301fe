"""Workers that descend together, and gradients that come late: against NumPy loops in float64, and their promises."""

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

import gdo_optax as g
from gdo_optax.optimizers.parallel import adaptive_revision, eamsgd, easgd, hogwild
from gdo_optax.pieces.moments import max_before, sum_before
from gdo_optax.pieces.workers import elastic, fetch, parameter_server, synchronize, worker_mean
from gdo_optax.wrappers.workers import delay, downpour, local_sgd, random_delay
from tests import oracles
from tests.catalogue import avals, cheap_jit, falling
from tests.oracles import workers


STEPS = 200
SHAPES = {"gain": (), "kernel": (3, 2)}
rng = np.random.default_rng(0)
X0 = {k: rng.standard_normal(s) for k, s in SHAPES.items()}
CURVES = {k: rng.uniform(0.5, 2.0, s) for k, s in SHAPES.items()}
GOALS = {k: rng.standard_normal((4, *s)) for k, s in SHAPES.items()}
NOISE = {k: 0.3 * rng.standard_normal((STEPS, 4, *s)) for k, s in SHAPES.items()}


def slope(k: str) -> Callable:
    """The gradient of one array, for the loops: every worker has a minimum and a noise of its own."""
    return lambda worker, t, x: CURVES[k] * (x - GOALS[k][worker]) + NOISE[k][t - 1, worker]


def together(tx: Any, number: int, dtype: Any = jnp.float64, axis: str | None = "workers") -> tuple[Any, Any]:
    """The weights of all workers and the centre of each, (steps, workers, …), in one compiled scan."""

    def step(carry: Any, noise: Any, goals: Any, curves: Any) -> Any:
        params, state = carry
        grads = jax.tree.map(lambda c, x, a, n: c * (x - a) + n, curves, params, goals, noise)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, g.eval_params(state, params))

    with jax.enable_x64(dtype == jnp.float64):
        many = jax.vmap(step, (0, 0, 0, None), axis_name=axis)
        x0, goals, noise, curves = jax.tree.map(lambda a: jnp.asarray(a, dtype), (X0, GOALS, NOISE, CURVES))
        goals, noise = (
            jax.tree.map(f, t) for f, t in ((lambda a: a[:number], goals), (lambda a: a[:, :number], noise))
        )
        start = jax.tree.map(lambda a: jnp.stack([a] * number), x0)
        scan = cheap_jit(lambda c, ns: jax.lax.scan(lambda c, n: many(c, n, goals, curves), c, ns)[1])
        return jax.tree.map(np.asarray, scan((start, jax.vmap(tx.init)(start)), noise))


def close(ours: np.ndarray, oracle: np.ndarray, tolerance: float) -> None:
    assert np.isfinite(oracle).all()
    np.testing.assert_allclose(ours, oracle, rtol=0, atol=tolerance * np.max(np.abs(oracle)))


def loop(name: str, *args: Any, **settings: Any) -> Callable[[str], Any]:
    """The oracle of one array; args are the number of workers, or the delay."""
    method = getattr(workers, name)
    return lambda k: method(slope(k), X0[k], *args, **settings)


AXIS = "workers"
NESTEROV = {"learning_rate": 0.7, "momentum": 0.9}
ADAM = {"learning_rate": falling, "b1": 0.8, "b2": 0.95}
HEAVY = {"learning_rate": 0.05, "momentum": 0.8}

MANY: dict[str, tuple[int, Callable, Callable]] = {
    "synchronous": (
        4,
        lambda: g.chain(worker_mean(AXIS), g.adam(**ADAM)),
        loop("synchronous", 4, STEPS, oracles.adam, ADAM),
    ),
    "synchronous-2": (
        2,
        lambda: g.chain(worker_mean(AXIS), g.momentum(**HEAVY)),
        loop("synchronous", 2, STEPS, oracles.momentum, HEAVY),
    ),
    "synchronous-1": (1, lambda: g.chain(worker_mean(AXIS), g.sgd(0.1)), loop("synchronous", 1, STEPS, oracles.sgd,
                                                                              {"learning_rate": 0.1})),
    "local_sgd": (
        4,
        lambda: local_sgd(g.momentum(**HEAVY), 5, axis_name=AXIS),
        loop("local_sgd", 4, STEPS, oracles.momentum, HEAVY, 5),
    ),
    "local_sgd-outer": (
        2,
        lambda: local_sgd(g.adam(**ADAM), 7, g.nesterov(**NESTEROV), AXIS),
        loop("local_sgd", 2, STEPS, oracles.adam, ADAM, 7, oracles.nesterov, NESTEROV),
    ),
    "local_sgd-slowmo": (
        4,
        lambda: local_sgd(g.momentum(**HEAVY), 3, g.momentum(falling, 0.6), AXIS),
        loop(
            "local_sgd", 4, STEPS, oracles.momentum, HEAVY, 3,
            oracles.momentum, {"learning_rate": falling, "momentum": 0.6},
        ),
    ),
    "local_sgd-1": (
        1,
        lambda: local_sgd(g.sgd(falling), 1, g.sgd(0.5), AXIS),
        loop("local_sgd", 1, STEPS, oracles.sgd, {"learning_rate": falling}, 1, oracles.sgd, {"learning_rate": 0.5}),
    ),
    "easgd": (4, lambda: easgd(0.05, axis_name=AXIS), loop("easgd", 4, STEPS, 0.05)),
    "easgd-2": (2, lambda: easgd(0.2, 0.5, 1, AXIS), loop("easgd", 2, STEPS, 0.2, 0.5, 1)),
    "easgd-1": (1, lambda: easgd(falling, 0.3, 4, AXIS), loop("easgd", 1, STEPS, falling, 0.3, 4)),
    "eamsgd": (4, lambda: eamsgd(0.05, axis_name=AXIS), loop("eamsgd", 4, STEPS, 0.05)),
    "eamsgd-2": (2, lambda: eamsgd(falling, 0.5, 3, 0.6, AXIS), loop("eamsgd", 2, STEPS, falling, 0.5, 3, 0.6)),
    "eamsgd-1": (1, lambda: eamsgd(0.1, 0.9, 1, 0.0, AXIS), loop("eamsgd", 1, STEPS, 0.1, 0.9, 1, 0.0)),
    "downpour": (
        4,
        lambda: downpour(g.adagrad(0.1), 0.05, 3, 2, AXIS),
        loop("downpour", 4, STEPS, oracles.adagrad, {"learning_rate": 0.1}, 0.05, 3, 2),
    ),
    "downpour-2": (
        2,
        lambda: downpour(g.adamw(**ADAM, weight_decay=0.2), falling, 1, 5, AXIS),
        loop("downpour", 2, STEPS, oracles.adamw, ADAM | {"weight_decay": 0.2}, falling, 1, 5),
    ),
    "downpour-1": (
        1,
        lambda: downpour(g.adam(**ADAM), 0.05, 4, 4, AXIS),
        loop("downpour", 1, STEPS, oracles.adam, ADAM, 0.05, 4, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MANY)
def test_workers_equal_the_oracle(name: str) -> None:
    """Every worker's weights and what is evaluated, in every step; the first of each method in float32 too."""
    number, tx, oracle = MANY[name]
    for dtype, tolerance in ((jnp.float64, 1e-9), *([(jnp.float32, 2e-5)] if name in SINGLE else [])):
        xs, centres = together(tx(), number, dtype)
        for k in SHAPES:
            *_, expected, centre = oracle(k)  # of eamsgd the points where the gradient is taken
            close(xs[k], expected, tolerance)
            if "local_sgd" not in name or "-" in name:  # else there is none
                close(centres[k], np.repeat(centre[:, None], number, 1), tolerance)


SINGLE = ("synchronous", "local_sgd-outer", "easgd", "eamsgd", "downpour")


def delays(max_delay: int, seed: int) -> dict[str, np.ndarray]:
    """What `random_delay` draws: from the seed, the count and the array's place in the tree."""

    def drawn(count: int, i: int, shape: tuple[int, ...]) -> np.ndarray:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), count), i)
        return jax.random.randint(key, shape, 0, max_delay + 1, jnp.int32)

    counts = jnp.arange(STEPS)
    return {
        k: np.asarray(jax.vmap(functools.partial(drawn, i=i, shape=s))(counts))
        for i, (k, s) in enumerate(SHAPES.items())
    }


def wild(max_delay: int, seed: int, learning_rate: Any) -> Callable[[str], Any]:
    return lambda k: workers.hogwild(slope(k), X0[k], delays(max_delay, seed)[k], learning_rate)


ONE: dict[str, tuple[Callable, Callable]] = {
    "delay": (lambda: delay(g.momentum(**HEAVY), 3), loop("delay", STEPS, 3, oracles.momentum, HEAVY)),
    "delay-adam": (lambda: delay(g.adam(**ADAM), 6), loop("delay", STEPS, 6, oracles.adam, ADAM)),
    "delay-1": (lambda: delay(g.sgd(falling), 1), loop("delay", STEPS, 1, oracles.sgd, {"learning_rate": falling})),
    "delay-0": (lambda: delay(g.adam(**ADAM), 0), loop("delay", STEPS, 0, oracles.adam, ADAM)),
    "adaptive_revision": (lambda: adaptive_revision(0.3, 4), loop("adaptive_revision", STEPS, 4, 0.3)),
    "adaptive_revision-1": (
        lambda: adaptive_revision(falling, 1, 0.1),
        loop("adaptive_revision", STEPS, 1, falling, 0.1),
    ),
    "adaptive_revision-0": (
        lambda: adaptive_revision(0.5, initial_accumulator_value=0.0),
        loop("adaptive_revision", STEPS, 0, 0.5, 0.0),
    ),
    "hogwild": (lambda: hogwild(0.05), wild(4, 0, 0.05)),
    "hogwild-1": (lambda: hogwild(falling, 1, seed=3), wild(1, 3, falling)),
    "hogwild-0": (lambda: hogwild(0.2, 0), wild(0, 0, 0.2)),
}


@pytest.mark.parametrize("name", ONE)
def test_late_gradients_equal_the_oracle(name: str) -> None:
    tx, oracle = ONE[name]
    for dtype, tolerance in ((jnp.float64, 1e-9), *([(jnp.float32, 2e-5)] if "-" not in name else [])):
        xs, _ = together(tx(), 1, dtype)
        for k in SHAPES:
            close(xs[k][:, 0], oracle(k), tolerance)


def test_what_can_be_said_of_the_revision() -> None:
    """Without a delay it is Adagrad; late gradients that disagree make z fall below its start, but not z'."""
    ours, _ = together(adaptive_revision(0.5, initial_accumulator_value=0.1), 1)
    adagrad, _ = together(g.adagrad(0.5, 0.1, eps=0.0), 1)
    for k in SHAPES:
        close(ours[k], adagrad[k], 1e-13)
    apart = jnp.array([1.0, -2.0, 2.0, 0.5, 0.1, 3.0])
    xs = jax.lax.scan(
        lambda s, x: adaptive_revision(0.1, 1).update(x, s)[::-1], adaptive_revision(0.1, 1).init(0.0), apart
    )
    lowest, z, top, b, gs = 1.0, 1.0, 1.0, 0.0, [0.0, *map(float, apart[:-1])]
    for ours_t, grad in zip(xs[1], gs, strict=True):
        z += grad**2 + 2 * grad * b
        old, top = top, max(top, z)
        np.testing.assert_allclose(ours_t, -0.1 * (grad / top**0.5 - b * (old**-0.5 - top**-0.5)), rtol=2e-5, atol=1e-7)
        b, lowest = grad, min(lowest, z)
    assert lowest < 0


# one worker


PLAIN: dict[str, tuple[Callable, Callable]] = {
    "worker_mean": (lambda axis: g.chain(worker_mean(axis), g.adam(0.1)), lambda: g.adam(0.1)),
    "local_sgd": (lambda axis: local_sgd(g.adam(0.1), 3, axis_name=axis), lambda: g.adam(0.1)),
    "easgd": (lambda axis: easgd(0.1, 0.0, 2, axis), lambda: g.sgd(0.1)),
    "eamsgd": (lambda axis: eamsgd(0.1, 0.0, 2, 0.8, axis), lambda: g.nesterov(0.1, 0.8)),
    "downpour": (lambda axis: downpour(g.adagrad(0.1), 0.3, axis_name=axis), lambda: g.adagrad(0.1)),
}


@functools.cache
def plain(name: str) -> Any:
    return together(PLAIN[name][1](), 1, jnp.float32, None)[0]


@pytest.mark.parametrize("axis", [None, "workers"])
@pytest.mark.parametrize("name", PLAIN)
def test_one_worker_is_the_plain_method(name: str, axis: str | None) -> None:
    """To the last bit, but where −η·(g + δ·v) is −η·g + δ·(−η·v), or a compiler may round p + a·b once or twice."""
    ours, _ = together(PLAIN[name][0](axis), 1, jnp.float32, axis)
    for k in SHAPES:
        close(ours[k], plain(name)[k], 2e-6 if name in ("eamsgd", "downpour") else 0)


def test_one_worker_is_its_own_mean() -> None:
    """What is lost in the rounding of p + x is not lost of x."""
    tx, x = synchronize(1), jnp.array([1e-9, 0.1, 3e5])
    assert np.array_equal(tx.update(x, tx.init(x), jnp.ones(3))[0], x)


def test_one_worker_with_an_outer_descent_is_lookahead() -> None:
    ours, slow = together(local_sgd(g.momentum(**HEAVY), 4, g.sgd(0.3)), 1)
    expected, expected_slow = together(g.lookahead(g.momentum(**HEAVY), 4, 0.3), 1)
    for k in SHAPES:
        close(ours[k], expected[k], 1e-13)
        close(slow[k], expected_slow[k], 1e-13)


# many workers are one


@functools.cache
def digits() -> tuple[Callable, Any, jax.Array, jax.Array]:
    """A network's loss, its parameters, and 5 batches of 100 handwritten digits."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.Dense(10)(nn.tanh(nn.Dense(16)(x)))

    x, y = load_digits(return_X_y=True)
    x, y = jnp.asarray(x[:500].reshape(5, 100, 64) / 16, jnp.float32), jnp.asarray(y[:500].reshape(5, 100), jnp.int32)

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(Net().apply(params, x), y).mean()

    return loss, cheap_jit(Net().init)(jax.random.key(0), x[0]), x, y


def trained(tx: Any, batches: int, axis: str | None) -> Any:
    """The parameters after all digits in so many batches; on an axis there is a worker to each tenth of a batch."""
    loss, params, x, y = digits()
    shape = (batches, 10, -1) if axis else (batches, 1, 500 // batches)
    x, y = x.reshape(*shape[:2], -1, 64) if axis else x.reshape(*shape, 64), y.reshape(shape)

    def step(carry: Any, batch: Any) -> Any:
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params, *batch), state, params)
        return optax.apply_updates(params, updates), state

    def run(params: Any, state: Any) -> Any:
        return jax.lax.scan(lambda c, b: (jax.vmap(step, axis_name=axis)(c, b), None), (params, state), (x, y))[0][0]

    with jax.numpy_rank_promotion("allow"):  # flax adds a bias to a matrix
        params = jax.tree.map(lambda p: jnp.stack([p] * shape[1]), params)
        return cheap_jit(run)(params, jax.vmap(tx.init)(params))


def test_ten_batches_of_ten_are_one_batch_of_a_hundred() -> None:
    """In time, by `accumulate`, and in space, by `worker_mean`."""
    inner = g.adam(0.01, eps=1e-3)
    whole = trained(inner, 5, None)
    in_time = trained(g.accumulate(inner, 10), 50, None)
    in_space = trained(g.chain(worker_mean("workers"), inner), 5, "workers")
    start = digits()[1]
    assert optax.tree.norm(jax.tree.map(lambda a, b: a[0] - b, whole, start), ord=jnp.inf) > 0.03
    chex.assert_trees_all_close(in_time, whole, rtol=0, atol=2e-6)
    for worker in range(10):
        chex.assert_trees_all_close(jax.tree.map(lambda a, w=worker: a[w : w + 1], in_space), whole, rtol=0, atol=2e-6)


def test_devices_do_what_vmap_does() -> None:
    """Eight virtual devices, in a process of their own; there a conditional is one, and nothing is sent in vain."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.devices"],
        capture_output=True, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for name, found in json.loads(done.stdout).items():
        assert found["moved"] > 0.1, name
        assert max(v for k, v in found.items() if k in ("shard_map", "pmap", "replicated")) < 1e-6, (name, found)
        assert found["sends"], name
        assert found["only_when_due"] == (name != "worker_mean"), name


# wherever they are used


EVERY: dict[str, Callable] = {
    "worker_mean": lambda: worker_mean(),
    "synchronize": lambda: synchronize(2),
    "synchronize-outer": lambda: synchronize(2, g.nesterov(0.7)),
    "elastic": lambda: elastic(0.5, 2),
    "downpour": lambda: downpour(g.adagrad(0.1), 0.1, 2, 3),
    "local_sgd": lambda: local_sgd(g.adam(0.1), 2, g.momentum(0.5)),
    "easgd": lambda: easgd(0.1, 0.5, 2),
    "eamsgd": lambda: eamsgd(0.1, 0.5, 2),
    "delay": lambda: delay(g.adam(0.1), 2),
    "random_delay": lambda: random_delay(2),
    "adaptive_revision": lambda: adaptive_revision(0.1, 2),
    "hogwild": lambda: hogwild(0.1, 2),
}


def tree(dtype: Any) -> Any:
    return {"a": jnp.asarray([0.25, -1.75, 0.875], dtype), "none": None, "b": jnp.asarray(0.75, dtype)}


@functools.cache
def taken(name: str, dtype: Any) -> tuple[Any, Any, Any]:
    """The first updates, and the state, and the jitted update."""
    tx = EVERY[name]()
    update, params, out = cheap_jit(tx.update), tree(dtype), []
    state = tx.init(params)
    for t in range(4):
        updates, new = update(jax.tree.map(lambda p, t=t: p * (1 + t) / 8, params), state, params)
        assert avals(new) == avals(state)
        out, state, params = [*out, updates], new, optax.apply_updates(params, updates)
    return out, state, update


@pytest.mark.parametrize("name", EVERY)
def test_half_precision_is_rounded_once_and_none_passes(name: str) -> None:
    half, state, _ = taken(name, jnp.bfloat16)
    assert {x.dtype for x in jax.tree.leaves(state)} <= {jnp.dtype(jnp.int32), jnp.dtype(jnp.float32)}
    for updates in half:
        assert avals(updates) == avals(tree(jnp.bfloat16))
    wide = taken(name, jnp.float32)[0]  # from the same numbers
    chex.assert_trees_all_equal(half[0], jax.tree.map(lambda u: u.astype(jnp.bfloat16), wide[0]))


@pytest.mark.parametrize("name", EVERY)
def test_where_there_is_nothing_to_do_nothing_moves(name: str) -> None:
    tx = EVERY[name]()
    for params in ({}, {"masked": optax.MaskedNode(), "none": None}):
        assert tx.update(params, tx.init(params), params)[0] == params
    _, _, update = taken(name, jnp.float32)
    params = tree(jnp.float32)
    zero = jax.tree.map(jnp.zeros_like, params)
    state = tx.init(params)
    for _ in range(4):
        updates, state = update(zero, state, params)
        chex.assert_trees_all_equal(updates, zero)


def test_a_parameter_without_a_gradient_stays() -> None:
    """A None among the gradients, where the parameters have an array."""
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    for name, make in EVERY.items():
        tx = make()
        state, update = tx.init(params), cheap_jit(tx.update)
        for _ in range(3):
            updates, state = update({"a": jnp.ones(2), "b": None}, state, params)
            assert updates["b"] is None, name
        chex.assert_trees_all_equal(g.eval_params(state, params)["b"], params["b"])


def test_the_server_keeps_what_has_not_been_pushed() -> None:
    tx, p = parameter_server(g.sgd(1.0), push_period=3), jnp.zeros(1)
    state, pushed = tx.init(p), []
    for t in range(1, 7):
        way, state = tx.update(jnp.full(1, 10.0**t), state, p)
        pushed.append(float(way[0]))
    assert pushed == [0, 0, -1110, -1110, -1110, -1111110]
    assert g.eval_params(state, p) == -1111110


def test_pieces_of_the_revision() -> None:
    xs = jnp.arange(1.0, 6.0)
    for tx, expected in (
        (sum_before(0), [0, 0, 0, 0, 0]),
        (sum_before(1), [0, 1, 2, 3, 4]),
        (sum_before(3), [0, 1, 3, 6, 9]),
        (max_before(), [0, 1, 2, 3, 4]),
    ):
        assert jax.lax.scan(lambda s, x, tx=tx: tx.update(x, s)[::-1], tx.init(0.0), xs)[1].tolist() == expected


def test_workers_with_seeds_of_their_own() -> None:
    """Each gradient arrives once, and late by another number of steps on another worker."""
    grad = jnp.ones(100)

    def arrivals(seed: jax.Array) -> jax.Array:
        tx = random_delay(3, seed)
        grads = jnp.concatenate([grad[None], jnp.zeros((3, 100))])
        return jax.lax.scan(lambda s, x: tx.update(x, s)[::-1], tx.init(grad), grads)[1]

    one, other = cheap_jit(jax.vmap(arrivals))(jnp.arange(2))
    assert np.array_equal(one.sum(0), grad)
    assert np.array_equal(other.sum(0), grad)
    assert not np.array_equal(one, other)
    assert all(10 < n < 40 for n in one.sum(1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: synchronize(0), ValueError, r"synchronize: sync_period=0 is outside the integers of \[1, inf\)"),
        (lambda: synchronize(2, g.sgd), TypeError, r"sgd is no gradient transformation: call it, sgd\(…\)"),
        (lambda: local_sgd(0.1), TypeError, "0.1 is no gradient transformation"),
        (lambda: easgd(0.1, 1.5), ValueError, r"easgd: moving_rate=1.5 is outside \[0, 1\]: it is the share of the"),
        (lambda: easgd(0.1, optax.constant_schedule(0.5)), TypeError, r"moving_rate=.* a number \(no schedule\)"),
        (lambda: downpour(g.adagrad(), push_period=2.5), ValueError, "downpour: push_period=2.5 is outside the int"),
        (lambda: downpour(g.adagrad(), fetch_peroid=2), TypeError, "no argument fetch_peroid=; did you mean fetch_p"),
        (lambda: delay(g.sgd(), -1), ValueError, r"delay: delay=-1 is outside the integers of \[0, inf\)"),
        (lambda: jax.jit(lambda d: delay(g.sgd(), d).init(0.0))(1), TypeError, "delay: delay cannot be traced"),
        (lambda: hogwild(0.1, 1.5), ValueError, "hogwild: max_delay=1.5 is outside the integers"),
        (
            lambda: worker_mean("workers").update(jnp.ones(1), worker_mean("workers").init(None)),
            ValueError,
            r"worker_mean: no axis is called 'workers' here: run the update under jax.vmap\(…, axis_name='workers'\)",
        ),
        (
            lambda: local_sgd(g.sgd(), axis_name="w").update(jnp.ones(1), local_sgd(g.sgd()).init(0.0), jnp.ones(1)),
            ValueError,
            "synchronize: no axis is called 'w' here",
        ),
        *(
            (lambda tx=tx: tx.update(jnp.ones(1), tx.init(jnp.ones(1))), ValueError, r"update\(updates, state, params")
            for tx in (synchronize(2), synchronize(2, g.sgd()), elastic(), parameter_server(g.sgd()))
        ),
        (
            lambda: g.parallel(jnp.add, other=[], mine=[fetch("server")]).update(
                jnp.ones(1), g.parallel(jnp.add, other=[], mine=[fetch("server")]).init(None)
            ),
            ValueError,
            r"fetch: no branch 'server' came before this one; there are \['other'\]",
        ),
        (
            lambda: elastic(offset="behind").update(jnp.ones(1), elastic().init(jnp.ones(1)), jnp.ones(1)),
            ValueError,
            "elastic: no branch 'behind' came before this one",
        ),
    ],
)  # fmt: skip
def test_the_message_says_what_to_write(call: Callable, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_the_recipe_is_the_paper() -> None:
    assert str(easgd(0.1, axis_name="workers")).splitlines() == [
        "chain(  # easgd(0.1, axis_name='workers')",
        "    scale_by_learning_rate(0.1),",
        "    elastic(0.9, 10, 'workers'),",
        ")",
    ]
    assert "synchronize(10, nesterov(0.7, 0.9), 'workers')" in repr(
        g.chain(*[synchronize(10, g.nesterov(0.7, 0.9), "workers")])
    )
