"""Parameters in 16 bits: against NumPy's roundings and loops in float64, and in what is promised beside that."""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from gdo_optax.wrappers.accumulation import accumulate
from gdo_optax.wrappers.precision import _STRIDE, compensate, dithered, keep_master, nearest, round_stochastically
from gdo_optax.wrappers.skipping import skip_nonfinite
from tests import oracles
from tests.catalogue import avals


HALVES = (jnp.bfloat16, jnp.float16)
WRAPPERS = (keep_master, compensate, round_stochastically)
half = pytest.mark.parametrize("dtype", HALVES, ids=lambda d: d.__name__)
each_wrapper = pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda w: w.__name__)


def trained(tx: optax.GradientTransformation, params: Any, grads: Any) -> tuple[Any, Any, Any]:
    """The parameters after every step, and the last state, of one compiled scan."""

    def step(carry: Any, x: Any) -> Any:
        params, state = carry
        updates, state = tx.update(x, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, updates)

    (_, state), (path, updates) = jax.jit(lambda p, x: jax.lax.scan(step, (p, tx.init(p)), x))(params, grads)
    return path, state, updates


# roundings


@functools.cache
def numbers() -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(20_000) * 10.0 ** rng.uniform(-9, 4.5, 20_000)
    ties = [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 1 + 3 * 2**-11, 2**-25, 3 * 2**-25, -(2.0**-25), 65519.0]
    return np.array([*x, *ties, 0.0, -0.0, np.inf, -np.inf, np.nan], np.float32)


@half
def test_the_nearest_is_numpys(dtype: Any) -> None:
    x = numbers()
    with np.errstate(over="ignore"):
        expected = x.astype(dtype).astype(np.float32)
    largest = float(jnp.finfo(dtype).max)
    expected = np.where(np.isfinite(x), np.clip(expected, -largest, largest), x)
    np.testing.assert_array_equal(jax.jit(nearest, static_argnums=1)(x, dtype), expected)
    assert nearest(jnp.float32(3e38), jnp.float16) == 65504


@half
def test_a_dithered_number_is_one_of_its_neighbours_and_right_in_the_mean(dtype: Any) -> None:
    x = np.array([1.001, -0.3337, 3.3e-6, -1.234e-7, 8e-8, 0.75, 0.0, np.inf, 3e4], np.float32)
    bits = jnp.arange(2**16, dtype=jnp.uint32)
    drawn = np.asarray(jax.jit(lambda x: jax.vmap(lambda b: dithered(x, dtype, jnp.full(x.shape, b)))(bits))(x))
    np.testing.assert_array_equal(drawn.astype(dtype).astype(np.float32), drawn)
    assert all(len(np.unique(column)) <= 2 for column in drawn.T)
    assert (drawn.max(0) > drawn.min(0))[:3].all()
    np.testing.assert_allclose(drawn.astype(np.float64).mean(0), x, rtol=1e-5)
    assert np.isnan(dithered(jnp.float32(jnp.nan), dtype, jnp.uint32(65535)))
    largest = float(jnp.finfo(dtype).max)
    assert dithered(jnp.float32(largest * 1.001), dtype, jnp.uint32(65535)) == largest


# what was asked for


@half
def test_a_thousand_small_steps_arrive(dtype: Any) -> None:
    """From 1 in steps of 1e-3: at 0 but for a unit in the last place, which plain bfloat16 never leaves 1 by."""
    ones, ulp = jnp.ones(64, dtype), float(jnp.finfo(dtype).eps)
    grads = jnp.ones((1000, 64), dtype)
    if dtype == jnp.bfloat16:
        assert (trained(g.sgd(1e-3), ones, grads)[0][-1] == 1).all()
    for wrapper in WRAPPERS:
        last = np.asarray(trained(wrapper(g.sgd(1e-3)), ones, grads)[0][-1], np.float64)
        if wrapper is round_stochastically:
            assert abs(last.mean()) < ulp / 4
            assert np.sqrt(np.mean(last**2)) < 0.75 * ulp
            assert len(np.unique(last)) > 10
        else:
            assert np.abs(last).max() < (1e-5 if wrapper is keep_master else ulp / 8)


def case(dtype: Any, steps: int, size: float) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(3)
    start = rng.standard_normal(200) * 10 ** rng.uniform(-2, 1, 200)
    return jnp.asarray(start, dtype), jnp.asarray(size * rng.standard_normal((steps, 200)), dtype)


@half
def test_the_master_is_a_float32_training_and_the_parameters_are_it_rounded(dtype: Any) -> None:
    start, grads = case(dtype, 200, 1.0)
    path, state, _ = trained(keep_master(g.momentum(1e-4, 0.9)), start, grads)
    plain = oracles.momentum(np.asarray(start, np.float64), np.asarray(grads, np.float64), 1e-4, 0.9)
    expected = np.asarray(start, np.float64) + plain.cumsum(0)
    np.testing.assert_allclose(state["state"]["master"], expected[-1], rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(path[-1], state["state"]["master"].astype(dtype))
    apart = np.abs(np.asarray(path, np.float64) - expected) / np.maximum(np.abs(expected), 1e-2)
    assert apart.max() < 0.51 * float(jnp.finfo(dtype).eps)


@half
def test_steps_of_any_size_land_or_land_one_step_later(dtype: Any) -> None:
    """A step larger than where it leads is too coarse in 16 bits; the next one makes up for it."""
    start, grads = case(dtype, 60, 1.0)
    grads = grads.at[::2].multiply(100).at[1::2].set(0)
    path, state, updates = trained(keep_master(g.sgd(1.0)), start, grads)
    master = np.asarray(start, np.float64) - np.asarray(grads, np.float64).cumsum(0)
    gap = np.abs(np.asarray(path, np.float64) - master)
    largest = np.abs(np.asarray(updates, np.float64))
    eps = float(jnp.finfo(dtype).eps)
    assert (gap <= 0.51 * eps * (2 * np.abs(master) + largest)).all()
    assert (gap[1::2] <= 0.51 * eps * (np.abs(master) + largest)[1::2]).all()
    assert (gap[::2] > 0.6 * eps * np.abs(master[::2])).any()  # so there is something to make up for
    np.testing.assert_array_equal(path[-1], state["state"]["master"].astype(dtype))


def test_float32_updates_of_bfloat16_parameters_land_at_once() -> None:
    start, grads = case(jnp.bfloat16, 60, 30.0)
    tx = keep_master(g.sgd(1.0))
    state, params = tx.init(start), start
    step = jax.jit(tx.update)
    for x in grads.astype(jnp.float32)[:10]:
        updates, state = step(x, state, params)
        assert updates.dtype == jnp.float32
        with jax.numpy_dtype_promotion("standard"):
            params = optax.apply_updates(params, updates)
        np.testing.assert_array_equal(params, state["state"]["master"].astype(jnp.bfloat16))


@half
def test_a_compensated_parameter_is_the_sum_with_what_it_lost(dtype: Any) -> None:
    start, grads = case(dtype, 200, 1.0)
    path, state, _ = trained(compensate(g.momentum(1e-4, 0.9)), start, grads)
    plain = oracles.momentum(np.asarray(start, np.float64), np.asarray(grads, np.float64), 1e-4, 0.9)
    expected = np.asarray(start, np.float64) + plain.sum(0)
    eps = float(jnp.finfo(dtype).eps)
    whole = np.asarray(path[-1], np.float64) + np.asarray(state["state"]["lost"], np.float64)
    np.testing.assert_allclose(whole, expected, rtol=eps / 16, atol=eps / 2000)
    assert np.abs(np.asarray(path[-1], np.float64) - expected).max() > eps / 2


def test_what_a_coarse_step_misses_is_not_lost() -> None:
    """From 1 by −0.999, in an update of 8 digits: what apply_updates could not do is done by the next step."""
    tx, theta = compensate(g.sgd(1.0)), jnp.ones(1, jnp.bfloat16)
    grads = jnp.array([[0.99609375], [0.0029], [0.0]], jnp.bfloat16)
    path, state, _ = trained(tx, theta, grads)
    exact = 1 - np.asarray(grads, np.float64).sum()
    assert abs(float(path[-1][0]) + float(state["state"]["lost"][0]) - exact) < 1e-6
    start, grads = case(jnp.bfloat16, 60, 10.0)
    path, state, _ = trained(tx, start, grads)
    whole = np.asarray(path[-1], np.float64) + np.asarray(state["state"]["lost"], np.float64)
    exact = np.asarray(start, np.float64) - np.asarray(grads, np.float64).sum(0)
    np.testing.assert_allclose(whole, exact, atol=60 * 2**-9 * 2**-8 * 100 / 16)


@half
def test_the_mean_of_stochastic_roundings_is_right(dtype: Any) -> None:
    """Of single steps too, and with seeds and places of their own."""
    tx = round_stochastically(g.sgd(1.0))
    theta, grads = jnp.full(40_000, 0.7, dtype), jnp.full((1, 40_000), 3.1e-4, dtype)
    path, state, _ = trained(tx, theta, grads)
    moved = float(theta[0]) - np.asarray(path[0], np.float64).mean()
    assert abs(moved / float(grads[0, 0]) - 1) < 0.1
    assert int(state["count"]) == 1
    other = trained(round_stochastically(g.sgd(1.0), seed=1), theta, grads)[0]
    two = trained(tx, {"a": theta, "b": theta}, {"a": grads, "b": grads})[0]
    assert not np.array_equal(path, other)
    assert not np.array_equal(two["a"], two["b"])
    np.testing.assert_array_equal(two["a"], path)


def test_strides_come_by_all_numbers_of_16_bits() -> None:
    assert len({_STRIDE * count % 2**16 for count in range(2**16)}) == 2**16
    plastic = (0.5 + (23 / 108) ** 0.5) ** (1 / 3) + (0.5 - (23 / 108) ** 0.5) ** (1 / 3)
    assert int(2**16 / plastic) == _STRIDE


def test_nothing_overflows_that_is_finite() -> None:
    theta = jnp.array([6e4, -6e4, 1.0], jnp.float16)
    x = jnp.array([-6e4, 6e4, jnp.inf], jnp.float16)
    for wrapper in WRAPPERS:
        path, _, updates = trained(wrapper(g.sgd(1.0)), theta, jnp.stack([x, -x, -x]))
        assert np.array_equal(path[0][:2], [65504, -65504])
        assert np.isfinite(updates[:, :2]).all()
        assert not np.isfinite(path[0][2])


# where it stands


def mixed(dtype: Any = jnp.bfloat16) -> dict[str, Any]:
    return {
        "half": jnp.linspace(0.5, 2, 6, dtype=dtype).reshape(2, 3),
        "full": jnp.linspace(1, 2, 5),
        "empty": jnp.zeros((0, 3), dtype),
        "z_none": None,
        "z_masked": optax.MaskedNode(),
        "z_still": jnp.ones(2, dtype),
    }


def flat(params: Any, steps: int) -> Any:
    """Gradients of all but z_still."""
    x = jax.tree.map(lambda p: jnp.sin(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (steps, *a.shape)), x | {"z_still": None})


@each_wrapper
def test_trees_of_all_sorts_jit_vmap_scan_and_donation(wrapper: Callable) -> None:
    tx = wrapper(g.adam(1e-2))

    def step(params: Any, state: Any, x: Any) -> Any:
        updates, state = tx.update(x, state, params)
        return jax.tree.map(lambda u, p: p if u is None else p + u, updates, params, is_leaf=lambda u: u is None), state

    donated = jax.jit(step, donate_argnums=(0, 1))
    params, x = mixed(), jax.tree.map(lambda a: a[0], flat(mixed(), 1))
    state = tx.init(params)
    kept, looks = avals(state), avals(params)
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
    assert jax.tree.map(jnp.shape, tx.init(shapes)) == jax.tree.map(jnp.shape, state)
    for _ in range(4):
        params, state = donated(params, state, x)
    assert avals(state) == kept
    assert avals(params) == looks
    assert (params["z_still"] == 1).all()
    assert not np.array_equal(params["half"], mixed()["half"])
    assert avals(optax.tree_map_params(tx, lambda a: a + 1, state)) == kept

    both = jax.tree.map(lambda p: jnp.stack([p, p]), mixed())
    out = jax.jit(jax.vmap(lambda p: jax.lax.scan(lambda c, _: (step(*c, x), None), (p, tx.init(p)), None, 4)[0]))(both)
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[1], out), (params, state), rtol=1e-5)
    assert jax.eval_shape(lambda s: tx.update({}, s, {}), tx.init({}))[0] == {}


@each_wrapper
def test_float32_parameters_cost_nothing(wrapper: Callable) -> None:
    params, inner = {"a": jnp.linspace(1, 2, 5)}, g.adam(0.1)
    tx = wrapper(inner)
    state = tx.init(params)
    assert sum(a.size for a in jax.tree.leaves(state)) == sum(a.size for a in jax.tree.leaves(inner.init(params)))
    ours, state = tx.update(params, state, params)
    theirs, kept = inner.update(params, inner.init(params), params)
    chex.assert_trees_all_equal((ours, state["state"]["inner"]), (theirs, kept["state"]))


@each_wrapper
def test_around_slow_weights_accumulation_and_skips(wrapper: Callable) -> None:
    """Slow weights meet what the inner optimizer sees, and a step of nothing changes nothing."""
    params = {"half": jnp.linspace(0.5, 2, 6, dtype=jnp.bfloat16)}
    tx = wrapper(g.lookahead(skip_nonfinite(g.momentum(1e-3, 0.9)), 2, 0.5))
    x = jax.tree.map(lambda p: jnp.ones((6, *p.shape), p.dtype).at[3].set(jnp.nan), params)
    path, state, _ = trained(tx, params, x)
    slow, last = g.eval_params(state, params)["half"], path["half"][-1]
    np.testing.assert_allclose(slow.astype(jnp.float32), last.astype(jnp.float32), rtol=2**-6)
    exact = g.eval_params(state, {"half": last.astype(jnp.float32)})["half"]
    if wrapper is keep_master:
        np.testing.assert_allclose(exact, state["state"]["master"]["half"], rtol=1e-6)
    if wrapper is compensate:
        whole = last.astype(jnp.float32) + state["state"]["lost"]["half"].astype(jnp.float32)
        np.testing.assert_allclose(exact, whole, rtol=2**-16)
    waiting = wrapper(accumulate(g.sgd(1e-3), 10))
    path, _, _ = trained(waiting, params, jax.tree.map(lambda a: a.at[3].set(0), x))
    assert all(np.array_equal(p, params["half"]) for p in path["half"])
    skipping = skip_nonfinite(wrapper(g.sgd(1.0)))  # which hands on the parameters as they are
    path, state, _ = trained(skipping, params, x)
    assert np.array_equal(path["half"][3], path["half"][2])
    assert int(state["state"]["skipped"]) == 1


@each_wrapper
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_foreign_transformations_and_extra_arguments(wrapper: Callable) -> None:
    seen = {}

    def update(x: Any, state: Any, params: Any = None, *, value: Any, **_: Any) -> Any:
        seen["dtype"], seen["value"] = jax.tree.leaves(params)[0].dtype, value
        return x, state

    theta = jnp.ones(2, jnp.bfloat16)
    tx = wrapper(optax.chain(optax.sgd(1e-3), optax.GradientTransformationExtraArgs(lambda p: (), update)))
    tx.update(theta, tx.init(theta), theta, value=3)
    assert seen == {"dtype": jnp.float32, "value": 3}


@each_wrapper
def test_the_message_says_what_to_write(wrapper: Callable) -> None:
    name, theta = wrapper.__name__, jnp.ones(2, jnp.bfloat16)
    tx = wrapper(g.sgd(0.1))
    with pytest.raises(ValueError, match=f"{name} reads the parameters: call update"):
        tx.update(theta, tx.init(theta))
    with pytest.raises(ValueError, match=rf"around the whole optimizer, {name}\(chain"):
        g.chain(tx, g.scale(1.0))
    with pytest.raises(TypeError, match=r"call it, sgd\(…\)"):
        wrapper(g.sgd)
    assert repr(tx).startswith(name)
