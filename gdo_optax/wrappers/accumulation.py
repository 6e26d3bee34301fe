"""One step of an optimizer for many micro-batches."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine import xla
from gdo_optax.engine.combinators import part
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Whole
from gdo_optax.engine.numerics import wide_dtype
from gdo_optax.engine.piece import piece
from gdo_optax.engine.reductions import all_finite
from gdo_optax.engine.trees import absent, each


@piece
def accumulate(inner: optax.GradientTransformation, every: Numeric) -> Whole:
    """Gradient accumulation: one step with the mean gradient of N micro-batches, nothing in between.

        ḡₖ = ḡₖ₋₁ + (gₖ − ḡₖ₋₁)/k        k = 1 … N
        θ ← inner(ḡ_N)                     at k = N, after which k starts again

    N micro-batches of b examples are one batch of N·b. The state holds the number of micro-batches in the mean,
    `mini_step`, and the mean; while that number is 0, the mean means nothing. The inner optimizer, its counts and
    schedules see one step for N; the state is one buffer more than its own. A micro-batch with a gradient that is not
    finite is left out and not counted, so the mean is one of N good ones (optax.MultiSteps is poisoned by it for ever).
    bojone's Keras code takes a first step without any gradient, which costs Adam's t = 1; here there is none.

    Args:
        inner: any optax transformation.
        every: N, an integer ≥ 1.

    Raises:
        ValueError: a value outside its range.
        TypeError: an inner that is no transformation.

    Reference: J. Su (2019), "Gradient accumulation", https://kexue.fm/archives/6794.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx = accumulate(sgd(1.0), every=2)
    >>> first, state = tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))
    >>> first, tx.update(jnp.array([3.0]), state)[0]
    (Array([0.], dtype=float32), Array([-2.], dtype=float32))
    """

    def init(params: ArrayTree, inner: Any) -> dict[str, Any]:
        mean = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=wide_dtype(p)), params)
        return {"mini_step": jnp.zeros((), jnp.int32), "mean": mean, "inner": inner}

    def update(x: ArrayTree, state: Any, params: Any, now: Now, every: Numeric) -> tuple[ArrayTree, Any]:
        good = all_finite(x)
        k = state["mini_step"] + good.astype(jnp.int32)

        def gathered(g: Array, m: Array) -> Array:  # what is left of the last step is not even read at k = 1
            part = 1 / jnp.maximum(k, 1).astype(jnp.finfo(m.dtype).dtype)
            return jnp.where(good, jnp.where(k > 1, (1 - part) * m + part * g, g), m)

        def run(mean: ArrayTree, inner: Any, keep: Any) -> tuple[ArrayTree, Any]:
            return now.run("inner", mean, inner, params, keep)

        full = good & (k >= every)
        y, mean, inner = xla.run_if(full, run, each(gathered, x, state["mean"]), state["inner"])
        mean = each(lambda old, m: old if absent(m) else m, state["mean"], mean)
        return y, {"mini_step": jnp.where(full, 0, k), "mean": mean, "inner": inner}

    return Whole({"inner": part(inner)}, init, update, clocked=True, hyper={"every": every})
