"""How accurate optax and PyTorch are, by our method in float64, which equals theirs to 1e-13 or a NumPy loop does."""

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import Array

from benchmarks.accuracy import Accuracy, trajectory, worst
from gdo_optax import like
from tests.test_like import OPTAX, ours_of
from tests.test_optax import PAIRS
from tests.trajectories import CASES


TORCH = (
    {case["name"]: case for case in CASES if case["id"].endswith("-defaults")}
    if importlib.util.find_spec("torch")
    else {}
)


def _rate(make: Callable, *args: Any) -> Callable[[], optax.GradientTransformation]:
    return lambda: make(*args)


PEERS: dict[str, tuple[Callable, Callable]] = {
    k: PAIRS[k] for k in ("sgd", "momentum", "nesterov", "adam", "adamw", "adamax", "radam")
} | {k: (_rate(getattr(like.optax, k), 1e-3), _rate(OPTAX[k], 1e-3)) for k in OPTAX}
"""Ours and optax's, the same in float64; with a rate that leaves parameters finite which scale their own steps."""


def reference(tx: optax.GradientTransformation, grads: np.ndarray, params: np.ndarray) -> np.ndarray:
    """The updates in float64, at these parameters."""

    def step(state: Any, row: tuple[Array, Array]) -> tuple[Any, Array]:
        updates, state = tx.update(row[0], state, row[1])
        return state, updates

    with jax.enable_x64(True):
        rows = (jnp.asarray(grads, jnp.float64), jnp.asarray(params, jnp.float64))
        return np.asarray(jax.jit(lambda s, r: jax.lax.scan(step, s, r)[1])(tx.init(rows[1][0]), rows))


def of_optax(name: str, grads: np.ndarray, dtype: str) -> Accuracy:
    """Of optax's method in this dtype."""
    ours, theirs = PEERS[name]
    with jax.numpy_dtype_promotion("standard"):
        updates, params = trajectory(theirs(), grads, dtype)
    rounded = np.asarray(jnp.asarray(grads, dtype), np.float64)
    return worst(updates, reference(ours(), rounded, params), dtype)


def of_torch(name: str, grads: np.ndarray) -> Accuracy:
    """Of PyTorch's method in float32, the parameters being 0 before every step so that they are the step after it."""
    import torch

    case = TORCH[name]
    kind, arguments = case["torch"]
    p = torch.zeros(grads.shape[1:], requires_grad=True)
    optimizer = getattr(torch.optim, kind)([p], foreach=False, **arguments)
    updates = np.empty(grads.shape)
    for t, g in enumerate(torch.from_numpy(grads)):
        p.data.zero_()
        p.grad = g
        optimizer.step()
        updates[t] = p.detach().numpy()
    return worst(updates, reference(ours_of(case), grads, np.zeros_like(grads)), "float32")
