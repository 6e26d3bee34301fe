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
    "ranger_va": 0.3,
}
"""Rates that get somewhere in 20 steps, where the default does not."""


FEATURES, LABELS = load_wine(return_X_y=True)
X = jnp.asarray((FEATURES - FEATURES.mean(0)) / FEATURES.std(0), jnp.float32)
Y = jnp.asarray(LABELS, jnp.int32)


def tx_of(entry: Entry) -> gdo_optax.Piece:
    return entry(learning_rate=RATES.get(entry.name, 0.01))


def cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.hidden, self.out = nnx.Linear(13, 16, rngs=rngs), nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(nnx.relu(self.hidden(x)))


@nnx.jit
def nnx_gradients(model: Net) -> Any:
    return nnx.value_and_grad(lambda m: cross_entropy(m(X), Y))(model)


@pytest.mark.parametrize("entry", FAMILY)
def test_nnx_optimizer(entry: Entry) -> None:
    """The step without jit: what the methods compile to is seen everywhere else, and costs most of a test."""
    model = Net(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx_of(entry), wrt=nnx.Param)
    losses = []
    for _ in range(20):
        loss, grads = nnx_gradients(model)
        optimizer.update(model, grads)
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0], losses
    params = nnx.state(model, nnx.Param)
    slow = gdo_optax.eval_params(optimizer.opt_state, params)
    assert jax.tree.structure(slow) == jax.tree.structure(params)
    same = all((a == b).all() for a, b in zip(jax.tree.leaves(slow), jax.tree.leaves(params), strict=True))
    # 20 is a multiple of Lookahead's 5, not of Ranger's 6; Nesterov's parameters are always ahead
    assert same == (entry.name not in ("ranger", "ranger_qh", "ranger_va", "nesterov_1983"))


@pytest.mark.parametrize("name", ["adam", "ranger"])
def test_nnx_optimizer_in_one_jit(name: str) -> None:
    model = Net(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx_of(gdo_optax.get(name)), wrt=nnx.Param)

    @nnx.jit
    def step(model: Net, optimizer: nnx.Optimizer) -> jax.Array:
        loss, grads = nnx.value_and_grad(lambda m: cross_entropy(m(X), Y))(model)
        optimizer.update(model, grads)
        return loss

    losses = [float(step(model, optimizer)) for _ in range(20)]
    assert losses[-1] < 0.9 * losses[0], losses


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(3)(nn.relu(nn.Dense(16)(x)))


@functools.cache
def linen() -> tuple[LinenNet, Any, Any]:
    """A net, its parameters, and its loss and gradients, compiled once."""
    net = LinenNet()
    loss = jax.jit(jax.value_and_grad(lambda p: cross_entropy(net.apply(p, X), Y)))
    return net, net.init(jax.random.key(0), X), loss


@pytest.mark.parametrize("entry", FAMILY)
def test_linen_train_state(entry: Entry) -> None:
    net, params, gradients = linen()
    state = TrainState.create(apply_fn=net.apply, params=params, tx=tx_of(entry))
    state = state.replace(step=jnp.zeros((), jnp.int32))  # flax starts with a Python int, which would be a second trace
    step = jax.jit(lambda state, grads: state.apply_gradients(grads=grads))

    losses = []
    for _ in range(20):
        loss, grads = gradients(state.params)
        state = step(state, grads)
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0], losses
    assert step._cache_size() == 1
