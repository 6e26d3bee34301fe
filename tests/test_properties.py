"""What holds for any numbers and any trees, tried on what hypothesis comes up with."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import given, settings
from hypothesis import strategies as st

from gdo_optax import chain, ema, eval_params, lookahead, scale, sgd
from gdo_optax.engine import numerics
from gdo_optax.engine.trees import each


REPEATABLE = settings(derandomize=True, deadline=None, max_examples=60)
BIG = float(np.float32(2.0**100))  # a product of two of them is infinite
FLOATS = st.floats(-BIG, BIG, width=32, allow_subnormal=False)
BETAS = st.floats(0.0, 1.0, exclude_max=True)


def leaves() -> st.SearchStrategy:
    return st.one_of(st.none(), st.just(optax.MaskedNode()), st.just(np.ones((2, 1), np.float32)))


def trees() -> st.SearchStrategy:
    return st.recursive(
        leaves(), lambda t: st.one_of(st.lists(t, max_size=3), st.dictionaries(st.sampled_from("abc"), t, max_size=3))
    )


@REPEATABLE
@given(FLOATS, FLOATS, BETAS)
def test_an_average_lies_between(m: float, x: float, beta: float) -> None:
    average = float(numerics.average(jnp.float32(m), jnp.float32(x), beta))
    exact = beta * m + (1 - beta) * x
    # half of a small term may be lost to the rounding of a large one, never more
    assert abs(average - exact) <= 2.0**-22 * max(abs(beta * m), abs((1 - beta) * x), abs(exact)) + 1e-37


@REPEATABLE
@given(st.floats(width=32, allow_subnormal=False))
def test_a_square_is_finite_and_its_inverse_root_too(x: float) -> None:
    square = numerics.square(jnp.float32(x))
    assert bool(jnp.isnan(square)) == bool(np.isnan(x))
    if not np.isnan(x):
        assert 0 <= float(square) < np.inf
        for eps in (0, 1e-8, jnp.float32(0)):
            assert 0 <= float(numerics.inverse_root(square, eps, 0.0)) < np.inf


@REPEATABLE
@given(st.integers(1, 2**24), st.floats(0.5, 0.99999))
def test_rho_is_a_length(t: int, beta: float) -> None:
    rho, rho_inf = numerics.sma_length(jnp.float32(t), beta)
    assert 1 - 1e-6 <= float(rho) <= min(t, rho_inf) * (1 + 1e-6)


@REPEATABLE
@given(trees())
def test_any_tree_passes(tree: Any) -> None:
    tree = [tree]  # None as a whole would be "no parameters"
    doubled = each(lambda a: 2 * a, tree)
    assert jax.tree.structure(doubled) == jax.tree.structure(tree)
    assert all((a == 2).all() for a in jax.tree.leaves(doubled))
    tx = lookahead(chain(ema(0.5), scale(-1.0)))
    updates, state = tx.update(tree, tx.init(tree), tree)
    assert jax.tree.structure(updates) == jax.tree.structure(tree)
    assert all((u == -0.5).all() for u in jax.tree.leaves(updates))
    assert jax.tree.structure(eval_params(state, tree)) == jax.tree.structure(tree)


@REPEATABLE
@given(st.floats(0, 1e6), st.integers(0, 3))
def test_a_legal_learning_rate_is_a_step(rate: float, rank: int) -> None:
    g = jnp.ones((2,) * rank)
    updates, _ = sgd(rate).update(g, sgd(rate).init(g))
    np.testing.assert_allclose(updates, -rate * np.ones((2,) * rank), rtol=1e-6, atol=1e-37)
