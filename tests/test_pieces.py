"""Single pieces, averages, noise, and more evaluations of the loss: against their formulas in float64."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization

import gdo_optax as g
from gdo_optax.engine import numerics
from gdo_optax.pieces import gradients as on_gradients
from gdo_optax.pieces import paths, units
from gdo_optax.pieces import slow as averages
from tests.catalogue import avals, falling
from tests.oracles.momentum import nesterov_1983_backtracking
from tests.oracles.slow import unit_norm
from tests.oracles.wrappers import heun, noise_sigma, polyak, temporal_average
from tests.test_wrappers import GRADS, NAMES, PARAMS, STEPS, equal, trajectory


EMPTY = {"count": jnp.zeros((), jnp.int32), "state": {}}


def made(node: Any) -> g.Piece:
    """A piece of one node."""
    return g.piece(lambda: node)()


def following(tx: optax.GradientTransformation, gradient: Callable) -> optax.GradientTransformation:
    """The transformation, fed with the gradient at the parameters in place of what it is given."""
    return optax.GradientTransformationExtraArgs(
        tx.init, lambda _, state, params, **extra: tx.update(gradient(params), state, params, **extra)
    )


# formulas


def positive_negative(_: np.ndarray, gs: np.ndarray) -> list[np.ndarray]:
    averages, out = [np.zeros_like(gs[0])] * 2, []
    for t, x in enumerate(gs):
        averages[t % 2] = 0.8**2 * averages[t % 2] + (1 - 0.8**2) * x
        out.append((1.7 * averages[t % 2] - 0.7 * averages[1 - t % 2]) / np.hypot(1.7, 0.7))
    return out


def clipped(p: np.ndarray, gs: np.ndarray) -> list[np.ndarray]:
    most = 0.3 * np.maximum(unit_norm(p), 0.5)
    sizes = [np.maximum(unit_norm(x), 1e-300) for x in gs]
    return [np.where(size > most, most / size * x, x) for x, size in zip(gs, sizes, strict=True)]


FORMULAS: dict[str, tuple[Callable, Callable]] = {
    "positive_negative_momentum": (lambda: units.positive_negative_momentum(0.8, 0.7), positive_negative),
    "adaptive_grad_clip": (lambda: units.adaptive_grad_clip(0.3, 0.5), clipped),
    "add_norm_loss": (
        lambda: units.add_norm_loss(falling, 0.01),
        lambda p, gs: [x + 2 * falling(t) * (1 - 1 / (unit_norm(p) + 0.01)) * p for t, x in enumerate(gs)],
    ),
    "normalize": (
        lambda: units.normalize(1e-3),
        lambda p, gs: [x / (np.std(x, ddof=1) + 1e-3) if x.size > 2 else x for x in gs],
    ),
    "inverse_softplus_root": (
        lambda: g.chain(g.square(), units.inverse_softplus_root(1e-3, 2.0)),
        lambda p, gs: [2 / np.log1p(np.exp(np.minimum(2 * (np.abs(x) + 1e-3), 700))) for x in gs],
    ),
    "scale_by_path": (
        lambda: paths.scale_by_path({"^ker": 0.5, "kernel": 7.0, "gain": 0}),
        lambda p, gs: {(4, 3): 0.5, (5,): 1.0, (): 0.0}[p.shape] * gs,
    ),
    "running": (
        lambda: made(
            g.rule(lambda x, y: x * y, y=g.per_step(lambda m, count: (m / 2 + count.astype(m.dtype),) * 2, init=3.0))
        ),
        lambda p, gs: [s * x for s, x in zip(halves(), gs, strict=True)],
    ),
}


def halves() -> list[float]:
    s, out = 3.0, []
    for count in range(STEPS):
        s = s / 2 + count
        out.append(s)
    return out


@pytest.mark.parametrize("name", FORMULAS)
def test_equals_the_formula(name: str) -> None:
    ours, formula = FORMULAS[name]
    tx, constant = ours(), {k: np.clip(GRADS[k], -300, 300) for k in NAMES}
    frozen = optax.GradientTransformationExtraArgs(  # its outputs do not move the parameters
        tx.init, lambda x, s, _: tx.update(x, s, jax.tree.map(jnp.asarray, PARAMS))
    )
    updates, _, _ = trajectory(frozen, PARAMS, constant)
    for k in NAMES:
        equal(updates[k], formula(PARAMS[k], constant[k]))


@pytest.mark.parametrize("shape", [(5, 3), (2, 2, 3, 4)])
def test_adaptive_grad_clip_is_that_of_optax_on_kernels(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    p, x = (jnp.asarray(rng.standard_normal(shape) * 10 ** rng.uniform(-2, 2, shape[-1:]), jnp.float32) for _ in "px")
    theirs = optax.adaptive_grad_clip(0.1)
    with jax.numpy_rank_promotion("allow"):
        expected, _ = jax.jit(theirs.update)(x, theirs.init(p), p)
    ours, _ = jax.jit(units.adaptive_grad_clip(0.1).update)(x, EMPTY, p)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert (ours == x).all(tuple(range(x.ndim - 1))).any()
    assert (ours != x).all(tuple(range(x.ndim - 1))).any()


def test_adaptive_grad_clip_of_tiny_gradients_is_that_of_optax() -> None:
    """Norms below 1e-6 count as 1e-6."""
    p, x = jnp.zeros((2, 2)), jnp.array([[4e-7, 3e-6], [0.0, 3e-6]])
    theirs = optax.adaptive_grad_clip(1e-4)
    with jax.numpy_rank_promotion("allow"):
        expected, _ = theirs.update(x, theirs.init(p), p)
    np.testing.assert_allclose(units.adaptive_grad_clip(1e-4).update(x, EMPTY, p)[0], expected, rtol=1e-6)


def test_a_zero_agrees_with_nothing_not_even_an_infinity() -> None:
    tx = g.scale_by_rprop(1.0)
    state = tx.init(jnp.zeros(2))
    for x in ([jnp.inf, 5.0], [0.0, 0.0], [2.0, 2.0]):
        out, state = tx.update(jnp.array(x), state)
    assert (out == 1).all()


def test_stable_weight_decay_takes_the_mean_over_all_parameters() -> None:
    v = {"a": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "b": jnp.array([20.0]), "none": None}
    p = {"a": jnp.array([[1.0, -1.0], [0.5, 0.0]]), "b": jnp.array([2.0]), "none": None}
    update = jax.jit(units.stable_weight_decay(0.3).update)
    updates, _ = update(v, EMPTY, p)
    chex.assert_trees_all_close(updates, jax.tree.map(lambda p: 0.3 * p / 6**0.5, p), rtol=1e-6)
    zeros = jax.tree.map(jnp.zeros_like, v)
    chex.assert_trees_all_equal(update(zeros, EMPTY, p)[0], zeros)


# the makers


def test_no_decay_does_not_read_the_parameters() -> None:
    tx = g.add_decayed_weights(0.0)
    assert tx.update(jnp.ones(1), tx.init(None), jnp.full(1, jnp.inf))[0] == 1


def test_measured_gives_what_is_measured_of_each_array_and_the_parameter_if_asked() -> None:
    x = {"a": jnp.array([3.0, 4.0]), "b": None, "c": jnp.zeros(2)}

    def longer(x: Any, measured: Any, rate: Any) -> Any:
        return x + rate * measured

    alone = made(g.rule(longer, measure=numerics.norm, rate=lambda count: 1.0 + count.astype(float)))
    chex.assert_trees_all_equal(alone.update(x, alone.init(x))[0], {"a": x["a"] + 5, "b": None, "c": x["c"]})
    tx = made(g.rule(lambda x, measured, p: measured * p, measure=numerics.norm))
    chex.assert_trees_all_equal(tx.update(x["a"], EMPTY, jnp.ones(2))[0], jnp.full(2, 5.0))
    with pytest.raises(ValueError, match="this transformation reads the parameters"):
        tx.update(x["a"], EMPTY)
    assert np.array_equal(g.normalize().update(x["a"], EMPTY)[0], x["a"])  # two numbers have no deviation to speak of
    largest = made(g.rule(lambda x, measured: x / measured, measure=lambda x: jnp.max(x, 0)))
    chex.assert_trees_all_equal(largest.update(x["a"], EMPTY)[0], x["a"] / 4)


def test_an_output_may_be_a_function_of_the_input() -> None:
    tx = made(g.rule(lambda m, x: (m + x, lambda x: x * (m + 1)), init=0.0))
    y, state = tx.update(jnp.full(2, 3.0), tx.init(jnp.zeros(2)))
    chex.assert_trees_all_equal(
        (y, state["state"]["memory"], tx.update(jnp.ones(2), state)[0]),
        (jnp.full(2, 3.0), jnp.full(2, 3.0), jnp.full(2, 4.0)),
    )


def test_the_mean_of_all_counts_elements_not_arrays() -> None:
    tx = g.chain(g.mean_of_all(), g.scale(2.0))
    x = {
        "a": jnp.ones((3, 2)),
        "b": jnp.full(2, 5.0),
        "none": None,
        "masked": optax.MaskedNode(),
        "e": jnp.zeros((0, 3)),
    }
    updates, _ = tx.update(x, tx.init(x))
    chex.assert_trees_all_equal(updates, jax.tree.map(lambda x: jnp.full_like(x, 4.0), x))
    with jax.enable_x64(True):  # half precision must not add up in half precision
        mixed = {"a": jnp.full(4096, 1.0, jnp.bfloat16), "b": jnp.full(4096, 3.0, jnp.float64)}
        updates, _ = tx.update(mixed, tx.init(mixed))
        assert {k: (u.dtype.name, float(u[0])) for k, u in updates.items()} == {
            "a": ("bfloat16", 4),
            "b": ("float64", 4),
        }


class Pair(NamedTuple):
    left: Any
    right: Any


def test_a_path_is_as_people_write_it() -> None:
    seen = []
    tx = made(g.rule(lambda x, path: seen.append(path) or x))
    x = {"layers": [Pair(jnp.ones(1), {"bias": jnp.ones(2)}), Pair(None, optax.MaskedNode())]}
    chex.assert_trees_all_equal(tx.update(x, tx.init(x))[0], x)
    assert seen == ["layers/0/left", "layers/0/right/bias"]
    tx.update(jnp.ones(1), EMPTY)
    assert seen[2:] == [""]


def test_a_key_is_new_for_every_array_step_and_seed() -> None:
    def drawn(seed: Any) -> jax.Array:
        tx = made(g.rule(lambda x, key: x + jax.random.uniform(key, x.shape, x.dtype), seed=seed))
        x = [jnp.zeros(3), None, jnp.zeros(3)]
        return jax.lax.scan(lambda s, _: tx.update(x, s)[::-1], tx.init(x), jnp.arange(4))[1]

    one = jax.jit(drawn)(0)
    chex.assert_trees_all_equal(one, jax.jit(drawn)(0))
    both = jax.jit(jax.vmap(drawn))(jnp.array([0, 1]))
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[0], both), one)
    numbers = np.concatenate([x.ravel() for x in jax.tree.leaves(both)])
    assert np.unique(numbers).size == numbers.size == 2 * 2 * 4 * 3


def test_running_numbers_are_in_the_state_in_a_float_of_their_own() -> None:
    y = g.per_step(lambda m, count: (m + count.astype(m.dtype),) * 2, init=0.0)
    tx = made(g.rule(lambda x, y: x * y, y=y))
    with jax.enable_x64(True):
        for dtype, kept in (("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")):
            state = tx.init(jnp.ones(1, dtype))
            assert (set(state["state"]), state["state"]["y"].dtype) == ({"y"}, jnp.dtype(kept))
            assert avals(tx.update(jnp.ones(1, dtype), state)[1]) == avals(state)


def test_recall_is_the_output_of_an_earlier_branch() -> None:
    tx = g.parallel(
        lambda *outputs: outputs[-1],
        one=[g.square(), g.ema(0.5)],
        two=[g.recall("one"), g.scale(3.0)],
        three=[g.scale(100.0), g.chain(g.recall("two"), g.square())],
    )
    state = tx.init(jnp.ones(1))
    assert sorted(state["state"]) == ["one"]
    assert tx.update(jnp.array([2.0]), state)[0] == (3 * 0.5 * 4) ** 2


def test_between_pieces_nothing_is_rounded() -> None:
    x = jnp.linspace(-1, 1, 99, dtype=jnp.bfloat16)
    tx = g.chain(g.scale(1 / 3), g.lazy(g.accumulate(g.scale(1 / 7), 1)), g.chain(g.scale(21.0)))
    assert (jax.jit(tx.update)(x, tx.init(x))[0] == x).all()
    seen = []
    between = g.rule(lambda x: seen.append(x.dtype) or x)
    jax.eval_shape(g.chain(g.scale(1 / 3), made(between)).update, x, EMPTY)
    assert seen == [jnp.float32]


# noise


def test_the_noise_has_the_variance_of_the_paper() -> None:
    tx, zeros = on_gradients.add_gradient_noise(0.3, 0.7), {"a": jnp.zeros(50_000), "b": jnp.zeros(50_000)}
    draw, before = jax.jit(tx.update), None
    for t in (0, 1, 9, 9_999):
        noise, state = draw(zeros, tx.init(zeros) | {"count": jnp.int32(t)})
        assert int(state["count"]) == t + 1
        assert np.var([noise["a"], noise["b"]]) == pytest.approx(noise_sigma(t, 0.3, 0.7) ** 2, rel=0.02)
        assert abs(np.corrcoef(noise["a"], noise["b"])[0, 1]) < 0.03
        assert before is None or abs(np.corrcoef(noise["a"], before)[0, 1]) < 0.03
        before = noise["a"]


def test_the_noise_is_made_of_the_normal_numbers_of_its_seed() -> None:
    zeros = {"a": jnp.zeros(3), "b": jnp.zeros((2, 2))}
    normal = made(g.rule(lambda x, key: jax.random.normal(key, x.shape, x.dtype), seed=5))
    noisy = on_gradients.add_gradient_noise(0.25, seed=5)
    ours, drawn = (tx.update(zeros, tx.init(zeros))[0] for tx in (noisy, normal))
    chex.assert_trees_all_equal(ours, jax.tree.map(lambda z: z / 2, drawn))


def test_the_state_of_the_noise_is_a_count_that_can_be_saved() -> None:
    tx, x = on_gradients.add_gradient_noise(seed=3), {"a": jnp.ones(4)}
    _, state = tx.update(x, tx.init(x))
    assert [(a.shape, a.dtype) for a in jax.tree.leaves(state)] == [((), jnp.int32)]
    restored = serialization.from_bytes(tx.init(x), serialization.to_bytes(state))
    ours, _ = tx.update(x, state)
    chex.assert_trees_all_equal(tx.update(x, jax.tree.map(jnp.asarray, restored))[0], ours)
    other = on_gradients.add_gradient_noise(seed=4)
    assert (other.update(x, state)[0]["a"] != ours["a"]).all()


# more evaluations of the loss


def bowl(p: Any) -> Any:
    return 25 * p[0] ** 2 + p[1] ** 2 / 50 + (p[2] - 1) ** 4 / 4


@pytest.mark.parametrize("settings", [{}, {"learning_rate": 0.1, "max_backtracking_steps": 1}])
def test_backtracking_with_nesterov_equals_the_oracle(settings: dict[str, Any]) -> None:
    start = np.array([1.0, 5.0, 3.0])
    xs, ys, _ = nesterov_1983_backtracking(bowl, jax_free_gradient, start, STEPS, **settings)
    tx = g.chain(g.scale_by_backtracking(**settings), averages.extrapolate())
    _, ours, evals = trajectory(following(tx, jax.grad(bowl)), start, np.zeros((STEPS, 3)), value_fn=bowl)
    equal(ours, ys[1:])
    equal(evals, xs)


def jax_free_gradient(p: np.ndarray) -> np.ndarray:
    return np.array([50 * p[0], p[1] / 25, (p[2] - 1) ** 3])


def test_backtracking_never_grows_and_goes_down_as_promised() -> None:
    tx, y = g.scale_by_backtracking(8.0), jnp.array([1.0, 5.0, 3.0])

    def high(y: Any) -> Any:  # where float32 loses what is left to gain
        return 25 * y[0] ** 2 + 9 * y[1] ** 2 + 20 * (y[2] - 0.3) ** 2 + 10

    def step(carry: Any, _: Any) -> Any:
        y, state = carry
        value, slope = jax.value_and_grad(high)(y)
        updates, state = tx.update(slope, state, y, value_fn=high, value=value)
        return (y + updates, state), (value - high(y + updates), jnp.sum(slope**2), state["state"]["learning_rate"])

    (_, state), (down, slope, rates) = jax.jit(lambda c: jax.lax.scan(step, c, length=2000))((y, tx.init(y)))
    assert (rates[1:] <= rates[:-1]).all()
    assert rates[0] < 8
    assert (down >= rates / 2 * slope - 1e-5).all()
    assert rates[-1] > 1 / 50 / 2  # rounding at the minimum is no reason to halve it
    assert int(state["count"]) == 2000


def test_heun_equals_the_oracle() -> None:
    a = np.array([[3.0, 1.0], [1.0, 0.5]])

    def loss(p: Any) -> Any:
        return p @ jnp.asarray(a) @ p / 2 + jnp.sum(p**4)

    extra = {"value_and_grad_fn": jax.value_and_grad(loss)}
    _, xs, _ = trajectory(following(g.heun(falling), jax.grad(loss)), np.ones(2), np.zeros((STEPS, 2)), **extra)
    equal(xs, heun(lambda x: a @ x + 4 * x**3, np.ones(2), falling, STEPS))


# averages


def test_averages_are_read_by_eval_params() -> None:
    inner = g.lookahead(g.momentum(0.03))
    plain, xs, _ = trajectory(inner, PARAMS, GRADS)
    for piece, oracle in ((g.temporal_average(0.9), temporal_average), (g.polyak_average(), polyak)):
        updates, _, evals = trajectory(g.chain(inner, piece), PARAMS, GRADS)
        for k in NAMES:
            assert np.array_equal(updates[k], plain[k])  # the parameters go on as they are
            equal(evals[k], oracle(xs[k], **({"decay": 0.9} if oracle is temporal_average else {})))
