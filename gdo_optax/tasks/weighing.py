"""One gradient from those of several tasks: the weighted sum, which all balancers share, and weights that stay."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import Array, ArrayTree

from gdo_optax.engine.combinators import part
from gdo_optax.engine.interpreter import Now, walk
from gdo_optax.engine.nodes import Node, Whole
from gdo_optax.engine.numerics import number_dtype
from gdo_optax.engine.piece import piece
from gdo_optax.engine.reductions import all_finite
from gdo_optax.engine.states import initial
from gdo_optax.tasks.stacked import Shared, chosen, combined, stacked, unstacked


Rule: TypeAlias = Callable[..., tuple[Any, Any]]


@piece
def weigh_tasks(
    tasks: int,
    rule: Rule,
    initial: Callable[[Any], dict[str, Any]] | None = None,
    shared: Shared = None,
    *,
    reads_losses: bool = True,
    only_shared: bool = False,
) -> Whole:
    """g₁ … g_T ↦ Σ wᵢ·gᵢ, the gradients stacked, (T, …), in every array: the common form of all balancers.

    `rule(memory, losses, gradients)` returns the weights to use now, (T,), and the next memory. The losses, (T,), are
    the update's extra argument `losses`; the gradients are a list of the arrays that `shared` selects, in at least
    float32.

    Args:
        tasks: T.
        rule: as above.
        initial: a function of the dtype of numbers that belong to no array; it returns the first memory, a dict.
        shared: which arrays the rule sees: all, those with a match of a regular expression in their path, such as
            "encoder/last/kernel", or a mask as in `masked`; a function is given the arrays' shapes without the first
            axis.
        reads_losses: whether there must be losses.
        only_shared: whether the other arrays get the plain sum.

    Raises:
        ValueError: in the update, arrays whose first axis is not T; losses that are missing or no (T,); a `shared` that
            selects nothing, in `init` too.

    >>> import jax.numpy as jnp
    >>> larger = weigh_tasks(2, lambda memory, losses, gradients: ((losses == losses.max()).astype(float), memory))
    >>> gradients, losses = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([0.1, 0.2])
    >>> larger.update(gradients, larger.init(None), losses=losses)[0]
    Array([3., 4.], dtype=float32)
    """

    def timeless(memory: Any, losses: Array, gradients: list[Array], now: Now) -> tuple[Any, Any]:
        return rule(memory, losses, gradients)

    return balancer(tasks, timeless, initial, shared, reads_losses=reads_losses, only_shared=only_shared)


def balancer(
    tasks: int,
    rule: Rule,
    initial: Callable[[Any], dict[str, Any]] | None = None,
    shared: Shared = None,
    *,
    reads_losses: bool = True,
    only_shared: bool = False,
    **hyper: Any,
) -> Whole:
    """The node of `weigh_tasks` with `rule(memory, losses, gradients, now, **hyper)`."""
    tasks = int(tasks)

    def init(params: ArrayTree) -> dict[str, Any]:
        chosen(shared, params)
        return initial(number_dtype(params)) if initial else {}

    def update(x: ArrayTree, memory: Any, params: Any, now: Now, **hyper: Any) -> tuple[ArrayTree, Any]:
        arrays, seen = stacked(x, tasks), chosen(shared, unstacked(x))
        dtype = number_dtype(memory if initial else arrays)
        losses = _losses(now.extra.get("losses"), tasks, dtype) if reads_losses else jnp.zeros(tasks, dtype)
        weights, memory = rule(memory, losses, [g for g, yes in zip(arrays, seen, strict=True) if yes], now, **hyper)
        plain = jnp.ones_like(weights) if only_shared else weights
        sums = [combined(weights if yes else plain, g) for g, yes in zip(arrays, seen, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(x), sums), memory

    first = init if initial or shared is not None else None
    reads = ("losses",) if reads_losses else ()
    return Whole(init=first, update=update, reads=reads, stacked=True, hyper=hyper)


@piece
def equal_weights(tasks: int = 2) -> Whole:
    """Equal weights: the plain sum of the tasks' gradients, g₁ + … + g_T.

    Args:
        tasks: T ≥ 1.

    Raises:
        ValueError: a value outside its range; in the update, arrays whose first axis is not T.

    >>> import jax.numpy as jnp
    >>> tx = equal_weights(2)
    >>> tx.update(jnp.array([[1.0, 2.0], [3.0, 4.0]]), tx.init(None))[0]
    Array([4., 6.], dtype=float32)
    """
    return balancer(tasks, lambda memory, *_: (jnp.ones(int(tasks)), memory), reads_losses=False)


@piece
def static_weights(weights: Array | Sequence[float]) -> Whole:
    """Weights that stay: the sum Σ wᵢ·gᵢ of the tasks' gradients.

    Args:
        weights: w > 0, one for every task.

    Raises:
        ValueError: weights that are no list of positive numbers; in the update, arrays whose first axis is not T.

    >>> import jax.numpy as jnp
    >>> tx = static_weights([1.0, 0.5])
    >>> tx.update(jnp.array([[1.0, 2.0], [4.0, 4.0]]), tx.init(None))[0]
    Array([3., 4.], dtype=float32)
    """
    weights = positive("static_weights: weights", weights)

    def fixed(memory: Any, losses: Array, gradients: list[Array], now: Now, weights: Array) -> tuple[Array, Any]:
        return jnp.asarray(weights, float), memory

    return balancer(len(weights), fixed, reads_losses=False, weights=weights)


def positive(name: str, values: Any, tasks: int | None = None) -> Any:
    """The values, one for every task, if those that are known are positive and finite."""
    known = None if isinstance(values, jax.core.Tracer) else np.asarray(values, float)
    shape = np.shape(values if known is None else known)
    if len(shape) != 1 or shape[0] != (tasks or shape[0] or 1):
        raise ValueError(f"{name} has the shape {shape}, not ({tasks or 'T'},): one number for every task")
    if known is not None and not np.all((known > 0) & (known < np.inf)):
        raise ValueError(f"{name}: one of {known.tolist()} is outside (0, inf)")
    return values if known is None else known


def made(name: str, optimizer: Any, learning_rate: Any) -> Node:
    """The optimizer of a few numbers, from the function that makes it."""
    if not callable(optimizer) or isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(
            f"{name}: optimizer={optimizer!r} is no function of the learning rate: optimizer=adam, not adam(…)"
        )
    return part(optimizer(learning_rate))


def first_state(optimizer: Node, numbers: Array) -> dict[str, Any]:
    """The state of an optimizer of a few numbers, with a clock of its own."""
    state, _ = initial(optimizer, numbers)
    return {"inner_count": jnp.zeros((), jnp.int32), "state": state}


def stepped(optimizer: Node, slope: Array, state: Any, numbers: Array, now: Now) -> tuple[Array, dict[str, Any]]:
    """The step of an optimizer of a few numbers at the time of its own clock, and its next state."""
    count = state["inner_count"]
    now = now.but(count=count, age=count, keep=None, rows=None, branches={}, extra={})
    step, kept = walk(optimizer, slope, state["state"], numbers, now)
    return step, {"inner_count": optax.safe_increment(count), "state": kept}


def if_finite(values: Any, new: Any, old: Any) -> Any:
    """The new state, or all of the old one where a value is not finite."""
    good = all_finite(values)
    return jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)


def _losses(losses: Any, tasks: int, dtype: Any) -> Array:
    if losses is None:
        raise ValueError("the losses of the tasks are missing: call update(gradients, state, params, losses=losses)")
    losses = jnp.asarray(losses)
    if losses.shape != (tasks,):
        raise ValueError(f"losses has the shape {losses.shape}, not ({tasks},): one loss for every task, see tasks=")
    return losses.astype(dtype)
