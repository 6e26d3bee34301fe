"""`Piece`: a node and the call that made it, as an optax transformation."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeAlias

import jax
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine import ranges
from gdo_optax.engine.interpreter import advance
from gdo_optax.engine.nodes import Node, PerStep, Same, key_of
from gdo_optax.engine.printing import Call, recipe
from gdo_optax.engine.states import start


P = ParamSpec("P")
Hyperparameter: TypeAlias = Numeric | Callable[[Array], Numeric]


@jax.tree_util.register_static
class Piece(optax.GradientTransformationExtraArgs):
    """A node and the call that made it: an optax transformation that knows its recipe.

    `repr` is the call, `print` the whole recipe. Two pieces of equal calls are equal and hash alike, so one may be a
    static argument of `jax.jit`. A call with an argument that cannot be hashed, such as an array, equals itself alone.
    """

    node: Node
    call: Call
    maker: Callable | None

    def __new__(cls, node: Node, call: Call, maker: Callable | None = None) -> "Piece":
        """Made by the decorator `piece`."""

        def init(params: ArrayTree) -> Any:
            return start(node, params)

        def update(updates: ArrayTree, state: Any, params: Any = None, **extra: Any) -> tuple[ArrayTree, Any]:
            return advance(node, updates, state, params, extra)

        self = super().__new__(cls, init, update)
        self.node, self.call, self.maker = node, call, maker
        return self

    @functools.cached_property
    def key(self) -> Any:
        """Equal for equal calls: the maker itself, and its arguments with their types, defaults filled in."""
        if self.maker is None:
            return Same(self)
        given = self.call.bound(inspect.signature(self.maker))
        return Same(self.maker), tuple((name, _argument(v)) for name, v in given.items())

    @property
    def program_key(self) -> Any:
        """The key of the node."""
        return self.node.program_key

    @property
    def name(self) -> str:
        """The name that the piece has in the state of a `chain`."""
        return self.call.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Piece) and (self is other or self.key == other.key)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.key)

    def __copy__(self) -> "Piece":
        return self

    def __deepcopy__(self, memo: Any) -> "Piece":
        return self

    def __reduce__(self) -> Any:
        if self.maker is None:
            raise TypeError(f"{self!r} cannot be pickled: no maker made it")
        return _remade, (self.maker, *self.call.given())

    def __repr__(self) -> str:
        return str(self.call)

    def __str__(self) -> str:
        return recipe(self)


def _argument(value: Any) -> Any:
    if isinstance(value, Piece):
        return value.key
    if isinstance(value, list | tuple):
        return type(value), *map(_argument, value)
    if isinstance(value, dict):
        return dict, *((k, _argument(v)) for k, v in value.items())
    return key_of(value) if value is None or isinstance(value, bool | int | str | float | complex) else _identity(value)


def _identity(value: Any) -> Any:
    """A function, mask or schedule is compared as it compares itself; what cannot be hashed is compared by identity."""
    try:
        hash(value)
    except TypeError:
        return Same(value)
    return Same(value) if hasattr(value, "dtype") else (type(value), value)


def _remade(maker: Callable, args: tuple, kwargs: dict[str, Any]) -> Piece:
    return maker(*args, **kwargs)


def piece(maker: Callable[P, Any]) -> Callable[P, Piece]:
    """Makes pieces of what `maker` returns, a node or a piece, that know the call which made them.

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
        given: Mapping[str, Any] = ranges.bind(name, signature, args, kwargs)
        if maker.__module__.startswith("gdo_optax."):  # elsewhere a name may mean something else
            ranges.check(name, {k: v for k, v in given.items() if not isinstance(v, PerStep)})
        made = maker(*args, **kwargs)
        node = made.node if isinstance(made, Piece) else made
        if not isinstance(node, Node):
            raise TypeError(
                f"{name} returned {type(made).__name__}, which is no piece: return chain(…) or rule(…) of it"
            )
        return Piece(node, Call(name, (*((None, v) for v in args), *kwargs.items())), make)

    return make
