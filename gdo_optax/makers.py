"""Makers turn a function of one array into a piece.

Counts, schedules, dtypes and what is remembered are dealt with here, once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.arithmetic import as_dtype, copy, wide_dtype
from gdo_optax.core import Hyperparameter, Piece, Timed, Weights, assemble
from gdo_optax.trees import absent, columns, each


def _rule(
    f: Callable[..., tuple[Any, Array]],
    hyper: dict[str, Hyperparameter],
    *,
    initial: Callable[[Any], Any] | None = None,
    timed: bool = False,
    paired: bool = False,
    state: type = Timed,
) -> Piece:
    """What all makers come to: (m, x, t, p; hyperparameters) ↦ (m′, y) on every leaf.

    Its state is a tree of m's, beside a count where f or a schedule among the hyperparameters asks for the time.
    """
    timed = timed or any(map(callable, hyper.values()))

    def init(params: ArrayTree) -> Any:
        memory = jax.tree.map(initial, params) if initial else ()
        return state(jnp.zeros((), jnp.int32), memory) if timed else memory

    def wide_update(x: ArrayTree, kept: Any, params: ArrayTree | None = None, **_: Any) -> tuple[ArrayTree, Any]:
        if paired and params is None:
            raise ValueError("this transformation reads the parameters: call update(updates, state, params)")
        count, memory = kept if timed else (None, kept)
        values = {k: h(count) if callable(h) else h for k, h in hyper.items()}
        time: Any = optax.safe_increment(count) if timed else None

        def leaf(x: Array, p: Array, m: Any) -> tuple[Any, Array]:
            if absent(x):
                return m, x
            t = time.astype(jnp.finfo(x.dtype).dtype) if timed else None
            return f(m, x, t, p, **{k: as_dtype(v, x.dtype) for k, v in values.items()})

        structure, rows = columns(x, params if paired else x, memory if initial else x)
        out = [leaf(*row) for row in rows]
        memory = structure.unflatten([m for m, _ in out]) if initial else ()
        return structure.unflatten([y for _, y in out]), state(time, memory) if timed else memory

    return assemble(init, wide_update, remembers=bool(initial) or timed)


def pointwise(f: Callable[..., Array], **hyper: Hyperparameter) -> Piece:
    """x ↦ f(x, **hyper).

    Every maker hands hyperparameters to f by name: a number as it is, an array in the dtype of x, a schedule
    (count ↦ value, count from 0) evaluated, for which the piece then keeps a count. Outside a decorated function a
    piece made by a maker has no name of its own; see `piece`.

    >>> import jax.numpy as jnp
    >>> half = pointwise(lambda x, factor: factor * x, factor=0.5)
    >>> half.update(jnp.array([2.0, 4.0]), half.init(None))[0]
    Array([1., 2.], dtype=float32)
    """
    return _rule(lambda m, x, t, p, /, **h: (m, f(x, **h)), hyper)


def timed(f: Callable[..., Array], **hyper: Hyperparameter) -> Piece:
    """x ↦ f(x, t, **hyper), t = 1, 2, … the number of this update as a float of x's dtype.

    >>> import jax.numpy as jnp
    >>> decayed = timed(lambda x, t: x / jnp.sqrt(t))
    >>> state = decayed.init(None)
    >>> for _ in range(4):
    ...     x, state = decayed.update(jnp.ones(1), state)
    >>> x, state.count
    (Array([0.5], dtype=float32), Array(4, dtype=int32))
    """
    return _rule(lambda m, x, t, p, /, **h: (m, f(x, t, **h)), hyper, timed=True)


def paired(f: Callable[..., Array], **hyper: Hyperparameter) -> Piece:
    """x ↦ f(x, p, **hyper), p the parameter that x belongs to. Its update raises ValueError without parameters.

    >>> import jax.numpy as jnp
    >>> decay = paired(lambda x, p: x + 0.1 * p)
    >>> decay.update(jnp.zeros(1), decay.init(None), jnp.ones(1))[0]
    Array([0.1], dtype=float32)
    """
    return _rule(lambda m, x, t, p, /, **h: (m, f(x, p, **h)), hyper, paired=True)


def memory(
    f: Callable[..., Array],
    initial: Numeric | Callable[[Any], Any] = 0.0,
    dtype: Any = None,
    **hyper: Hyperparameter,
) -> Piece:
    """(m, x) ↦ f(m, x, **hyper): kept as the next m, and emitted.

    m starts as `initial`, a number or a function of the parameter, in at least float32 or in `dtype`; what is
    emitted is not rounded to it.

    >>> import jax.numpy as jnp
    >>> largest = memory(jnp.maximum)
    >>> y, m = largest.update(jnp.array([1.0, -1.0]), largest.init(jnp.zeros(2)))
    >>> m
    Array([1., 0.], dtype=float32)
    """

    def rule(m: Array, x: Array, t: None, p: None, /, **h: Numeric) -> tuple[Array, Array]:
        y = f(m.astype(x.dtype), x, **h)
        return y.astype(m.dtype), y

    def first(p: Any) -> Array:
        return initial(p) if callable(initial) else jnp.full_like(p, initial, dtype=dtype or wide_dtype(p))

    return _rule(rule, hyper, initial=first)


def recurrent(
    f: Callable[..., tuple[Any, Array]], initial: Callable[[Any], Any] | None = None, **hyper: Hyperparameter
) -> Piece:
    """(m, x) ↦ f(m, x, **hyper) = (m′, y): keeps m′, which may be a tree of arrays, and emits y.

    m starts as zeros in at least float32, or as `initial` makes it of these. An f that needs the time asks for it as a
    hyperparameter, t=optax.safe_increment being the schedule count ↦ count + 1.

    >>> import jax.numpy as jnp
    >>> difference = recurrent(lambda m, x: (x, x - m))
    >>> _, m = difference.update(jnp.array([3.0]), difference.init(jnp.zeros(1)))
    >>> difference.update(jnp.array([4.0]), m)[0]
    Array([1.], dtype=float32)
    """

    def first(p: Any) -> Any:
        zeros = jnp.zeros_like(p, dtype=wide_dtype(p))
        return initial(zeros) if initial else zeros

    return _rule(lambda m, x, t, p, /, **h: f(m, x, **h), hyper, initial=first)


def weights(f: Callable[..., tuple[Array, Array]], **hyper: Hyperparameter) -> Piece:
    """(w, x, p) ↦ f(w, x, p, **hyper) = (w′, y): a second set of weights beside the parameters.

    w starts as a copy of the parameters in at least float32. Its update raises ValueError without parameters.

    >>> import jax.numpy as jnp
    >>> behind = weights(lambda w, x, p: (p, x))
    >>> behind.init(jnp.ones(1))
    Weights(count=Array(0, dtype=int32), weights=Array([1.], dtype=float32))
    """
    return _rule(
        lambda w, x, t, p, /, **h: f(w, x, p, **h),
        hyper,
        initial=lambda p: copy(p, wide_dtype(p)),
        timed=True,
        paired=True,
        state=Weights,
    )


def sequence(
    f: Callable[[Array, Array], Array],
    step: Callable[..., Array],
    initial: Callable[[], Numeric],
    **hyper: Hyperparameter,
) -> Piece:
    """x ↦ f(x, sₜ), with a sequence of numbers of its own: s₀ = initial(), sₜ = step(sₜ₋₁, **hyper).

    >>> import jax.numpy as jnp
    >>> halving = sequence(jnp.multiply, step=lambda s: s / 2, initial=lambda: 1.0)
    >>> halving.update(jnp.ones(1), halving.init(jnp.ones(1)))[0]
    Array([0.5], dtype=float32)
    """

    def init(params: ArrayTree) -> Timed:
        double = any(wide_dtype(p) in (jnp.float64, jnp.complex128) for p in jax.tree.leaves(params))
        return Timed(jnp.zeros((), jnp.int32), jnp.asarray(initial(), jnp.float64 if double else jnp.float32))

    def wide_update(x: ArrayTree, state: Timed, params: Any = None, **_: Any) -> tuple[ArrayTree, Timed]:
        count, s = state
        values = {k: as_dtype(h(count) if callable(h) else h, s.dtype) for k, h in hyper.items()}
        s = step(s, **values)
        y = each(lambda x: f(x, s.astype(jnp.finfo(x.dtype).dtype)), x)
        return y, Timed(optax.safe_increment(count), s)

    return assemble(init, wide_update)
