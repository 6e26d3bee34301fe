"""Several losses at once: every balancer against its NumPy loop in float64, and in what it promises beside that."""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState

from gdo_optax.engine.combinators import chain, masked
from gdo_optax.engine.trees import excluding
from gdo_optax.optimizers.adam import adam
from gdo_optax.optimizers.momentum import sgd
from gdo_optax.tasks.balancing import gradnorm, pcgrad
from gdo_optax.tasks.gradients import task_gradients
from gdo_optax.tasks.rating import dynamic_weight_average, uncertainty_weights
from gdo_optax.tasks.weighing import equal_weights, static_weights, weigh_tasks
from tests.catalogue import cheap_jit
from tests.oracles import tasks as loops


STEPS, TASKS = 200, 3
SHAPES = {"body": {"bias": (3,), "kernel": (3, 2)}, "gain": ()}
NAMES = ["body/bias", "body/kernel", "gain"]


def run_of_losses(seed: int = 0) -> np.ndarray:
    """Losses (n, T) that fall at different speeds, exact in float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(STEPS)[:, None] / STEPS
    losses = [1.0, 30.0, 0.2] * np.exp(-t * [0.3, 2.0, 1.0]) * rng.uniform(0.7, 1.3, (STEPS, TASKS))
    return np.float64(np.float32(losses))


def run_of_gradients(seed: int = 1, tasks: int = TASKS) -> list[np.ndarray]:
    """Gradients of the arrays, (n, T, …), larger for later tasks, that often conflict; task 0 has none for a while."""
    rng = np.random.default_rng(seed)
    sizes = 2.0 ** np.arange(tasks)
    out = []
    for shape in [(3,), (3, 2), ()]:
        g = rng.standard_normal((STEPS, tasks, *shape)) * sizes.reshape(tasks, *(1 for _ in shape))
        g[30:40, 0] = 0
        out.append(np.float64(np.float32(g)))
    return out


LOSSES, GRADIENTS = run_of_losses(), run_of_gradients()
BALANCERS: dict[str, Callable] = {
    "gradnorm": lambda **more: gradnorm(TASKS, **more),
    "pcgrad": lambda **more: pcgrad(TASKS, **more),
    "dynamic_weight_average": lambda: dynamic_weight_average(TASKS),
    "uncertainty_weights": lambda: uncertainty_weights(TASKS),
    "equal_weights": lambda: equal_weights(TASKS),
    "static_weights": lambda: static_weights([1.0, 0.5, 2.0]),
}
every_balancer = pytest.mark.parametrize("name", BALANCERS)


def as_tree(arrays: list[Any]) -> Any:
    bias, kernel, gain = arrays
    return {"body": {"bias": bias, "kernel": kernel}, "gain": gain}


def params_of(dtype: Any = jnp.float32) -> Any:
    return as_tree([jnp.ones((3,), dtype), jnp.ones((3, 2), dtype), jnp.ones((), dtype)])


def trajectory(tx: Any, losses: Any, gradients: list[Any], dtype: Any = jnp.float64) -> tuple[list[np.ndarray], Any]:
    """What comes out in all updates, array by array, and the last state: one compiled scan."""
    with jax.enable_x64(dtype == jnp.float64):

        def step(state: Any, now: Any) -> Any:
            out, state = tx.update(now[1], state, losses=now[0])
            return state, out

        xs = (jnp.asarray(losses, dtype), as_tree([jnp.asarray(g, dtype) for g in gradients]))
        state, out = cheap_jit(lambda s, xs: jax.lax.scan(step, s, xs))(tx.init(params_of(dtype)), xs)
        return [np.asarray(a) for a in jax.tree.leaves(out)], jax.tree.map(np.asarray, state)


def plain_steps(learning_rate: float, *_: Any) -> Callable:
    """In place of the oracle's Adam."""
    return lambda g: -learning_rate * g


CASES: dict[str, tuple[Callable, Callable]] = {
    "gradnorm": (lambda: gradnorm(TASKS), lambda: loops.gradnorm(LOSSES, GRADIENTS)),
    "gradnorm-path": (
        lambda: gradnorm(TASKS, 0.12, 0.1, shared="^body/k"),
        lambda: loops.gradnorm(LOSSES, GRADIENTS, [False, True, False], 0.12, 0.1),
    ),
    "gradnorm-mask": (
        lambda: gradnorm(TASKS, 0.0, shared={"body": True, "gain": False}),  # a prefix
        lambda: loops.gradnorm(LOSSES, GRADIENTS, [True, True, False], 0.0),
    ),
    "gradnorm-function": (
        lambda: gradnorm(TASKS, 3.0, shared=lambda tree: jax.tree.map(lambda p: len(p.shape) != 1, tree)),
        lambda: loops.gradnorm(LOSSES, GRADIENTS, [False, True, True], 3.0),
    ),
    "gradnorm-known": (
        lambda: gradnorm(TASKS, initial_losses=[2.0, 10.0, 1.0], min_weight=0.3),
        lambda: loops.gradnorm(LOSSES, GRADIENTS, None, initial_losses=[2.0, 10.0, 1.0], min_weight=0.3),
    ),
    "gradnorm-sgd": (
        lambda: gradnorm(TASKS, 0.5, 0.01, optimizer=sgd),
        lambda: loops.gradnorm(LOSSES, GRADIENTS, None, 0.5, 0.01),
    ),
    "average": (lambda: dynamic_weight_average(TASKS), lambda: loops.dynamic_weight_average(LOSSES, GRADIENTS)),
    "average-periods": (
        lambda: dynamic_weight_average(TASKS, 0.5, every=3),
        lambda: loops.dynamic_weight_average(LOSSES, GRADIENTS, 0.5, 3),
    ),
    "average-long": (
        lambda: dynamic_weight_average(TASKS, 0.3, every=40),
        lambda: loops.dynamic_weight_average(LOSSES, GRADIENTS, 0.3, 40),
    ),
    "uncertainty": (lambda: uncertainty_weights(TASKS), lambda: loops.uncertainty_weights(LOSSES, GRADIENTS)),
    "uncertainty-fast": (
        lambda: uncertainty_weights(TASKS, 0.1),
        lambda: loops.uncertainty_weights(LOSSES, GRADIENTS, 0.1),
    ),
    "uncertainty-sgd": (
        lambda: uncertainty_weights(TASKS, 0.02, optimizer=sgd),
        lambda: loops.uncertainty_weights(LOSSES, GRADIENTS, 0.02),
    ),
    "equal": (lambda: equal_weights(TASKS), lambda: weighted([1.0, 1.0, 1.0])),
    "static": (lambda: static_weights([0.5, 3.0, 0.1]), lambda: weighted([0.5, 3.0, 0.1])),
    "pcgrad": (lambda: pcgrad(TASKS), lambda: loops.pcgrad(GRADIENTS, orders(TASKS))),
    "pcgrad-shared": (
        lambda: pcgrad(TASKS, seed=7, shared="body"),
        lambda: loops.pcgrad(GRADIENTS, orders(TASKS, 7), [True, True, False]),
    ),
}


def weighted(weights: list[float]) -> tuple[list[np.ndarray], np.ndarray]:
    used = np.broadcast_to(weights, (STEPS, TASKS))
    return loops.weighted_sums(GRADIENTS, used), used


def orders(tasks: int, seed: int = 0, steps: int = STEPS) -> np.ndarray:
    """In which order a task meets the others: a permutation of its own for every update and task."""

    def of(count: Any) -> Any:
        key, rows = jax.random.fold_in(jax.random.key(seed), count), jnp.tile(jnp.arange(tasks), (tasks, 1))
        return jax.random.permutation(key, rows, axis=1, independent=True)

    return np.asarray(cheap_jit(lambda counts: jax.lax.map(of, counts))(jnp.arange(steps, dtype=jnp.int32)))


@pytest.mark.parametrize("name", CASES)
def test_equals_the_oracle(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name.endswith("sgd"):
        monkeypatch.setattr(loops, "adam_steps", plain_steps)
    tx, oracle = CASES[name]
    ours, _ = trajectory(tx(), LOSSES, GRADIENTS)
    expected, weights = oracle()
    assert np.ptp(weights, 0).max() > 0.05 or name in ("equal", "static", "uncertainty")
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["gradnorm", "gradnorm-path", "average-periods", "uncertainty-fast", "pcgrad"])
def test_in_single_precision(name: str) -> None:
    tx, oracle = CASES[name]
    ours, _ = trajectory(tx(), LOSSES, GRADIENTS, jnp.float32)
    for a, b in zip(ours, oracle()[0], strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


# GradNorm


def network() -> tuple[Callable, Any]:
    """Two losses of one trunk, and parameters."""
    x = np.random.default_rng(0).standard_normal((8, 4))

    def losses(params: Any) -> list[jax.Array]:
        h = jnp.tanh(jnp.asarray(x, params["trunk"].dtype) @ params["trunk"])
        return [jnp.mean((h @ params["a"] - 1) ** 2), 50 * jnp.mean((h @ params["b"] + 1) ** 2)]

    rng = np.random.default_rng(1)
    return losses, {
        k: jnp.asarray(rng.standard_normal(s), jnp.float32) for k, s in {"trunk": (4, 5), "a": 5, "b": 5}.items()
    }


def test_the_slope_of_the_weights_is_that_of_the_loss_of_the_norms() -> None:
    """∂/∂w of Σ|Gᵢ − Ḡ·rᵢ^α|, with Gᵢ as a gradient of the network's and the target held."""
    with jax.enable_x64(True):
        losses_fn, params = network()
        params = jax.tree.map(lambda p: p.astype(float), params)
        first, w, alpha = jnp.array([1.0, 20.0]), jnp.array([1.3, 0.7]), 1.5

        def loss(w: Any) -> Any:
            def size(i: int) -> Any:
                g = jax.grad(lambda trunk: w[i] * losses_fn(params | {"trunk": trunk})[i])(params["trunk"])
                return jnp.sqrt(jnp.sum(g**2))

            sizes = jnp.stack([size(0), size(1)])
            ratios = jnp.stack(losses_fn(params)) / first
            target = jax.lax.stop_gradient(jnp.mean(sizes) * (ratios / jnp.mean(ratios)) ** alpha)
            return jnp.sum(jnp.abs(sizes - target))

        slopes = optax.stateless(lambda g, _: g)._replace(init=jnp.zeros_like, update=lambda g, s, p: (0 * g, g))
        tx = gradnorm(2, alpha, initial_losses=first, shared="trunk", optimizer=lambda _: slopes)
        state = tx.init(params)
        state = {**state, "state": state["state"] | {"weights": w}}

        @cheap_jit
        def both(params: Any) -> Any:
            losses, gradients = task_gradients(losses_fn, params)
            return tx.update(gradients, state, losses=losses)[1], jax.grad(loss)(w)

        state, expected = both(params)
        np.testing.assert_allclose(state["state"]["optimizer"]["state"], expected, rtol=1e-9)
        np.testing.assert_allclose(state["state"]["weights"], w, rtol=1e-12)


def moved(tx: Any, gradients: Any, *losses: Any) -> Any:
    """What the balancer remembers after updates with the same gradients."""
    state = tx.init(jnp.zeros(gradients.shape[1:]))
    for now in losses:
        _, state = tx.update(gradients, state, losses=jnp.asarray(now))
    assert state["count"] == len(losses)
    return state["state"]


def always(losses: list[float], times: int) -> list[list[float]]:
    return [losses] * times


def test_the_sum_is_of_the_weights_before_they_move() -> None:
    tx, g = gradnorm(2), jnp.array([[1.0, 0.0], [0.0, 3.0]])
    state = tx.init(jnp.zeros(2))
    for expected in ([1.0, 1.0], [1.025, 0.975]):
        np.testing.assert_allclose(state["state"]["weights"], expected, rtol=1e-6)
        out, state = tx.update(g, state, losses=jnp.ones(2))
        np.testing.assert_allclose(out, [expected[0], 3 * expected[1]], rtol=1e-6)


def test_one_task_keeps_its_weight() -> None:
    state = moved(gradnorm(1), jnp.array([[3.0, 4.0]]), [1.0], [0.5], [9.0])
    assert state["weights"] == 1
    assert state["optimizer"]["inner_count"] == 3


def test_a_task_without_a_gradient_keeps_its_weight() -> None:
    """But for the sum, which stays T."""
    state = moved(gradnorm(3, optimizer=sgd), jnp.array([[0.0], [1.0], [3.0]]), [1.0, 1.0, 1.0])
    slope = np.array([0.0, -1.0, 3.0])  # the mean norm is 4/3
    np.testing.assert_allclose(state["weights"], 3 * (1 - 0.025 * slope) / (3 - 0.025 * 2), rtol=1e-6)
    nothing = moved(gradnorm(3), jnp.zeros((3, 1)), [1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(nothing["weights"], np.ones(3))


def test_the_state_tells_the_mean_losses() -> None:
    tx, gradients = dynamic_weight_average(2, every=2), jnp.ones((2, 1))
    _, state = tx.update(gradients, tx.init(jnp.zeros(1)), losses=jnp.array([1.0, 4.0]))
    np.testing.assert_array_equal(state["state"]["losses"], [1, 4])
    _, state = tx.update(gradients, state, losses=jnp.array([2.0, 2.0]))
    np.testing.assert_array_equal(state["state"]["last_losses"], [1.5, 3])


def test_a_task_without_a_loss_at_first_neither_lags_nor_leads() -> None:
    tx, g = gradnorm(3, 1.0, 0.01, optimizer=sgd), jnp.array([[4.0], [4.0], [4.0]])
    with_it = moved(tx, g, [1.0, 0.0, 1.0], [3.0, 5.0, 1.0])["weights"]  # r = 1.5, 1, 0.5
    np.testing.assert_allclose(with_it / with_it[1], [1.04, 1.0, 0.96], rtol=1e-6)
    assert np.array_equal(moved(tx, g, [0.0, 0.0, 0.0], [1.0, 2.0, 3.0])["weights"], jnp.ones(3))
    chex.assert_tree_all_finite(moved(tx, g, [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]))
    negative = moved(gradnorm(3, 0.5), g, [1.0, 1.0, 1.0], [-2.0, 1.0, 3.0])
    chex.assert_tree_all_finite(negative)
    assert negative["optimizer"]["inner_count"] == 2
    assert negative["weights"][0] < 1  # it leads


@pytest.mark.parametrize("name", ["gradnorm", "dynamic_weight_average", "uncertainty_weights"])
def test_losses_that_are_not_finite_move_no_weight(name: str) -> None:
    tx, g = BALANCERS[name](), jnp.array([[1.0, -0.3], [0.2, 4.0], [1.0, 1.0]])
    good = ([1.0, 2.0, 3.0], [1.0, 1.0, 2.0], [0.7, 1.0, 1.0])
    expected = moved(tx, g, *good)
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        chex.assert_trees_all_equal(moved(tx, g, good[0], [1.0, bad, 1.0], *good[1:]), expected)
        chex.assert_trees_all_equal(moved(tx, g, [bad, 1.0, 1.0], *good), expected)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, 3e19])
def test_norms_that_are_not_finite_move_no_weight(bad: float) -> None:
    tx, g = gradnorm(2), jnp.array([[1.0, 2.0], [3.0, 4.0]])
    state = {"count": jnp.int32(2), "state": moved(tx, g, [1.0, 1.0], [1.0, 2.0])}
    for i in range(2):
        _, new = tx.update(g.at[i, 1].set(bad), state, losses=jnp.ones(2))
        chex.assert_trees_all_equal(new["state"], state["state"])


def test_weights_stay_above_the_least() -> None:
    tx, g = gradnorm(2, 0.0, 0.5, min_weight=0.01), jnp.array([[1e-3], [1e3]])
    state = moved(tx, g, *always([1.0, 1.0], 8))
    large, small = state["weights"]
    np.testing.assert_allclose(large, 2 - small, rtol=1e-6)
    np.testing.assert_allclose(small, 2 * 0.01 / (large + 0.5 + 0.01), rtol=1e-3)


def test_the_weights_learn_at_a_rate_that_may_be_a_schedule() -> None:
    g = jnp.array([[1.0], [3.0]])
    rates = gradnorm(2, 0.0, lambda count: jnp.where(count < 1, 0.1, 0.0), optimizer=sgd)
    once, twice = (moved(rates, g, *always([1.0, 1.0], n))["weights"] for n in (1, 2))
    np.testing.assert_allclose(once, [2 * 1.1 / 1.8, 2 * 0.7 / 1.8], rtol=1e-6)
    np.testing.assert_array_equal(once, twice)


# gradient surgery


def test_after_surgery_the_sum_of_two_conflicts_with_neither() -> None:
    rng = np.random.default_rng(0)
    gradients = jnp.asarray(rng.standard_normal((500, 2, 3)), jnp.float32)
    tx = pcgrad(2)
    sums = jax.jit(jax.vmap(lambda g: tx.update(g, tx.init(g[0]))[0]))(gradients)
    a, b = np.asarray(gradients[:, 0]), np.asarray(gradients[:, 1])
    conflict = np.sum(a * b, 1) < 0
    assert 100 < conflict.sum() < 400
    for g in (a, b):
        assert np.all(np.sum(np.asarray(sums) * g, 1)[conflict] > -1e-5)
    np.testing.assert_allclose(sums[~conflict], (a + b)[~conflict], rtol=1e-6)
    assert np.all(np.abs(np.asarray(sums) - a - b).max(1)[conflict] > 0)


def test_orders_are_drawn_anew_every_time() -> None:
    drawn = orders(4, steps=20)
    assert len({d.tobytes() for d in drawn}) > 15
    assert len({row.tobytes() for d in drawn for row in d}) > 15
    assert not np.array_equal(drawn, orders(4, seed=1, steps=20))


def test_a_gradient_too_small_for_its_square_is_no_conflict() -> None:
    g = jnp.array([[1.0, 2.0], [-1e-30, 0.0]])
    np.testing.assert_allclose(pcgrad(2).update(g, pcgrad(2).init(g[0]))[0], [1.0, 2.0])


def test_surgery_where_nothing_conflicts_is_the_sum() -> None:
    one = jnp.array([[-3.0, 4.0]])
    assert np.array_equal(pcgrad(1).update(one, pcgrad(1).init(one[0]))[0], one[0])
    resting = jnp.array([[1.0, -2.0], [0.0, 0.0], [1.0, 1.0]])
    tx = pcgrad(3)
    np.testing.assert_allclose(
        tx.update(resting, tx.init(resting[0]))[0], np.array([1.0, -2.0]) + np.array([1, 1]) + [0.2, -0.4] + [0.5, 0.5],
        rtol=1e-6,
    )  # fmt: skip


# the gradients of several losses


def test_gradients_are_those_of_each_loss() -> None:
    losses_fn, params = network()
    calls = []

    def counted(p: Any, scale: Any) -> Any:
        calls.append(1)
        return [scale * x for x in losses_fn(p)]

    losses, gradients = jax.jit(lambda p: task_gradients(counted, p, 2.0))(params)
    assert len(calls) == 1
    for i in range(2):
        one, gradient = jax.value_and_grad(lambda p, i=i: 2 * losses_fn(p)[i])(params)
        np.testing.assert_allclose(losses[i], one, rtol=1e-6)
        chex.assert_trees_all_close(jax.tree.map(lambda g, i=i: g[i], gradients), gradient, rtol=1e-5)
    assert np.array_equal(gradients["a"][1], jnp.zeros(5))
    forward, whole = (
        str(jax.make_jaxpr(f)(params)).count(" tanh ") for f in (losses_fn, lambda p: task_gradients(losses_fn, p))
    )
    assert forward == whole == 1  # one forward pass


def test_losses_as_list_tuple_or_array_with_something_beside_them() -> None:
    losses_fn, params = network()
    expected = task_gradients(losses_fn, params)
    for form in (tuple, jnp.stack):
        chex.assert_trees_all_equal(task_gradients(lambda p, form=form: form(losses_fn(p)), params), expected)
    (losses, aux), gradients = task_gradients(lambda p: (losses_fn(p), {"hidden": p["a"]}), params, has_aux=True)
    chex.assert_trees_all_equal((losses, gradients), expected)
    assert np.array_equal(aux["hidden"], params["a"])


def test_gradients_in_the_dtypes_of_the_parameters() -> None:
    params = {
        "half": jnp.ones(2, jnp.bfloat16),
        "single": jnp.ones(()),
        "none": None,
        "complex": jnp.full(1, 1j, jnp.complex64),
    }
    losses, gradients = task_gradients(
        lambda p: [jnp.sum(p["half"]), jnp.sum(jnp.abs(p["complex"]) ** 2), jnp.bfloat16(2), p["single"]], params
    )
    assert losses.dtype == jnp.float32
    assert gradients["none"] is None
    chex.assert_trees_all_equal_dtypes(gradients, params)
    assert {k: g.shape for k, g in gradients.items() if g is not None} == {
        "half": (4, 2), "single": (4,), "complex": (4, 1)
    }  # fmt: skip
    step = jax.grad(lambda z: jnp.sum(jnp.abs(z) ** 2))(params["complex"])
    np.testing.assert_allclose(gradients["complex"][1], step)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (lambda p: p, r"losses_fn returned \(\), shapes that are not one number for each task"),
        (lambda p: {"a": p, "b": p}, r"losses_fn returned \{'a': \(\), 'b': \(\)\}"),
        (lambda p: [p, jnp.ones(2)], r"losses_fn returned \[\(\), \(2,\)\]"),
        (lambda p: jnp.ones((2, 2)) * p, r"losses_fn returned \(2, 2\)"),
        (lambda p: [], r"losses_fn returned \[\]"),
    ],
)
def test_losses_that_are_none(losses: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task_gradients(losses, jnp.float32(1))


def test_parameters_without_a_gradient() -> None:
    with pytest.raises(TypeError, match="the parameter at 'steps' has no gradient, it is int32"):
        task_gradients(lambda p: [p["w"]], {"w": 1.0, "steps": jnp.int32(3)})


# what all balancers promise


@every_balancer
def test_the_state_keeps_its_shape_and_its_buffers_apart(name: str) -> None:
    """So that it can be scanned and donated."""
    tx, params = BALANCERS[name](), params_of()
    state, gradients = tx.init(params), jax.tree.map(lambda p: jnp.ones((TASKS, *p.shape)), params)
    out, new = jax.jit(tx.update, donate_argnums=1)(gradients, state, losses=jnp.ones(TASKS))
    for a, b in ((out, params), (new, tx.init(params)), (new, jax.eval_shape(tx.init, params))):
        assert jax.tree.map(jax.typeof, a) == jax.tree.map(jax.typeof, b)
    plain = name in ("equal_weights", "static_weights", "pcgrad")  # whose orders depend on the clock alone
    assert bool(jax.tree.leaves(state["state"])) == tx.node.remembers != plain


@every_balancer
def test_half_precision_is_rounded_once(name: str) -> None:
    tx, params = BALANCERS[name](), params_of(jnp.bfloat16)
    state = tx.init(params)
    assert {a.dtype for a in jax.tree.leaves(state)} <= {jnp.dtype(jnp.float32), jnp.dtype(jnp.int32)}
    half = as_tree([jnp.asarray(g[0], jnp.bfloat16) for g in GRADIENTS])
    losses, single = jnp.asarray(LOSSES[0], jnp.bfloat16), jax.tree.map(lambda g: g.astype(jnp.float32), half)
    out, new = tx.update(half, state, params, losses=losses)
    exact, kept = tx.update(single, state, params, losses=losses)
    chex.assert_trees_all_equal(out, jax.tree.map(lambda a: a.astype(jnp.bfloat16), exact))
    chex.assert_trees_all_equal(new, kept)


@every_balancer
def test_what_is_no_array_passes_through(name: str) -> None:
    tx, g = BALANCERS[name](), jnp.arange(6.0).reshape(3, 2) - 2
    params = {"w": jnp.ones(2), "none": None, "masked": optax.MaskedNode()}
    out, state = tx.update(params | {"w": g}, tx.init(params), params, losses=jnp.ones(3))
    alone, kept = tx.update({"w": g}, tx.init({"w": params["w"]}), losses=jnp.ones(3))
    assert out == {**params, "w": out["w"]}
    chex.assert_trees_all_equal((out["w"], state), (alone["w"], kept))
    partly = masked(tx, {"w": True, "rest": False})
    both, _ = partly.update({"w": g, "rest": g}, partly.init({"w": g[0], "rest": g[0]}), losses=jnp.ones(3))
    np.testing.assert_array_equal(both["w"], out["w"])
    np.testing.assert_array_equal(both["rest"], g)
    for empty in ({}, {"none": None}):
        assert tx.update(empty, tx.init(empty), losses=jnp.ones(3))[0] == empty


@every_balancer
def test_first_piece_of_a_chain(name: str) -> None:
    """Adam's memory is where it was and what it was: a balancer can be put before a model in training."""
    tx, params = chain(BALANCERS[name](), adam(1e-2)), params_of()
    alone = adam(1e-2)
    gradients = as_tree([jnp.asarray(g[0], jnp.float32) for g in GRADIENTS])
    plain, _ = equal_weights(TASKS).update(gradients, equal_weights(TASKS).init(params))
    updates, state = tx.update(gradients, tx.init(params), params, losses=jnp.ones(TASKS))
    assert set(state["state"]) == ({"adam", name} if BALANCERS[name]().node.remembers else {"adam"})
    adams = state | {"state": state["state"]["adam"]}
    chex.assert_trees_all_equal_shapes_and_dtypes(adams, alone.init(params))
    if name in ("gradnorm", "dynamic_weight_average", "equal_weights"):  # the first weights are 1
        expected = alone.update(plain, alone.init(params), params)
        chex.assert_trees_all_close((updates, adams), expected, rtol=1e-6)


def test_a_model_is_trained_in_a_train_state() -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> list[jax.Array]:
            h = nn.tanh(nn.Dense(8, name="trunk")(x))
            return [nn.Dense(1, name="a")(h), nn.Dense(1, name="b")(h)]

    x = jnp.asarray(np.random.default_rng(0).standard_normal((16, 3)), jnp.float32)
    net, target = Net(), jnp.sum(x, 1, keepdims=True)
    with jax.numpy_rank_promotion("allow"):
        tx = chain(gradnorm(alpha=1.5, learning_rate=0.025, shared="trunk/kernel"), adam(1e-2))
        model = TrainState.create(apply_fn=net.apply, params=jax.jit(net.init)(jax.random.key(0), x), tx=tx)

        def losses_fn(params: Any) -> list[jax.Array]:
            a, b = net.apply(params, x)
            return [jnp.mean((a - target) ** 2), 100 * jnp.mean((b + target) ** 2)]

        def step(model: TrainState, _: Any) -> Any:
            losses, gradients = task_gradients(losses_fn, model.params)
            updates, opt_state = model.tx.update(gradients, model.opt_state, model.params, losses=losses)
            params = optax.apply_updates(model.params, updates)
            return model.replace(step=model.step + 1, params=params, opt_state=opt_state), losses

        train = cheap_jit(lambda model: jax.lax.scan(step, model, None, length=200), donate_argnums=0)
        model, losses = train(model.replace(step=jnp.zeros((), jnp.int32)))
    assert np.all(losses[-1] < 0.3 * losses[0])
    balancer = model.opt_state["state"]["gradnorm"]
    weights = balancer["weights"]
    assert weights[0] > 1.5 > 0.5 > weights[1] > 0
    assert int(model.step) == int(balancer["optimizer"]["inner_count"]) == 200


def test_settings_may_be_mapped_over() -> None:
    alphas = jnp.array([0.0, 1.5])
    losses, gradients = LOSSES[:20].astype(np.float32), [g[:20].astype(np.float32) for g in GRADIENTS]

    @jax.jit
    @jax.vmap
    def last(alpha: Any, least: Any) -> Any:
        tx = gradnorm(TASKS, alpha, min_weight=least)
        xs = (jnp.asarray(losses), as_tree([jnp.asarray(g) for g in gradients]))
        return jax.lax.scan(
            lambda s, x: (tx.update(x[1], s, losses=x[0])[1], None), tx.init(params_of()), xs
        )[0]["state"]["weights"]  # fmt: skip

    ours = last(alphas, jnp.full(2, 1e-3))
    for alpha, w in zip((0.0, 1.5), ours, strict=True):
        _, used = loops.gradnorm(
            np.append(losses, [[1] * 3], 0), [np.append(g, g[:1], 0) for g in gradients], None, alpha
        )
        np.testing.assert_allclose(w, used[-1], rtol=2e-5)


def test_a_balancer_of_ones_own() -> None:
    larger = weigh_tasks(2, lambda memory, losses, gradients: ((losses == losses.max()).astype(float), memory))
    assert not larger.node.remembers
    state = larger.init(jnp.zeros(1))
    assert np.array_equal(larger.update(jnp.array([[1.0], [2.0]]), state, losses=jnp.array([3.0, 1.0]))[0], [1.0])


def test_a_path_is_a_mask() -> None:
    paths, mask = (
        trajectory(gradnorm(TASKS, shared=s), LOSSES, GRADIENTS)[1]["state"]["weights"]
        for s in ("bias$", lambda tree: jax.tree.map(lambda m: not m, excluding("bias$")(tree)))
    )
    np.testing.assert_array_equal(paths, mask)


# errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gradnorm(0), r"gradnorm: tasks=0 is outside"),
        (lambda: gradnorm(2, -1.0), r"gradnorm: alpha=-1.0 is outside"),
        (lambda: gradnorm(2, min_weight=0.0), r"gradnorm: min_weight=0.0 is outside"),
        (lambda: gradnorm(2, initial_losses=[1.0]), r"initial_losses has the shape \(1,\), not \(2,\): one number for"),
        (lambda: gradnorm(2, initial_losses=[1.0, 0.0]), r"initial_losses: one of \[1.0, 0.0\] is outside \(0, inf\)"),
        (lambda: static_weights([]), r"static_weights: weights has the shape \(0,\), not \(T,\)"),
        (lambda: static_weights(2.0), r"static_weights: weights has the shape \(\), not \(T,\)"),
        (lambda: static_weights([1.0, -1.0]), r"static_weights: weights: one of \[1.0, -1.0\] is outside"),
        (lambda: static_weights([np.nan]), r"static_weights: weights: one of \[nan\] is outside"),
        (lambda: dynamic_weight_average(2, 0.0), r"dynamic_weight_average: temperature=0.0 is outside"),
        (lambda: dynamic_weight_average(2, every=0), r"dynamic_weight_average: every=0 is outside"),
        (lambda: gradnorm(2, shared="head").init(params_of()), r"'head' selects none .* there are: body/bias, body/k"),
        (lambda: pcgrad(2, shared="x").init(jnp.ones(1)), r"shared='x' selects none of the arrays; .* \(one array\)"),
        (
            lambda: equal_weights(2).update({"w": jnp.ones(3)}, equal_weights(2).init(None)),
            r"the gradient at 'w' has the shape \(3,\), but its first axis must be the 2 tasks: .* task_gradients",
        ),
        (
            lambda: equal_weights(2).update(jnp.ones(()), equal_weights(2).init(None)),
            r"the gradient has the shape \(\), but",
        ),
        (lambda: moved(gradnorm(2), jnp.ones((2, 1)), [1.0, 1.0, 1.0]), r"losses has the shape \(3,\), not \(2,\)"),
        (
            lambda: gradnorm(2).update(jnp.ones((2, 1)), gradnorm(2).init(jnp.ones(1))),
            r"the losses of the tasks are missing: call update\(gradients, state, params, losses=losses\)",
        ),
    ],
)  # fmt: skip
def test_values_that_are_wrong(make: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("balancer", [gradnorm, uncertainty_weights])
@pytest.mark.parametrize("wrong", [adam(), "adam"])
def test_an_optimizer_of_weights_is_a_function(balancer: Callable, wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"{balancer.__name__}: optimizer=.* is no function .* optimizer=adam, not"):
        balancer(optimizer=wrong)
    with pytest.raises(TypeError, match="is no gradient transformation"):
        balancer(optimizer=lambda rate: rate)


def test_they_print_as_the_calls_that_made_them() -> None:
    assert repr(gradnorm(3, alpha=0.12, optimizer=sgd)) == "gradnorm(3, alpha=0.12, optimizer=sgd)"
    assert str(chain(pcgrad(2), sgd(0.1))).splitlines()[1] == "    pcgrad(2),"
