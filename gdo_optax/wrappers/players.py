"""Several players over one tree of parameters: who moves when."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine.combinators import chain, masked, part
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Whole
from gdo_optax.engine.piece import Piece, piece
from gdo_optax.engine.printing import show
from gdo_optax.engine.trees import Mask, each, excluding, inverted, selected


@piece
def in_turn(inner: optax.GradientTransformation, every: Numeric = 2, turn: Numeric = 0) -> Whole:
    """In turn: one of every N updates is the inner optimizer's, in the others nothing moves.

        θ ← θ + inner(gₜ)      at t ≡ turn mod N,   t = 0, 1, …
        θ ← θ                  else

    For players that move one after the other. The inner optimizer, its counts and schedules see their own updates
    alone; the gradients in between are dropped, where `accumulate` averages them.

    Args:
        inner: any optax transformation.
        every: N, an integer ≥ 1.
        turn: which of the N, an integer in [0, N).

    Raises:
        ValueError: a value outside its range.
        TypeError: an inner that is no transformation.

    Reference: I. Goodfellow et al. (2014), "Generative adversarial nets", arXiv:1406.2661, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx, g = in_turn(sgd(1.0), every=2, turn=1), jnp.array([3.0])
    >>> first, state = tx.update(g, tx.init(g))
    >>> first, tx.update(g, state)[0]
    (Array([0.], dtype=float32), Array([-3.], dtype=float32))
    """
    if not any(isinstance(n, jax.core.Tracer) for n in (every, turn)) and turn >= every:
        raise ValueError(f"in_turn: turn={turn} never comes: with every={every} turns are 0 to {every - 1}")

    def init(params: ArrayTree, inner: Any) -> dict[str, Any]:
        return {"inner": inner}

    def update(x: ArrayTree, state: Any, params: Any, now: Now, every: Numeric, turn: Numeric) -> tuple[ArrayTree, Any]:
        def act(inner: Any) -> tuple[ArrayTree, Any]:
            return now.run("inner", x, inner, params)

        def wait(inner: Any) -> tuple[ArrayTree, Any]:
            return each(jnp.zeros_like, x), inner

        y, inner = jax.lax.cond(now.count % _whole(every) == _whole(turn), act, wait, state["inner"])
        return y, {"inner": inner}

    return Whole({"inner": part(inner)}, init, update, clocked=True, hyper={"every": every, "turn": turn})


@piece
def adversarial(
    model: optax.GradientTransformation,
    discriminator: optax.GradientTransformation,
    turns: str = "simultaneous",
    mask: str | Mask = "^discriminator(/|$)",
) -> Piece:
    """Two players in one tree of parameters, each with an optimizer of its own.

        simultaneous:   φ ← discriminator(∂L/∂φ),  θ ← model(∂L/∂θ)      in every update
        alternating:    φ ← discriminator(∂L/∂φ)                          in updates 0, 2, 4, …
                        θ ← model(∂L/∂θ)                                  in updates 1, 3, 5, …

    The discriminator φ is the entry "discriminator" of the tree, the model θ all others. Both descend on the gradient
    that they are given, so the sign of the game belongs in the loss: `reverse_gradient`, as in `frage_loss`. Taking
    turns is the form of the papers, and takes two gradients for one step of each; with both at once a step of the model
    is judged by the discriminator as it was. For other rhythms, such as several steps of the discriminator, chain
    `masked` and `in_turn`.

    Args:
        model: the optimizer of θ, any optax transformation.
        discriminator: the optimizer of φ, any optax transformation.
        turns: "simultaneous" or "alternating".
        mask: where φ is: a regular expression searched in the path of an array, such as "adversary/", or a mask as in
            `masked`, True for φ.

    Raises:
        ValueError: other turns; in `init`, a mask that selects no parameters.
        TypeError: a player that is no transformation.

    Reference: I. Goodfellow et al. (2014), "Generative adversarial nets", arXiv:1406.2661, Algorithm 1, for turns;
    Y. Ganin, V. Lempitsky (2015), "Unsupervised domain adaptation by backpropagation", arXiv:1409.7495, section 3.1,
    for both at once.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> params = {"embedding": jnp.ones(1), "discriminator": jnp.ones(1)}
    >>> tx = adversarial(model=sgd(0.1), discriminator=sgd(1.0))
    >>> tx.update(params, tx.init(params), params)[0]
    {'discriminator': Array([-1.], dtype=float32), 'embedding': Array([-0.1], dtype=float32)}
    """
    if turns not in ("simultaneous", "alternating"):
        raise ValueError(f'adversarial: turns={turns!r} is neither "simultaneous" nor "alternating"')
    theirs = inverted(excluding(mask)) if isinstance(mask, str) else mask
    if turns == "alternating":
        discriminator, model = in_turn(discriminator, every=2, turn=0), in_turn(model, every=2, turn=1)
    pieces = {
        "discriminator": masked(discriminator, theirs),  # φ
        "model": masked(model, inverted(theirs)),  # θ
    }

    def init(params: ArrayTree, **states: Any) -> dict[str, Any]:
        if jax.tree.leaves(params) and not jax.tree.leaves(selected(theirs, params)):
            raise ValueError(f"adversarial: mask={show(mask)} selects no parameters for the discriminator")
        return states

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        new = {}
        for name in pieces:
            x, new[name] = now.run(name, x, state[name], params)
        return x, new

    players = chain(*pieces.values())  # which has no check in `init`, but prints as what is done
    node = Whole({name: part(inner) for name, inner in pieces.items()}, init, update)
    return Piece(node, players.call, players.maker)


def _whole(n: Numeric) -> Array:
    return jnp.asarray(n).astype(jnp.int32)
