"""Faults of optax that ours must not have, each beside the number that it shows there."""

from collections.abc import Callable
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import gdo_optax as g
from tests.catalogue import FAMILY, rollout, tree


def updates(tx: optax.GradientTransformation, gradients: Any, start: float = 0.0) -> np.ndarray:
    """All steps of one vector, whose elements start alike."""
    grads = np.asarray(gradients, np.float32)
    grads = jnp.asarray(grads.reshape(len(grads), -1))
    return np.float64(rollout(tx, jnp.full(grads.shape[1:], start, jnp.float32), grads))


def rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.square(np.float64(x)))))


def test_rprop_takes_its_first_step() -> None:
    """optax.rprop emits the step before: 0, -0.1, -0.12, and goes on where the sign has changed."""
    steps = updates(g.rprop(0.1), [1.0, 1.0, 1.0, -1.0, -1.0])[:, 0]
    np.testing.assert_allclose(steps, [-0.1, -0.12, -0.144, 0.0, 0.072], rtol=1e-6)


LOOKAHEAD = {"sync_period": 5, "slow_step_size": 0.5}
"""Around sgd(0.1), with a gradient of 1: −0.5 in five steps, of which half is taken back."""


def tenfold(tx: Any, params: Any) -> Any:
    """The parameters after ten steps with gradients of 1."""
    ones = jax.tree.map(jnp.ones_like, params)

    @jax.jit
    def step(_: int, carry: Any) -> Any:
        params, state = carry
        moved, state = tx.update(ones, state, params)
        return optax.apply_updates(params, moved), state

    return jax.lax.fori_loop(0, 10, step, (params, tx.init(params)))[0]


def in_nnx(tx: optax.GradientTransformation) -> jax.Array:
    model = nnx.Linear(2, 3, use_bias=False, kernel_init=nnx.initializers.zeros, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    for _ in range(10):
        optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
    return model.kernel[...]


def in_train_state(tx: optax.GradientTransformation) -> jax.Array:
    state = TrainState.create(apply_fn=None, params={"a": jnp.zeros(3)}, tx=tx)
    for _ in range(10):
        state = state.apply_gradients(grads={"a": jnp.ones(3)})
    return state.params["a"]


@optax.inject_hyperparams
def injected(sync_period: int, slow_step_size: float) -> g.Piece:
    return g.lookahead(g.sgd(0.1), sync_period, slow_step_size)


BOTH = {"a": jnp.zeros(2), "b": jnp.ones(1)}

PLACES: dict[str, Callable[[Any], Any]] = {
    "alone": lambda tx: tenfold(tx, {"a": jnp.zeros(2)}),
    "chain": lambda tx: tenfold(optax.chain(optax.clip(2.0), tx), {"a": jnp.zeros(2)}),
    "masked": lambda tx: tenfold(optax.masked(tx, {"a": True, "b": False}), BOTH)["a"],
    "partition": lambda tx: tenfold(optax.partition({1: tx, 2: g.sgd(0.1)}, {"a": 1, "b": 2}), BOTH)["a"],
    "MultiSteps": lambda tx: tenfold(optax.MultiSteps(tx, 1), {"a": jnp.zeros(2)}),
    "apply_if_finite": lambda tx: tenfold(optax.apply_if_finite(tx, 3), {"a": jnp.zeros(2)}),
    "inject_hyperparams": lambda tx: tenfold(injected(**LOOKAHEAD), {"a": jnp.zeros(2)}),
    "nnx.Optimizer": in_nnx,
    "linen.TrainState": in_train_state,
}


@pytest.mark.parametrize("place", PLACES)
def test_lookahead_goes_wherever_an_optimizer_goes(place: str) -> None:
    """optax.lookahead wants pairs of parameters: with plain ones it fails in all of these places."""
    with jax.numpy_dtype_promotion("standard"):  # optax itself does not run in strict mode
        after = PLACES[place](g.lookahead(g.sgd(0.1), **LOOKAHEAD))
    for a in jax.tree.leaves(after):
        np.testing.assert_allclose(a, -0.5, rtol=1e-6)


def test_lookahead_hands_extra_arguments_on() -> None:
    """optax.lookahead is no GradientTransformationExtraArgs: an inner optimizer that asks for the loss gets none."""

    def loss(p: jax.Array) -> jax.Array:
        return jnp.sum(p**2) / 2

    for inner, factor in ((g.heun(0.1), 0.905), (g.scale_by_backtracking(0.5), 0.5)):
        tx = g.lookahead(inner, **LOOKAHEAD)
        p = jnp.full(2, 2.0)
        state = tx.init(p)
        for _ in range(5):
            value, grad = jax.value_and_grad(loss)(p)
            moved, state = tx.update(
                grad, state, p, value=value, value_fn=loss, value_and_grad_fn=jax.value_and_grad(loss)
            )
            p = optax.apply_updates(p, moved)
        np.testing.assert_allclose(p, 1 + factor**5, rtol=1e-6)


def test_a_reset_clears_a_nan() -> None:
    """optax.lookahead resets by 0·state + 1·fresh, and 0·NaN is a NaN: the optimizer never moves again."""
    inner = g.chain(g.trace(0.9), optax.zero_nans(), g.scale(-0.1))
    gradients = [1.0, float("nan"), 1.0, 1.0, 1.0, 1.0, 1.0]
    steps = updates(g.lookahead(inner, 5, 1.0, inner_state="reset"), gradients)[:, 0]
    np.testing.assert_allclose(steps, [-0.1, 0, 0, 0, 0, -0.1, -0.19], rtol=1e-6)


def test_a_reset_starts_random_keys_anew() -> None:
    """optax.lookahead(reset_state=True) multiplies the state, which no random key allows: TypeError."""
    with jax.numpy_dtype_promotion("standard"):  # optax itself does not run in strict mode
        noisy = optax.add_noise(eta=1.0, gamma=0.55, key=0)
        steps = updates(g.lookahead(noisy, 2, 1.0, inner_state="reset"), np.zeros((4, 3)))
    np.testing.assert_allclose(steps[2:], steps[:2], rtol=1e-6)
    assert (steps[0] != steps[1]).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("inner", ["sgd", "adam"])
def test_fast_and_slow_weights_meet_to_the_last_bit(inner: str, dtype: Any) -> None:
    """optax.lookahead computes the two on two ways: after a sync they are 1.2e-7 apart, 7.8e-3 in bfloat16.

    Ours are one in float32. In half precision the slow weights stay what they are in float32, and a step can bring the
    fast ones there only to half a unit of the step's and half a unit of the parameters' last place.
    """
    tx = g.lookahead(g.get(inner)(0.1), **LOOKAHEAD)
    params, *grads = jax.random.normal(jax.random.key(0), (16, 500)).astype(dtype)
    step = jax.jit(tx.update)
    state = tx.init(params)
    for t, grad in enumerate(grads, 1):
        moved, state = step(grad, state, params)
        params = optax.apply_updates(params, moved)
        if t % 5 == 0:
            slow = state["state"]["slow_weights"]["eval_weights"]
            slow, fast = (np.float64(a.astype(jnp.float32)) for a in (slow, params))
            unit = 0.0 if dtype == jnp.float32 else float(jnp.finfo(dtype).eps) / 2
            size = np.abs(fast) + np.abs(np.float64(moved.astype(jnp.float32)))
            assert np.all(np.abs(slow - fast) <= unit * size * 1.01)


def test_centered_rmsprop_takes_no_root_of_a_negative() -> None:
    """optax.rmsprop(centered=True) and PyTorch subtract E[g]² from E[g²]: a NaN at step 200 for g = 1 ± 1e-4."""
    noise = np.random.default_rng(0).standard_normal((2000, 3))
    grads = np.float32([1.0, 100.0, 1.0] + noise * [1e-4, 1e-2, 1e-3])
    m = v = np.zeros(3, np.float32)
    exact_m = exact_v = np.zeros(3)
    least, expected = np.float32(0), []
    for x in grads:
        m, v = (np.float32(0.9) * a + np.float32(0.1) * b for a, b in ((m, x), (v, x * x)))
        least = np.minimum(least, v - m * m)
        wide = np.float64(x)
        exact_m, exact_v = 0.9 * exact_m + 0.1 * wide, 0.9 * exact_v + 0.1 * wide**2
        expected.append(-wide / (np.sqrt(exact_v - exact_m**2) + 1e-8))
    assert (least[:2] < -1e-8).all()  # more than any ε makes up for
    steps = updates(g.rmsprop_centered(1.0), grads)
    np.testing.assert_allclose(steps, expected, rtol=0.01)


@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamax", "nadam", "amsgrad", "adamw", "adafactor", "lamb"])
def test_float16_survives_small_gradients(name: str) -> None:
    """optax computes in the parameters' dtype, where ε = 1e-8 is 0: NaN for zero gradients, −∞ for 1e-3."""
    assert np.float16(1e-8) == 0

    def steps(dtype: Any) -> Any:
        tx, params = g.get(name)(0.01), jnp.ones(3, dtype)
        grad = jnp.array([0.0, 1e-3, -1e-3], jnp.float16).astype(dtype)
        return rollout(tx, {"x": params}, {"x": jnp.stack([grad] * 4)})["x"].astype(float)

    np.testing.assert_allclose(steps(jnp.float16), steps(jnp.float32), rtol=2e-3, atol=1e-5)


def test_the_norm_of_a_large_float16_layer_is_finite() -> None:
    """optax.scale_by_trust_ratio sums the squares in float16: inf for a layer of 100 000 elements."""
    ones = jnp.ones(100_000, jnp.float16)
    assert jnp.isinf(jnp.sum(ones * ones))
    tx = g.trust_ratio()
    adapted, _ = tx.update(ones / 2, tx.init(ones), 2 * ones)
    assert adapted.dtype == jnp.float16
    assert (adapted == 2).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_micro_batch_is_left_out(bad: float) -> None:
    """optax.MultiSteps and apply_every keep the accumulated NaN: 0, NaN, NaN, NaN, … for ever."""
    steps = updates(g.accumulate(g.sgd(1.0), 2), [1.0, 3.0, bad, 5.0, 7.0, 9.0, bad, 11.0])[:, 0]
    np.testing.assert_allclose(steps, [0, -2, 0, 0, -6, 0, 0, -10])
    assert np.isnan(0 * bad)  # what optax adds the next micro-batch to


def test_adafactor_has_the_relative_step_of_the_paper() -> None:
    """optax.adafactor has none: without a rate its first step is as long as the parameters, 100 times the paper's."""
    tx, x = g.adafactor(), jnp.full(4, 3.0)
    first, state = tx.update(jnp.array([1.0, -1.0, 5.0, 2.0]), tx.init(x), x)
    assert rms(first) == pytest.approx(0.01 * 3, rel=1e-5)
    late = jax.tree.map(lambda a: jnp.full_like(a, 39_999) if a.dtype == jnp.int32 else a, state)
    assert rms(tx.update(jnp.full(4, 9.0), late, x)[0]) == pytest.approx(3 / 200, rel=1e-5)


def test_adafactors_least_scale_and_decay_can_be_set() -> None:
    """optax.adafactor has the least scale of parameters fixed at 1e-3, and no way to Adam's decay."""
    assert rms(updates(g.adafactor(0.1, min_parameter_scale=0.5), np.ones((1, 4)))) == pytest.approx(0.05, rel=1e-5)
    tx = g.adafactor(1.0, g.corrected_decay_rate(0.999), min_parameter_scale=None, clipping_threshold=1e9)
    steps = updates(tx, [1.0, 3.0])[:, 0]
    np.testing.assert_allclose(steps, [-1, -3 / np.sqrt((0.999 + 9) / 1.999)], rtol=1e-5)


def test_adafactor_may_be_injected() -> None:
    """optax.inject_hyperparams(optax.adafactor) raises unless static_args names what shapes depend on."""
    params = tree(names=("kernel",))
    plain, injected = g.adafactor(0.1), optax.inject_hyperparams(g.adafactor)(0.1)
    expected, _ = plain.update(params, plain.init(params), params)
    step, _ = jax.jit(injected.update)(params, injected.init(params), params)
    np.testing.assert_allclose(step["kernel"], expected["kernel"], rtol=1e-6)


def test_rows_and_columns_get_no_spec_of_a_matrix() -> None:
    """optax.tree_map_params hands the (n,) rows of optax.adafactor the (n, m) spec of their parameter."""
    tx, spec = g.adafactor(), jax.sharding.PartitionSpec
    params, specs = {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}, {"kernel": spec("x", "y"), "bias": spec("y")}

    def ranks_agree(a: jax.Array, s: Any) -> bool:
        return a.ndim == len(s)

    for names in (["kernel"], ["kernel", "bias"]):
        state = tx.init({name: params[name] for name in names})
        with pytest.raises(ValueError, match=r"(?s)pytree structure error.*NoneType"):
            optax.tree_map_params(tx, ranks_agree, state, {name: specs[name] for name in names})
    row, col = {"kernel": spec("x"), "bias": None}, {"kernel": spec("y"), "bias": None}
    own = {"row": row, "col": col, "whole": {"kernel": None, "bias": spec("y")}}
    found = jax.tree.map(ranks_agree, state["state"]["scale_by_factored_rms"], own)
    assert jax.tree.leaves(found) == [True] * 3


def test_a_first_outlier_does_not_rule_amsgrad() -> None:
    """optax.amsgrad corrects before its maximum: after a first gradient of 100, steps of 0.0024 instead of 0.077."""
    grads = np.float32(np.random.default_rng(0).standard_normal((500, 8)))
    grads[0] = 100
    m = v = most = most_corrected = np.zeros(8)
    for t, x in enumerate(np.float64(grads), 1):
        m, v = 0.9 * m + 0.1 * x, 0.999 * v + 0.001 * x**2
        most, most_corrected = np.maximum(most, v), np.maximum(most_corrected, v / (1 - 0.999**t))
    corrected = m / (1 - 0.9**500)
    last = updates(g.amsgrad(1.0), grads)[-1]
    np.testing.assert_allclose(last, -corrected / np.sqrt(most / (1 - 0.999**500)), rtol=1e-4)
    assert rms(last) > 15 * rms(corrected / np.sqrt(most_corrected))


def test_lars_adds_the_norms_and_not_the_vectors() -> None:
    """optax.lars divides by ‖g + β·w‖ where the paper has ‖g‖ + β·‖w‖: a step of −1 instead of −1/3."""
    tx = g.lars_2017(1.0, momentum=0.0, weight_decay=1.0, trust_coefficient=1.0)
    np.testing.assert_allclose(updates(tx, [-0.5], 1.0), -1 / 3, rtol=1e-6)
    np.testing.assert_allclose(updates(tx, [-0.999], 1.0), -0.001 / 1.999, rtol=1e-4)  # there −1 again


def test_corrections_know_the_betas_that_were_used() -> None:
    """optax takes today's β to the power t: of ones it averages 0.79 under one cycle's momentum, 0.81 in AdamNC."""
    b1 = g.one_cycle(20, 1.0).momentum
    past, m = 1.0, 0.0
    for t in range(20):
        b = float(b1(t))
        past, m = past * b, b * m + (1 - b)
        assert m / (1 - past) == pytest.approx(1, rel=1e-6)
    assert abs(m / (1 - float(b1(5)) ** 6) - 1) > 0.1
    np.testing.assert_allclose(updates(g.adam(0.1, b1=b1), np.ones(20)), -0.1, rtol=1e-5)
    steps = updates(g.adamnc(0.1, b1=0.0), np.ones(50))[:, 0]
    np.testing.assert_allclose(steps, -0.1 / np.sqrt(np.arange(1, 51)), rtol=1e-5)


def test_gradients_are_centralized_for_each_output() -> None:
    """optax.centralize keeps the first axis, PyTorch's outputs: Flax's kernels are centered over their outputs."""
    for shape in ((6, 4), (3, 3, 5, 4)):
        kernel = np.float32(np.random.default_rng(0).standard_normal(shape))
        tx = g.centralize()
        centered = np.asarray(tx.update(jnp.asarray(kernel), tx.init(kernel))[0])
        np.testing.assert_allclose(centered.reshape(-1, 4).sum(0), 0, atol=1e-5)
        assert np.abs(centered.reshape(shape[0], -1).sum(1)).max() > 0.1


def test_radam_hides_no_root_of_a_negative() -> None:
    """optax.radam has one at steps 3 and 4, behind a where: its derivative with respect to b2 is a NaN."""

    def end(b2: jax.Array) -> jax.Array:
        tx, x = g.radam(0.1, b2=b2), jnp.ones(2)
        return jnp.sum(rollout(tx, x, jnp.array([[1.0, 2.0], [3.0, -1.0]] * 4), jax.jit)[-3:])

    with jax.enable_x64(True):
        points = jnp.array([0.99 - 1e-6, 0.99, 0.99 + 1e-6])
        values, slopes = jax.vmap(jax.value_and_grad(end))(points)
        assert slopes[1] != 0
        assert float(slopes[1]) == pytest.approx(float(values[2] - values[0]) / 2e-6, rel=1e-4)
    with jax.debug_nans(True):
        assert np.isfinite(updates(g.radam(), np.ones(8))).all()


@pytest.mark.parametrize("anneal", ["cosine", "linear"])
def test_one_cycle_starts_low_and_ends_where_it_says(anneal: str) -> None:
    """optax's cycles of up to 3 steps start at the peak, and the linear one ends 25 times below what it says."""
    for total in (2, 3, 4, 10):
        rate, _ = g.one_cycle(total, 1.0, div_factor=20.0, final_div_factor=100.0, anneal=anneal)
        assert float(rate(0)) == pytest.approx(1 / 20), total
        assert float(rate(total - 1)) == pytest.approx(1 / 20 / 100), total


def test_piecewise_values_are_values() -> None:
    """optax.piecewise_interpolate_schedule multiplies: from 0 it stays at 0 for ever."""
    rate = g.piecewise_linear({0: 0.0, 1000: 1.0, 2000: 0.1})
    values = [float(rate(count)) for count in (0, 500, 1000, 1500, 2000, 9999)]
    np.testing.assert_allclose(values, [0, 0.5, 1, 0.55, 0.1, 0.1], rtol=1e-6)


def test_a_bfloat16_model_has_second_moments_that_arrive() -> None:
    """optax stores v in the parameters' dtype: in bfloat16 that of ones stalls at 0.5, and steps are 1.38 α."""
    one, stalled, total = map(ml_dtypes.bfloat16, (1, 0, 0))
    for _ in range(10_000):
        stalled, total = stalled + ml_dtypes.bfloat16(0.001) * (one - stalled), total + one
    assert float(stalled) < 0.8
    assert float(total) == 256

    def end(tx: g.Piece) -> tuple[jax.Array, Any]:
        x, one = jnp.zeros(1, jnp.bfloat16), jnp.ones(1, jnp.bfloat16)
        run = jax.jit(lambda s: jax.lax.fori_loop(0, 10_000, lambda _, c: tx.update(one, c[1], x), (x, s)))
        moved, state = run(tx.init(x))
        assert {a.dtype for a in jax.tree.leaves(state)} <= {jnp.dtype(jnp.float32), jnp.dtype(jnp.int32)}
        return moved, state

    moved, state = end(g.adam(1.0))
    moments = state["state"]["scale_by_adam"]
    np.testing.assert_allclose(moments["scale"]["ema"]["memory"], 1 - 0.999**10_000, rtol=1e-5)
    np.testing.assert_allclose(moments["direction"]["ema"]["memory"], 1, rtol=1e-5)
    assert moved[0] == -1
    assert jax.tree.leaves(end(g.adagrad(1.0))[1]["state"]) == [10_000]


WRONG = {
    "b1": lambda: g.adam(b1=1.5),
    "learning_rate": lambda: g.sgd(-1.0),
    "eps": lambda: g.adam(eps=-1.0),
    "rho": lambda: g.adadelta(rho=5.0),
    "slow_step_size": lambda: g.lookahead(g.sgd(), slow_step_size=7.0),
    "initial_accumulator_value": lambda: g.adagrad(initial_accumulator_value=-1.0),
}


@pytest.mark.parametrize("name", WRONG)
def test_impossible_values_are_refused(name: str) -> None:
    """optax takes b1=1.5, learning_rate=-1, eps=-1, rho=5, a slow step of 7 and a sum of squares of −1 as they are."""
    with pytest.raises(ValueError, match=rf": {name}=-?[157]\.\d is outside"):
        WRONG[name]()


def test_noise_goes_on_after_a_checkpoint() -> None:
    """The state of optax.noisy_sgd holds a typed key, which flax.serialization.to_bytes refuses."""
    tx, zeros = g.chain(g.add_gradient_noise(eta=1.0), g.momentum(0.1)), jnp.zeros(4)
    _, state = tx.update(zeros, tx.init(zeros), zeros)
    loaded = flax.serialization.from_bytes(tx.init(zeros), flax.serialization.to_bytes(state))
    (one, state), (other, loaded) = (tx.update(zeros, s, zeros) for s in (state, loaded))
    assert (one == other).all()
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), state, loaded))
    assert (one != 0).all()


def dozat(gradients: np.ndarray, speed: float = 250.0, constant: bool = False, plain: bool = False) -> np.ndarray:
    """Nadam's steps; with a constant momentum throughout, or only a plain average of the gradients."""
    mu = 0.9 * (1 - (not constant) * 0.5 * 0.96 ** (np.arange(1, len(gradients) + 2) / speed))
    past, m, v, steps = np.cumprod(mu), 0.0, 0.0, []
    for i, x in enumerate(np.float64(gradients)):
        b = 0.9 if plain else mu[i]
        m, v = b * m + (1 - b) * x, 0.999 * v + 0.001 * x**2
        ahead = mu[i + 1] * m / (1 - past[i + 1]) + (1 - mu[i]) * x / (1 - past[i])
        steps.append(-ahead / (np.sqrt(v / (1 - 0.999 ** (i + 1))) + 1e-8))
    return np.array(steps)


def test_the_momentum_of_nadam_grows() -> None:
    """optax.nadam has a constant one, 0.45 of the length of all steps away from the paper; PyTorch averages with b1."""
    grads = np.float32(np.random.default_rng(0).standard_normal((1000, 8)))
    full, steps = dozat(grads), updates(g.nadam(1.0, b1=0.9), grads)
    np.testing.assert_allclose(steps, full, rtol=1e-3, atol=1e-5)
    for other, distance in ((dozat(grads, constant=True), 0.4), (dozat(grads, plain=True), 0.1)):
        assert rms(other - full) > distance * rms(full)


SCHEDULED = pytest.param(lambda: g.adam(optax.linear_schedule(0.1, 0.0, 10)), id="adam with a schedule")


@pytest.mark.parametrize("make", [SCHEDULED, *FAMILY])
def test_every_count_is_the_number_of_steps(make: Callable[[], g.Piece]) -> None:
    """With a schedule optax.adam has two counts, and optax.tree.get(state, "count") is a KeyError.

    Here there may be more, but all say the same, and there is no other integer.
    """
    tx, x = make(), jnp.full(2, 0.5)
    state = tx.init(x)
    for _ in range(2):
        _, state = tx.update(x, state, x)
    counts = [count for _, count in optax.tree.get_all_with_path(state, "count")]
    assert all(count == 2 for count in counts), counts
    assert len(counts) == sum(a.dtype == jnp.int32 for a in jax.tree.leaves(state))
