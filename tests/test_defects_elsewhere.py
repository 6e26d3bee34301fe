"""Faults of libraries for PyTorch and Keras that ours must not have, each beside the number that it shows there.

They all passed tests of convergence: descent forgives a stale step, a dead velocity and an inverted clip.
"""

import importlib
import pkgutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from gdo_optax import optimizers
from gdo_optax.family import Entry, library
from tests.catalogue import FAMILY, rollout
from tests.test_defects import dozat, rms, updates


VELOCITIES = {
    "momentum": lambda: g.momentum(0.1),
    "sgdw": lambda: g.sgdw(0.1, weight_decay=0.0),
    "lars_2017": lambda: g.lars_2017(0.1, weight_decay=0.0, trust_ratio_mask=False),
}


@pytest.mark.parametrize("name", VELOCITIES)
def test_a_velocity_gathers(name: str) -> None:
    """The SGDW of pytorch_optimizer gathers with 1 − dampening for a share: its step is −0.1 for ever."""
    np.testing.assert_allclose(updates(VELOCITIES[name](), np.ones(3))[:, 0], [-0.1, -0.19, -0.271], rtol=1e-6)


@pytest.mark.parametrize("name", VELOCITIES)
def test_a_velocity_starts_at_rest(name: str) -> None:
    """The SGDW of pytorch_optimizer starts its velocity at the parameters: a first step of −0.19 from 1."""
    np.testing.assert_allclose(updates(VELOCITIES[name](), [1.0], start=1.0), -0.1, rtol=1e-6)


@pytest.mark.parametrize("entry", FAMILY)
def test_the_first_steps_go_downhill(entry: Entry) -> None:
    """Ranger of pytorch_optimizer has a step size of −1 before it adapts: up by 0.1 in each of its first 5 steps."""
    tx, x = entry(), jnp.full(2, 0.5)
    state = tx.init(x)
    for _ in range(4):  # before any slow weights pull back
        step, state = tx.update(jnp.array([1.0, 0.5]), state, x)
        assert (step <= 0).all()
        x = x + step
    assert (x < 0.5).any()


def test_momentum_steps_before_it_adapts() -> None:
    """In pytorch_optimizer's Ranger +0.1 five times, and as often nothing at all in the authors' RAdam."""
    for tx in (g.radam(0.1), g.ranger(0.1)):
        steps = updates(tx, np.ones(5))[:, 0]
        np.testing.assert_allclose(steps, -0.1, rtol=1e-5)


def test_rectified_layers_go_downhill_from_their_own_norm() -> None:
    """LAMB of pytorch_optimizer with rectify=True climbs by 0.09 at first, with the norm of weights already moved."""
    for tx in (g.layerwise(g.radam(), 0.1), g.lamb(0.1, weight_decay=0.0)):
        steps = updates(tx, np.ones(5), start=1.0)[:, 0]
        np.testing.assert_allclose(steps, -0.1 * 0.9 ** np.arange(5), rtol=1e-4)


def outlier(clipping_threshold: float) -> tuple[float, float]:
    """The RMS of Adafactor's step at a gradient 100 times too large, and at one 1000 times too small, of a matrix."""
    grads = np.random.default_rng(0).choice([-1.0, 1.0], (102, 4, 5))
    grads[-2] *= 100
    grads[-1] *= 1e-3
    tx = g.adafactor(1.0, clipping_threshold=clipping_threshold, min_parameter_scale=None)
    steps = rollout(tx, jnp.zeros((4, 5)), jnp.asarray(grads, jnp.float32))
    return rms(steps[-2]), rms(steps[-1])


def test_clipping_shrinks_outliers_and_nothing_else() -> None:
    """Adafactor of pytorch_optimizer divides by min(1, RMS/d): an outlier makes a step of 1.55, and 1e-3 one of 1."""
    for size, clipped in ((1e-3, 1e-3), (0.5, 0.5), (3.0, 1.0), (100.0, 1.0)):
        x = jnp.array([size, -size])
        tx = g.clip_by_block_rms(1.0)
        np.testing.assert_allclose(rms(tx.update(x, tx.init(x))[0]), clipped, rtol=1e-6)
    large, small = outlier(1.0)
    assert large == pytest.approx(1, rel=1e-5)
    assert small < 1e-3


@pytest.mark.parametrize("threshold", [0.5, 2.0])
def test_the_threshold_is_the_largest_step(threshold: float) -> None:
    """The big-vision Adafactor of timm, too, divides by min(1, RMS/d) once clipping is switched on."""
    large, small = outlier(threshold)
    assert large == pytest.approx(threshold, rel=1e-5)
    assert small < 1e-3


def test_arrays_together_step_as_each_alone() -> None:
    """Adafactor of pytorch_optimizer steps differently through its path for lists of arrays."""
    rng = np.random.default_rng(0)
    params = {k: jnp.asarray(rng.standard_normal((3, 3)), jnp.float32) for k in "ab"}
    grads = {
        k: jnp.asarray(rng.standard_normal((9, 3, 3)) * size, jnp.float32) for k, size in (("a", 1.0), ("b", 50.0))
    }
    for name in ("adafactor", "lamb"):
        together = rollout(g.get(name)(0.1), params, grads)
        for k in "ab":
            np.testing.assert_allclose(together[k], rollout(g.get(name)(0.1), params[k], grads[k]), rtol=1e-6)


def test_a_clipping_factor_multiplies() -> None:
    """LAMB of pytorch_optimizer divides by the clipping coefficient: 10 becomes 200 where 0.5 is meant.

    There it clips by the norm of all gradients, before LAMB; here is none of that kind but the clip of each unit.
    """
    p, grad = jnp.array([3.0, 4.0]), jnp.array([6.0, -8.0])
    tx = g.adaptive_grad_clip(0.1)
    clipped, _ = tx.update(grad, tx.init(p), p)
    np.testing.assert_allclose(clipped, [0.3, -0.4], rtol=1e-6)
    small, _ = tx.update(grad / 100, tx.init(p), p)
    np.testing.assert_array_equal(small, grad / 100)


def pulled_back(alias: bool) -> np.ndarray:
    """Steps of lookahead(momentum(0.1, 0.9), 2, 0.5) with gradients of 1, the velocity pulled back as well."""
    x = slow = m = before = 0.0
    steps = []
    for t in range(1, 9):
        m = 0.9 * m + 1
        fast = x - 0.1 * m
        if t % 2 == 0:
            slow = fast = slow + 0.5 * (fast - slow)
            m = before = 0.5 * m + 0.5 * (0.5 * m if alias and t > 2 else before)
        steps.append(fast - x)
        x = fast
    return np.array(steps)


def test_a_velocity_is_pulled_back_to_what_it_was() -> None:
    """In pytorch_optimizer's Lookahead that is another name of the live one: α(2−α)·m, 2.0021 for 1.8098."""
    steps = updates(g.lookahead(g.momentum(0.1), 2, 0.5, inner_state="interpolate"), np.ones(8))[:, 0]
    np.testing.assert_allclose(steps, pulled_back(alias=False), rtol=1e-5)
    assert np.abs(pulled_back(alias=True) / steps - 1).max() > 0.05


def test_pulling_back_reaches_adam_and_takes_any_share() -> None:
    """pytorch_optimizer pulls back a "momentum_buffer" only, which its Adam does not have, and refuses α = 1."""
    grads = np.float32(np.random.default_rng(0).standard_normal((8, 3)))
    kept, pulled = (updates(g.lookahead(g.adam(0.1), 2, 0.5, inner_state=s), grads) for s in ("keep", "interpolate"))
    np.testing.assert_array_equal(kept[:2], pulled[:2])
    assert (kept[2] != pulled[2]).all()
    whole = updates(g.lookahead(g.adam(0.1), 2, 1.0, inner_state="interpolate"), grads)
    np.testing.assert_array_equal(whole, updates(g.adam(0.1), grads))


def test_the_velocity_of_the_last_sync_is_a_copy() -> None:
    """In the code of Lookahead's own authors it is another name of the live velocity, and goes on with it."""
    tx, x = g.interpolate_state(g.chain(g.trace(0.9)), every=2, share=0.5), jnp.zeros(2)
    state, kept = tx.init(x), []
    for _ in range(6):
        _, state = tx.update(x + 1, state, x)
        kept.append(float(state["state"]["synchronized"]["trace"]["memory"][0]))
    at_2 = 0.5 * 1.9
    at_4 = 0.5 * (0.9 * (0.9 * at_2 + 1) + 1) + 0.5 * at_2
    np.testing.assert_allclose(kept, [0, 0, at_2, at_2, at_4, at_4], rtol=1e-6)


def test_lars_has_the_decay_in_its_denominator() -> None:
    """LARS of pytorch_optimizer leaves β·‖w‖ out: with a gradient of 1e-8 a step of 1e7 for one of 1."""
    tx = g.lars_2017(1.0, momentum=0.0, weight_decay=0.1, trust_coefficient=1.0)
    np.testing.assert_allclose(updates(tx, [1e-8], start=1.0), -1, rtol=1e-5)


MEMORIES = {
    "ema": (lambda: g.ema(0.9), 0.19),
    "trace": (lambda: g.trace(0.9), 1.9),
    "total": (g.total, 2.0),
    "running_max": (g.running_max, 1.0),
    "decayed_max": (lambda: g.decayed_max(0.9), 1.0),
    "factored_ema": (g.factored_ema, 1.0),
    "scale_by_adadelta": (lambda: g.scale_by_adadelta(0.9, 1.0), 0.19),
}


@pytest.mark.parametrize("name", MEMORIES)
def test_memories_do_not_stay_at_zero(name: str) -> None:
    """The average of AdaNorm in pytorch_optimizer is computed and not kept: it stays 0, and so does what it does.

    AdaNorm is not among ours; these are the memories that are.
    """
    make, expected = MEMORIES[name]
    tx, x = make(), jnp.ones(2)
    _, first = tx.update(x, tx.init(x), x)
    _, state = tx.update(x, first, x)
    kept = [a for a in jax.tree.leaves(state) if a.dtype != jnp.int32]
    np.testing.assert_allclose(kept[0], expected, rtol=1e-5)


DECAYING = {
    "adamw": (lambda: g.adamw(0.1, weight_decay=0.5), 0.05),
    "sgdw": (lambda: g.sgdw(0.1, weight_decay=0.5), 0.05),
    "lion": (lambda: g.lion(0.1, weight_decay=0.5), 0.05),
    "ranger": (lambda: g.ranger(0.1, weight_decay=0.5), 0.05),
    "adaboundw": (lambda: g.adaboundw(weight_decay=0.05), 0.05),
}


@pytest.mark.parametrize("name", DECAYING)
def test_decay_is_a_share_of_each_weight(name: str) -> None:
    """The SGDW of the other pytorch-optimizer, jettify's, adds the constant −0.01 to 5 and to −5 alike."""
    make, share = DECAYING[name]
    p = jnp.array([5.0, -5.0, 0.0])
    tx = make()
    np.testing.assert_allclose(tx.update(0 * p, tx.init(p), p)[0], -share * p, rtol=1e-6)


@pytest.mark.parametrize("name", DECAYING)
def test_decay_comes_once_whatever_the_dtypes(name: str) -> None:
    """The SGDW of timm decays all weights once for every group of a dtype: here it would be three times.

    Nothing of ours is grouped by dtype; here are arrays of three, each of which decays once in a step.
    """
    make, share = DECAYING[name]
    tx = make()
    params = {dtype: jnp.full(2, 2.0, dtype) for dtype in ("float16", "bfloat16", "float32")}
    steps, _ = jax.jit(tx.update)(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    for dtype, step in steps.items():
        assert step.dtype == dtype
        np.testing.assert_allclose(step.astype(float), -2 * share, rtol=4e-3)


def synchronizations(first: float, at: tuple[int, ...]) -> list[float]:
    """The slow weights after each of 11 steps of −0.1, given where they start and when they are pulled."""
    slow, fast, out = first, 0.0, []
    for t in range(1, 12):
        fast -= 0.1
        if t in at:
            slow = fast = slow + 0.5 * (fast - slow)
        out.append(slow)
    return out


def slow_weights_of_ours() -> list[float]:
    tx, x = g.lookahead(g.sgd(0.1), 5, 0.5), jnp.zeros(1)
    state, out = tx.init(x), []
    for _ in range(11):
        step, state = tx.update(jnp.ones(1), state, x)
        x = x + step
        out.append(float(g.eval_params(state, x)[0]))
    return out


def test_slow_weights_start_at_the_first_parameters() -> None:
    """jettify's Lookahead starts them after the first step, and pulls at steps 1, 6 and 11 in place of 5 and 10."""
    expected = synchronizations(0.0, (5, 10))
    np.testing.assert_allclose(slow_weights_of_ours(), expected, rtol=1e-6)
    assert np.abs(np.array(synchronizations(-0.1, (1, 6, 11))) - expected).max() > 0.05


def test_the_first_steps_of_lookahead_are_averaged_too() -> None:
    """timm's Lookahead takes the slow weights from the first sync, which changes nothing: −0.5 for −0.25."""
    assert slow_weights_of_ours()[4] == pytest.approx(-0.25)


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (2, 3, 2, 4, 5)])
def test_adafactor_takes_kernels_of_any_rank(shape: tuple[int, ...]) -> None:
    """jettify's Adafactor raises RuntimeError for more than two axes; here all but two are a batch of matrices."""
    grads = jnp.asarray(np.random.default_rng(0).standard_normal((4, *shape)), jnp.float32)
    tx = g.adafactor(1.0, min_parameter_scale=None, clipping_threshold=1e9)
    steps = np.asarray(rollout(tx, jnp.zeros(shape), grads)).reshape(4, -1, 4, 5)
    one = rollout(tx, jnp.zeros((4, 5)), grads.reshape(4, -1, 4, 5)[:, 1])
    np.testing.assert_allclose(steps[:, 1], one, rtol=1e-5)


def test_lamb_without_decay_is_lamb() -> None:
    """timm's Lamb(weight_decay=0) is a clipped Adam: from 5 a step of −0.1, where LAMB's is −0.5."""
    for tx in (g.lamb(0.1, weight_decay=0.0), g.lamb(0.1, mask=False)):
        np.testing.assert_allclose(updates(tx, [1.0], start=5.0), -0.5, rtol=1e-5)


def test_adafactors_rate_takes_the_place_of_the_relative_step() -> None:
    """Adafactor of Keras takes min(rate, 1/√t) even with relative_step=False: at t = 100 0.1 for a rate of 1."""
    np.testing.assert_allclose(updates(g.adafactor(1.0, min_parameter_scale=None), np.ones(100)), -1, rtol=1e-5)


def test_adafactor_saves_what_it_factors() -> None:
    """Adafactor of Keras keeps a v of the full size beside its rows and columns: 2144 numbers for 96."""
    state = g.adafactor().init({"kernel": jnp.zeros((64, 32)), "conv": jnp.zeros((3, 3, 8, 16))})
    assert sum(a.size for a in jax.tree.leaves(state) if a.ndim) == 64 + 32 + 9 * (8 + 16)


def test_nadams_momentum_takes_its_time() -> None:
    """Nadam of Keras has 0.96ᵗ for 0.96^(t/250): 0.89 for 0.46 at t = 100, and steps 0.45 of their length away."""
    assert float(g.nadam_momentum(0.9)(99)) == pytest.approx(0.9 * (1 - 0.5 * 0.96**0.4), rel=1e-6)
    grads = np.float32(np.random.default_rng(0).standard_normal((500, 8)))
    steps = updates(g.nadam(1.0, b1=0.9), grads)
    np.testing.assert_allclose(steps, dozat(grads), rtol=1e-3, atol=1e-5)
    assert rms(dozat(grads, speed=1.0) - steps) > 0.3 * rms(steps)


def test_lambs_decay_is_within_its_ratio() -> None:
    """Lamb of Keras decays outside of the ratio: of weights 3 with a zero gradient 0.1·0.5·3 goes, for 0.1·3."""
    tx, p = g.lamb(0.1, weight_decay=0.5), jnp.array([3.0, 4.0])
    np.testing.assert_allclose(tx.update(0 * p, tx.init(p), p)[0], -0.1 * p, rtol=1e-6)
    step, _ = tx.update(jnp.array([1.0, -1.0]), tx.init(p), p)
    assert float(jnp.linalg.norm(step)) == pytest.approx(0.1 * 5, rel=1e-6)


def test_every_method_is_found_by_its_name() -> None:
    """Lamb is missing from the list of Keras: optimizers.get("lamb") fails."""
    makers: dict[str, Any] = {}
    for module in pkgutil.iter_modules(optimizers.__path__, optimizers.__name__ + "."):
        inside = vars(importlib.import_module(module.name))
        makers |= {k: f for k, f in inside.items() if hasattr(f, "__wrapped__") and f.__module__ == module.name}
    assert {"sgd", "lamb", "ranger21"} <= set(makers)
    for name, maker in makers.items():
        assert g.get(name).maker is maker
        assert getattr(g, name) is maker
    assert all(isinstance(e(), optax.GradientTransformation) for e in library() if e.kind == "optimizer")
