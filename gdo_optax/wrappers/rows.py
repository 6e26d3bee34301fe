"""Only the rows that a batch has touched."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree

from gdo_optax.engine.combinators import choice, chosen_by, initial_state, remembers, run_update, single, waits
from gdo_optax.engine.piece import ITSELF, Piece, assemble, piece
from gdo_optax.grouping import Choices, array_of
from gdo_optax.engine.trees import Mask, each, marks, of_parameters, overlaid


@piece
def lazy(inner: optax.GradientTransformation, state: str = "frozen", mask: Mask | None = None) -> Piece:
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
    inner = single(inner)
    if state not in ("frozen", "dense"):
        raise ValueError(f'lazy: state={state!r} is neither "frozen" nor "dense"')

    def init(params: ArrayTree) -> Any:
        return initial_state(inner, params)

    frozen, common, this = state == "frozen", getattr(inner, "common", None), object()

    def choices(tree: ArrayTree) -> Choices:
        return ({} if mask is None else {this: marks(mask, tree)}) | chosen_by([inner])(tree)

    def wide_update(x: ArrayTree, kept: Any, params: Any = None, **extra: Any) -> tuple[ArrayTree, Any]:
        touched = each(_touched, array_of(x))
        if mask is not None:
            touched = overlaid(choice(mask, this, extra), touched, each(lambda row: row | True, touched))
        if "touched" in extra:
            touched = each(jnp.logical_and, touched, extra["touched"])
        own = {**extra, "touched": touched} if frozen and common else extra
        y, new = run_update(inner, x, kept, params, **own)
        y = each(lambda y, row: jnp.where(row, y, 0), array_of(y), touched)
        return y, of_parameters(init, _frozen, touched, new, kept) if frozen and not common else new

    return assemble(
        init,
        wide_update,
        remembers=remembers(inner),
        waits=waits(inner),
        common=common,
        choices=choices,
        body=ITSELF,
    )


def _touched(g: Array) -> Array:
    # the largest is found as it is read: a boolean for every element would be written out
    return jnp.broadcast_to(jnp.max(jnp.abs(g), -1, keepdims=True, initial=0) != 0, g.shape) if g.ndim else g != 0


def _frozen(touched: Array, new: Any, old: Any) -> Any:
    """What is remembered of a parameter, old in the rows that were not touched."""

    def pick(new: Array, old: Array) -> Array:
        return jnp.where(touched, new, old) if new.shape == touched.shape else new

    return jax.tree.map(pick, new, old)
