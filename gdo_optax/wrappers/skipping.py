"""Steps that are left out."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from chex import Array, ArrayTree

from gdo_optax.engine.combinators import in_place_if, initial_state, run_update, single, waits
from gdo_optax.engine.piece import ITSELF, Piece, assemble, piece
from gdo_optax.engine.trees import all_finite, each


class Skipped(NamedTuple):
    """How many steps were left out (int32), and the state of the optimizer."""

    skipped: Array
    inner: Any


@piece
def skip_nonfinite(inner: optax.GradientTransformation) -> Piece:
    """A step whose gradient is not finite is left out: parameters, moments, counts and decay stay as they were.

        θ, state ← inner(g)        where all of g is finite
        θ, state                   unchanged, to the bit, where any of it is an infinity or a NaN

    It goes around the whole optimizer, slow weights and `accumulate` too, which by itself leaves out a micro-batch;
    `eval_params` reads what is inside. The state counts what was left out. All is decided on the device: averages, sums
    and what is made of them choose number by number what they keep, which costs a pass over the gradient; anything else
    goes through one `jax.lax.cond`, in which the step takes the place of the gradient and nothing is copied.
    optax.apply_if_finite judges by the updates instead, and an infinite square that a division has turned into 0 stays
    in its moments; here the gradient alone is judged, of which, where it is finite, our own pieces make finite steps.
    What is emitted in place of a step is −0, which added changes no bit, not even of a −0. Where workers have gradients
    of their own, average these first, so that all of them skip.

    Args:
        inner: any optax transformation.

    Raises:
        TypeError: an inner that is no transformation.

    Reference: P. Micikevicius et al. (2018), "Mixed precision training", arXiv:1710.03740, section 3.2.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import momentum
    >>> tx, zero = skip_nonfinite(momentum(1.0, 0.5)), jnp.zeros(1)
    >>> _, state = tx.update(zero + 2, tx.init(zero))
    >>> updates, state = tx.update(zero + jnp.nan, state)
    >>> updates, state.skipped
    (Array([-0.], dtype=float32), Array(1, dtype=int32))
    >>> tx.update(zero + 2, state)[0]
    Array([-3.], dtype=float32)
    """
    inner = single(inner)

    def init(params: ArrayTree) -> Skipped:
        return Skipped(jnp.zeros((), jnp.int32), initial_state(inner, params))

    wide = assemble(init, functools.partial(_guarded, functools.partial(run_update, inner), waits(inner)), body=ITSELF)
    if not isinstance(inner, Piece):
        return wide
    # what must see the parameters' own dtypes is updated by itself
    own = Piece(init, functools.partial(_guarded, inner.update, inner.waits))
    own.body, own.wide_update = ITSELF, wide.wide_update
    return own


def _guarded(
    run: Callable, waiting: bool, x: ArrayTree, state: Skipped, params: Any = None, **extra: Any
) -> tuple[Any, Skipped]:
    good = all_finite(x)
    if waiting:
        x = each(lambda g: jnp.where(good, g, 0), x)
        y, kept = run(x, state.inner, params, go=good, **extra)
    else:
        y, kept = in_place_if(good, run, x, state.inner, params, **extra)
    y = each(lambda a: jnp.where(good, a, -0.0), y)
    return y, Skipped(jnp.where(good, state.skipped, optax.safe_increment(state.skipped)), kept)
