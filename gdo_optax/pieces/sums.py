"""Sums and averages that keep, if asked, what rounding takes from them."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.engine.nodes import Rule, rule
from gdo_optax.engine.numerics import exact_sum, wide_dtype


def kept(f: Callable[..., Array]) -> Callable[..., tuple[Array, Array]]:
    """f(m, x, …) as a rule's function: its value is both the next memory and the output."""

    @functools.wraps(f)
    def both(m: Array, x: Array, **hyper: Numeric) -> tuple[Array, Array]:
        y = f(m, x, **hyper)
        return y, y

    vars(both)["emits_memory"] = True
    return both


def accumulated(
    f: Callable[..., Array],
    initial: Numeric = 0.0,
    dtype: Any = None,
    residual_dtype: Any = None,
    **hyper: Any,
) -> Rule:
    """(m, x) ↦ m + f(m, x, **hyper): both the next memory and the output.

    With a `residual_dtype` the rounding error of the sum is kept, too, and added the next time (W. Kahan (1965),
    doi:10.1145/363707.363723): thousands of small terms then lose as little as one.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import piece
    >>> @piece
    ... def total():
    ...     return accumulated(lambda m, x: x, initial=1.0, residual_dtype=jnp.bfloat16)
    >>> state = total().init(jnp.zeros(1))
    >>> for _ in range(4):
    ...     y, state = total().update(jnp.full(1, 2.0**-25), state)
    >>> y - 1 == 2.0**-23
    Array([ True], dtype=bool)
    """
    if residual_dtype is None:

        @kept
        def plain(m: Array, x: Array, **hyper: Numeric) -> Array:
            return m + f(m, x, **hyper)

        return rule(plain, init=initial, dtype=dtype, **hyper)

    def compensated(m: dict[str, Array], x: Array, **hyper: Numeric) -> tuple[dict[str, Array], Array]:
        y, residual = added(m["memory"], f(m["memory"], x, **hyper), m["residual"], dtype)
        return {"memory": y, "residual": residual}, y

    def first(p: Array) -> Array:
        return jnp.full_like(p, initial, dtype=dtype or wide_dtype(p))

    return rule(compensated, init={"memory": first, "residual": residual_in(residual_dtype)}, **hyper)


def residual_in(dtype: Any) -> Callable[[Array], Array]:
    """The first residual of a sum."""
    return functools.partial(jnp.zeros_like, dtype=dtype)


def added(m: Array, step: Array, residual: Array | None = None, dtype: Any = None) -> tuple[Array, Array | None]:
    """m + step and, where there is a residual, what rounding takes from it when it is stored in `dtype`."""
    if residual is None:
        return m + step, None
    y, lost = exact_sum(m, step + residual)
    return y, lost + (y - y.astype(dtype or y.dtype).astype(y.dtype))
