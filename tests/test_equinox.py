"""A few steps of an Equinox model, whose trees hold None where there is nothing to train."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import gdo_optax
from gdo_optax.family import Entry
from tests.catalogue import FAMILY


@eqx.filter_jit
def gradients(model: eqx.Module) -> tuple[jax.Array, eqx.Module]:
    x = jax.random.normal(jax.random.key(0), (32, 4))
    y = x @ jnp.arange(4.0)
    return eqx.filter_value_and_grad(lambda m: jnp.mean((jax.vmap(m)(x) - y) ** 2))(model)


@pytest.mark.parametrize("entry", FAMILY)
def test_an_equinox_model(entry: Entry) -> None:
    """The step without jit: what the methods compile to is seen everywhere else, and costs most of a test."""
    model, tx = eqx.nn.MLP(4, "scalar", 8, 1, key=jax.random.key(1)), entry()
    state = tx.init(eqx.filter(model, eqx.is_array))
    losses = []
    for _ in range(8):
        loss, grads = gradients(model)
        updates, state = tx.update(grads, state, eqx.filter(model, eqx.is_array))
        model = eqx.apply_updates(model, updates)
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    params = eqx.filter(model, eqx.is_array)
    assert jax.tree.structure(gdo_optax.eval_params(state, params)) == jax.tree.structure(params)


@pytest.mark.parametrize("name", ["adam", "ranger"])
def test_an_equinox_model_in_one_jit(name: str) -> None:
    model, tx = eqx.nn.MLP(4, "scalar", 8, 1, key=jax.random.key(1)), gdo_optax.get(name)()
    state = tx.init(eqx.filter(model, eqx.is_array))

    @eqx.filter_jit
    def step(model: eqx.Module, state: object) -> tuple[eqx.Module, object, jax.Array]:
        loss, grads = gradients(model)
        updates, state = tx.update(grads, state, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, updates), state, loss

    losses = []
    for _ in range(8):
        model, state, loss = step(model, state)
        losses.append(float(loss))
    assert losses[-1] < losses[0]
