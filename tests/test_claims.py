"""What the papers claim of their methods, as numbers that can be checked in a second."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from tests.catalogue import gradients, parameters, rollout


def path(tx: optax.GradientTransformation, x: jax.Array, slopes: jax.Array) -> jax.Array:
    """Every point that a run on given gradients comes to."""

    def step(carry: Any, slope: jax.Array) -> Any:
        x, state = carry
        update, state = tx.update(jnp.full_like(x, slope) if slope.ndim == 0 else slope, state, x)
        return (x + update, state), x + update

    return jax.lax.scan(step, (x, tx.init(x)), slopes)[1]


def quadratic(a: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum((a @ x - b) ** 2)


def logistic(a: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.mean(jnp.logaddexp(0, a @ x - b)) + 5e-3 * jnp.sum(x**2)


def minimum(f: Any, x: jax.Array) -> jax.Array:
    """By Newton's method, with the largest of forty steps that goes down."""

    def step(_: int, x: jax.Array) -> jax.Array:
        way = jnp.linalg.solve(jax.hessian(f)(x), jax.grad(f)(x))
        points = x[None] - 0.5 ** jnp.arange(40.0)[:, None] * way[None]
        values = jax.vmap(f)(points)
        return jnp.where(values.min() < f(x), points[jnp.argmin(values)], x)

    return jax.lax.fori_loop(0, 60, step, x)


@pytest.mark.parametrize(("f", "count"), [(quadratic, 170), (logistic, 30)])
def test_nesterovs_bound_is_never_broken(f: Any, count: int) -> None:
    """f(x_k) − f* ≤ C·L·‖y₀−x*‖²/(k+2)²: C = 2 with the step 1/L, 4 with the paper's halving from a step too long."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((count, 11, 8)) * 10.0 ** rng.uniform(-1.5, 1.5, (count, 1, 8))
    b, steps = rng.standard_normal((count, 11)), 60

    def excess(a: jax.Array, b: jax.Array) -> jax.Array:
        """By how much either method breaks its bound, relative to the bound, in the worst step."""
        loss = functools.partial(f, a, b)
        curvature = jnp.linalg.norm(a, 2) ** 2 * (1 if f is quadratic else 1 / 44) + (0 if f is quadratic else 1e-2)
        solution, y = minimum(loss, jnp.zeros(8)), jnp.zeros(8)
        worst = []
        for tx, factor in (
            (g.nesterov_1983(1 / curvature), 2),
            (g.nesterov_1983_backtracking(100 / curvature), 4),
        ):

            def step(carry: Any, _: None, tx: Any = tx) -> Any:
                y, state = carry
                value, slope = jax.value_and_grad(loss)(y)
                update, state = tx.update(slope, state, y, value=value, value_fn=loss)
                return (y + update, state), loss(g.eval_params(state, y))

            values = jax.lax.scan(step, (y, tx.init(y)), None, steps)[1]
            bound = factor * curvature * jnp.sum((y - solution) ** 2) / (jnp.arange(float(steps)) + 2) ** 2
            worst.append(jnp.max((values - loss(solution)) / bound))
        return jnp.stack(worst)

    with jax.enable_x64(True):
        shares = np.asarray(jax.jit(jax.vmap(excess))(jnp.asarray(a), jnp.asarray(b)))
    assert shares.shape == (count, 2)
    assert float(shares.max()) <= 1
    assert float(shares.max(0).min()) > 0.01  # the bound is one that could be broken


def test_nesterov_is_faster_than_descent_on_the_long_ravine() -> None:
    """Eigenvalues from 1e-6 to 1, L = 1: after 1000 steps an error below 2.0e-5, where descent has 3.7e-3."""
    with jax.enable_x64(True):
        curvatures = jnp.logspace(-6, 0, 200)
        solution = jnp.asarray(np.random.default_rng(0).standard_normal(200))

        def error(tx: optax.GradientTransformation) -> float:
            def step(carry: Any, _: None) -> Any:
                x, state = carry
                update, state = tx.update(curvatures * (x - solution), state, x)
                return (x + update, state), g.eval_params(state, x)

            seen = jax.lax.scan(step, (jnp.zeros(200), tx.init(jnp.zeros(200))), None, 1001)[1][-1]
            return float(0.5 * jnp.sum(curvatures * (seen - solution) ** 2))

        assert error(g.nesterov_1983(1.0)) < 2.0e-5
        assert error(g.sgd(1.0)) == pytest.approx(3.7e-3, rel=0.02)


def test_nesterov_with_sutskevers_schedule_is_his_own_form() -> None:
    """θ and v of the paper, the gradient at θ + μₜ·vₜ₋₁, on a quadratic: the parameters are the looked-ahead ones."""
    with jax.enable_x64(True):
        momentum, curvature = g.sutskever_momentum(), jnp.array([1.0, 30.0])
        tx = g.nesterov(0.03, momentum)
        p, theta, v = jnp.ones(2), jnp.ones(2), jnp.zeros(2)
        state = tx.init(p)
        update = jax.jit(tx.update)
        for count in range(600):  # over two changes of μ, at 250 and 500
            u, state = update(curvature * p, state)
            p = p + u
            mu, soon = (float(momentum(count + i)) for i in (0, 1))
            v = mu * v - 0.03 * curvature * (theta + mu * v)
            theta = theta + v
            np.testing.assert_allclose(p, theta + soon * v, rtol=1e-6, atol=1e-12)


def test_nine_small_gradients_and_a_large_one() -> None:
    """Nine of +0.1 and one of −0.9 cancel: RMSprop stays about where it was, Rprop goes the nine steps down."""
    slopes = jnp.tile(jnp.array([0.1] * 9 + [-0.9]), 30)
    fixed = path(g.rprop(0.01, eta_minus=0.999999, eta_plus=1.0, variant="minus"), jnp.zeros(1), slopes)
    assert float(fixed[-1][0]) == pytest.approx(-0.01 * 8 * 30, rel=1e-3)
    averaged = path(g.rmsprop(0.01, decay=0.999), jnp.zeros(1), slopes)
    assert abs(float(averaged[-1][0] - averaged[99][0])) < 0.1 * float(fixed[99][0] - fixed[-1][0])


@pytest.mark.parametrize("b1", [0.0, 0.9, 0.99])
def test_no_step_of_adam_is_longer_than_it_may_be(b1: float) -> None:
    """α·(1−b1)/√(1−b2) where that is more than α, else α; a lone gradient after many zeros comes closest."""
    slopes = jnp.concatenate([jnp.full(1, 1e-3), jnp.zeros(5000), jnp.array([1.0, -3.0, 1e-3, 1e3]), jnp.zeros(200)])
    steps = jnp.diff(path(g.adam(0.1, b1=b1), jnp.zeros(1), slopes), axis=0, prepend=0.0)
    bound = 0.1 * max(1.0, (1 - b1) / (1 - 0.999) ** 0.5)
    assert 0.5 * bound < float(jnp.max(jnp.abs(steps))) <= bound * (1 + 1e-5)


def test_adagrads_sum_of_squares_over_norms() -> None:
    """Lemma: Σₜ gₜ²/‖g₁…ₜ‖ ≤ 2·‖g₁…_T‖ in every coordinate; the step of Adagrad is one term's root of it."""
    slopes = gradients()["kernel"]
    moved = rollout(g.adagrad(1.0, eps=0.0), jnp.zeros((4, 3)), jnp.asarray(slopes, jnp.float32))
    total = np.sum(-np.asarray(moved) * slopes, 0)
    assert np.all(total <= 2 * np.sqrt(np.sum(slopes**2, 0)) * (1 + 1e-5) + 1e-30)


@pytest.mark.parametrize("l1", [0.0, 0.3])
@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_closed_forms_of_dual_averaging_and_mirror_descent(l1: float, l2: float) -> None:
    """From x₁ = 0 and with δ = 0.1, against the two argmins on a fine grid, coordinate by coordinate."""
    with jax.enable_x64(True):
        slopes, eta, delta = np.random.default_rng(0).standard_normal((6, 4)), 0.7, 0.1
        settings: dict[str, Any] = {"eps": delta, "l1": l1, "l2": l2, "low": -0.6, "high": 0.8}
        grid = np.linspace(-0.6, 0.8, 140_001)[:, None]
        penalty = l1 * np.abs(grid) + l2 / 2 * grid**2
        duals = path(g.adagrad_rda(eta, **settings), jnp.zeros(4), jnp.asarray(slopes))
        mirrors = np.concatenate([np.zeros((1, 4)), path(g.adagrad_mirror(eta, **settings), jnp.zeros(4), slopes)])
        for t in range(1, 7):
            h = delta + np.sqrt(np.sum(slopes[:t] ** 2, 0))
            dual = eta * slopes[:t].mean(0) * grid + eta * penalty + h * grid**2 / (2 * t)
            mirror = eta * slopes[t - 1] * grid + eta * penalty + h / 2 * (grid - mirrors[t - 1]) ** 2
            np.testing.assert_allclose(duals[t - 1], grid[np.argmin(dual, 0), 0], atol=2e-5)
            np.testing.assert_allclose(mirrors[t], grid[np.argmin(mirror, 0), 0], atol=2e-5)


def test_dual_averaging_is_sparser() -> None:
    """At the same l1, on noise with one informative coordinate in ten."""
    rng = np.random.default_rng(0)
    slopes = jnp.asarray(rng.standard_normal((400, 50)) + np.where(np.arange(50) % 10 == 0, 1.0, 0.0), jnp.float32)
    ends = [path(maker(0.1, l1=0.2), jnp.zeros(50), slopes)[-1] for maker in (g.adagrad_rda, g.adagrad_mirror)]
    zeros = [int(jnp.sum(end == 0)) for end in ends]
    assert zeros[0] == 45
    assert zeros[1] < 45


@pytest.mark.parametrize("maker", [g.adabound, g.amsbound, g.sgdbound])
def test_bounds_are_never_broken(maker: Any) -> None:
    """In 1e5 steps of gradients over sixteen decades the step size of no coordinate leaves its bounds."""
    steps = 100_000
    slopes = jax.random.normal(jax.random.key(0), (steps, 3)) * 10.0 ** jax.random.uniform(
        jax.random.key(1), (steps, 3), minval=-12, maxval=4
    )
    moved = rollout(maker(b1=0.0), jnp.zeros(3), slopes)  # with b1 = 0 the step is η·g
    size = np.float64(-moved) / np.float64(slopes)
    t = np.arange(1, steps + 1)[:, None]
    low, high = (0.1 * (1 - 1 / (1e-3 * t + 1)), 0.1 * (1 + 1 / (1e-3 * t))) if maker is not g.sgdbound else (0.01, 1)
    assert np.all(size >= low * (1 - 1e-5))
    assert np.all(size <= high * (1 + 1e-5))


def test_an_l2_penalty_is_decay_for_sgd_but_not_for_adam() -> None:
    """Propositions 1 and 2 of AdamW: SGD with λ in the gradient is decay by α·λ, to 1e-12; with Adam nothing is."""
    with jax.enable_x64(True):
        params, grads = ({k: jnp.asarray(v) for k, v in t.items()} for t in (parameters(), gradients(steps=50)))
        alpha, decay = 0.05, 0.3
        l2, decoupled, adam_l2, adam_decoupled = (
            rollout(tx, params, grads)
            for tx in (
                g.chain(g.add_decayed_weights(decay), g.sgd(alpha)),
                g.like.paper.sgdw(alpha, momentum=0.0, weight_decay=alpha * decay),
                g.chain(g.add_decayed_weights(decay), g.adam(alpha)),
                g.like.paper.adamw(alpha, weight_decay=alpha * decay),
            )
        )
        for k in params:
            np.testing.assert_allclose(l2[k], decoupled[k], rtol=1e-12, atol=1e-14)
            assert np.max(np.abs(adam_l2[k] - adam_decoupled[k])) > 1e-3


def test_pure_decay() -> None:
    """Without a gradient AdamW shrinks by 1 − η·λ in a step; Adam with a penalty goes down in steps of α."""
    x, nothing = jnp.array([8.0]), jnp.zeros((100, 1))
    assert float(path(g.like.paper.adamw(0.01, weight_decay=0.02), x, nothing)[-1][0]) == pytest.approx(
        8 * 0.98**100, rel=1e-5
    )
    penalized = path(g.chain(g.add_decayed_weights(0.02), g.adam(0.01)), x, nothing)
    np.testing.assert_allclose(jnp.diff(penalized[:, 0]), -0.01, rtol=0.1)


def test_adafactors_outdated_average() -> None:
    """A jump from 1 to 100 after a long time: 100/√(0.999 + 0.001·10⁴) = 30.15 without clipping, 1 with it."""
    slopes = jnp.concatenate([jnp.ones(20_000), jnp.full(1, 100.0)])
    jump = [
        -float(jnp.diff(path(tx, jnp.zeros(1), slopes)[-2:, 0])[0])
        for tx in (
            g.chain(g.scale_by_rms(0.999), g.scale(-1.0)),
            g.chain(g.scale_by_rms(0.999), g.clip_by_block_rms(1.0), g.scale(-1.0)),
        )
    ]
    assert jump == pytest.approx([30.15, 1.0], rel=2e-3)


SLOPES = {
    "theorem 1": (g.reddi_theorem1(3.0, 100_000), 0.0, 1 / 10, 1.0, -0.98),
    "online": (g.reddi_online(300_000), 0.9, 0.99, 0.5, -0.98),
    "stochastic": (g.reddi_stochastic(1_000_000, seed=0), 0.9, 0.99, 1.0, -0.8),  # on its way, against the noise
}


@pytest.mark.parametrize("name", SLOPES)
def test_where_adam_goes_to_the_worst_point(name: str) -> None:
    """With α/√t on [-1, 1], where the best x is −1 (Reddi et al. 2018): Adam ends at +1, AMSGrad at −1."""
    problem, b1, b2, alpha, reached = SLOPES[name]
    ends = [
        float(path(g.chain(tx, g.project_to_box(problem.low, problem.high)), jnp.zeros(()), problem.gradients)[-1])
        for tx in (
            g.adam(g.inverse_sqrt_decay(alpha), b1=b1, b2=b2),
            g.like.paper.amsgrad(g.inverse_sqrt_decay(alpha), b1=b1, b2=b2),
        )
    ]
    assert ends[0] > 0.95
    assert ends[1] < reached


def test_an_average_with_all_squares_goes_to_the_best_point() -> None:
    """AdamNC on the same sequence of losses, with its own rates."""
    problem = g.reddi_theorem1(3.0, 100_000)
    tx = g.chain(g.adamnc(1.0, b1=0.0), g.project_to_box(-1.0, 1.0))
    assert float(path(tx, jnp.zeros(()), problem.gradients)[-1]) < -0.95
