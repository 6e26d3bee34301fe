"""Combinators join pieces: in series, in parallel, as direction times scale, on some parameters only."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import optax
from chex import Array, ArrayTree

from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Chain, Masked, Node, Parallel, Rule, Whole, rule
from gdo_optax.engine.piece import Piece, piece
from gdo_optax.engine.printing import name_of, show
from gdo_optax.engine.trees import Mask


@piece
def chain(*pieces: optax.GradientTransformation) -> Chain:
    """In series: each piece is given the output of the one before it; none at all is the identity.

    Its part of the state is a dict keyed by the pieces' names, a second `ema` being `ema#2`; a piece that remembers
    nothing has no entry. Other optax transformations may stand among the pieces; they see a model in float32. Raises
    TypeError for an argument that is no transformation.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import ema, scale
    >>> tx = chain(ema(0.9), scale(-0.1))
    >>> tx.init(jnp.zeros(2))["state"]
    {'ema': {'memory': Array([0., 0.], dtype=float32)}}
    """
    return Chain(named(pieces))


@piece
def parallel(merge: Callable[..., Array], /, **branches: Sequence[optax.GradientTransformation]) -> Parallel:
    """The same input through every branch, a list of pieces; their outputs are merged array by array.

    An empty list is the input itself. Later branches may `recall` the output of an earlier one by its name.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import scale
    >>> tx = parallel(jnp.add, one=[], other=[scale(2.0)])
    >>> tx.update(jnp.ones(1), tx.init(jnp.ones(1)))[0]
    Array([3.], dtype=float32)
    """
    if not branches:
        raise ValueError("parallel: there are no branches; give lists of pieces, parallel(jnp.add, one=[], other=[…])")
    return Parallel({name: series(name, pieces) for name, pieces in branches.items()}, merge)


def series(name: str, pieces: Any) -> Chain:
    """The pieces of a branch as a chain, or a TypeError."""
    if not isinstance(pieces, list | tuple) or isinstance(pieces, optax.GradientTransformation):
        raise TypeError(f"{name}={show(pieces)} is not a list of pieces: [{show(pieces)}]")
    return Chain(named(pieces))


def mean_of(*arrays: Array) -> Array:
    """The mean of several arrays, coordinate by coordinate: a merge for `parallel`.

    >>> import jax.numpy as jnp
    >>> mean_of(jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0]))
    Array([2. , 3.5], dtype=float32)
    """
    return functools.reduce(jnp.add, [x / len(arrays) for x in arrays])  # their sum may overflow


@piece
def adaptive(
    direction: Sequence[optax.GradientTransformation], scale: Sequence[optax.GradientTransformation]
) -> Parallel:
    """g ↦ direction(g) · scale(g): two lists of pieces fed the same gradient, and their product.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import absolute, reciprocal
    >>> sign = adaptive(direction=[], scale=[absolute(), reciprocal()])
    >>> sign.update(jnp.array([-2.0, 0.0, 3.0]), sign.init(None))[0]
    Array([-1.,  0.,  1.], dtype=float32)
    """
    return Parallel({"direction": series("direction", direction), "scale": series("scale", scale)}, jnp.multiply)


@piece
def recall(branch: str) -> Rule:
    """The output of an earlier branch of a `parallel` around this piece, in place of the input.

    Raises ValueError in the update where there is no such branch.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import scale, square
    >>> tx = parallel(jnp.add, squared=[square()], double=[recall("squared"), scale(2.0)])
    >>> tx.update(jnp.array([3.0]), tx.init(None))[0]
    Array([27.], dtype=float32)
    """
    return rule(lambda x, branches: recalled("recall", branch, branches))


def recalled(name: str, branch: str, branches: Mapping[str, Any]) -> Any:
    """The output of a branch, or a ValueError that says which there are."""
    if branch not in branches:
        raise ValueError(f"{name}: no branch {branch!r} came before this one; there are {sorted(branches)}")
    return branches[branch]


@piece
def masked(inner: optax.GradientTransformation, mask: Mask) -> Masked:
    """`inner` where `mask` is True; elsewhere the input passes through.

    `mask` is a tree of booleans, a prefix of one, or a function of the tree that returns one (as in optax).

    >>> import jax.numpy as jnp
    >>> from gdo_optax import scale
    >>> tx = masked(scale(2.0), {"kernel": True, "bias": False})
    >>> g = {"kernel": jnp.ones(1), "bias": jnp.ones(1)}
    >>> tx.update(g, tx.init(g))[0]
    {'bias': Array([1.], dtype=float32), 'kernel': Array([2.], dtype=float32)}
    """
    return Masked(named([inner]), mask)


def named(pieces: Iterable[optax.GradientTransformation], outermost: bool = False) -> dict[str, Node]:
    """The node of each transformation under its name; the second of a name gets a number."""
    nodes: dict[str, Node] = {}
    for p in pieces:
        if not isinstance(p, optax.GradientTransformation):
            called = f": call it, {p.__name__}(…)" if callable(p) and hasattr(p, "__name__") else ""
            unpacked = ": unpack it, chain(*…)" if isinstance(p, list | tuple) else ""
            raise TypeError(f"{show(p)} is no gradient transformation{called or unpacked}")
        node, name = p.node if isinstance(p, Piece) else foreign(p), name_of(p)
        if isinstance(node, Whole) and node.narrow and not outermost:
            raise ValueError(
                f"{name} must see the parameters' dtypes: put it around the whole optimizer, {name}(chain(…))"
            )
        same = sum(k.partition("#")[0] == name for k in nodes)
        nodes[f"{name}#{same + 1}" if same else name] = node
    return nodes


def part(inner: optax.GradientTransformation, outermost: bool = False) -> Node:
    """The node of what a wrapper wraps, or a TypeError that says what it is instead."""
    return next(iter(named([inner], outermost).values()))


def foreign(transformation: optax.GradientTransformation) -> Whole:
    """Somebody else's optax transformation as a node; its state is its own."""
    stateless = transformation.init is optax.init_empty_state
    update = optax.with_extra_args_support(transformation).update

    def run(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        y, new = update(x, optax.EmptyState() if stateless else state, params, **now.extra)
        return y, {} if stateless else new

    return Whole(init=None if stateless else transformation.init, update=run, reads=None, foreign=True)
