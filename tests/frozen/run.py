"""Run a case: all updates of 30 steps on gradients that are data, so that nothing feeds back."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gdo_optax as g
from tests.frozen.cases import Case
from tests.frozen.data import RECORDED, STEPS, data_of


EAGER_STEPS = 6
AXIS = "workers"
LEVEL: dict[str, Any] = {"xla_backend_optimization_level": 0}
"""XLA as always, LLVM unoptimized, at half the price: without fused multiply-adds the bits are the same."""


def dtypes_of(dtype: str) -> tuple[str, str]:
    """The dtypes of gradients and parameters: "bfloat16-float32" has them apart."""
    gradient, _, parameter = dtype.partition("-")
    return gradient, parameter or gradient


@contextlib.contextmanager
def settings(dtype: str) -> Iterator[None]:
    """As other people run JAX, so that foreign transformations run, too."""
    with (
        jax.enable_x64("float64" in dtype),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def cast(tree: Any, dtype: str) -> Any:
    """Numbers in the dtype, as NumPy rounds them; integers as they are."""
    return jax.tree.map(lambda a: a if a.dtype == np.int32 else a.astype(jnp.dtype(dtype)), tree)


def loss(params: Any) -> jax.Array:
    """A fixed loss for methods that evaluate one."""
    return sum(jnp.sum(jnp.abs(p - 1) ** 2) for p in jax.tree.leaves(params))


def moved(p: jax.Array, u: Any, gradient: str) -> jax.Array:
    """The parameter moved by the update in the gradient's dtype, whatever dtype that comes in."""
    if isinstance(u, g.Rows):
        return p + g.Rows(u.indices, u.values.astype(gradient))
    return p + u.astype(gradient).astype(p.dtype)


def dense(p: jax.Array, u: Any) -> jax.Array:
    return jnp.zeros(p.shape, u.values.dtype) + u if isinstance(u, g.Rows) else u


def run(case: Case, dtype: str, jit: bool) -> dict[str, list[np.ndarray]]:
    """The updates of each array over the recorded steps, what is evaluated beside them, and the parameters before."""
    gradient, parameter = dtypes_of(dtype)
    with settings(dtype):
        tx = case.make()
        params, grads, more = data_of(case.data)
        params, grads, more = cast(params, parameter), cast(grads, gradient), cast(more, gradient)
        fixed = {"value_fn": loss, "value_and_grad_fn": jax.value_and_grad(loss)} if case.loss else {}

        def step(carry: Any, now: Any) -> Any:
            p, state = carry
            x, extra = now
            updates, state = tx.update(x, state, p, **fixed, **extra)
            after = jax.tree.map(
                lambda p, u: moved(p, u, gradient), p, updates, is_leaf=lambda a: isinstance(a, g.Rows)
            )
            evaluated = g.eval_params(state, after)
            pairs = zip(jax.tree.leaves(evaluated), jax.tree.leaves(after), strict=True)
            second = {} if all(a is b for a, b in pairs) else {"eval": evaluated}
            emitted = jax.tree.map(dense, p, updates)
            return (after, state), {"updates": emitted, "before": p} | second

        init = tx.init
        if case.data == "workers":
            step, init = jax.vmap(step, axis_name=AXIS), jax.vmap(tx.init, axis_name=AXIS)
        if jit:
            scan = jax.jit(functools.partial(jax.lax.scan, step), compiler_options=LEVEL)
            carry = jax.tree.map(jnp.asarray, params)
            _, out = scan((carry, init(carry)), (grads, more))
            kept = [t - 1 for t in RECORDED]
            out = jax.tree.map(lambda a: np.asarray(a)[kept], out)
        else:
            carry = jax.tree.map(jnp.asarray, params)
            carry, outs = (carry, init(carry)), []
            for t in range(EAGER_STEPS):
                carry, out = step(carry, jax.tree.map(lambda a, t=t: jnp.asarray(a[t]), (grads, more)))
                outs.append(jax.tree.map(np.asarray, out))
            out = jax.tree.map(lambda *a: np.stack(a), *(outs[t - 1] for t in RECORDED if t <= EAGER_STEPS))
    assert max(RECORDED) <= STEPS
    return {k: jax.tree.leaves(v) for k, v in out.items()}
