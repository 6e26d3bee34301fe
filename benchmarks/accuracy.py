"""How many ulps from the paper? Every method's updates at every one of many steps, against its float64 NumPy loop.

An error is normwise, max|u − u64| / (ulp · max|u64|) over the arrays' rows at one step, the ulp being that of the dtype
of the update at 1: 2^-23 of float32, 2^-7 of bfloat16, 2^-10 of float16, and never less than the dtype's smallest
number. A method that reads the parameters is compared with a loop that is given the same parameters: it is the method
that is measured, not the rounding of the weights. Where an update is the way to a point, the error of that point
counts, in ulps of the point.

`memory` is what no arithmetic can avoid: the same method computed in float64, of which only what it remembers from step
to step is rounded to float32.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import Array

from gdo_optax.engine.numerics import wide_dtype
from tests.catalogue import Case


TARGETS = ("slow_weights(", "proximal(")
"""Pieces that emit the way from the parameters to a point: it is no more exact than they are."""


class Accuracy(NamedTuple):
    """The largest error in ulps and its step, from 1; `of` says what is in error."""

    ulps: float
    step: int
    of: str


def normal(steps: int) -> np.ndarray:
    """N(0, 1), (steps, 1, 64), exact in 16 bits."""
    return np.random.default_rng(0).standard_normal((steps, 1, 64)).astype(np.float16).astype(np.float32)


def mixed(steps: int) -> np.ndarray:
    """N(0, 1) times 1e-8, 1e-7, … 1e4, (steps, 13, 32): a scale for every row."""
    scale = 10.0 ** np.arange(-8, 5)
    return (np.random.default_rng(1).standard_normal((steps, 13, 32)) * scale[:, None]).astype(np.float32)


def trajectory(
    tx: optax.GradientTransformation, grads: np.ndarray, dtype: str, kept: Callable[[Any], Any] = lambda tree: tree
) -> tuple[np.ndarray, np.ndarray]:
    """The updates, and the parameters that each of them is added to, both of all steps; `kept` is kept of a state."""

    def step(carry: tuple[Array, Any], g: Array) -> tuple[tuple[Array, Any], tuple[Array, Array]]:
        p, state = carry
        u, state = tx.update(g, state, p)
        wide = wide_dtype(p)  # XLA would copy all steps of a half precision in every step
        return kept((optax.apply_updates(p, u), state)), (u.astype(wide), p.astype(wide))

    start = jnp.asarray(np.random.default_rng(2).standard_normal(grads.shape[1:]) / 8, dtype)
    out = jax.jit(lambda p, s, g: jax.lax.scan(step, (p, s), g)[1])(start, tx.init(start), jnp.asarray(grads, dtype))
    return np.asarray(out[0], np.float64), np.asarray(out[1], np.float64)


def reads_parameters(tx: optax.GradientTransformation) -> bool:
    """Whether an update without parameters is an error."""
    p = jnp.ones((4, 4))
    try:
        tx.update(p, tx.init(p))
    except ValueError:
        return True
    return False


def _alone(step: Callable, grads: np.ndarray) -> np.ndarray:
    """The updates of a loop with parameters of its own."""
    x, out = np.zeros(grads.shape[1:]), []
    for t, g in enumerate(grads, start=1):
        out.append(step(t, g, x))
        x = x + out[-1]
    return np.stack(out)


def accuracy(case: Case, grads: np.ndarray, dtype: str) -> Accuracy:
    """Of one of our methods."""
    rounded = np.asarray(jnp.asarray(grads, dtype), np.float64)
    return _against_the_loop(case, *trajectory(case.tx(), grads, dtype), rounded, dtype)


def memory(case: Case, grads: np.ndarray) -> Accuracy:
    """Of float64, its memory and the parameters being float32."""

    def single(tree: Any) -> Any:
        return jax.tree.map(lambda x: x.astype("float32").astype(x.dtype) if x.dtype == "float64" else x, tree)

    with jax.enable_x64(True):
        ours = trajectory(case.tx(), grads, "float64", single)
    return _against_the_loop(case, *ours, np.asarray(grads, np.float64), "float32")


def _against_the_loop(case: Case, ours: np.ndarray, params: np.ndarray, grads: np.ndarray, dtype: str) -> Accuracy:
    tx, step = case.tx(), case.start()
    if reads_parameters(tx):
        theirs = np.stack([step(t, g, p) for t, (g, p) in enumerate(zip(grads, params, strict=True), start=1)])
    else:
        theirs = _alone(step, grads)
    if any(name in str(tx) for name in TARGETS):
        return worst(params + ours, params + theirs, dtype, "point")
    return worst(ours, theirs, dtype)


def worst(ours: np.ndarray, exact: np.ndarray, dtype: str, of: str = "update") -> Accuracy:
    """The largest error of any row at any step."""
    limits = jnp.finfo(dtype)
    ulp = float(limits.eps) * np.maximum(np.max(np.abs(exact), -1), float(limits.tiny))
    finite = np.isfinite(ours).all(-1)
    error = np.max(np.abs(np.where(np.isfinite(ours), ours, 0) - exact), -1) / ulp
    error = np.max(np.where(finite, error, np.inf), -1)
    return Accuracy(float(error.max()), int(error.argmax()) + 1, of)
