"""What becomes of an optimizer's state where slow weights have moved the parameters."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.counting import Schedule, schedule
from gdo_optax.engine.combinators import part
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Node, Whole
from gdo_optax.engine.numerics import as_dtype
from gdo_optax.engine.piece import Hyperparameter, piece
from gdo_optax.engine.states import EVAL_DISPLACEMENT, EVAL_WEIGHTS, initial
from gdo_optax.engine.trees import absent, each, path_name


FIRST_MOMENTS = {"trace", "velocity", "momentum", "direction", "mu"}
"""Names in the path of a first moment: those of our own states, and optax's."""

OTHERS = {"scale", "nu", EVAL_WEIGHTS, EVAL_DISPLACEMENT, "mean", "synchronized"}
"""Names of what is remembered beside them. The outermost name counts: a parameter may be called mu or scale."""


def is_first_moment(path: str) -> bool:
    """Whether a state's path names a velocity or an average of gradients, not of their squares.

    >>> is_first_moment("scale_by_adam/direction/ema/memory"), is_first_moment("scale_by_adam/scale/ema/memory")
    (True, False)
    """
    names = path.replace("#", "/").split("/")
    kind = next((name for name in names if name in FIRST_MOMENTS | OTHERS), None)
    return kind in FIRST_MOMENTS and "bias_correction" not in names  # which holds the weight of a moment, not a moment


@piece
def restart_state(inner: optax.GradientTransformation, every: Numeric) -> Whole:
    """The inner optimizer forgets all it remembers, after every k-th update.

    Its memories start anew from the parameters of that moment, and so does their `age`, which debiasing reads. The
    clock goes on, so a schedule does not start again.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import trace
    >>> tx = restart_state(trace(0.5), every=1)
    >>> _, state = tx.update(jnp.ones(1), tx.init(jnp.ones(1)), jnp.ones(1))
    >>> tx.update(jnp.ones(1), state, jnp.ones(1))[0]
    Array([1.], dtype=float32)
    """
    node = part(inner)

    def init(params: ArrayTree, inner: Any) -> dict[str, Any]:
        return {"age": jnp.zeros((), jnp.int32), "inner": inner}

    def update(x: ArrayTree, state: Any, params: Any, now: Now, every: Numeric) -> tuple[ArrayTree, Any]:
        starts = now.count % every == 0
        new, _ = initial(node, x if params is None else params)
        inner = jax.tree.map(lambda new, old: jnp.where(starts, new, old), new, state["inner"])
        age = jnp.where(starts, 0, state["age"])
        y, inner = now.but(age=age).run("inner", x, inner, params)
        return y, {"age": optax.safe_increment(age), "inner": inner}

    return Whole({"inner": node}, init, update, rewrites=True, hyper={"every": every})


@piece
def interpolate_state(
    inner: optax.GradientTransformation,
    every: Numeric,
    share: Hyperparameter,
    where: Callable[[str], bool] = is_first_moment,
) -> Whole:
    """After every k-th update the first moments of the inner optimizer go back towards those of k updates before.

        m ← α·m + (1−α)·m°,   m° ← m

    `where` tells from a path of the inner state, such as "trace/memory/kernel", whether it is to be interpolated. The
    state holds m° as `synchronized`, a tree like the inner state with None for all else. A schedule for `share` gets
    the count of that k-th update. (The code of the paper's authors keeps m° as another name of m itself, which makes it
    m ← α(2−α)·m.)

    >>> import jax.numpy as jnp
    >>> from gdo_optax import chain, trace
    >>> tx = interpolate_state(chain(trace(0.5)), every=1, share=0.5)
    >>> _, state = tx.update(jnp.ones(1), tx.init(jnp.ones(1)))
    >>> tx.update(jnp.ones(1), state)[0]
    Array([1.25], dtype=float32)
    """

    def chosen(state: Any) -> Any:
        def one(path: tuple, a: Array) -> Any:
            return a if where(path_name(path)) and jnp.issubdtype(a.dtype, jnp.inexact) else None

        return jax.tree.map_with_path(one, state)

    def init(params: ArrayTree, synchronized: Any, inner: Any) -> dict[str, Any]:
        return {"synchronized": chosen(synchronized), "inner": inner}

    def update(
        x: ArrayTree, state: Any, params: Any, now: Now, every: Numeric, share: Numeric
    ) -> tuple[ArrayTree, Any]:
        before, inner = state["synchronized"], state["inner"]
        synchronizes = (now.count > 0) & (now.count % every == 0)

        def pulled(m: Array, then: Array) -> Array:
            return jnp.where(synchronizes, then + as_dtype(share, m.dtype) * (m - then), m)

        new = each(pulled, chosen(inner), before)
        before = each(lambda m, then: jnp.where(synchronizes, m, then), new, before)
        inner = jax.tree.map(lambda m, a: a if absent(m) else m, new, inner, is_leaf=absent)
        y, inner = now.run("inner", x, inner, params)
        return y, {"synchronized": before, "inner": inner}

    hyper = {"every": every, "share": _before(share) if callable(share) else share}
    node = part(inner)
    return Whole({"synchronized": image(node), "inner": node}, init, update, rewrites=True, hyper=hyper)


def image(node: Node) -> Node:
    """A part that is never run: it says that an entry of the state is like the state of `node`."""
    same = dataclasses.replace(node)
    vars(same)["outside"] = False  # so none of its hyperparameters is evaluated
    return same


@schedule
def _before(of: Schedule) -> Schedule:
    """of(count − 1), from the second update on."""
    return lambda count: of(jnp.maximum(count - 1, 0))
