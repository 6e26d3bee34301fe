"""What becomes of an optimizer's state where slow weights have moved the parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine.numerics import as_dtype, copy
from gdo_optax.engine.combinators import initial_state, run_update, single
from gdo_optax.engine.piece import ITSELF, Hyperparameter, Piece, assemble, piece
from gdo_optax.engine.trees import absent, each, path_name


class Restarted(NamedTuple):
    """A count of updates (int32) and the state of the optimizer."""

    count: Array
    inner: Any


class Interpolated(NamedTuple):
    """A count of updates (int32), the optimizer's state, and its first moments as the last synchronisation left them.

    `synchronized` is a tree like `inner`, with `optax.MaskedNode` in place of everything else.
    """

    count: Array
    synchronized: Any
    inner: Any


FIRST_MOMENTS = {"trace", "velocity", "momentum", "direction", "mu"}
"""Names in the path of a first moment: those of our own states, and optax's."""

OTHERS = {"scale", "nu", "weights", "mean", "synchronized"}
"""Names of what is remembered beside them. The outermost name counts: a parameter may be called mu or scale."""


def is_first_moment(path: str) -> bool:
    """Whether a state's path names a velocity or an average of gradients, not of their squares.

    >>> is_first_moment("scale_by_adam/direction/ema"), is_first_moment("scale_by_adam/scale/ema")
    (True, False)
    """
    names = path.replace("#", "/").split("/")
    kind = next((name for name in names if name in FIRST_MOMENTS | OTHERS), None)
    return kind in FIRST_MOMENTS and "bias_correction" not in names  # which holds the weight of a moment, not a moment


@piece
def restart_state(inner: optax.GradientTransformation, every: Numeric) -> Piece:
    """The inner optimizer starts anew, from the parameters of that moment, after every k-th update.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import trace
    >>> tx = restart_state(trace(0.5), every=1)
    >>> _, state = tx.update(jnp.ones(1), tx.init(jnp.ones(1)), jnp.ones(1))
    >>> tx.update(jnp.ones(1), state, jnp.ones(1))[0]
    Array([1.], dtype=float32)
    """
    inner = single(inner)

    def init(params: ArrayTree) -> Restarted:
        return Restarted(jnp.zeros((), jnp.int32), initial_state(inner, params))

    def wide_update(x: ArrayTree, state: Restarted, params: Any = None, **extra: Any) -> tuple[ArrayTree, Restarted]:
        starts = state.count % every == 0
        new = initial_state(inner, x if params is None else params)
        kept = jax.tree.map(lambda new, old: jnp.where(starts, new, old), new, state.inner)
        y, kept = run_update(inner, x, kept, params, **extra)
        return y, Restarted(optax.safe_increment(state.count), kept)

    return assemble(init, wide_update, body=ITSELF)


@piece
def interpolate_state(
    inner: optax.GradientTransformation,
    every: Numeric,
    share: Hyperparameter,
    where: Callable[[str], bool] = is_first_moment,
) -> Piece:
    """After every k-th update the first moments of the inner optimizer go back towards those of k updates before.

        m ← α·m + (1−α)·m°,   m° ← m

    `where` tells from a path of the inner state, such as "trace/kernel", whether it is to be interpolated. A schedule
    for `share` gets the count of that k-th update. (The code of the paper's authors keeps m° as another name of m
    itself, which makes it m ← α(2−α)·m.)

    >>> import jax.numpy as jnp
    >>> from gdo_optax import chain, trace
    >>> tx = interpolate_state(chain(trace(0.5)), every=1, share=0.5)
    >>> _, state = tx.update(jnp.ones(1), tx.init(jnp.ones(1)))
    >>> tx.update(jnp.ones(1), state)[0]
    Array([1.25], dtype=float32)
    """
    inner = single(inner)

    def chosen(state: Any) -> Any:
        def one(path: tuple, a: Array) -> Any:
            return a if where(path_name(path)) and jnp.issubdtype(a.dtype, jnp.inexact) else optax.MaskedNode()

        return jax.tree.map_with_path(one, state)

    def init(params: ArrayTree) -> Interpolated:
        kept = initial_state(inner, params)
        return Interpolated(jnp.zeros((), jnp.int32), jax.tree.map(lambda a: copy(a, a.dtype), chosen(kept)), kept)

    def wide_update(x: ArrayTree, state: Interpolated, params: Any = None, **extra: Any) -> tuple[ArrayTree, Any]:
        count, before, kept = state
        synchronizes = (count > 0) & (count % every == 0)
        alpha = share(jnp.maximum(count - 1, 0)) if callable(share) else share

        def pulled(now: Array, then: Array) -> Array:
            return jnp.where(synchronizes, then + as_dtype(alpha, now.dtype) * (now - then), now)

        new = each(pulled, chosen(kept), before)
        before = each(lambda now, then: jnp.where(synchronizes, now, then), new, before)
        kept = jax.tree.map(lambda now, a: a if absent(now) else now, new, kept, is_leaf=absent)
        y, kept = run_update(inner, x, kept, params, **extra)
        return y, Interpolated(optax.safe_increment(count), before, kept)

    return assemble(init, wide_update, body=ITSELF)
