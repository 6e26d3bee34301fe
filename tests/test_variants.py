"""Settings that the three of every method cannot hold: axes, masks and limits, against the same oracles."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdo_optax as g
from gdo_optax.engine.piece import Piece
from tests import oracles
from tests.catalogue import rollout
from tests.test_oracles import relative_error


STEPS = 40
SHAPES = [(5,), (1, 6), (4, 3), (5, 2, 4), (3, 2, 3), (2, 3, 4, 2)]


def problem(shape: tuple[int, ...], steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal(shape), rng.standard_normal((steps, *shape)) * 10.0 ** rng.uniform(-2, 1, shape)


def updates(tx: Piece, params: Any, grads: Any) -> Any:
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, rollout(tx, *(jax.tree.map(jnp.asarray, t) for t in (params, grads))))


@pytest.mark.parametrize("factored_dims", ["last", "largest"])
@pytest.mark.parametrize("min_dim_size_to_factor", [1, 3])
def test_adafactor_factors_the_axes_of_the_oracle(factored_dims: str, min_dim_size_to_factor: int) -> None:
    settings: dict[str, Any] = {
        "factored_dims": factored_dims, "min_dim_size_to_factor": min_dim_size_to_factor,
        "momentum": 0.9, "momentum_position": "after",
    }  # fmt: skip
    problems = [problem(shape) for shape in SHAPES]
    params, grads = ([p[i] for p in problems] for i in (0, 1))
    for ours, x, gradients in zip(updates(g.adafactor(**settings), params, grads), params, grads, strict=True):
        expected = oracles.adafactor(x, gradients, **settings)
        assert relative_error(ours, expected, x, single=False, slow=False) < 1e-9, x.shape


def test_what_is_factored_is_the_state() -> None:
    params = {"wide": jnp.ones((5, 2, 4)), "thin": jnp.ones((2, 7)), "bias": jnp.ones(7)}
    tx = g.factored_ema(factored_dims="largest", min_dim_size_to_factor=3)
    state = jax.tree.map(jnp.shape, tx.init(params)["state"])
    assert state["row"] == {"wide": (5, 2), "thin": None, "bias": None}
    assert state["col"] == {"wide": (2, 4), "thin": None, "bias": None}
    assert state["whole"] == {"wide": None, "thin": (2, 7), "bias": (7,)}


def test_the_corrected_decay_rate_is_adams_average() -> None:
    x, gradients = problem((7,))
    ours = updates(g.factored_ema(g.corrected_decay_rate(0.9)), x, gradients**2)
    adams = updates(g.chain(g.ema(0.9), g.bias_correction(0.9)), x, gradients**2)
    np.testing.assert_allclose(ours, adams, rtol=1e-12)


def heavy_ball(x: np.ndarray, gradients: np.ndarray, rate: float, weight_decay: float) -> np.ndarray:
    """LARS without rates of layers: u = −v, v = 0.9·v + α·(g + λ·x)."""
    v, out = np.zeros_like(x), []
    for gradient in gradients:
        v = 0.9 * v + rate * (gradient + weight_decay * x)
        x = x - v
        out.append(-v)
    return np.stack(out)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("decays", [True, False])
def test_the_masks_of_lars_2017(decays: bool, scaled: bool) -> None:
    """A tree with one array of each kind; what a mask leaves out has no decay, or a rate of 1."""
    x, gradients = problem((4, 3))
    params, grads = ({"a": t, "b": t[..., :1]} for t in (x, gradients))
    tx = g.lars_2017(
        weight_decay=0.1, mask={"a": decays, "b": not decays}, trust_ratio_mask=g.excluding("b" if scaled else "a")
    )
    ours = updates(tx, params, grads)
    for k, d, s in (("a", decays, scaled), ("b", not decays, not scaled)):
        decay = 0.1 if d else 0.0
        local = oracles.lars_2017(params[k], grads[k], weight_decay=decay)
        expected = local if s else heavy_ball(params[k], grads[k], 0.1, decay)
        np.testing.assert_allclose(ours[k], expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["lamb", "lars"])
def test_the_masks_of_lamb_and_lars(name: str) -> None:
    """Without a ratio LAMB is AdamW and LARS an average of gradients; without decay both have λ = 0."""
    x, gradients = problem((4, 3))
    params, grads = (dict.fromkeys(("plain", "undecayed", "both"), t) for t in (x, gradients))
    tx = g.get(name)(
        weight_decay=0.1,
        mask=g.excluding("undecayed"),
        trust_ratio_mask={"plain": False, "undecayed": True, "both": True},
    )
    ours = updates(tx, params, grads)
    oracle = getattr(oracles, name)
    plain = {
        "lamb": lambda: oracles.adamw(x, gradients, eps=1e-6, weight_decay=0.1),
        "lars": lambda: heavy_ball(x, gradients, 0.1 * (1 - 0.9), 0.1),
    }
    expected = {
        "plain": plain[name](),
        "undecayed": oracle(x, gradients, weight_decay=0.0),
        "both": oracle(x, gradients, weight_decay=0.1),
    }
    for k in params:
        np.testing.assert_allclose(ours[k], expected[k], rtol=1e-9)


def test_the_limits_of_sgdbound() -> None:
    x, gradients = problem((5,))
    closed = updates(g.sgdbound(lower_bound=0.1, upper_bound=0.1), x, gradients)
    average = updates(g.chain(g.ema(0.9), g.scale(-0.1)), x, gradients)
    np.testing.assert_allclose(closed, average, rtol=1e-12)
    opened = updates(g.sgdbound(eps=0.0, lower_bound=0.0, upper_bound=float("inf")), x, gradients)
    np.testing.assert_allclose(opened, updates(g.adam(eps=0.0), x, gradients), rtol=1e-12)


def test_the_bounds_of_sgdbound_follow_the_rate() -> None:
    x, gradients = problem((5,))
    tx = g.sgdbound(lambda count: 0.1 / (1 + jnp.asarray(count, float)), lower_bound=0.5, upper_bound=0.5)
    average = updates(g.ema(0.9), x, gradients)
    np.testing.assert_allclose(updates(tx, x, gradients), -0.5 * average / np.arange(1, STEPS + 1)[:, None], rtol=1e-9)
    infinite = g.sgdbound(
        lambda count: jnp.where(jnp.asarray(count) < 3, 0.1, 0.0), lower_bound=0.0, upper_bound=float("inf")
    )
    assert np.isfinite(updates(infinite, x, gradients)).all()


def test_quasi_hyperbolic_adam_contains_adam() -> None:
    x, gradients = problem((5,))
    adam = updates(g.adam(b1=0.8), x, gradients)
    np.testing.assert_allclose(updates(g.qhadam(b1=0.8, nu1=1.0, nu2=1.0), x, gradients), adam, rtol=1e-12)


def test_nlamb_takes_the_newest_decay_out_of_its_average() -> None:
    """v̂ₜ = b2ₜ·vₜ / (1 − Π b2), which for a decay that changes is not the average of b2·g²."""
    b2, gradients = [0.5, 0.9], np.array([[1.0, 4.0], [2.0, 1.0]])
    tx = g.nlamb(1.0, b1=0.0, b2=lambda count: jnp.where(count == 0, *b2), eps=0.0, weight_decay=0.0)
    v = (1 - b2[1]) * gradients[1] ** 2 + b2[1] * (1 - b2[0]) * gradients[0] ** 2
    u = gradients[1] / np.sqrt(b2[1] * v / (1 - b2[0] * b2[1]))
    ours = updates(tx, np.ones(2), gradients)[1]
    np.testing.assert_allclose(ours / np.linalg.norm(ours), -u / np.linalg.norm(u), rtol=1e-6)


def test_gains_compare_gradients_whatever_the_rate_was() -> None:
    steps = updates(g.hinton_gains(lambda count: jnp.where(count == 0, 0.0, 1.0)), np.zeros(1), np.ones((2, 1)))
    np.testing.assert_allclose(steps, [[0], [-1.05]], rtol=1e-12)


def test_nesterov_ema_is_nadams_for_a_schedule() -> None:
    x, gradients = problem((5,))
    scale = [g.square(), g.ema(0.999), g.bias_correction(0.999), g.inverse_root(1e-8)]
    tx = g.chain(g.adaptive([g.nesterov_ema(g.nadam_momentum(0.99))], scale), g.scale_by_learning_rate(2e-3))
    np.testing.assert_allclose(updates(tx, x, gradients), oracles.nadam(x, gradients), rtol=1e-9)


def test_excluding_matches_the_whole_path() -> None:
    tree = {"encoder": {"norm": {"scale": 1.0}, "kernel": 1.0}, "bias": None}
    assert g.excluding("norm/.*")(tree) == {"encoder": {"norm": {"scale": False}, "kernel": True}, "bias": None}
    assert g.excluding()(tree)["encoder"]["norm"]["scale"]


def test_an_l2_penalty_asks_for_parameters_only_where_there_is_one() -> None:
    x = jnp.ones(2)
    assert g.adabound().update(x, g.adabound().init(x))[0].shape == (2,)
    with pytest.raises(ValueError, match="reads the parameters"):
        g.adabound(weight_decay=0.1).update(x, g.adabound(weight_decay=0.1).init(x))
    after = g.amsbound(weight_decay=0.5, mask={"a": True, "b": False})
    params = {"a": jnp.full(1, 2.0), "b": jnp.full(1, 2.0)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    step, _ = after.update(zeros, after.init(params), params)
    assert step["a"] < 0
    assert step["b"] == 0
