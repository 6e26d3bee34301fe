"""Complex parameters: every method turns with the phase of its gradients, with |g|² for g², or says why it cannot."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from chex import Array

import gdo_optax as g
from gdo_optax.family import Entry, get
from tests.catalogue import FAMILY, cheap_jit


REAL = ("delta_bar_delta", "rprop", "hinton_gains", "lion", "adagrad_full_matrix")
"""Signs and a matrix that is taken apart: of complex numbers no paper says what they are."""
SHAPE = (3, 4)
PHASES = np.exp(1j * np.random.default_rng(0).uniform(0, 2 * np.pi))
SLOPES = np.random.default_rng(2).standard_normal((3, *SHAPE, 2)) @ [1, 1j]
NUMBERS = np.random.default_rng(1).standard_normal((5, *SHAPE))


def path(tx: optax.GradientTransformation, turn: complex, dtype: str) -> tuple[np.ndarray, list[Array]]:
    """The updates at parameters and for gradients that are turned, and the state's arrays."""
    params = jnp.asarray(NUMBERS[0] * turn, dtype)
    state, update, out = tx.init(params), cheap_jit(tx.update), []
    for slope in NUMBERS[1:]:
        updates, state = update(jnp.asarray(slope * turn, dtype), state, params)
        params = params + updates
        out.append(np.asarray(updates))
    return np.stack(out), jax.tree.leaves(state)


@pytest.mark.parametrize("entry", [e for e in FAMILY if e.values[0].name not in REAL])
def test_a_method_turns_with_its_gradients(entry: Entry) -> None:
    real, kept = path(entry(), 1.0, "float32")
    turned, arrays = path(entry(), PHASES, "complex64")
    np.testing.assert_allclose(turned, PHASES * real, atol=3e-5 * np.abs(real).max())
    assert [a.shape for a in arrays] == [a.shape for a in kept]


def second_moments(tx: optax.GradientTransformation) -> np.ndarray:
    """What the method's one real memory is after gradients whose phases differ."""
    x = jnp.zeros(SHAPE, jnp.complex64)
    state = tx.init(x)
    for slope in SLOPES:
        _, state = tx.update(jnp.asarray(slope, x.dtype), state, x)
    return next(a for a in jax.tree.leaves(state) if a.dtype == jnp.float32 and a.shape == SHAPE)


def test_a_second_moment_is_of_magnitudes() -> None:
    """Not of real and imaginary parts apart, as in PyTorch."""
    squares = np.abs(SLOPES) ** 2
    np.testing.assert_allclose(second_moments(g.adagrad()), squares.sum(0), rtol=1e-6)
    np.testing.assert_allclose(
        second_moments(g.rmsprop(0.1, 0.5)), np.tensordot([1 / 8, 1 / 4, 1 / 2], squares, 1), rtol=1e-6
    )
    np.testing.assert_allclose(
        second_moments(g.adam(b2=0.5)), np.tensordot([1 / 8, 1 / 4, 1 / 2], squares, 1), rtol=1e-6
    )
    largest = np.maximum(np.maximum(np.abs(SLOPES[0]) / 4, np.abs(SLOPES[1]) / 2), np.abs(SLOPES[2]))
    np.testing.assert_allclose(second_moments(g.adamax(b2=0.5)), largest, rtol=1e-6)


def test_a_penalty_shrinks_the_magnitude() -> None:
    """argmin l1·|z| + |z − c|²/2 is c·(1 − l1/|c|), and 0 where |c| ≤ l1."""
    tx = g.proximal(
        direction=[], scale=[g.absolute(), g.scale(0.0), g.add_constant(1.0)], centre=[g.parameters()], l1=2.0
    )
    p = jnp.array([3 + 4j, 1 + 1j])
    moved, _ = tx.update(jnp.zeros(2, p.dtype), tx.init(p), p)
    np.testing.assert_allclose(p + moved, [(3 + 4j) * (1 - 2 / 5), 0], rtol=1e-6)


def test_hyperparameters_stay_real() -> None:
    """Of their own accord they take the dtype of the gradients."""
    p = jnp.ones(2, jnp.complex64)
    for tx in (g.adadelta, g.rmsprop_centered, g.lamb, g.lars, g.adafactor):
        traced = optax.inject_hyperparams(tx, hyperparam_dtype=jnp.float32)(learning_rate=0.5)
        plain = tx(learning_rate=0.5)
        theirs, ours = (x.update(p * 2j, x.init(p), p)[0] for x in (traced, plain))
        np.testing.assert_allclose(theirs, ours, rtol=1e-6)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("around", [lambda tx: tx, g.lookahead, lambda tx: g.chain(g.scale(1.0), tx)])
def test_what_is_not_defined_is_an_error(name: str, around: Callable) -> None:
    message = r"for real numbers, and the parameter 'w' is complex64: wrap the optimizer, optax\.contrib\.split_real"
    with pytest.raises(TypeError, match=message):
        around(get(name)()).init({"w": jnp.ones(2, jnp.complex64)})


def test_the_way_out_works() -> None:
    tx = optax.contrib.split_real_and_imaginary(g.lion(0.5))
    params = jnp.ones(2, jnp.complex64)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = tx.update(jnp.array([1 - 2j, -3 + 0j]), tx.init(params), params)
    np.testing.assert_array_equal(updates, [-0.5 + 0.5j, 0.5 + 0j])
