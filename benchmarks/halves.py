"""Small updates of 16-bit parameters, and small states: what arrives, what is kept, what is still learnt."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from gdo_optax import adam, sgd
from gdo_optax.wrappers.precision import compensate, keep_master, round_stochastically
from gdo_optax.wrappers.storage import store


SMALL: dict[str, Callable[[], optax.GradientTransformation]] = {
    "optax.sgd": lambda: optax.sgd(1e-3),
    "sgd": lambda: sgd(1e-3),
    "keep_master(sgd)": lambda: keep_master(sgd(1e-3)),
    "compensate(sgd)": lambda: compensate(sgd(1e-3)),
    "round_stochastically(sgd)": lambda: round_stochastically(sgd(1e-3)),
}
STORED: dict[str, Callable[[], optax.GradientTransformation]] = {
    "optax.adam": lambda: optax.adam(3e-3),
    "adam": lambda: adam(3e-3),
    "store(adam, as_=bfloat16)": lambda: store(adam(3e-3), as_="bfloat16"),
    "store(adam, as_=int8)": lambda: store(adam(3e-3), as_="int8"),
}


def arrivals(tx: optax.GradientTransformation, dtype: str, size: int = 1024) -> np.ndarray:
    """Where parameters of 1 are after 1,000 steps of 1e-3 down; 0 is right, but for an ulp of 1."""

    def step(carry: Any, g: Any) -> Any:
        updates, state = tx.update(g, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), state), None

    ones = jnp.ones(size, dtype)
    (last, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, jnp.ones((1000, size), dtype)))((ones, tx.init(ones)))
    return np.asarray(last, np.float64)


def bytes_of_state(tx: optax.GradientTransformation, shape: tuple[int, ...] = (1024, 1024)) -> float:
    """Bytes a parameter of what the optimizer remembers."""
    params = jax.ShapeDtypeStruct(shape, jnp.float32)
    leaves = jax.tree.leaves(jax.eval_shape(tx.init, params))
    return sum(x.size * x.dtype.itemsize for x in leaves) / params.size


def digits_loss(tx: optax.GradientTransformation, steps: int = 300) -> float:
    """The mean loss of three seeds of a small network on scikit-learn's digits, all of them."""
    x, y = load_digits(return_X_y=True)
    x, y = jnp.asarray(x / 16, jnp.float32), jnp.asarray(y, jnp.int32)
    rng = np.random.default_rng(0)
    shapes = {"first": (3, 64, 64), "last": (3, 64, 10)}
    starts = {k: jnp.asarray(rng.standard_normal(s) / s[1] ** 0.5, jnp.float32) for k, s in shapes.items()}
    batches = jnp.asarray(rng.integers(0, len(x), (steps, 64)), jnp.int32)

    def loss(p: Any, batch: Any) -> jax.Array:
        logits = jnp.maximum(x[batch] @ p["first"], 0) @ p["last"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y[batch]).mean()

    def training(params: Any) -> jax.Array:
        def step(carry: Any, batch: Any) -> Any:
            updates, state = tx.update(jax.grad(loss)(carry[0], batch), carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), batches)
        return loss(params, jnp.arange(len(x)))

    return float(jax.jit(jax.vmap(training))(starts).mean())
