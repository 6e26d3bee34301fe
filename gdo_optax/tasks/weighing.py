"""One gradient from those of several tasks: the weighted sum, which all balancers share, and weights that stay."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import Array, ArrayTree

from gdo_optax.engine.combinators import single
from gdo_optax.engine.piece import Piece, assemble, piece
from gdo_optax.counting import check_numbers
from gdo_optax.tasks.stacked import Shared, chosen, combined, stacked, unstacked
from gdo_optax.engine.trees import all_finite, number_dtype


Rule: TypeAlias = Callable[[Any, Array, list[Array]], tuple[Array, Any]]


def weigh_tasks(
    tasks: int,
    rule: Rule,
    initial: Callable[[Any], Any] | None = None,
    shared: Shared = None,
    *,
    reads_losses: bool = True,
    only_shared: bool = False,
) -> Piece:
    """g₁ … g_T ↦ Σ wᵢ·gᵢ, the gradients stacked, (T, …), in every array; what all balancers come to.

    `rule(memory, losses, gradients)` returns the weights to use now, (T,), and the next memory. The losses, (T,), are
    the update's extra argument `losses`; the gradients are a list of the arrays that `shared` selects, in at least
    float32.

    Args:
        tasks: T.
        rule: as above.
        initial: a function of the dtype of numbers that belong to no array; it returns the first memory.
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
    >>> larger.update(jnp.array([[1.0, 2.0], [3.0, 4.0]]), (), losses=jnp.array([0.1, 0.2]))[0]
    Array([3., 4.], dtype=float32)
    """
    check_numbers("weigh_tasks", tasks=tasks)
    tasks = int(tasks)

    def init(params: ArrayTree) -> Any:
        chosen(shared, params)
        return initial(number_dtype(params)) if initial else ()

    def wide_update(x: ArrayTree, memory: Any, params: Any = None, **extra: Any) -> tuple[ArrayTree, Any]:
        arrays, seen = stacked(x, tasks), chosen(shared, unstacked(x))
        dtype = number_dtype(memory if initial else arrays)
        losses = _losses(extra.get("losses"), tasks, dtype) if reads_losses else jnp.zeros(tasks, dtype)
        weights, memory = rule(memory, losses, [g for g, yes in zip(arrays, seen, strict=True) if yes])
        plain = jnp.ones_like(weights) if only_shared else weights
        sums = [combined(weights if yes else plain, g) for g, yes in zip(arrays, seen, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(x), sums), memory

    return assemble(init, wide_update, remembers=initial is not None)


@piece
def equal_weights(tasks: int = 2) -> Piece:
    """Equal weights: the plain sum of the tasks' gradients, g₁ + … + g_T.

    Args:
        tasks: T ≥ 1.

    Raises:
        ValueError: a value outside its range; in the update, arrays whose first axis is not T.

    >>> import jax.numpy as jnp
    >>> equal_weights(2).update(jnp.array([[1.0, 2.0], [3.0, 4.0]]), ())[0]
    Array([4., 6.], dtype=float32)
    """
    return weigh_tasks(tasks, lambda memory, *_: (jnp.ones(int(tasks)), memory), reads_losses=False)


@piece
def static_weights(weights: Array | Sequence[float]) -> Piece:
    """Weights that stay: the sum Σ wᵢ·gᵢ of the tasks' gradients.

    Args:
        weights: w > 0, one for every task.

    Raises:
        ValueError: weights that are no list of positive numbers; in the update, arrays whose first axis is not T.

    >>> import jax.numpy as jnp
    >>> static_weights([1.0, 0.5]).update(jnp.array([[1.0, 2.0], [4.0, 4.0]]), ())[0]
    Array([3., 4.], dtype=float32)
    """
    weights = positive("static_weights: weights", weights)
    return weigh_tasks(len(weights), lambda memory, *_: (jnp.asarray(weights, float), memory), reads_losses=False)


def positive(name: str, values: Any, tasks: int | None = None) -> Any:
    """The values, one for every task, if those that are known are positive and finite."""
    known = None if isinstance(values, jax.core.Tracer) else np.asarray(values, float)
    shape = np.shape(values if known is None else known)
    if len(shape) != 1 or shape[0] != (tasks or shape[0] or 1):
        raise ValueError(f"{name} has the shape {shape}, not ({tasks or 'T'},): one number for every task")
    if known is not None and not np.all((known > 0) & (known < np.inf)):
        raise ValueError(f"{name}: one of {known.tolist()} is outside (0, inf)")
    return values if known is None else known


def made(name: str, optimizer: Any, learning_rate: Any) -> optax.GradientTransformation:
    """The optimizer of a few numbers, from the function that makes it."""
    if not callable(optimizer) or isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(
            f"{name}: optimizer={optimizer!r} is no function of the learning rate: optimizer=adam, not adam(…)"
        )
    return single(optimizer(learning_rate))


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
