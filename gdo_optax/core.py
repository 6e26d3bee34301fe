"""`Piece`: an optax transformation that knows how it was made; what its state consists of, and how to read it."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeAlias

import jax
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax import ranges
from gdo_optax.grouping import Choices, grouped
from gdo_optax.recipe import Call, recipe
from gdo_optax.trees import check_floats, displaced, is_complex, path_name, replaced, rounded, widened


P = ParamSpec("P")
Hyperparameter: TypeAlias = Numeric | Callable[[Array], Numeric]


@jax.tree_util.register_static
class Piece(optax.GradientTransformationExtraArgs):
    """An optax transformation that knows the call that made it: it names its part of the state and prints itself.

    `repr` is the call, `print` the whole recipe. Combinators join pieces by `wide_update`, which computes on and
    emits float32 where it is given half precision; `update` rounds once, at the end, to the dtype it was given. A
    `magnitude` is real also of complex numbers. Where no array depends on another, `common` computes of the state what
    the updates of all arrays have in common, and `choices` of the gradients which of them a mask takes; `wide_update`
    of one array has both for arguments, and leaves memories as they are where `touched`, a boolean array, is False. One
    that `waits` leaves all of the state as it is where the argument `go` is False, at hardly a cost. What is emitted
    there is to be thrown away.
    """

    call: Call = Call("piece")
    body: Call | None = None
    remembers: bool = True
    magnitude: bool = False
    waits: bool = False
    common: Callable[[Any], Any] | None = None
    choices: Callable[[Any], Choices] = staticmethod(lambda tree: {})
    wide_update: Callable[..., tuple[ArrayTree, Any]] | None = None

    @property
    def name(self) -> str:
        """The name that the piece has in the state of a `chain`."""
        return self.call.name

    def __repr__(self) -> str:
        return str(self.call)

    def __str__(self) -> str:
        return recipe(self)


class Weights(NamedTuple):
    """A count of updates (int32), and a second set of weights, which `eval_params` reads."""

    count: Array
    weights: ArrayTree
    running: Any = ()


class Displaced(NamedTuple):
    """A count of updates (int32), and how far from the parameters the weights are that `eval_params` reads."""

    count: Array
    displacement: ArrayTree
    running: Any = ()


class Accumulated(NamedTuple):
    """A sum, and what rounding has taken from it."""

    total: Array
    residual: Array


def piece(maker: Callable[P, Piece]) -> Callable[P, Piece]:
    """The piece that `maker` returns knows this call.

    The arguments of this package's own makers are checked against the table of ranges.

    >>> from gdo_optax import chain, piece, scale, sign
    >>> @piece
    ... def sign_descent(learning_rate=0.1):
    ...     return chain(sign(), scale(-learning_rate))
    >>> sign_descent(learning_rate=0.5)
    sign_descent(learning_rate=0.5)
    >>> print(sign_descent())
    chain(  # sign_descent()
        sign(),
        scale(-0.1),
    )
    """
    signature = inspect.signature(maker)
    library = maker.__module__.partition("gdo_optax.like.")[2]
    name = f"like.{library}.{maker.__name__}" if library else maker.__name__

    @functools.wraps(maker)
    def make(*args: P.args, **kwargs: P.kwargs) -> Piece:
        given = ranges.bind(name, signature, args, kwargs)
        if maker.__module__.startswith("gdo_optax."):  # in other hands a name may mean something else
            ranges.check(name, given)
        inner = maker(*args, **kwargs)
        if not isinstance(inner, Piece):
            raise TypeError(f"{name} returned {type(inner).__name__}, which is no Piece: return chain(…) of it")
        made = Piece(inner.init, inner.update)
        made.call = Call(name, (*((None, v) for v in args), *kwargs.items()))
        made.body = inner.body and (made.call if inner.body is ITSELF else inner.body)
        return _as(inner, made)

    return make


def _as(inner: Piece, made: Piece) -> Piece:
    """`made`, of which all that combinators ask is as of `inner`."""
    made.remembers, made.magnitude, made.waits = inner.remembers, inner.magnitude, inner.waits
    made.common, made.choices, made.wide_update = inner.common, inner.choices, inner.wide_update
    return made


ITSELF = Call("itself")  # the body of a combinator is the call that made it


def magnitude(inner: Piece) -> Piece:
    """The piece, which makes real numbers of complex ones: what comes after it remembers real numbers."""
    inner.magnitude = True
    return inner


def of_real(inner: Piece, what: str) -> Piece:
    """The piece, whose initial state is a TypeError for complex parameters, of which there is no such thing."""

    def init(params: ArrayTree) -> Any:
        for path, p in jax.tree.leaves_with_path(params):
            if is_complex(p):
                raise TypeError(
                    f"{what} is defined of real numbers, and the parameter {path_name(path)!r} is {p.dtype}: wrap the "
                    "optimizer, optax.contrib.split_real_and_imaginary(…)"
                )
        return inner.init(params)

    return _as(inner, Piece(init, inner.update))


def printed_as_itself(inner: Piece) -> Piece:
    """The piece, which prints the call that it is returned from and not its own."""
    made = _as(inner, Piece(inner.init, inner.update))
    made.body = ITSELF
    return made


def assemble(
    init: Callable,
    wide_update: Callable,
    *,
    remembers: bool = True,
    magnitude: bool = False,
    waits: bool = False,
    common: Callable[[Any], Any] | None = None,
    choices: Callable[[Any], Choices] = Piece.choices,
    body: Call | None = None,
) -> Piece:
    """A piece from its initial state and an update of wide arrays."""
    if common:
        wide_update = grouped(init if remembers else None, wide_update, common, choices)

    def update(updates: ArrayTree, state: Any, params: ArrayTree | None = None, **extra: Any) -> tuple[ArrayTree, Any]:
        check_floats(updates)
        wide, kept = wide_update(widened(updates), state, widened(params), **extra)
        return rounded(wide, updates), kept if remembers else state

    def checked(params: ArrayTree) -> optax.EmptyState:
        init(params)
        return optax.EmptyState()

    made = Piece(init if remembers else checked, update)
    made.common, made.choices, made.wide_update, made.body = common, choices, wide_update, body
    made.remembers, made.magnitude, made.waits = remembers, magnitude, waits or not remembers
    return made


def totals(tree: ArrayTree) -> ArrayTree:
    """The sums of a memory, without their residuals."""
    return jax.tree.map(lambda m: getattr(m, "total", m), tree, is_leaf=lambda m: isinstance(m, Accumulated))


def eval_params(state: Any, params: ArrayTree) -> ArrayTree:
    """The weights to evaluate with: slow or averaged ones where the optimizer's state holds any, else `params`.

    Of weights beside weights (a Lookahead of a Lookahead) the outermost count; a masked parameter is its own. They
    come in the dtypes of `params`.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import lookahead, sgd
    >>> params = jnp.ones(1)
    >>> eval_params(lookahead(sgd(0.1)).init(params), params), eval_params(sgd(0.1).init(params), params)
    (Array([1.], dtype=float32), Array([1.], dtype=float32))
    """
    nodes = jax.tree.leaves_with_path(state, is_leaf=lambda s: isinstance(s, Weights | Displaced))
    found, plain = [(len(path), node) for path, node in nodes if isinstance(node, Weights | Displaced)], params
    for _, node in sorted(found, key=lambda s: -s[0]):
        second = node.weights if isinstance(node, Weights) else displaced(plain, totals(node.displacement))
        params = replaced(params, by=second)
    return params
