"""What goes around a whole optimizer: against its NumPy loop in float64, and in what it promises beside that."""

import functools
import itertools
from collections.abc import Callable
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
from gdo_optax.engine.trees import path_name
from gdo_optax.optimizers.ranger21 import ranger21
from gdo_optax.wrappers.layers import layerwise
from gdo_optax.wrappers.restarts import is_first_moment
from tests import oracles
from tests.catalogue import cheap_jit, falling, gradients, parameters, steps_of, tree
from tests.oracles import layerwise as layers
from tests.oracles import slow, wrappers
from tests.oracles.wrappers import lazy_adam


STEPS = 120
NAMES = ("kernel", "bias", "gain")
PARAMS = {k: parameters()[k] for k in NAMES}
GRADS = {k: gradients(steps=STEPS)[k] for k in NAMES}


def trajectory(tx: optax.GradientTransformation, params: Any, grads: Any, **extra: Any) -> tuple[Any, Any, Any]:
    """The updates, the parameters and the `eval_params` of all steps, in float64 and one compiled scan."""
    with jax.enable_x64(True):

        def step(carry: tuple[Any, Any], grad: Any) -> tuple[Any, Any]:
            params, state = carry
            updates, state = tx.update(grad, state, params, **extra)
            params = optax.apply_updates(params, updates)
            return (params, state), (updates, params, g.eval_params(state, params))

        params, grads = (jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), t) for t in (params, grads))
        out = cheap_jit(lambda p, s, gs: jax.lax.scan(step, (p, s), gs)[1])(params, tx.init(params), grads)
        return jax.tree.map(np.asarray, out)


def equal(ours: np.ndarray, oracle: Any, size: float = 1.0) -> None:
    """Every step to 1e-9 of its largest element; an update that is a difference of weights of `size` to their ulp."""
    oracle = np.asarray(oracle)
    largest = np.max(np.abs(oracle), axis=tuple(range(1, oracle.ndim)), keepdims=True)
    assert np.isfinite(oracle).all()
    assert np.all(np.abs(ours - oracle) <= 1e-9 * np.maximum(largest, 1e-6 * size * (largest > 0)))


momentum, adam = {"learning_rate": 0.03, "momentum": 0.8}, {"learning_rate": falling, "b1": 0.8, "b2": 0.95}
LOOPS: dict[str, tuple[Callable, Callable]] = {
    "accumulate": (
        lambda: g.accumulate(g.adam(**adam), every=3),
        lambda x, gs: wrappers.accumulate(x, gs, oracles.adam, adam, 3),
    ),
    "accumulate-1": (lambda: g.accumulate(g.momentum(0.03), every=1), lambda x, gs: oracles.momentum(x, gs, 0.03)),
    "lazy": (lambda: g.lazy(g.adam(**adam)), lambda x, gs: lazy_adam(x, gs, **adam)),
    "lazy-dense": (lambda: g.lazy(g.adam(**adam), "dense"), lambda x, gs: lazy_adam(x, gs, state="dense", **adam)),
    "lazy-optax": (
        lambda: g.lazy(optax.adam(0.1, eps=1e-6)),
        lambda x, gs: lazy_adam(x, gs, learning_rate=0.1, eps=1e-6),
    ),
    "layerwise": (
        lambda: layerwise(g.momentum(**momentum), falling),
        lambda x, gs: layers.layerwise(x, gs, oracles.momentum, momentum, falling),
    ),
    "lookahead-reset": (
        lambda: g.lookahead(g.adam(**adam | {"learning_rate": 0.1}), 7, 0.3, inner_state="reset"),
        lambda x, gs: slow.lookahead(x, gs, oracles.adam, adam | {"learning_rate": 0.1}, 7, 0.3, "reset"),
    ),
    "lookahead-interpolate": (
        lambda: g.lookahead(g.momentum(**momentum), 4, 0.3, inner_state="interpolate"),
        lambda x, gs: slow.lookahead(x, gs, slow.open_momentum, momentum, 4, 0.3, "interpolate"),
    ),
    "lookahead-interpolate-adam": (
        lambda: g.lookahead(g.adam(**adam), 4, 0.3, inner_state="interpolate"),
        lambda x, gs: slow.lookahead(x, gs, slow.open_adam, adam, 4, 0.3, "interpolate"),
    ),
    "lookahead-interpolate-optax": (
        lambda: g.lookahead(optax.adam(0.1, eps=1e-6), 4, 0.3, inner_state="interpolate"),
        lambda x, gs: slow.lookahead(
            x, gs, slow.open_adam, {"learning_rate": 0.1, "eps": 1e-6}, 4, 0.3, "interpolate"
        ),
    ),
    "lookahead-nested": (
        lambda: g.lookahead(g.lookahead(g.momentum(**momentum), 2, 0.8), 6, 0.3),
        lambda x, gs: slow.lookahead(
            x, gs, slow.lookahead,
            {"inner": oracles.momentum, "inner_settings": momentum, "sync_period": 2, "slow_step_size": 0.8}, 6, 0.3,
        ),
    ),
    "lookahead-of-accumulate": (
        lambda: g.lookahead(g.accumulate(g.momentum(**momentum), 2), 6, 0.3),
        lambda x, gs: slow.lookahead(
            x, gs, wrappers.accumulate, {"inner": oracles.momentum, "inner_settings": momentum, "every": 2}, 6, 0.3
        ),
    ),
    "accumulate-of-lazy": (
        lambda: g.accumulate(g.lazy(g.adam(**adam)), every=2),
        lambda x, gs: wrappers.accumulate(x, gs, lazy_adam, adam, 2),
    ),
    "accumulate-of-lookahead": (
        lambda: g.accumulate(g.lookahead(g.momentum(**momentum), 3, 0.3), 2),
        lambda x, gs: wrappers.accumulate(
            x, gs, slow.lookahead,
            {"inner": oracles.momentum, "inner_settings": momentum, "sync_period": 3, "slow_step_size": 0.3}, 2,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_equals_the_oracle(name: str) -> None:
    ours, oracle = LOOPS[name]
    with jax.numpy_dtype_promotion("standard" if "optax" in name else "strict"):
        updates, _, _ = trajectory(ours(), PARAMS, GRADS)
    for k in NAMES:
        expected = oracle(PARAMS[k], GRADS[k])
        equal(updates[k], expected, np.max(np.abs(PARAMS[k] + np.cumsum(expected, 0))))


OTHER = {"learning_rate": 0.01, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.1}


@pytest.mark.parametrize(("k", "settings"), [("kernel", {}), ("kernel", OTHER), ("bias", OTHER), ("gain", {})])
def test_ranger21_equals_the_oracle(k: str, settings: dict[str, Any]) -> None:
    x, grads = PARAMS[k], GRADS[k]
    settings = {"learning_rate": 1e-3, "steps": STEPS, "positive_negative_factor": 0.9} | settings
    updates, _, evals = trajectory(ranger21(**settings), x, grads)
    expected = slow.ranger21(x, grads, **settings)
    equal(updates, expected, np.max(np.abs(x)))
    equal(evals[4::5], (x + np.cumsum(expected, 0))[4::5])  # what it synchronises with


def best_shares(params: Any, grads: Any, every: int, least: float, b2: float) -> tuple[dict[str, Any], list[float]]:
    """Adaptive Lookahead around momentum, with one α for all arrays."""
    inner = {k: oracles.momentum.start(**momentum) for k in params}
    x, phi, v = dict(params), dict(params), dict.fromkeys(params, 0.0)
    shares, updates = [], {k: [] for k in params}
    for t in range(1, STEPS + 1):
        grad = {k: grads[k][t - 1] for k in params}
        v = {k: b2 * v[k] + (1 - b2) * grad[k] ** 2 for k in params}
        u = {k: inner[k](t, grad[k], x[k]) for k in params}
        if t % every == 0:
            up = down = 0.0
            for k in params:
                curvature, theta = v[k] / (1 - b2**t), x[k] + u[k]
                best = x[k] - grad[k] / np.where(curvature > 0, curvature, 1)
                up += np.sum((phi[k] - best) * curvature * (phi[k] - theta))
                down += np.sum((phi[k] - theta) * curvature * (phi[k] - theta))
            shares.append(min(max(up / down, least), 1))
            phi = {k: phi[k] + shares[-1] * (x[k] + u[k] - phi[k]) for k in params}
            u = {k: phi[k] - x[k] for k in params}
        for k in params:
            updates[k].append(u[k])
            x[k] = x[k] + u[k]
    return {k: np.array(u) for k, u in updates.items()}, shares


def test_adaptive_lookahead_takes_the_best_share_for_all_arrays_together() -> None:
    rng = np.random.default_rng(0)
    grads = {k: rng.standard_normal((STEPS, *p.shape)) for k, p in PARAMS.items()}
    expected, shares = best_shares(PARAMS, grads, 4, 0.2, 0.9)
    assert min(shares) == 0.2
    assert max(shares) == 1
    assert sum(0.2 < s < 1 for s in shares) > 5
    updates, _, _ = trajectory(g.adaptive_lookahead(g.momentum(**momentum), 4, 0.2, b2=0.9), PARAMS, grads)
    for k in NAMES:
        equal(updates[k], expected[k], 10)


def test_adaptive_lookahead_of_huge_gradients_stays_finite() -> None:
    params = {"kernel": jnp.ones((64, 64))}
    tx = g.adaptive_lookahead(g.sgd(0.1), sync_period=1)
    updates, _ = jax.jit(tx.update)(jax.tree.map(lambda p: 3e30 * p, params), tx.init(params), params)
    chex.assert_tree_all_finite(updates)


def test_restarted_state_is_new_every_time() -> None:
    """But for the clock, so that the schedule goes on."""
    params, grads = PARAMS["kernel"], GRADS["kernel"]
    updates, xs, _ = trajectory(g.restart_state(g.lookahead(g.adam(**adam), 2), every=6), params, grads)
    starts = [params, *xs[5:-1:6]]
    for i, x in enumerate(starts):
        part = slice(6 * i, 6 * i + 6)
        later = adam | {"learning_rate": lambda count, i=i: falling(6 * i + count)}
        settings = {"inner": oracles.adam, "inner_settings": later, "sync_period": 2}
        equal(updates[part], slow.lookahead(x, grads[part], **settings), np.max(np.abs(xs)))


def test_interpolated_moments_follow_a_schedule() -> None:
    """The share is that of the slow weights in the same step."""

    def share(count: Any) -> Any:
        return 0.2 + 0.6 / (1 + (count if isinstance(count, int) else count.astype(float)))

    x, grads = PARAMS["kernel"], GRADS["kernel"]
    m, before, expected = 0.0, 0.0, []
    for t, grad in enumerate(grads, 1):
        m = 0.8 * m + grad
        expected.append(m)
        if t % 3 == 0:
            m = before = share(t - 1) * m + (1 - share(t - 1)) * before
    updates, _, _ = trajectory(g.interpolate_state(g.chain(g.trace(0.8)), every=3, share=share), x, grads)
    equal(updates, expected)


def test_moments_are_interpolated_in_an_optimizer_with_a_clock_of_its_own() -> None:
    inner, x, grads = g.momentum(falling), PARAMS["kernel"], GRADS["kernel"]
    ours, expected = (
        trajectory(g.lookahead(tx, 4, 0.3, inner_state="interpolate"), x, grads)
        for tx in (g.accumulate(inner, every=1), inner)
    )
    equal(ours[0], expected[0])


@pytest.mark.parametrize(
    ("tx", "moments"),
    [
        (lambda: g.momentum(), {"state/trace/memory/mu", "state/trace/memory/scale"}),
        (lambda: g.adam(b1=falling), {f"state/scale_by_adam/direction/ema/memory/{k}" for k in ("mu", "scale")}),
        (lambda: optax.scale_by_adam(), {"mu/mu", "mu/scale"}),
        (lambda: g.lookahead(g.momentum()), {f"state/momentum/trace/memory/{k}" for k in ("mu", "scale")}),
        (lambda: g.rmsprop(), set()),
    ],
)  # fmt: skip
def test_first_moments_are_told_by_the_state_not_by_the_parameters(tx: Any, moments: set[str]) -> None:
    state = tx().init({"mu": jnp.ones(2), "scale": jnp.ones(2)})
    paths = [(path_name(path), a) for path, a in jax.tree.leaves_with_path(state)]
    assert {p for p, a in paths if is_first_moment(p) and a.dtype != jnp.int32} == moments


def test_layerwise_adam_with_decay_is_lamb() -> None:
    inner = g.chain(g.scale_by_adam(eps=1e-6), g.add_decayed_weights(0.01), g.scale_by_learning_rate(7.0))
    ours, _, _ = trajectory(layerwise(inner, falling), PARAMS, GRADS)
    lamb, _, _ = trajectory(g.lamb(falling), PARAMS, GRADS)
    for k in NAMES:
        equal(ours[k], lamb[k])


def test_layerwise_leaves_out_what_the_mask_does() -> None:
    mask = {"kernel": True, "bias": False, "gain": False}
    ours, whole, plain = (
        trajectory(tx, PARAMS, GRADS)[0]
        for tx in (layerwise(g.momentum(), 0.1, mask), layerwise(g.momentum(), 0.1), g.momentum())
    )
    for k, adapted in mask.items():
        assert np.array_equal(ours[k], (whole if adapted else plain)[k])
        assert not np.array_equal(whole[k], plain[k])


# gradient accumulation


@functools.cache
def digits() -> tuple[Callable, Any, jax.Array, jax.Array]:
    """A network's loss, its parameters, and 10 batches of 4·8 handwritten digits."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            init = nn.initializers.normal(0.1)
            return nn.Dense(10, kernel_init=init)(nn.tanh(nn.Dense(16, kernel_init=init)(x)))

    x, y = load_digits(return_X_y=True)
    x, y = jnp.asarray(x[:320].reshape(10, 32, 64) / 16, jnp.float32), jnp.asarray(y[:320].reshape(10, 32), jnp.int32)
    net = Net()

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(net.apply(params, x), y).mean()

    return loss, jax.jit(net.init)(jax.random.key(0), x[0]), x, y


def trained(tx: optax.GradientTransformation, x: jax.Array, y: jax.Array) -> tuple[Any, Any]:
    loss, params, _, _ = digits()

    def step(carry: Any, batch: Any) -> Any:
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params, *batch), state, params)
        return (optax.apply_updates(params, updates), state), None

    with jax.numpy_rank_promotion("allow"):  # flax adds a bias to a matrix
        return jax.jit(lambda p, s: jax.lax.scan(step, (p, s), (x, y))[0])(params, tx.init(params))


def test_micro_batches_are_one_batch() -> None:
    _, start, x, y = digits()
    inner = g.momentum(optax.exponential_decay(0.2, 1, 0.8))
    whole, state = trained(inner, x, y)
    parts, accumulated = trained(g.accumulate(inner, 4), x.reshape(40, 8, 64), y.reshape(40, 8))
    chex.assert_trees_all_close(parts, whole, rtol=1e-5, atol=1e-6)
    assert optax.tree.norm(jax.tree.map(jnp.subtract, whole, start), ord=jnp.inf) > 0.05
    counts = {int(a) for a in jax.tree.leaves(accumulated["state"]["inner"]) if a.dtype == jnp.int32}
    assert counts == {int(a) for a in jax.tree.leaves(state) if a.dtype == jnp.int32} == {10}  # and so do schedules


@functools.cache
def pairs() -> tuple[optax.GradientTransformation, Callable]:
    """Two micro-batches a step, and its compiled update."""
    tx = g.accumulate(g.adamw(0.1, weight_decay=0.1), every=2)
    return tx, jax.jit(tx.update)


def after(params: Any, grads: list[Any]) -> Any:
    tx, update = pairs()
    state = tx.init(params)
    for grad in grads:
        updates, state = update(grad, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_a_broken_micro_batch_is_left_out() -> None:
    tx, update = pairs()
    params, [a, b, c, d] = tree(names=NAMES), steps_of(steps=4, names=NAMES)
    good = after(params, [a, b, c, d])
    for bad in ({**a, "kernel": a["kernel"].at[0, 2].set(jnp.nan)}, {**a, "gain": jnp.float32(jnp.inf)}):
        state = tx.init(params)
        for start in (state, update(a, state, params)[1]):
            updates, kept = update(bad, start, params)
            chex.assert_trees_all_equal(kept, start | {"count": start["count"] + 1})
            assert not any(np.asarray(u).any() for u in jax.tree.leaves(updates))
        chex.assert_trees_all_equal(after(params, [bad, a, bad, bad, b, c, bad, d]), good)


def test_a_micro_batch_that_is_left_out_has_no_derivative() -> None:
    tx = g.accumulate(g.sgd(1.0), every=2)
    state = tx.init(jnp.zeros(()))
    assert jax.grad(lambda x: tx.update(x, state)[1]["state"]["mean"])(jnp.inf) == 0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_in_between_nothing_moves(dtype: Any) -> None:
    tx, update = pairs()
    params = tree(dtype, NAMES)
    state = tx.init(params)
    for t, grad in enumerate(steps_of(dtype, steps=4, names=NAMES), 1):
        updates, state = update(grad, state, params)
        assert any(np.asarray(u, np.float32).any() for u in jax.tree.leaves(updates)) == (t % 2 == 0)
        assert int(state["state"]["mini_step"]) == t % 2


def test_the_number_of_micro_batches_may_be_traced() -> None:
    grads = jnp.arange(1.0, 13.0)

    @jax.jit
    @jax.vmap
    def moves(every: jax.Array) -> jax.Array:
        tx = g.accumulate(g.sgd(1.0), every)
        return jax.lax.scan(lambda s, x: tx.update(x, s)[::-1], tx.init(grads[0]), grads)[1]

    for every, ours in zip((1, 2, 3), moves(jnp.array([1, 2, 3])), strict=True):
        means = np.zeros(12)
        means[every - 1 :: every] = np.arange(1.0, 13.0).reshape(-1, every).mean(1)
        np.testing.assert_allclose(ours, -means, rtol=1e-6)


# rows that rest


@pytest.mark.parametrize(
    "inner",
    [
        lambda: g.adamw(0.1, weight_decay=0.5),
        lambda: optax.adamw(0.1, weight_decay=0.5, mask={"embedding": True, "head": False}),
        lambda: g.lookahead(g.adam(0.1), 3, inner_state="interpolate"),
        lambda: g.lookahead(g.adam(0.1), 3, inner_state="reset"),
        lambda: g.accumulate(g.adam(0.1), 2),
        lambda: g.adafactor(0.1),
        lambda: g.masked(g.adamw(0.1), {"embedding": True, "head": False}),
    ],
    ids=["adamw", "optax", "lookahead", "reset", "accumulate", "adafactor", "masked"],
)
def test_rows_without_a_gradient_rest(inner: Callable) -> None:
    """To the last bit, the parameters and what is remembered in their shape, whatever is inside."""
    tx = g.lazy(inner())
    params = {"embedding": jnp.linspace(-1, 1, 24).reshape(6, 4), "head": jnp.ones(3)}
    state, step = tx.init(params), jax.jit(tx.update)
    with jax.numpy_dtype_promotion("standard"):  # optax itself does not run in strict mode
        for t in range(8):
            rows = [t % 3, 3 + t % 2]  # row 5 never has a gradient
            grad = {"embedding": jnp.zeros((6, 4)).at[jnp.array(rows)].set(1.0 + t), "head": jnp.ones(3)}
            updates, new = step(grad, state, params)
            after = optax.apply_updates(params, updates)
            rest = np.setdiff1d(range(6), rows)
            assert np.array_equal(after["embedding"][rest], params["embedding"][rest])
            for old, kept in zip(jax.tree.leaves(state), jax.tree.leaves(new), strict=True):
                assert old.shape != (6, 4) or np.array_equal(old[rest], kept[rest])
            params, state = after, new
    chex.assert_tree_all_finite(params)


def test_lazy_where_the_mask_says_so() -> None:
    """Compiled, too, where every array is updated by itself."""
    mask = {"kernel": True, "bias": False, "gain": False}
    ours, lazy, dense = (
        trajectory(tx, PARAMS, GRADS)[0] for tx in (g.lazy(g.momentum(), mask=mask), g.lazy(g.momentum()), g.momentum())
    )
    for k, m in mask.items():
        assert np.array_equal(ours[k], (lazy if m else dense)[k])
        assert not np.array_equal(lazy[k], dense[k])


@pytest.mark.parametrize(
    "make",
    [
        lambda inner: g.lazy(g.lazy(inner), mask={"embedding": False, "head": True}),
        lambda inner: g.lazy(g.chain(g.add_decayed_weights(0.1), g.lazy(inner))),
        lambda inner: g.lazy(g.chain(g.lazy(inner, "dense"), g.ema(0.5))),
        lambda inner: g.accumulate(g.lazy(inner, mask=g.excluding("head")), 2),
        lambda inner: g.skip_nonfinite(g.lazy(inner)),
    ],
)
def test_lazy_within_lazy(make: Callable) -> None:
    """Compiled and at once, with what waits and with what has to be put back."""
    params = {"embedding": jnp.linspace(-1, 1, 12).reshape(6, 2), "head": jnp.ones(3)}
    grads = [jax.tree.map(lambda p, t=t: jnp.where(p > t / 3, p, 0), params) for t in range(3)]
    ends = []
    for inner, compiled in itertools.product((g.adam(0.1), waiting_no_more(g.adam(0.1))), (False, True)):
        tx = make(inner)
        state, update = tx.init(params), jax.jit(tx.update) if compiled else tx.update
        for slope in grads:
            updates, state = update(slope, state, params)
        leaves = jax.tree.leaves(state)
        counts = sorted({int(a) for a in leaves if a.dtype == jnp.int32})  # somebody else's has a count of its own
        ends.append((updates, counts, [a for a in leaves if a.dtype != jnp.int32]))
    for end in ends[1:]:
        chex.assert_trees_all_close(end, ends[0], rtol=1e-6, atol=1e-7)


def waiting_no_more(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same, of which nothing is known."""
    return optax.GradientTransformation(tx.init, tx.update)


def test_a_row_is_lazy_along_the_last_axis_and_a_nan_is_a_gradient() -> None:
    x = jnp.array([[0.0, -1.0], [0.0, 0.0], [jnp.nan, 0.0]])
    for inner in (g.momentum(1.0, 0.5), waiting_no_more(g.momentum(1.0, 0.5))):
        tx = g.lazy(g.chain(g.scale(0.0), g.add_decayed_weights(1.0), inner))
        updates, _ = tx.update(x, tx.init(x), jnp.ones((3, 2)))
        assert np.array_equal(np.isnan(updates), np.isnan(x))
        assert np.array_equal(np.nan_to_num(updates), [[-1, -1], [0, 0], [0, -1]])


def test_memories_of_another_shape_are_no_rows() -> None:
    """Full-matrix Adagrad's square matrix of a column is shared by all its rows."""

    @g.piece
    def pairs() -> g.Rule:
        return g.rule(lambda m, x: (m + 1 + x @ x.T, x), init=lambda p: 0 * p @ p.T)

    tx, column = g.lazy(g.chain(pairs())), jnp.array([[1.0], [0.0], [2.0]])
    _, state = tx.update(column, tx.init(column), column)
    assert np.array_equal(state["state"]["inner"]["pairs"]["memory"], 1 + column @ column.T)


def test_a_step_takes_the_place_of_the_mean_and_leaves_nothing_in_it() -> None:
    """Neither its dtype nor an infinity."""
    narrow = optax.stateless(lambda x, _: jax.tree.map(lambda a: (a * jnp.inf).astype(jnp.float16), x))
    tx, x = g.accumulate(narrow, 2), {"a": jnp.array([1.0, -2.0]), "b": None, "c": optax.MaskedNode()}
    state, seen = tx.init(x), []
    for _ in range(3):
        updates, state = jax.jit(tx.update)(x, state)
        seen.append(updates["a"])
    chex.assert_trees_all_equal(seen, [jnp.zeros(2), jnp.array([jnp.inf, -jnp.inf]), jnp.zeros(2)])
    chex.assert_trees_all_equal(state["state"]["mean"], x | {"c": None})
    assert state["state"]["mean"]["a"].dtype == updates["a"].dtype == jnp.float32
    updates, new = tx.update(x | {"a": None}, state)
    assert updates["a"] is None
    assert np.array_equal(new["state"]["mean"]["a"], x["a"])
