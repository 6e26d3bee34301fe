"""When to stop: a state machine of numbers alone, for a loop in Python or a scan."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.counting import check_numbers
from gdo_optax.engine.numerics import as_dtype, copy, number_dtype
from gdo_optax.engine.trees import each


class Stopping(NamedTuple):
    """How many values were seen (int32), the best of them, which it was (int32, −1 at first) and its parameters.

    `waited` (int32) counts the values since then without an improvement; `stopped` says whether they were too many.
    """

    count: Array
    best: Array
    best_step: Array
    waited: Array
    stopped: Array
    params: ArrayTree


class EarlyStopping(NamedTuple):
    """`init(params)` makes the first state, `update(value, state, params)` the next.

    >>> early_stopping(patience=3).init(jnp.zeros(2)).best
    Array(inf, dtype=float32)
    """

    init: Callable[[ArrayTree], Stopping]
    update: Callable[[Numeric, Stopping, ArrayTree], Stopping]


def early_stopping(patience: Numeric = 10, min_delta: Numeric = 0.0, mode: str = "min") -> EarlyStopping:
    """Early stopping: enough of a validation loss that has not improved for a while, and the best parameters so far.

        better if   value < best − min_delta           (value > best + min_delta if mode is "max")
        stop when `patience` values in a row were not better

    A pure state machine: it works inside jit, scan and vmap, where `stopped` is an array to branch on or to ask for at
    the end; once stopped, nothing changes. The first value that is a number is an improvement; NaN never is one. As
    Keras's callback, with `restore_best_weights` by reading `params` from the state; as there, a patience of 0 stops at
    the first value that is no better, like one of 1.

    Args:
        patience: an integer ≥ 0, how many values in a row may be no better; the last of them stops.
        min_delta: ≥ 0, the least change that counts, in the unit of the value.
        mode: "min" for a loss, "max" for an accuracy.

    Returns:
        A pair of functions `init` and `update`, see `EarlyStopping` and the state `Stopping`.

    Raises:
        ValueError: a value outside its range, another mode; in the update, a value that is no single number.

    Reference: L. Prechelt (1998), "Early stopping - but when?", doi:10.1007/3-540-49430-8_3.

    >>> import jax.numpy as jnp
    >>> stopping = early_stopping(patience=2)
    >>> state = stopping.init(jnp.zeros(1))
    >>> for step, loss in enumerate([3.0, 1.0, 2.0, 1.5]):
    ...     state = stopping.update(loss, state, jnp.full(1, step))
    >>> bool(state.stopped), float(state.best), int(state.best_step), state.params
    (True, 1.0, 1, Array([1.], dtype=float32))
    """
    check_numbers("early_stopping", patience=patience, min_delta=min_delta)
    if mode not in ("min", "max"):
        raise ValueError(f'early_stopping: mode={mode!r} is neither "min", for a loss, nor "max", for an accuracy')
    sign = 1 if mode == "min" else -1

    def init(params: ArrayTree) -> Stopping:
        none = jnp.zeros((), jnp.int32)
        worst = jnp.asarray(sign * jnp.inf, number_dtype(params))
        kept = each(lambda p: copy(p, jnp.result_type(p)), params)
        return Stopping(none, worst, none - 1, none + 0, jnp.zeros((), bool), kept)

    def update(value: Numeric, state: Stopping, params: ArrayTree) -> Stopping:
        if jnp.shape(value):
            raise ValueError(f"early_stopping: the value has the shape {jnp.shape(value)}, it must be one number")
        value = jnp.asarray(value).astype(state.best.dtype)
        better = ~state.stopped & (sign * value < sign * state.best - as_dtype(min_delta, value.dtype))
        waited = jnp.where(state.stopped, state.waited, jnp.where(better, 0, optax.safe_increment(state.waited)))
        return Stopping(
            jnp.where(state.stopped, state.count, optax.safe_increment(state.count)),
            jnp.where(better, value, state.best),
            jnp.where(better, state.count, state.best_step),
            waited,
            state.stopped | (~better & (waited >= patience)),
            each(lambda old, new: jnp.where(better, new, old).astype(old.dtype), state.params, params),
        )

    return EarlyStopping(init, update)
