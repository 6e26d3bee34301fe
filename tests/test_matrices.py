"""Full-matrix Adagrad and the centered variance, where a naive form would fail."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdo_optax as g
from gdo_optax.pieces.matrices import inverse_root_matrix
from tests.catalogue import rollout


def rotation(seed: int, n: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


@pytest.mark.parametrize("spectrum", [(1.0, 1.0, 1.0, 1.0), (4.0, 4.0, 1.0, 0.5), (3.0, 2.0, 1.0, 0.5)])
def test_the_inverse_root_may_be_differentiated_where_eigenvalues_are_equal(spectrum: Any) -> None:
    """Against central differences; through eigh it would be NaN."""
    with jax.enable_x64(True):
        q, d = rotation(0, 4), np.random.default_rng(1).standard_normal((4, 4))
        m, dm, h = jnp.array(q * spectrum @ q.T), jnp.array(d + d.T), 1e-6
        _, slope = jax.jvp(inverse_root_matrix, (m, 0.1), (dm, 2.0))
        ends = (inverse_root_matrix(m + s * h * dm, 0.1 + 2 * s * h) for s in (1, -1))
        np.testing.assert_allclose(slope, (next(ends) - next(ends)) / (2 * h), atol=1e-7)


def test_turning_the_coordinates_turns_the_steps() -> None:
    q, grads = rotation(2, 5), np.random.default_rng(3).standard_normal((40, 5))
    with jax.enable_x64(True):
        plain, turned = (rollout(g.adagrad_full_matrix(0.1), jnp.zeros(5), jnp.array(a)) for a in (grads, grads @ q.T))
        np.testing.assert_allclose(turned, plain @ q.T, atol=1e-12)


def test_the_matrix_stays_finite_and_the_step_short() -> None:
    """Squares of 3e37 overflow, and so would the sum of many that do not."""
    tx, x = g.adagrad_full_matrix(0.1), jnp.zeros(6)
    state, step = tx.init(x), jax.jit(tx.update)
    for seed in range(20):
        u, state = step(jnp.asarray(3e37 * np.random.default_rng(seed).standard_normal(6), jnp.float32), state)
        assert all(np.isfinite(a).all() for a in jax.tree.leaves((u, state)))
        assert 0 < float(jnp.linalg.norm(u)) < 0.11


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99])
def test_the_variance_of_what_hardly_changes(decay: float) -> None:
    """In float32 a difference of averages would be rounding alone: 1e-7 beside a variance of 1e-8."""
    x = np.float64(np.float32(1 + 1e-4 * np.random.default_rng(4).standard_normal((4000, 8))))
    with jax.enable_x64(True):
        exact = rollout(g.variance(decay), jnp.zeros(8), jnp.array(x))
    single = rollout(g.variance(decay), jnp.zeros(8), jnp.asarray(x, jnp.float32))
    assert (single >= 0).all()
    np.testing.assert_allclose(single[-100:], exact[-100:], rtol=0.01, atol=1e-12)
    m, s = np.zeros(8), np.zeros(8)
    for t in range(4000):
        m, s = decay * m + (1 - decay) * x[t], decay * s + (1 - decay) * x[t] ** 2
    np.testing.assert_allclose(exact[-1], s - m**2, rtol=1e-6)
