"""Two gradients a step: one form, the methods that differ in its pieces, and a game where one is not enough."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from tests import oracles
from tests.catalogue import cheap_jit, falling
from tests.oracles import evaluations
from tests.test_wrappers import STEPS, equal


A = np.array([[3.0, 1.0], [1.0, 0.5]])
START = {"a": np.array([1.0, -2.0]), "b": np.array([[0.5], [2.0], [-1.0]])}


def loss(p: Any) -> Any:
    return (
        p["a"] @ jnp.asarray(A, p["a"].dtype) @ p["a"] / 2 + jnp.sum(p["b"] ** 4) / 4 + jnp.sum(p["a"]) * p["b"][0, 0]
    )


def slopes(xs: list[np.ndarray]) -> list[np.ndarray]:
    a, b = xs
    coupled = np.zeros_like(b)
    coupled[0, 0] = a.sum()
    return [A @ a + b[0, 0], b**3 + coupled]


def weights(tx: optax.GradientTransformation, value_and_grad_fn: Any, params: Any, steps: int = STEPS) -> Any:
    """The parameters after each of the steps, in float64."""
    with jax.enable_x64(True):

        def step(carry: tuple[Any, Any], _: None) -> tuple[Any, Any]:
            params, state = carry
            gradient = value_and_grad_fn(params)[1]
            updates, state = tx.update(gradient, state, params, value_and_grad_fn=value_and_grad_fn)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)
        out = cheap_jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=steps)[1])(params)
        return jax.tree.map(np.asarray, out)


ADAM = {"learning_rate": falling, "b1": 0.8, "b2": 0.95}


def sam(radius: float, inner: Any, settings: dict[str, Any]) -> Any:
    return evaluations.sam(slopes, START.values(), STEPS, radius, inner, settings)


def extragradient(*learning_rate: Any) -> Any:
    return evaluations.extragradient(slopes, START.values(), STEPS, *learning_rate)


LOOPS = {
    "sam": (g.sam(g.sgd(0.05)), lambda: sam(0.05, oracles.sgd, {"learning_rate": 0.05})),
    "sam-adam": (g.sam(g.adam(**ADAM), 0.5), lambda: sam(0.5, oracles.adam, ADAM)),
    "sam-0": (g.sam(g.momentum(0.02), 0.0), lambda: sam(0.0, oracles.momentum, {"learning_rate": 0.02})),
    "extragradient": (g.extragradient(), extragradient),
    "extragradient-0.1": (g.extragradient(0.1), lambda: extragradient(0.1)),
    "extragradient-falling": (g.extragradient(falling), lambda: extragradient(falling)),
}


@pytest.mark.parametrize("name", LOOPS)
def test_equals_the_oracle(name: str) -> None:
    tx, oracle = LOOPS[name]
    ours = weights(tx, jax.value_and_grad(loss), START)
    for array, expected in zip(ours.values(), zip(*oracle(), strict=True), strict=True):
        equal(array, np.stack(expected))


def game(p: Any) -> Any:
    """x descends on x·y, and y ascends: around the saddle point at 0."""
    return p["x"] * p["y"], {"x": p["y"], "y": -p["x"]}


def distance(tx: optax.GradientTransformation, steps: int = 400) -> float:
    last = jax.tree.map(lambda x: x[-1], weights(tx, game, {"x": 1.0, "y": 1.0}, steps))
    return float(np.hypot(last["x"], last["y"]))


def test_extragradient_finds_the_saddle_that_descent_circles() -> None:
    """|λ|² of a step is 1 + α² for descent and 1 − α² + α⁴ with the gradient ahead."""
    alpha, steps, start = 0.2, 400, 2**0.5
    assert distance(g.sgd(alpha)) == pytest.approx(start * (1 + alpha**2) ** (steps / 2), rel=1e-9)
    assert distance(g.extragradient(alpha)) == pytest.approx(start * (1 - alpha**2 + alpha**4) ** (steps / 2), rel=1e-9)


def test_an_optimistic_form_is_one_list_more() -> None:
    """2·gₜ − gₜ₋₁ for the gradient ahead: optax.optimistic_gradient_descent, and the saddle again."""

    @g.piece
    def extrapolated() -> g.Rule:
        return g.rule(lambda last, x: (x, 2 * x - last), init=0.0)  # 2·gₜ − gₜ₋₁

    optimistic = g.chain(extrapolated(), g.scale_by_learning_rate(0.2))
    theirs = optax.optimistic_gradient_descent(0.2)
    first = {"x": 1.0, "y": 1.0}
    ours, others = weights(optimistic, game, first), weights(theirs, game, first)
    for k in first:  # theirs has g₀ = g₁
        np.testing.assert_allclose(ours[k][0] - 1, 2 * (others[k][0] - 1), rtol=1e-12)
    assert distance(optimistic) < 0.01


def test_a_midpoint_is_one_list_more() -> None:
    """θ′ = θ − α·∇f(θ − α/2·∇f(θ)), of second order: half the step, a quarter of the distance to e⁻ᵗ."""

    def error(rate: float) -> float:
        midpoint = g.chain(g.with_second_gradient(to=[g.scale(-rate / 2)]), g.scale_by_learning_rate(rate))
        steps = round(1 / rate)
        xs = weights(midpoint, jax.value_and_grad(lambda p: jnp.sum(p**2) / 2), np.ones(1), steps)
        return abs(float(xs[-1, 0]) - np.exp(-1))

    assert error(0.02) / error(0.01) == pytest.approx(4, rel=0.05)


def test_of_the_norm_of_all() -> None:
    piece = g.normalize_by_update_norm()
    with jax.enable_x64(True):
        x = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.array(-3.0), "c": None}
        out, _ = piece.update(x, piece.init(x))
        assert float(optax.tree.norm(out)) == pytest.approx(1, rel=1e-14)
        np.testing.assert_allclose(out["b"], -3 / np.sqrt(64), rtol=1e-14)
    for zero in (jnp.zeros(3), jnp.zeros((0,)), {}):
        assert jax.tree.all(jax.tree.map(lambda y: bool((y == 0).all()), piece.update(zero, piece.init(zero))[0]))
    large = piece.update([jnp.full(4, 1e30), jnp.full(4, -1e30)], piece.init(None))[0]
    assert all(bool(jnp.isfinite(y).all()) for y in large)


def test_no_gradient_no_ascent() -> None:
    """At a minimum the second gradient is the first, and no 0/0."""
    tx, p = g.sam(g.sgd(0.1)), jnp.zeros(2)
    updates, _ = tx.update(p, tx.init(p), p, value_and_grad_fn=jax.value_and_grad(lambda p: jnp.sum(p**2)))
    assert (updates == 0).all()


def updated(tx: optax.GradientTransformation, *params: Any) -> Any:
    return tx.update(jnp.ones(1), tx.init(jnp.ones(1)), *params)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: g.sam(0.1), TypeError, "0.1 is no gradient transformation"),
        (lambda: g.sam(g.sgd(), radius=-1.0), ValueError, r"sam: radius=-1.0 is outside \[0, inf\)"),
        (lambda: updated(g.sam(g.sgd()), jnp.ones(1)), ValueError, "value_and_grad_fn="),
        (lambda: updated(g.extragradient()), ValueError, "reads the parameters"),
        (lambda: g.with_second_gradient(g.sgd()), TypeError, r"is not a list of pieces: \[sgd\(\)\]"),
        (lambda: g.with_second_gradient([g.sgd]), TypeError, r"call it, sgd\(…\)"),
    ],
)
def test_what_is_said_to_a_wrong_call(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
