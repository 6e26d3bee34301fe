"""Combinators join pieces: in series, in parallel, as direction times scale, on some parameters only."""

import functools
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree

from gdo_optax.core import ITSELF, Piece, assemble, piece, printed_as_itself
from gdo_optax.grouping import Choices, Recomputable, array_of
from gdo_optax.recipe import name_of, show
from gdo_optax.trees import Mask, each, magnitudes, marks, overlaid, selected, widened


@piece
def chain(*pieces: optax.GradientTransformation) -> Piece:
    """In series: each piece is fed what the one before it emits; none at all is the identity.

    The state is a dict keyed by the pieces' names, a second `ema` being `ema#2`; a piece that remembers nothing has no
    entry, so adding one changes no checkpoint. Other optax transformations may stand among the pieces; to them the
    model looks like one in float32. Raises TypeError for what is no transformation, ValueError for a foreign state.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import ema, scale
    >>> tx = chain(ema(0.9), scale(-0.1))
    >>> tx.init(jnp.zeros(2))
    {'ema': Array([0., 0.], dtype=float32)}
    """
    named = named_pieces(pieces)
    remembering = {k: p for k, p in named.items() if remembers(p)}

    def init(params: ArrayTree) -> dict[str, Any]:
        kept = {}
        for k, p in named.items():
            kept[k] = initial_state(p, params)
            params = magnitudes(params) if is_magnitude(p) else params
        return {k: kept[k] for k in remembering}

    def wide_update(
        x: ArrayTree, state: Any, params: Any = None, common: Any = None, **extra: Any
    ) -> tuple[ArrayTree, dict[str, Any]]:
        _check_state(state, remembering)
        kept = {}
        for k, p in named.items():
            own = extra if common is None else {**extra, "common": common[k]}
            x, s = run_update(p, x, state[k] if k in remembering else optax.EmptyState(), params, **own)
            if k in remembering:
                kept[k] = s
        return x, kept

    return assemble(
        init,
        wide_update,
        remembers=bool(remembering),
        magnitude=any(map(is_magnitude, pieces)),
        waits=all(map(waits, pieces)),
        common=in_common(named, remembering),
        choices=chosen_by(named.values()),
        body=ITSELF,
    )


@piece
def parallel(merge: Callable[..., Array], **branches: Sequence[optax.GradientTransformation]) -> Piece:
    """The same input through every branch, a list of pieces; what they emit is merged array by array.

    An empty list is the input itself. A branch finds what the branches before it emitted among its extra arguments,
    under their names.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import scale
    >>> tx = parallel(jnp.add, one=[], other=[scale(2.0)])
    >>> tx.update(jnp.ones(1), tx.init(jnp.ones(1)))[0]
    Array([3.], dtype=float32)
    """
    if not branches or {"updates", "state", "params"} & set(branches):
        raise ValueError(f"parallel: the branches {sorted(branches)} need a name each, not updates, state or params")
    for k, pieces in branches.items():
        if not isinstance(pieces, list | tuple) or isinstance(pieces, optax.GradientTransformation):
            raise TypeError(f"{k}={show(pieces)} is not a list of pieces: [{show(pieces)}]")
    chains = {k: chain(*pieces) for k, pieces in branches.items()}
    remembering = {k for k, c in chains.items() if c.remembers}

    def init(params: ArrayTree) -> dict[str, Any]:
        kept = {k: c.init(params) for k, c in chains.items()}
        return {k: kept[k] for k in remembering}

    def wide_update(
        x: ArrayTree, state: Any, params: Any = None, common: Any = None, **extra: Any
    ) -> tuple[ArrayTree, dict[str, Any]]:
        _check_state(state, remembering)
        out: dict[str, ArrayTree] = {}
        kept = {}
        for k, c in chains.items():
            own = {**extra, **out} if common is None else {**extra, **out, "common": common[k]}
            # what goes out as it came in has two readers, the memory of another branch and the step
            of_x = x.apart() if isinstance(x, Recomputable) and not branches[k] else x
            out[k], s = run_update(c, of_x, state[k] if k in remembering else {}, params, **own)
            if k in remembering:
                kept[k] = s
        return _merged(merge, *out.values()), kept

    return assemble(
        init,
        wide_update,
        remembers=bool(remembering),
        magnitude=all(c.magnitude for c in chains.values()),
        waits=all(map(waits, chains.values())),
        common=in_common(chains, remembering),
        choices=chosen_by(chains.values()),
        body=ITSELF,
    )


def _merged(merge: Callable[..., Array], *branches: Any) -> Any:
    """What the branches emit, merged: it can be computed again where they can."""
    merged = each(merge, *map(array_of, branches))
    if not all(isinstance(b, Recomputable) for b in branches):
        return merged
    return Recomputable(merged, lambda how: each(merge, *(b.reread(how) for b in branches)))


def in_common(pieces: Mapping[str, optax.GradientTransformation], remembering: Container[str]) -> Callable | None:
    """What the updates of all arrays have in common, piece by piece, if none of the arrays depends on another."""
    parts = {k: p.common for k, p in pieces.items() if isinstance(p, Piece) and p.common}

    def common(state: Any) -> dict[str, Any]:
        return {k: part(state[k] if k in remembering else ()) for k, part in parts.items()}

    return common if len(parts) == len(pieces) else None


def chosen_by(pieces: Iterable[optax.GradientTransformation]) -> Callable[[ArrayTree], Choices]:
    """What the masks of all pieces choose; a ValueError if one that is among them twice does not choose the same."""

    def choices(tree: ArrayTree) -> Choices:
        found = [choice for p in pieces if isinstance(p, Piece) for choice in p.choices(tree).items()]
        if any(dict(found)[mask] != chosen for mask, chosen in found):
            raise ValueError("a mask that chooses other arrays inside of another mask")
        return dict(found)

    return choices


def choice(mask: Mask, this: object, extra: Mapping[str, Any]) -> Mask:
    """The mask, or what it has chosen of the one array that is updated."""
    return extra["choices"][this] if "common" in extra else mask


def _check_state(state: Any, remembering: Iterable[str]) -> None:
    wanted = set(remembering)
    if wanted and (not isinstance(state, dict) or set(state) != wanted):
        found = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"the state is another optimizer's: it holds {found}, not {sorted(wanted)}")


def mean_of(*arrays: Array) -> Array:
    """The mean of several arrays, coordinate by coordinate: a merge for `parallel`.

    >>> import jax.numpy as jnp
    >>> mean_of(jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0]))
    Array([2. , 3.5], dtype=float32)
    """
    return functools.reduce(jnp.add, [x / len(arrays) for x in arrays])  # their sum may overflow


@piece
def adaptive(direction: Sequence[optax.GradientTransformation], scale: Sequence[optax.GradientTransformation]) -> Piece:
    """g ↦ direction(g) · scale(g): two lists of pieces fed the same gradient, and their product.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import absolute, reciprocal
    >>> sign = adaptive(direction=[], scale=[absolute(), reciprocal()])
    >>> sign.update(jnp.array([-2.0, 0.0, 3.0]), sign.init(None))[0]
    Array([-1.,  0.,  1.], dtype=float32)
    """
    both = parallel(jnp.multiply, direction=direction, scale=scale)
    return printed_as_itself(both)


@piece
def recall(branch: str) -> Piece:
    """What an earlier branch of the same `parallel` emitted, in place of what came in. ValueError where there is none.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import scale, square
    >>> tx = parallel(jnp.add, squared=[square()], double=[recall("squared"), scale(2.0)])
    >>> tx.update(jnp.array([3.0]), tx.init(None))[0]
    Array([27.], dtype=float32)
    """

    def wide_update(x: ArrayTree, state: Any, params: Any = None, **extra: Any) -> tuple[ArrayTree, Any]:
        if branch not in extra:
            raise ValueError(f"recall: no branch {branch!r} came before this one; there are {sorted(extra)}")
        return extra[branch], state

    return assemble(optax.init_empty_state, wide_update, remembers=False)


@piece
def masked(inner: optax.GradientTransformation, mask: Mask) -> Piece:
    """`inner` where `mask` is True; elsewhere what came in goes out.

    `mask` is a tree of booleans, a prefix of one, or a function of the tree that returns one (as in optax).

    >>> import jax.numpy as jnp
    >>> from gdo_optax import scale
    >>> tx = masked(scale(2.0), {"kernel": True, "bias": False})
    >>> g = {"kernel": jnp.ones(1), "bias": jnp.ones(1)}
    >>> tx.update(g, tx.init(g))[0]
    {'bias': Array([1.], dtype=float32), 'kernel': Array([2.], dtype=float32)}
    """
    inner, this = single(inner), object()

    def init(params: ArrayTree) -> Any:
        return initial_state(inner, selected(mask, params))

    def choices(tree: ArrayTree) -> Choices:
        return {this: marks(mask, tree)} | chosen_by([inner])(selected(mask, tree))

    def wide_update(x: ArrayTree, state: Any, params: Any = None, **extra: Any) -> tuple[ArrayTree, Any]:
        here = choice(mask, this, extra)
        y, state = run_update(inner, selected(here, x), state, selected(here, params), **extra)
        return overlaid(here, y, x), state

    return assemble(
        init,
        wide_update,
        remembers=remembers(inner),
        waits=waits(inner),
        common=getattr(inner, "common", None),
        choices=choices,
        body=ITSELF,
    )


def named_pieces(pieces: Iterable[optax.GradientTransformation]) -> dict[str, optax.GradientTransformation]:
    """Each transformation under its name; the second of a name gets a number."""
    named: dict[str, optax.GradientTransformation] = {}
    for p in pieces:
        if not isinstance(p, optax.GradientTransformation):
            called = f": call it, {p.__name__}(…)" if callable(p) and hasattr(p, "__name__") else ""
            unpacked = ": unpack it, chain(*…)" if isinstance(p, list | tuple) else ""
            raise TypeError(f"{show(p)} is no gradient transformation{called or unpacked}")
        name = name_of(p)
        same = sum(k.partition("#")[0] == name for k in named)
        named[f"{name}#{same + 1}" if same else name] = p
    return named


def single(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """What is to be wrapped, or a TypeError that says what it is instead."""
    return next(iter(named_pieces([inner]).values()))


def remembers(p: optax.GradientTransformation) -> bool:
    """Whether the transformation has a state at all."""
    return p.remembers if isinstance(p, Piece) else p.init is not optax.init_empty_state


def in_place_if(go: Array, run: Callable, x: ArrayTree, state: Any, *args: Any, **extra: Any) -> tuple[ArrayTree, Any]:
    """`run`, an update, where `go`; elsewhere what came in, and the state as it is.

    What is emitted takes the place of what came in: so neither branch needs new memory, and nothing is copied.
    """

    def step(x: ArrayTree, kept: Any) -> tuple[ArrayTree, Any]:
        y, kept = run(x, kept, *args, **extra)
        return each(lambda g, u: u.astype(g.dtype), x, y), kept

    return jax.lax.cond(go, step, lambda x, kept: (x, kept), x, state)


def waits(p: optax.GradientTransformation) -> bool:
    """Whether an update with go=False leaves the state as it is."""
    return p.waits if isinstance(p, Piece) else not remembers(p)


def is_magnitude(p: optax.GradientTransformation) -> bool:
    """Whether what the transformation emits is real in any case."""
    return isinstance(p, Piece) and p.magnitude


def initial_state(p: optax.GradientTransformation, params: ArrayTree) -> Any:
    """The state to start with; foreign transformations see a model in at least float32."""
    return p.init(params if isinstance(p, Piece) else widened(params))


def run_update(p: optax.GradientTransformation, x: ArrayTree, state: Any, *args: Any, **extra: Any) -> tuple:
    """An update of arrays in at least float32, not rounded."""
    update = getattr(p, "wide_update", None) or optax.with_extra_args_support(p).update
    y, new = update(x, state, *args, **extra)
    return y, new if remembers(p) else state
