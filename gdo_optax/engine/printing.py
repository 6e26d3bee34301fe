"""How a piece prints: the call that made it, and the recipe below it as a Python expression."""

import inspect
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax


WIDTH = 110


class Call(NamedTuple):
    """A call: the name of what was called, and its arguments, each with its keyword or None."""

    name: str
    arguments: tuple[tuple[str | None, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(_keyword(k) + show(v) for k, v in self.arguments)})"

    def given(self) -> tuple[tuple, dict[str, Any]]:
        """The arguments, as they were given."""
        return tuple(v for k, v in self.arguments if k is None), {k: v for k, v in self.arguments if k is not None}

    def bound(self, signature: inspect.Signature) -> dict[str, Any]:
        """The arguments by name, with defaults."""
        args, kwargs = self.given()
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments


def show(value: Any) -> str:
    """A value on one line: functions by name, arrays by value or, where traced, by type."""
    if isinstance(value, optax.GradientTransformation) and not hasattr(value, "call"):
        return f"{name_of(value)}(…)"
    if _listed(value):
        return f"[{', '.join(map(show, value))}]"
    if isinstance(value, np.generic | np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer):
        return show(value.tolist())
    if isinstance(value, float) and math.isinf(value):
        return f"float({str(value)!r})"
    if isinstance(value, jax.Array):
        return f"<traced {value.dtype}>"
    if isinstance(getattr(value, "call", None), Call):
        return repr(value)
    if callable(value) and not isinstance(value, type):
        scope, local, _ = getattr(value, "__qualname__", "").partition(".<locals>")
        return f"{scope}(…)" if local else getattr(value, "__name__", type(value).__name__)
    return repr(value)


def recipe(piece: Any) -> str:
    """The combinator that a piece is made of, with all that is inside it; a comment names the call that made it."""
    call = unfolded(piece).call
    if not any(_unfolds(v) for _, v in call.arguments):
        return str(piece.call)
    comment = "" if piece.call.name == call.name else f"  # {piece.call}"
    inside = "".join(f"    {line}\n" for k, v in call.arguments for line in _lines(_keyword(k), v))
    return f"{call.name}({comment}\n{inside})"


def unfolded(piece: Any) -> Any:
    """The piece that a maker returns, where it makes one of others: found by asking it again."""
    if getattr(piece, "maker", None) is None:
        return piece
    args, kwargs = piece.call.given()
    made = piece.maker.__wrapped__(*args, **kwargs)
    return unfolded(made) if hasattr(made, "call") else piece


def _unfolds(value: Any) -> bool:
    """Whether an argument is a transformation, or a list of them."""
    return isinstance(value, optax.GradientTransformation) or (_listed(value) and any(map(_unfolds, value)))


def _lines(label: str, value: Any) -> Sequence[str]:
    """An argument as the lines it takes: one, unless there is something inside to unfold or it is too long."""
    if hasattr(value, "call"):
        return f"{label}{recipe(value)},".splitlines()
    line = f"{label}{show(value)},"
    if not _listed(value) or (len(line) <= WIDTH and not any("\n" in recipe(v) for v in value if hasattr(v, "call"))):
        return [line]
    return [f"{label}[", *(f"    {line}" for v in value for line in _lines("", v)), "],"]


def name_of(transformation: optax.GradientTransformation) -> str:
    """A piece's own name, or that of the function which made the update of another transformation."""
    update = transformation.update
    qualified = getattr(update, "__qualname__", type(update).__name__)
    return getattr(transformation, "name", qualified.partition(".")[0])


def _listed(value: Any) -> bool:
    return isinstance(value, list | tuple) and not hasattr(value, "_fields")


def _keyword(key: str | None) -> str:
    return f"{key}=" if key else ""
