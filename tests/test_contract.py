"""What every method of the family keeps to, wherever it is used: one product over the family."""

import functools
import inspect
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax
from gdo_optax.engine.piece import Piece
from gdo_optax.family import Entry, get
from tests.catalogue import (
    FAMILY,
    FEW,
    avals,
    cheap_jit,
    plain,
    program,
    quadratic,
    rollout,
    run,
    stacked,
    step_of,
    steps_of,
    tree,
)


pytestmark = pytest.mark.parametrize("entry", FAMILY)


gradient = jax.jit(jax.grad(quadratic))


def close(a: Any, b: Any, rtol: float = 2e-6, atol: float = 1e-7) -> None:
    chex.assert_trees_all_close(a, b, rtol=rtol, atol=atol)


@functools.cache
def donating_step(name: str) -> tuple[Piece, Any, list[int]]:
    """A method, its jitted update and apply, which take over what they get, and a mark for each of their traces."""
    tx, traces = get(name)(), []

    def step(params: Any, state: Any, g: Any) -> tuple[Any, Any, Any]:
        traces.append(1)
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state, updates

    return tx, cheap_jit(step, donate_argnums=(0, 1)), traces


def test_jit_equals_eager(entry: Entry) -> None:
    tx, step = step_of(entry.name)
    params = eager = tree(names=FEW)
    state = eager_state = tx.init(params)
    for g in steps_of(steps=7, names=FEW):
        params, state, updates = step(params, state, g)
        eager_updates, eager_state = tx.update(g, eager_state, eager)
        eager = optax.apply_updates(eager, eager_updates)
        close(updates, eager_updates)
    close(state, eager_state)


def test_scan_equals_loop(entry: Entry) -> None:
    tx, step = step_of(entry.name, cheap_jit)
    params, grads = tree(names=FEW), steps_of(steps=7, names=FEW)
    scanned = rollout(tx, params, stacked(grads), cheap_jit)
    state = tx.init(params)
    for t, g in enumerate(grads):
        params, state, updates = step(params, state, g)
        close(updates, jax.tree.map(lambda u, t=t: u[t], scanned))


def test_nothing_changes_type_and_nothing_compiles_twice(entry: Entry) -> None:
    tx, step, traces = donating_step(entry.name)
    params = tree()
    state = tx.init(params)
    first = avals((params, state, params))
    for g in steps_of(steps=4):
        params, state, updates = step(params, state, g)
        assert avals((params, state, updates)) == first
    assert len(traces) == 1


def test_float64_stays_float64(entry: Entry) -> None:
    with jax.enable_x64(True):
        tx = entry()
        params, [g] = tree(jnp.float64), steps_of(jnp.float64, steps=1)
        state = tx.init(params)
        updates, after = jax.eval_shape(tx.update, g, state, params)
        assert avals(after) == avals(state)
        assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(jnp.float64)}
        kept = [a for a in jax.tree.leaves(state) if a.ndim]
        assert all(a.dtype == jnp.float64 for a in kept)


def test_mixed_dtypes_keep_their_own(entry: Entry) -> None:
    with jax.enable_x64(True):
        dtypes = dict(zip(tree(), (jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16), strict=True))
        params = {k: p.astype(dtypes[k]) for k, p in tree(jnp.float64).items()}
        tx = entry()
        state = tx.init(params)
        updates, after = jax.eval_shape(tx.update, params, state, params)
        assert {k: u.dtype for k, u in updates.items()} == {k: jnp.dtype(d) for k, d in dtypes.items()}
        assert avals(after) == avals(state)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bf16", "f16"])
def test_half_precision_computes_in_float32(entry: Entry, dtype: Any) -> None:
    tx, step = step_of(entry.name, cheap_jit)
    params = tree(dtype, FEW)
    wide = jax.tree.map(lambda p: p.astype(jnp.float32), params)
    state = wide_state = tx.init(params)
    assert all(a.dtype in (jnp.float32, jnp.int32) for a in jax.tree.leaves(state))
    for g in steps_of(dtype, steps=7, names=FEW):
        wide_g = jax.tree.map(lambda x: x.astype(jnp.float32), g)
        _, wide_state, expected = step(wide, wide_state, wide_g)
        _, state, updates = step(params, state, g)
        assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
        chex.assert_tree_all_finite(updates)
        rounded = jax.tree.map(lambda u: u.astype(dtype).astype(jnp.float32), expected)
        ulp = float(jnp.finfo(dtype).eps)
        close(jax.tree.map(lambda u: u.astype(jnp.float32), updates), rounded, rtol=ulp, atol=1e-7)
    close(state, wide_state)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32], ids=["f16", "bf16", "f32"])
def test_zero_gradients_move_nothing(entry: Entry, dtype: Any) -> None:
    decays = {"weight_decay", "norm_loss"} & set(inspect.signature(entry.build).parameters)
    tx, step = step_of(entry.name, cheap_jit, **dict.fromkeys(decays, 0.0))
    params, [g] = tree(dtype, FEW), steps_of(dtype, steps=1, names=FEW)
    nothing, state = jax.tree.map(jnp.zeros_like, params), tx.init(params)
    for _ in range(6):
        _, state, updates = step(params, state, nothing)
        assert all(not np.asarray(u, np.float32).any() for u in jax.tree.leaves(updates))
    _, state, updates = step(params, state, g)
    chex.assert_tree_all_finite((updates, state))


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_extreme_gradients_stay_finite(entry: Entry, size: float) -> None:
    tx, step = step_of(entry.name)
    params, state = tree(), tx.init(tree())
    for g in steps_of(steps=4):
        _, state, updates = step(params, state, jax.tree.map(lambda x: size * jnp.sign(x), g))
        chex.assert_tree_all_finite((updates, state))


def test_a_large_array_of_large_gradients_stays_finite(entry: Entry) -> None:
    """Sums of capped squares must not overflow either."""
    tx, params = entry(), jnp.ones((8, 8) if entry.dense else (64, 64))
    state, step = tx.init(params), jax.jit(tx.update)
    for g in (3e30, -3e30, 1e20, 0.0):
        updates, state = step(jnp.full_like(params, g), state, params)
        chex.assert_tree_all_finite((updates, state))


def test_may_be_differentiated_where_there_was_no_gradient(entry: Entry) -> None:
    params, x = jnp.ones(2), jnp.array([0.0, 1.0])

    def size(rate: jax.Array, x: jax.Array) -> jax.Array:
        tx = entry(learning_rate=rate)
        updates, _ = tx.update(x, tx.init(params), params)
        return jnp.sum(updates**2)

    chex.assert_tree_all_finite(cheap_jit(jax.grad(size, (0, 1)))(jnp.float32(0.1), x))


def test_what_else_a_model_consists_of_passes(entry: Entry) -> None:
    """Functions and keys among the parameters, where the gradient is None."""
    tx, params = entry(), {"w": jnp.ones(2), "f": jnp.tanh, "key": jax.random.key(0)}
    only = {"w": jnp.ones(2), "f": None, "key": None}
    updates, _ = tx.update(only, tx.init(only), params)
    assert updates["f"] is None


def test_the_state_is_sharded_as_the_parameters_are(entry: Entry) -> None:
    """On an explicit mesh, where types tell: the same from init on, through a scan, in one compilation."""
    mesh = jax.make_mesh((1, 1), ("x", "y"), axis_types=(jax.sharding.AxisType.Explicit,) * 2)
    with jax.set_mesh(mesh), jax.numpy_rank_promotion("allow"):
        params = jax.device_put(jnp.ones((8, 4)), jax.sharding.PartitionSpec("x", "y"))
        tx = entry()
        state = tx.init(params)
        _, after = cheap_jit(tx.update)(params, state, params)
        assert jax.tree.map(jax.typeof, after) == jax.tree.map(jax.typeof, state)


def test_a_saturated_count_stays_finite(entry: Entry) -> None:
    tx, step = step_of(entry.name)
    params, [*_, g] = tree(), steps_of(steps=1)
    state = jax.tree.map(
        lambda a: jnp.full_like(a, jnp.iinfo(jnp.int32).max) if a.dtype == jnp.int32 else a, tx.init(params)
    )
    _, after, updates = step(params, state, g)
    chex.assert_tree_all_finite((updates, after))
    assert all((a == b).all() for a, b in zip(*map(_counts, (state, after)), strict=True))


def _counts(state: Any) -> list[jax.Array]:
    return [a for a in jax.tree.leaves(state) if a.dtype == jnp.int32]


def test_may_be_donated_from_the_first_step(entry: Entry) -> None:
    tx, step, _ = donating_step(entry.name)
    params, [g] = tree(), steps_of(steps=1)
    state = tx.init(params)
    after, _, _ = step(params, state, g)
    assert all(p.is_deleted() for p in jax.tree.leaves((params, state)))
    close(after, plain(entry.name, steps=1))


def test_inside_optax_wrappers(entry: Entry) -> None:
    """All of them at once, none of which changes a thing."""
    params, grads = tree(names=FEW), steps_of(steps=6, names=FEW)
    mixed = optax.chain(optax.identity(), gdo_optax.chain(optax.identity(), entry()))
    masked = optax.masked(mixed, jax.tree.map(lambda _: True, params))
    labelled = optax.partition({"a": masked}, jax.tree.map(lambda _: "a", params))
    close(run(optax.apply_if_finite(labelled, 3), params, grads)[0], plain(entry.name, names=FEW))


def test_masked_leaves_stay(entry: Entry) -> None:
    params, grads = tree(), steps_of(steps=6)
    mask = {"kernel": True, "conv": False, "bias": True, "gain": False}
    frozen = optax.chain(
        optax.masked(entry(), mask), optax.masked(optax.set_to_zero(), {k: not m for k, m in mask.items()})
    )
    after, _ = run(frozen, params, grads)
    close(after, {k: plain(entry.name)[k] if m else params[k] for k, m in mask.items()})


def test_none_leaves_pass_through(entry: Entry) -> None:
    tx, step = step_of(entry.name, cheap_jit)
    params, [g] = tree(names=FEW), steps_of(steps=1, names=FEW)
    _, _, expected = step(params, tx.init(params), g)
    hole = {"layer": params, "frozen": None}
    updates, _ = cheap_jit(tx.update)({"layer": g, "frozen": None}, tx.init(hole), hole)
    close(updates, {"layer": expected, "frozen": None})
    # a gradient may be missing where there is a parameter
    updates, after = cheap_jit(tx.update)({**g, "gain": None}, tx.init(params), params)
    if entry.arraywise:
        close(updates, {**expected, "gain": None})
    assert updates["gain"] is None
    assert avals(after) == avals(tx.init(params))


def test_multi_steps_accumulates_the_mean(entry: Entry) -> None:
    params, grads = tree(names=FEW), steps_of(steps=6, names=FEW)
    assert jnp.any(grads[0]["gain"] != grads[1]["gain"])
    pairs = [jax.tree.map(lambda a, b: (a + b) / 2, *pair) for pair in zip(grads[::2], grads[1::2], strict=True)]
    tx, step = step_of(entry.name, cheap_jit)
    big, state = params, tx.init(params)
    for g in pairs:
        big, state, _ = step(big, state, g)
    with jax.numpy_dtype_promotion("standard"):  # MultiSteps promotes on its own
        small, _ = run(optax.MultiSteps(entry(), 2).gradient_transformation(), params, grads)
    close(small, big, rtol=1e-5, atol=1e-6)


def test_flatten_is_one_long_vector(entry: Entry) -> None:
    params, grads = tree(), steps_of(steps=4)
    after, _ = run(optax.flatten(entry()), params, grads)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, params)
    chex.assert_tree_all_finite(after)
    if entry.elementwise:
        close(after, plain(entry.name, steps=4))


def test_hyperparameters_may_be_injected(entry: Entry) -> None:
    with jax.enable_x64(True):  # so that the injected numbers are those of the static ones
        params, grads = tree(jnp.float64, FEW), steps_of(jnp.float64, steps=6, names=FEW)
        expected, _ = run(entry(), params, grads)
        after, state = run(optax.inject_hyperparams(entry.build, static_args=entry.static_args)(), params, grads)
        chex.assert_trees_all_close(after, expected, rtol=1e-9)
        assert "learning_rate" in state.hyperparams


def test_the_learning_rate_may_be_mapped_over(entry: Entry) -> None:
    params, grads = tree(names=FEW), steps_of(steps=3, names=FEW)
    rates = jnp.array([1e-3, 1e-2])

    def final(rate: jax.Array) -> Any:
        tx = entry(learning_rate=rate)

        def step(carry: tuple[Any, Any], g: Any) -> tuple[tuple[Any, Any], None]:
            updates, state = tx.update(g, carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), stacked(grads))[0][0]

    mapped, one = cheap_jit(jax.vmap(final))(rates), cheap_jit(final)
    for i, rate in enumerate(rates):
        close(jax.tree.map(lambda m, i=i: m[i], mapped), one(rate), rtol=1e-5)
    close(one(rates[0]), run(entry(learning_rate=1e-3), params, grads)[0], rtol=1e-5)


def test_a_schedule_is_evaluated_from_zero(entry: Entry) -> None:
    params, grads = tree(names=FEW), steps_of(steps=4, names=FEW)

    def halving(count: Any) -> jax.Array:
        return jnp.where(jnp.asarray(count) < 2, 1e-2, 5e-3)

    if not entry.schedulable:
        with pytest.raises(TypeError, match=f"{entry.name}: learning_rate cannot be a schedule: "):
            entry(learning_rate=halving)
        return
    scheduled, constant = (
        rollout(entry(learning_rate=rate), params, stacked(grads), cheap_jit) for rate in (halving, 1e-2)
    )
    for k in params:
        close(scheduled[k][:2], constant[k][:2])
    assert any((scheduled[k][2] != constant[k][2]).any() for k in params)


def test_extra_arguments_are_ignored(entry: Entry) -> None:
    """They lead to the same program."""
    tx, params = entry(), tree(names=FEW)
    args = params, tx.init(params), params
    assert program(functools.partial(tx.update, value=jnp.float32(1.0)), *args) == program(tx.update, *args)


def test_abstract_parameters_make_the_same_state(entry: Entry) -> None:
    tx, params = entry(), tree(jnp.bfloat16)
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
    like = jax.tree.map(lambda a: (a.shape, a.dtype), tx.init(params))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), tx.init(shapes)) == like
    assert jax.tree.map(lambda a: (a.shape, a.dtype), jax.eval_shape(tx.init, params)) == like


def test_tree_map_params_finds_the_memories(entry: Entry) -> None:
    tx, params = entry(), tree()
    state = tx.init(params)
    marked = optax.tree_map_params(tx, lambda a: a + 1, state)
    for (path, before), after in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(marked), strict=True):
        of_a_parameter = any(getattr(key, "key", None) in params for key in path)
        assert (after == (before + 1 if of_a_parameter else before)).all()


def test_an_empty_tree_is_no_trouble(entry: Entry) -> None:
    tx = entry()
    updates, state = tx.update({}, tx.init({}), {})
    assert updates == {}
    assert avals(state) == avals(tx.init({}))


def test_empty_and_single_arrays(entry: Entry) -> None:
    tx = entry()
    params = {"none": jnp.zeros((0, 3)), "one": jnp.ones((1, 1, 1)), "rank5": jnp.ones((1, 2, 1, 2, 2))}
    updates, _ = cheap_jit(tx.update)(params, tx.init(params), params)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)
    chex.assert_tree_all_finite(updates)


def test_goes_downhill(entry: Entry) -> None:
    params = tree()
    tx, step = step_of(entry.name)
    p, state = params, tx.init(params)
    for _ in range(30):
        p, state, _ = step(p, state, gradient(p))
    assert quadratic(p) < quadratic(params)
    assert quadratic(gdo_optax.eval_params(state, p)) < quadratic(params)
