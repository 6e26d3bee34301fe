"""Twenty steps of real Flax models on real data: wine, with nnx.Optimizer and with linen's TrainState."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from sklearn.datasets import load_wine

import gdo_optax
from gdo_optax.family import Entry
from tests.catalogue import FAMILY


RATES = {
    "sgd": 0.1,
    "momentum": 0.03,
    "nesterov": 0.03,
    "adagrad": 0.05,
    "adadelta": 30.0,
    "lamb": 0.03,
    "ranger": 0.1,
    "adagrad_full_matrix": 0.03,
    "lars_2017": 1.0,
    "ranger21": 0.1,
}
"""Rates that get somewhere in 20 steps, where the default does not."""


@functools.cache
def wine() -> tuple[jax.Array, jax.Array]:
    x, y = load_wine(return_X_y=True)
    return jnp.asarray((x - x.mean(0)) / x.std(0), jnp.float32), jnp.asarray(y, jnp.int32)


def tx_of(entry: Entry) -> gdo_optax.Piece:
    return entry(learning_rate=RATES.get(entry.name, 0.01))


def cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


@pytest.mark.parametrize("entry", FAMILY)
def test_nnx_optimizer(entry: Entry) -> None:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.hidden, self.out = nnx.Linear(13, 16, rngs=rngs), nnx.Linear(16, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.out(nnx.relu(self.hidden(x)))

    x, y = wine()
    model = Net(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx_of(entry), wrt=nnx.Param)

    @nnx.jit
    def step(model: Net, optimizer: nnx.Optimizer) -> jax.Array:
        loss, grads = nnx.value_and_grad(lambda m: cross_entropy(m(x), y))(model)
        optimizer.update(model, grads)
        return loss

    losses = [float(step(model, optimizer)) for _ in range(20)]
    assert losses[-1] < 0.9 * losses[0], losses
    params = nnx.state(model, nnx.Param)
    slow = gdo_optax.eval_params(optimizer.opt_state, params)
    assert jax.tree.structure(slow) == jax.tree.structure(params)
    same = all((a == b).all() for a, b in zip(jax.tree.leaves(slow), jax.tree.leaves(params), strict=True))
    # 20 is a multiple of Lookahead's 5, not of Ranger's 6; Nesterov's parameters are always ahead
    assert same == (entry.name not in ("ranger", "nesterov_1983"))


@pytest.mark.parametrize("entry", FAMILY)
def test_linen_train_state(entry: Entry) -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.Dense(3)(nn.relu(nn.Dense(16)(x)))

    x, y = wine()
    net = Net()
    state = TrainState.create(apply_fn=net.apply, params=net.init(jax.random.key(0), x), tx=tx_of(entry))
    state = state.replace(step=jnp.zeros((), jnp.int32))  # flax starts with a Python int, which would be a second trace

    @jax.jit
    def step(state: TrainState) -> tuple[TrainState, Any]:
        loss, grads = jax.value_and_grad(lambda p: cross_entropy(state.apply_fn(p, x), y))(state.params)
        return state.apply_gradients(grads=grads), loss

    losses = []
    for _ in range(20):
        state, loss = step(state)
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0], losses
    assert step._cache_size() == 1
