"""How a piece prints: the call that made it, and the recipe below it as a Python expression."""

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
    if callable(value) and not isinstance(value, type):
        scope, local, _ = getattr(value, "__qualname__", "").partition(".<locals>")
        return f"{scope}(…)" if local else getattr(value, "__name__", type(value).__name__)
    return repr(value)


def recipe(piece: Any) -> str:
    """The combinator that `piece` is made of, with all that is inside it; a comment names the call that made it."""
    if piece.body is None or not piece.body.arguments:
        return str(piece.call)
    comment = "" if piece.call.name == piece.body.name else f"  # {piece.call}"
    inside = "".join(f"    {line}\n" for k, v in piece.body.arguments for line in _lines(_keyword(k), v))
    return f"{piece.body.name}({comment}\n{inside})"


def _lines(label: str, value: Any) -> Sequence[str]:
    """An argument as the lines it takes: one, unless there is something inside to unfold or it is too long."""
    if getattr(value, "body", None):
        return f"{label}{recipe(value)},".splitlines()
    line = f"{label}{show(value)},"
    if not _listed(value) or (len(line) <= WIDTH and not any(getattr(v, "body", None) for v in value)):
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
