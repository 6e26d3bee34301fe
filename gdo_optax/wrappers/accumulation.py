"""One step of an optimizer for many micro-batches."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine.numerics import wide_dtype
from gdo_optax.engine.combinators import in_place_if, initial_state, run_update, single
from gdo_optax.engine.piece import ITSELF, Piece, assemble, piece
from gdo_optax.engine.trees import absent, all_finite, each


class Accumulated(NamedTuple):
    """How many micro-batches are in the mean (int32), their mean gradient, and the state of the optimizer.

    Where the count is 0 there is no mean, and in its place the last step.
    """

    count: Array
    mean: ArrayTree
    inner: Any


@piece
def accumulate(inner: optax.GradientTransformation, every: Numeric) -> Piece:
    """Gradient accumulation: one step with the mean gradient of N micro-batches, nothing in between.

        ḡₖ = ḡₖ₋₁ + (gₖ − ḡₖ₋₁)/k        k = 1 … N
        θ ← inner(ḡ_N)                     at k = N, after which k starts again

    N micro-batches of b examples are one batch of N·b. The inner optimizer, its counts and schedules see one step for
    N; the state is one buffer more than its own. A micro-batch with a gradient that is not finite is left out and not
    counted, so the mean is one of N good ones (optax.MultiSteps is poisoned by it for ever). bojone's Keras code takes
    a first step without any gradient, which costs Adam's t = 1; here there is none.

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
    inner = single(inner)

    def init(params: ArrayTree) -> Accumulated:
        mean = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=wide_dtype(p)), params)
        return Accumulated(jnp.zeros((), jnp.int32), mean, initial_state(inner, params))

    def wide_update(x: ArrayTree, state: Accumulated, params: Any = None, **extra: Any) -> tuple[ArrayTree, Any]:
        good = all_finite(x)
        k = state.count + good.astype(jnp.int32)

        def gathered(g: Array, m: Array) -> Array:  # what is left of the last step is not even read at k = 1
            part = 1 / jnp.maximum(k, 1).astype(jnp.finfo(m.dtype).dtype)
            return jnp.where(good, jnp.where(k > 1, (1 - part) * m + part * g, g), m)

        full = good & (k >= every)
        mean = each(gathered, x, state.mean)
        run = functools.partial(run_update, inner)
        mean, kept = in_place_if(full, run, mean, state.inner, params, **extra)
        y = each(lambda m: jnp.where(full, m, 0.0), mean)
        mean = each(lambda old, m: old if absent(m) else m, state.mean, mean)
        return y, Accumulated(jnp.where(full, 0, k), mean, kept)

    return assemble(init, wide_update, body=ITSELF)
