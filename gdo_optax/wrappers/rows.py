"""Only the rows that a batch has touched."""

from typing import Any

import jax.numpy as jnp
import optax
from chex import Array, ArrayTree

from gdo_optax.engine.combinators import part
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Whole
from gdo_optax.engine.piece import piece
from gdo_optax.engine.trees import Mask, each, overlaid


@piece
def lazy(inner: optax.GradientTransformation, state: str = "frozen", mask: Mask | None = None) -> Whole:
    """Lazy updates: rows without a gradient stay as they are, and so does what is remembered of them.

        θᵢ, mᵢ, vᵢ ← inner          where any entry of the gradient's row i is not 0
        θᵢ, mᵢ, vᵢ                  unchanged elsewhere

    For embeddings, of which a batch reads few rows: a dense Adam goes on moving a rare word along an old direction.
    A row is a slice over the last axis, such as (vocabulary, features) has; a vector is one row. Counts stay global, as
    in TensorFlow's LazyAdam, and so does what is remembered in another shape than the parameter's (Adafactor's rows and
    columns). `state="dense"` is bojone's form: all memories decay, only the parameters wait. Inside `accumulate` it
    sees the rows of all micro-batches, around it only those of the last.

    Args:
        inner: any optax transformation.
        state: "frozen" or "dense".
        mask: which parameters are updated lazily, the others densely: a tree of booleans, a prefix or a function.

    Raises:
        ValueError: another state.
        TypeError: an inner that is no transformation.

    Reference: J. Su (2019), "Lazy optimizers", https://kexue.fm/archives/6869; TensorFlow Addons, LazyAdam.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import momentum
    >>> tx = lazy(momentum(1.0, 0.5))
    >>> _, state = tx.update(jnp.array([[1.0], [1.0]]), tx.init(jnp.zeros((2, 1))))
    >>> tx.update(jnp.array([[1.0], [0.0]]), state)[0]
    Array([[-1.5],
           [ 0. ]], dtype=float32)
    """
    if state not in ("frozen", "dense"):
        raise ValueError(f'lazy: state={state!r} is neither "frozen" nor "dense"')
    frozen = state == "frozen"

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        rows = each(_touched, x)
        if mask is not None:
            rows = overlaid(mask, rows, each(lambda row: row | True, rows))
        if now.rows is not None:
            rows = each(jnp.logical_and, rows, now.rows)
        y, new = now.but(rows=rows if frozen else now.rows).run("inner", x, state.get("inner", {}), params)
        return each(lambda y, row: jnp.where(row, y, 0), y, rows), {"inner": new} if state else {}

    return Whole({"inner": part(inner)}, update=update)


def _touched(g: Array) -> Array:
    # the largest is found as it is read: a boolean for every element would be materialized
    return jnp.broadcast_to(jnp.max(jnp.abs(g), -1, keepdims=True, initial=0) != 0, g.shape) if g.ndim else g != 0
