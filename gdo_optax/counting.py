"""What schedules are made of: the time, numbers that are checked, and the way between two values."""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeAlias

import jax.numpy as jnp
import optax
from chex import Array, Numeric

from gdo_optax.engine import ranges
from gdo_optax.engine.nodes import Same, is_array, key_of
from gdo_optax.engine.numerics import as_dtype
from gdo_optax.engine.printing import Call


P = ParamSpec("P")
Schedule: TypeAlias = Callable[[Array], Numeric]


class OfTime:
    """A schedule count ↦ value that knows the call which made it; schedules of equal calls are equal.

    It `compiles` if no argument is an array or somebody else's function: these are evaluated in each step as Python.
    `complement` is 1 − value where the schedule knows it better than the difference does, else None. If the call makes
    several schedules, this one is its `field`.
    """

    def __init__(
        self, f: Schedule, maker: Any, call: Call, complement: Schedule | None = None, field: str = ""
    ) -> None:
        self.f, self.maker, self.call, self.complement, self.field = f, maker, call, complement, field

    @functools.cached_property
    def compiles(self) -> bool:
        """Whether it may be compiled as a part of the step."""
        return all(map(_compiles, (v for _, v in self.call.arguments)))

    @functools.cached_property
    def program_key(self) -> Any:
        """Equal for equal calls."""
        return Same(self.maker), self.field, tuple((k, key_of(v)) for k, v in self.call.arguments)

    def __call__(self, count: Any) -> Numeric:
        """The value at a count, from 0."""
        return self.f(count)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OfTime) and self.program_key == other.program_key

    def __hash__(self) -> int:
        return hash(self.program_key)

    def __reduce__(self) -> Any:
        return _remade, (self.maker, *self.call.given(), self.field)

    def __repr__(self) -> str:
        return f"{self.call}.{self.field}" if self.field else str(self.call)


def _remade(maker: Callable, args: tuple, kwargs: dict[str, Any], field: str) -> Any:
    made = maker(*args, **kwargs)
    return getattr(made, field) if field else made


def _compiles(value: Any) -> bool:
    if isinstance(value, list | tuple | Mapping):
        return all(map(_compiles, value.values() if isinstance(value, Mapping) else value))
    return not is_array(value) and (not callable(value) or getattr(value, "compiles", False))


def schedule(maker: Callable[P, Any]) -> Callable[P, Any]:
    """Makes `OfTime` of the function that `maker` returns, or of the pair of it and its complement.

    If `maker` returns a NamedTuple of functions, each of them becomes one.
    """

    @functools.wraps(maker)
    def make(*args: P.args, **kwargs: P.kwargs) -> Any:
        made = maker(*args, **kwargs)
        given = (*((None, v) for v in args), *kwargs.items())
        call = Call(maker.__name__, tuple((k, copy.copy(v) if isinstance(v, dict | list) else v) for k, v in given))
        if hasattr(made, "_asdict"):
            return type(made)(**{field: OfTime(f, make, call, field=field) for field, f in made._asdict().items()})
        f, complement = made if isinstance(made, tuple) else (made, None)
        return OfTime(f, make, call, complement)

    return make


def compiled(f: Schedule) -> Schedule:
    """Says of a function of time that it may be compiled as a part of the step."""
    vars(f)["compiles"] = True
    return f


def time_of(count: Array) -> Array:
    """t = count + 1, added before it is rounded to a float."""
    return optax.safe_increment(jnp.asarray(count, int)).astype(float)


def check_numbers(name: str, **given: Numeric) -> None:
    """Raises where a number is outside its range, or is a schedule, which some of these names may be elsewhere."""
    ranges.check(name, given)
    for argument, value in given.items():
        if callable(value):
            raise TypeError(f"{name}: {argument} cannot be a schedule")


def between(start: Numeric, end: Numeric, left: Array, gone: Array, cosine: bool | Array) -> Array:
    """start·w + end·(1 − w), w from 1 to 0, straight or as half a cosine; `left` and `gone` are shares of the way.

    Both weights come from a count of whole steps and are exact at both ends, and nothing is subtracted: (1 + cos πx)/2
    is sin²(π(1−x)/2), and its complement sin²(πx/2).
    """
    weights = (w if cosine is False else jnp.where(cosine, jnp.sin(jnp.pi / 2 * w) ** 2, w) for w in (left, gone))
    return sum(as_dtype(v, left.dtype) * w for v, w in zip((start, end), weights, strict=True))
