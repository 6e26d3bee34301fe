"""Pieces that evaluate the loss or its gradient once more within a step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine.combinators import parallel, series
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Whole
from gdo_optax.engine.numerics import norm, number_dtype
from gdo_optax.engine.piece import Piece, piece
from gdo_optax.engine.trees import absent, each, widened


@piece
def gradient_ahead() -> Whole:
    """x ↦ ∇f(p + x): the gradient where the step x would lead.

    The update takes the extra argument `value_and_grad_fn`, a function of the parameters such as
    `jax.value_and_grad(loss)`, on the same batch as the gradient itself. It is called with parameters in at least
    float32. In a `parallel` it is the branch of a second gradient; see `heun`.

    Raises ValueError in the update where there are no parameters or no `value_and_grad_fn`.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> tx = gradient_ahead()
    >>> square = jax.value_and_grad(lambda p: jnp.sum(p**2))
    >>> tx.update(jnp.array([1.0]), tx.init(None), jnp.array([2.0]), value_and_grad_fn=square)[0]
    Array([6.], dtype=float32)
    """

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        value_and_grad_fn = _needed("gradient_ahead", "value_and_grad_fn", x, params, now.extra)
        _, gradient = value_and_grad_fn(_moved(params, x))
        return each(lambda _, y: y, x, widened(gradient)), state

    return Whole(update=update, reads=("value_and_grad_fn",))


def second(here: Array, there: Array) -> Array:
    """The second of two arrays: a merge for `with_second_gradient`.

    >>> second(jnp.zeros(1), jnp.ones(1))
    Array([1.], dtype=float32)
    """
    return there


@piece
def with_second_gradient(
    to: Sequence[optax.GradientTransformation], merge: Callable[[Array, Array], Array] = second
) -> Piece:
    """∇f(p) ↦ merge(∇f(p), ∇f(p + u)), u what the pieces `to` make of the first gradient.

    The common form of methods with two gradients a step; they differ in where the second is taken, in what is made of
    both, and in the optimizer that follows:

        heun             to=[scale_by_learning_rate(α)], merge=mean_of
        extragradient    to=[scale_by_learning_rate(α)]
        sam              to=[normalize_by_update_norm(), scale(ρ)]

    The update takes the extra argument `value_and_grad_fn`, see `gradient_ahead`. `merge` takes two arrays; the default
    is the second gradient alone.

    Raises TypeError for a `to` that is no list of pieces; ValueError in the update where there are no parameters or no
    `value_and_grad_fn`.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from gdo_optax import scale
    >>> tx = with_second_gradient(to=[scale(-0.1)])
    >>> square = jax.value_and_grad(lambda p: jnp.sum(p**2) / 2)
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)), jnp.array([2.0]), value_and_grad_fn=square)[0]
    Array([1.8], dtype=float32)
    """
    series("to", to)  # raises where it is no list of pieces
    return parallel(merge, here=[], there=[*to, gradient_ahead()])


@piece
def scale_by_backtracking(learning_rate: Numeric = 1.0, max_backtracking_steps: Numeric = 30) -> Whole:
    """g ↦ −αₖ·g, the rate halved until the step goes down by half of what the slope promises; it never grows again.

        αₖ = 2⁻ⁱ·αₖ₋₁ for the smallest i ≥ 0 with   f(y) − f(y − αₖ·g) ≥ αₖ/2·‖g‖²

    `learning_rate` is α₋₁. The update takes the extra arguments of optax's line searches: `value_fn`, a function of the
    parameters, and `value`, its value at them, which is computed where it is missing. A difference that is lost in the
    rounding of f counts as no difference.

    Raises ValueError in the update where there are no parameters or no `value_fn`.

    Yu. E. Nesterov (1983), Soviet Math. Dokl. 27:372-376, steps a and b.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_backtracking(1.0)
    >>> y = jnp.array([1.0])
    >>> step, state = tx.update(4 * y, tx.init(y), y, value_fn=lambda y: 2 * jnp.sum(y**2))
    >>> step, state["state"]["learning_rate"]
    (Array([-1.], dtype=float32), Array(0.25, dtype=float32))
    """

    def init(params: ArrayTree) -> dict[str, Array]:
        return {"learning_rate": jnp.array(learning_rate, number_dtype(params))}

    def update(g: ArrayTree, state: Any, params: Any, now: Now, most: Numeric) -> tuple[ArrayTree, Any]:
        value_fn = _needed("scale_by_backtracking", "value_fn", g, params, now.extra)
        value = now.extra.get("value")
        dtype = state["learning_rate"].dtype
        value = jnp.asarray(value_fn(params) if value is None else value, dtype)
        slope = sum((norm(x).astype(dtype) ** 2 for x in jax.tree.leaves(g)), jnp.zeros((), dtype))
        slack = 4 * jnp.finfo(dtype).eps * jnp.abs(value)

        def step(rate: Array) -> ArrayTree:
            return each(lambda x: -rate.astype(x.dtype) * x, g)

        def too_long(search: tuple[Array, Array]) -> Array:
            i, rate = search
            there = jnp.asarray(value_fn(_moved(params, step(rate))), dtype)
            return (i < most) & ~(value - there >= rate / 2 * slope - slack)

        start = jnp.int32(0), state["learning_rate"]
        _, rate = jax.lax.while_loop(too_long, lambda s: (s[0] + 1, s[1] / 2), start)
        return step(rate), {"learning_rate": rate}

    reads, hyper = ("value_fn", "value"), {"most": max_backtracking_steps}
    return Whole(init=init, update=update, reads=reads, hyper=hyper)


def _moved(params: ArrayTree, step: ArrayTree) -> ArrayTree:
    """p + u; a parameter without a gradient stays."""
    return each(lambda p, u: p if absent(u) else p + u, params, step)


def _needed(name: str, argument: str, x: ArrayTree, params: Any, extra: Mapping[str, Any]) -> Callable:
    if params is None and jax.tree.leaves(x):
        raise ValueError(f"{name} reads the parameters: call update(updates, state, params)")
    if not callable(extra.get(argument)):
        raise ValueError(f"{name}: call update(updates, state, params, {argument}=…), a function of the parameters")
    return extra[argument]
