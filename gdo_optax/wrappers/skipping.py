"""Steps that are left out."""

from typing import Any

import jax.numpy as jnp
import optax
from chex import ArrayTree

from gdo_optax.engine import xla
from gdo_optax.engine.combinators import part
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Node, Rule, Whole
from gdo_optax.engine.piece import piece
from gdo_optax.engine.reductions import all_finite
from gdo_optax.engine.trees import each


@piece
def skip_nonfinite(inner: optax.GradientTransformation) -> Whole:
    """A step whose gradient is not finite is left out: parameters, moments, counts and decay stay as they were.

        θ, state ← inner(g)        where all of g is finite
        θ, state                   unchanged, to the bit, where any of it is an infinity or a NaN

    It goes around the whole optimizer, slow weights and `accumulate` too, which by itself leaves out a micro-batch;
    `eval_params` finds the averages inside. The state counts the skipped steps. All is decided on the device, at the
    cost of one more pass over the gradient: every memory selects its new or its old value. (On a CPU, where that would
    take an array more, the step is inside of a conditional.) optax.apply_if_finite tests the updates instead, so an
    infinite square that a division has turned into 0 stays in its moments. Here only the gradient is tested: our pieces
    turn finite gradients into finite updates. A skipped step emits −0.0; adding it leaves every bit of the parameters
    unchanged. Where workers have gradients of their own, average these first, so that all of them skip.

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
    >>> updates, state["state"]["skipped"]
    (Array([-0.], dtype=float32), Array(1, dtype=int32))
    >>> tx.update(zero + 2, state)[0]
    Array([-3.], dtype=float32)
    """

    def init(params: ArrayTree, inner: Any) -> dict[str, Any]:
        return {"skipped": jnp.zeros((), jnp.int32), "inner": inner}

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        def run(x: ArrayTree, inner: Any, keep: Any) -> tuple[ArrayTree, Any]:
            return now.run("inner", x, inner, params, keep)

        good = all_finite(x)
        if node.narrow or _selects(node):
            y, kept = run(each(lambda g: jnp.where(good, g, 0), x), state["inner"], good)
        else:
            y, _, kept = xla.run_if(good, run, x, state["inner"])
        skipped = jnp.where(good, state["skipped"], optax.safe_increment(state["skipped"]))
        return each(lambda a: jnp.where(good, a, -0.0), y), {"skipped": skipped, "inner": kept}

    node = part(inner, outermost=True)
    return Whole({"inner": node}, init, update, clocked=True, narrow=node.narrow)


def _selects(node: Node) -> bool:
    """Whether XLA on a CPU can select each new memory or the old one as it writes it, without an array more.

    It cannot if the output is computed from a new memory that a skipped step would discard: both would be materialized.
    """
    if isinstance(node, Rule):
        return not node.init or getattr(node.f, "emits_memory", False)
    own = isinstance(node, Whole) and node.init is not None
    return not own and all(map(_selects, node.parts.values()))
