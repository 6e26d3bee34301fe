"""The numbers of the papers on the problems they are about: ravines, momentum, interference, Adam's failures."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdo_optax as g
from gdo_optax import damping as d
from gdo_optax import problems as p
from gdo_optax.diagnostics import interference


KAPPAS = [10, 100, 1000, 10_000]
GRADIENT_DESCENT, HEAVY_BALL = [68, 690, 6907, 69_077], [21, 68, 218, 690]


def steps_to(shrink: float, by: float = 1e-6) -> int:
    return int(math.log(by) / math.log(shrink))


def amplitudes(rate: float, momentum: float, curvature: float, steps: int) -> np.ndarray:
    """|x| of the heavy ball on k·x²/2, with what is left of it in the velocity."""
    x, velocity, seen = 1.0, 0.0, []
    for _ in range(steps):
        velocity = momentum * velocity - rate * curvature * x
        x += velocity
        seen.append(abs(x) + abs(velocity))
    return np.array(seen)


def descended(tx: g.Piece, problem: p.Problem, steps: int) -> np.ndarray:
    """The parameters after every step of an optimizer of the package."""

    def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
        x, state = carry
        updates, state = tx.update(jax.grad(problem.loss)(x), state, x)
        return (x + updates, state), x + updates

    return np.asarray(jax.lax.scan(step, (problem.params, tx.init(problem.params)), length=steps)[1])


@pytest.mark.parametrize(("kappa", "gd", "hb"), [*zip(KAPPAS, GRADIENT_DESCENT, HEAVY_BALL, strict=True)])
def test_steps_in_a_ravine(kappa: int, gd: int, hb: int) -> None:
    rate = d.optimal_gradient_descent(1, kappa)
    for curvature in (1, kappa):
        assert steps_to(d.spectral_radius(rate, 0.0, curvature)) == gd
    ball = d.optimal_heavy_ball(1, kappa)
    radii = d.spectral_radius(*ball, np.geomspace(1, kappa, 9))
    np.testing.assert_allclose(radii, math.sqrt(ball.momentum), rtol=1e-6)
    assert steps_to(math.sqrt(ball.momentum)) == hb


@pytest.mark.parametrize("kappa", KAPPAS[:3])
@pytest.mark.parametrize("turn", [{}, {"angle": 0.7}, {"seed": 3}])
def test_the_package_needs_as_many(kappa: int, turn: dict[str, Any]) -> None:
    with jax.enable_x64(True):
        problem = p.ravine(kappa, dim=3, **turn)
        n = GRADIENT_DESCENT[KAPPAS.index(kappa)]
        norms = np.linalg.norm(descended(g.sgd(d.optimal_gradient_descent(1, kappa)), problem, n + 1), axis=1)
        outer = math.sqrt(2)  # the two outermost modes, which shrink by the radius itself
        assert norms[-1] < 1e-6 * outer * (1 + 1e-6)
        assert norms[-2] > 1e-6 * outer
        ball = d.optimal_heavy_ball(1, kappa)
        steps = 4 * HEAVY_BALL[KAPPAS.index(kappa)]
        last = np.linalg.norm(descended(g.momentum(*ball), problem, steps), axis=1)[-1]
        assert last < 2 * steps * math.sqrt(ball.momentum) ** (steps - 1)  # a double root: t·|z|ᵗ


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
def test_the_edge_of_stability(momentum: float) -> None:
    edge = d.largest_stable_rate(momentum, 3.0)
    assert edge == pytest.approx((2 + 2 * momentum) / 3)
    assert d.spectral_radius(edge, momentum, 3.0) == pytest.approx(1, abs=1e-12)
    assert d.spectral_radius(edge * (1 + 1e-4), momentum, 3.0) > 1 > d.spectral_radius(edge * (1 - 1e-4), momentum, 3.0)
    inside, outside = (amplitudes(edge * f, momentum, 3.0, 20_000) for f in (0.99, 1.01))
    assert inside[-1] < 1e-6 * inside.max()
    assert outside[-1] > 1e6 or not np.isfinite(outside[-1])
    problem = p.Problem(lambda x: 1.5 * jnp.sum(x**2), jnp.ones(1), jnp.zeros(1), 0.0, np.array([3.0]))
    assert abs(descended(g.momentum(0.99 * edge, momentum), problem, 5000)[-1, 0]) < 1e-3
    assert not abs(descended(g.momentum(1.02 * edge, momentum), problem, 5000)[-1, 0]) < 1e3


def test_critical_damping() -> None:
    assert d.critical_momentum(0.01, 1.0) == pytest.approx(0.81)
    radii = d.spectral_radius(0.01, np.array([0.81, 0.0, 0.9, 0.99]), 1.0)
    np.testing.assert_allclose(radii, [0.9, 0.99, 0.9487, 0.995], atol=5e-5)
    for product in (0.01, 0.3, 1.0, 2.5, 3.9):
        best = d.spectral_radius(1.0, d.critical_momentum(1.0, product), product)
        assert best == pytest.approx(abs(1 - math.sqrt(product)), abs=1e-7)
        assert (d.spectral_radius(1.0, np.linspace(0, 0.999, 1000), product) >= best - 1e-7).all()


def test_the_radius_is_that_of_the_iteration() -> None:
    for rate, momentum, curvature in ((0.1, 0.9, 1.0), (0.01, 0.5, 1.0), (1.7, 0.3, 1.0), (0.05, 0.0, 3.0)):
        matrix = np.array([[1 + momentum - rate * curvature, -momentum], [1, 0]])
        radius = d.spectral_radius(rate, momentum, curvature)
        assert isinstance(radius, float)
        assert radius == pytest.approx(max(abs(np.linalg.eigvals(matrix))))
        seen = amplitudes(rate, momentum, curvature, 400)
        assert (seen[-100:].max() / seen[:100].max()) ** (1 / 300) == pytest.approx(radius, rel=2e-2)


def test_ravines_have_their_curvatures() -> None:
    for turn in ({}, {"angle": 1.0}, {"seed": 0}):
        with jax.enable_x64(True):
            problem = p.ravine(100.0, dim=4, **turn)
            hessian = np.asarray(jax.jit(jax.hessian(problem.loss))(problem.params))
            np.testing.assert_allclose(np.linalg.eigvalsh(hessian), problem.curvatures, rtol=1e-9)
            assert problem.loss(problem.params) == pytest.approx(problem.curvatures.sum() / 2)
        assert (abs(hessian - np.diag(np.diag(hessian))).max() > 1) == bool(turn)
    assert p.ravine(10.0, seed=1).params.tolist() != p.ravine(10.0, seed=2).params.tolist()


@pytest.mark.parametrize("make", [p.beale, p.saddle, p.ravine])
def test_surfaces(make: Callable[[], p.Problem]) -> None:
    with jax.enable_x64(True):
        problem = make()
        np.testing.assert_allclose(jax.jit(jax.grad(problem.loss))(problem.solution), 0, atol=1e-12)
        hessian = jax.jit(jax.hessian(problem.loss))(problem.solution)
        np.testing.assert_allclose(np.linalg.eigvalsh(hessian), problem.curvatures, rtol=1e-9)
        assert make is p.saddle or problem.loss(problem.solution) == problem.minimum
    assert make().loss(make().params).dtype == jnp.float32
    assert abs(jax.grad(make().loss)(make().params)).min() > 0


@pytest.mark.parametrize(("n", "seed", "scores"), [(50, 1, (0.985, -0.881)), (100, 24, (0.992, -0.943))])
def test_the_marginal_value_of_adaptive_methods(n: int, seed: int, scores: tuple[float, float]) -> None:
    problem = p.marginal_value_problem(n, seed)
    x, y = problem
    assert x.shape == (n, 3 + 5 * n)
    assert y.sum() == {50: 12, 100: 16}[n]
    np.testing.assert_array_equal(x[:, :3], np.column_stack([y, np.ones((n, 2))]))
    np.testing.assert_array_equal(x[:, 3:].sum(1), np.where(y > 0, 1, 5))
    assert x[:, 3:].sum(0).max() == 1  # nobody shares them
    np.testing.assert_array_equal(x @ np.sign(x.T @ y), 4 * y)
    assert problem.test_scores(np.sign(x.T @ y) / 4) == (0.75, 0.25)
    np.testing.assert_allclose(problem.min_norm_scores, scores, atol=5e-4)
    least = np.linalg.lstsq(x, y, rcond=None)[0]
    np.testing.assert_allclose(problem.test_scores(least), problem.min_norm_scores, rtol=1e-9)


@pytest.mark.parametrize(
    ("tx", "steps", "adapts"),
    [
        (g.adagrad(0.02), 3000, True),
        (g.rmsprop(1e-4, decay=0.99), 4000, True),
        (g.adam(1e-3), 3000, True),
        (g.sgd(0.1), 20_000, False),
        (g.momentum(0.05, 0.9), 5000, False),
    ],
    ids=repr,
)
def test_what_the_methods_make_of_it(tx: g.Piece, steps: int, adapts: bool) -> None:
    with jax.enable_x64(True):
        problem = p.marginal_value_problem(50, seed=1)
        start = jnp.zeros(problem.features.shape[1])
        as_problem = p.Problem(problem.loss, start, start, 0.0, np.ones(1))
        weights = descended(tx, as_problem, steps)[-1]
    expected = (0.75, 0.25) if adapts else problem.min_norm_scores
    np.testing.assert_allclose(problem.test_scores(weights), expected, atol=2e-3)
    assert problem.loss(weights) < 1e-5


def test_labels_are_drawn_again_until_most_are_positive() -> None:
    assert all(p.marginal_value_problem(3, seed, p=0.51).labels.sum() > 0 for seed in range(30))
    assert p.marginal_value_problem(7, 0, p=1.0).labels.sum() == 7
    assert p.marginal_value_problem(9, 5).labels.tolist() == p.marginal_value_problem(9, 5).labels.tolist()


def test_sequences_of_slopes() -> None:
    online, stochastic, proved = p.reddi_online(303), p.reddi_stochastic(100_000, seed=0), p.reddi_theorem1(4, 300)
    assert np.flatnonzero(online.gradients == 1010).tolist() == [0, 101, 202]
    assert set(online.gradients.tolist()) == {1010.0, -10.0}
    assert online.gradients.sum() == 3 * 10
    assert abs(float((stochastic.gradients == 1010).mean()) - 0.01) < 1e-3
    assert stochastic.gradients.tolist() != p.reddi_stochastic(100_000, seed=1).gradients.tolist()
    assert proved.gradients[:4].tolist() == [4, -1, -1, 4]
    for problem in (online, proved):
        assert problem[1:] == (-1.0, 1.0, -1.0, 1.0)
        totals = [float(jnp.sum(problem.gradients * x)) for x in (problem.best, problem.worst)]
        assert totals[0] < 0 < totals[1]


@pytest.mark.parametrize(("c", "regret"), [(3, 0.6695), (4, 1.3361), (10, 5.3359)])
def test_adam_goes_to_the_worst_point(c: int, regret: float) -> None:
    problem = p.reddi_theorem1(c, 100_000)
    x, v, total = 0.0, 0.0, 0.0
    for t, slope in enumerate(problem.gradients.tolist(), 1):
        total += slope * (x - problem.best)
        v += (slope**2 - v) * c**2 / (1 + c**2)
        x = min(max(x - slope / math.sqrt(t * v), problem.low), problem.high)
    assert total / 1e5 == pytest.approx(regret, abs=5e-4)
    assert abs(x - problem.worst) < 5e-3


def test_interference_is_what_a_step_does() -> None:
    def loss(params: dict[str, jax.Array], pattern: tuple[jax.Array, jax.Array]) -> jax.Array:
        x, y = pattern
        return (params["out"] @ jnp.tanh(params["in"] @ x) - y) ** 2

    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        params = {"in": jnp.array(random.normal(size=(4, 3))), "out": jnp.array(random.normal(size=4))}
        patterns = jnp.array(random.normal(size=(5, 3))), jnp.array(random.normal(size=5))
        cosines, effects = interference(loss, params, patterns)
        losses = jax.vmap(loss, (None, 0))
        for j in range(5):
            step = jax.grad(loss)(params, (patterns[0][j], patterns[1][j]))
            moved = jax.tree.map(lambda a, b: a - 1e-7 * b, params, step)
            change = (losses(moved, patterns) - losses(params, patterns)) / 1e-7
            np.testing.assert_allclose(effects[:, j], change, rtol=1e-4, atol=1e-5)
        norms = np.sqrt(-np.diag(effects))
        np.testing.assert_allclose(cosines, -effects / np.outer(norms, norms), rtol=1e-9)
        np.testing.assert_allclose(np.diag(cosines), 1, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.complex64])
def test_interference_in_any_dtype_and_size(dtype: Any) -> None:
    def loss(params: Any, pattern: jax.Array) -> jax.Array:
        return jnp.sum((params["w"].astype(jnp.complex64) * pattern).real)

    sizes = [1.0, 1e-30, 0.0, 1e30] if dtype != jnp.float16 else [1.0, 1e-3, 0.0, 1e3]
    patterns = jnp.array([[3 * s, 4 * s] for s in sizes] + [[4.0, -3.0]], jnp.complex64)
    patterns = patterns * 1j if dtype == jnp.complex64 else patterns
    params = {"w": jnp.ones(2, dtype), "frozen": None}
    cosines, effects = interference(loss, params, patterns)
    assert cosines.dtype == effects.dtype == jnp.float32
    alike = np.array([1, 1, 0, 1, 0], np.float32)
    np.testing.assert_allclose(cosines[:4], np.outer(alike, alike)[:4], atol=4e-3)
    assert not np.isnan(effects).any()
    assert effects[0, 0] == -25
    assert cosines[2, 2] == effects[2, 2] == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: p.ravine(0.5), ValueError, r"ravine: ratio=0.5 is outside \[1, inf\): it is the largest curvature di"),
        (lambda: p.ravine(9.0, dim=1), ValueError, r"ravine: dim=1 is outside the integers of \[2, inf\)"),
        (lambda: p.ravine(9.0, angle="0"), TypeError, r"ravine: angle='0' is not a number .*: it is in radians"),
        (lambda: p.ravine(9.0, angle=1, seed=1), ValueError, r"angle=1 and seed=1: it is turned once"),
        (lambda: p.marginal_value_problem(0, 0), ValueError, r"marginal_value_problem: n=0 is outside the integers"),
        (lambda: p.marginal_value_problem(1.5, 0), ValueError, r"n=1.5 is outside the integers of \[1, inf\)"),
        (lambda: p.marginal_value_problem(9, 0, p=0.5), ValueError, r"p=0.5 is outside \(0.5, 1\]: most labels"),
        (lambda: p.reddi_theorem1(2, 9), ValueError, r"reddi_theorem1: c=2 is outside \(2, inf\)"),
        (lambda: p.reddi_theorem1(3, 0), ValueError, r"reddi_theorem1: steps=0 is outside the integers of \[1, "),
        (lambda: p.reddi_online(0), ValueError, r"reddi_online: steps=0"),
        (lambda: p.reddi_stochastic(0.5, 0), ValueError, r"reddi_stochastic: steps=0.5"),
        (lambda: d.critical_momentum(-1, 1), ValueError, r"critical_momentum: rate=-1 is outside \[0, inf\)"),
        (lambda: d.critical_momentum(2.0, 2.0), ValueError, r"rate·curvature is outside \[0, 4\): no momentum below 1"),
        (lambda: d.largest_stable_rate(1.0, 1), ValueError, r"largest_stable_rate: momentum=1.0 is outside \[0, 1\)"),
        (lambda: d.largest_stable_rate(0.5, 0), ValueError, r"curvature=0 is outside \(0, inf\): it is an eigenvalue"),
        (lambda: d.spectral_radius(1, np.array([0, 2]), 1), ValueError, r"spectral_radius: momentum=2 is outside"),
        (
            lambda: d.spectral_radius(1, 0.5, np.array([1, np.nan])),
            ValueError,
            r"spectral_radius: curvature=nan is outside",
        ),
        (lambda: d.spectral_radius("1", 0.5, 1), TypeError, r"spectral_radius: rate='1' is not a number"),
        (lambda: d.spectral_radius(1, g.relative_step, 1), TypeError, r"momentum cannot be a schedule"),
        (lambda: d.optimal_heavy_ball(0, 1), ValueError, r"optimal_heavy_ball: lmin=0 is outside \(0, inf\)"),
        (lambda: d.optimal_heavy_ball(2, 1), ValueError, r"optimal_heavy_ball: lmin=2 is above lmax=1"),
        (lambda: d.optimal_gradient_descent(2, 1), ValueError, r"optimal_gradient_descent: lmin=2 is above lmax=1"),
        (lambda: interference(jnp.vdot, {}, jnp.ones((2, 2))), ValueError, r"interference: params holds no arrays"),
    ],
)
def test_the_message_says_what_to_write(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
