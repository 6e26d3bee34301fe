"""Makers turn a function of one array into a piece.

Counts, schedules, dtypes and what is remembered are dealt with once, in `leafwise`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from chex import Array, ArrayTree, Numeric

from gdo_optax.arithmetic import as_real, copy, exact_sum, norm, wide_dtype
from gdo_optax.core import Accumulated, Displaced, Hyperparameter, Piece, Weights, totals
from gdo_optax.leafwise import leafwise
from gdo_optax.trees import absent, is_complex, number_dtype, path_name


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
    return leafwise(lambda m, x, t, p, /, **h: (m, f(x, **h)), hyper)


def timed(f: Callable[..., Array], **hyper: Hyperparameter) -> Piece:
    """x ↦ f(x, t, **hyper), t = 1, 2, … the number of this update as a float of x's dtype.

    >>> import jax.numpy as jnp
    >>> decayed = timed(lambda x, t: x / jnp.sqrt(t))
    >>> state = decayed.init(None)
    >>> for _ in range(4):
    ...     x, state = decayed.update(jnp.ones(1), state)
    >>> x, state["count"]
    (Array([0.5], dtype=float32), Array(4, dtype=int32))
    """
    return leafwise(lambda m, x, t, p, /, **h: (m, f(x, t, **h)), hyper, timed=True)


def paired(f: Callable[..., Array], **hyper: Hyperparameter) -> Piece:
    """x ↦ f(x, p, **hyper), p the parameter that x belongs to. Its update raises ValueError without parameters.

    >>> import jax.numpy as jnp
    >>> decay = paired(lambda x, p: x + 0.1 * p)
    >>> decay.update(jnp.zeros(1), decay.init(None), jnp.ones(1))[0]
    Array([0.1], dtype=float32)
    """
    return leafwise(lambda m, x, t, p, /, **h: (m, f(x, p, **h)), hyper, paired=True)


def measured(
    f: Callable[..., Array], measure: Callable[[Array], Any] = norm, paired: bool = False, **hyper: Hyperparameter
) -> Piece:
    """x ↦ f(x, measure(x), **hyper), array by array; f(x, measure(x), p, **hyper) where it is `paired` with p.

    A measure is few numbers, such as the norm or the means of columns, of many. In a compiled update of many numbers x
    is computed once more for it, in place of being written out. Its update raises ValueError without parameters where
    it reads them.

    >>> import jax.numpy as jnp
    >>> direction = measured(lambda x, length: x / length)
    >>> direction.update(jnp.array([3.0, 4.0]), direction.init(None))[0]
    Array([0.6, 0.8], dtype=float32)
    """

    def rule(m: None, x: Array, t: None, p: Any, /, measured: Any, **h: Numeric) -> tuple[None, Array]:
        return m, f(x, measured, p, **h) if paired else f(x, measured, **h)

    return leafwise(rule, hyper, paired=paired, measured=measure)


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

    return leafwise(rule, hyper, initial=first)


def accumulated(
    f: Callable[..., Array],
    initial: Numeric = 0.0,
    dtype: Any = None,
    residual_dtype: Any = None,
    **hyper: Hyperparameter,
) -> Piece:
    """(m, x) ↦ m + f(m, x, **hyper): kept as the next m, and emitted.

    With a `residual_dtype` what rounding takes from the sum is kept, too, and added the next time (W. Kahan (1965),
    doi:10.1145/363707.363723): thousands of small terms then lose as little as one.

    >>> import jax.numpy as jnp
    >>> total = accumulated(lambda m, x: x, initial=1.0, residual_dtype=jnp.bfloat16)
    >>> m = total.init(jnp.zeros(1))
    >>> for _ in range(4):
    ...     y, m = total.update(jnp.full(1, 2.0**-25), m)
    >>> y - 1 == 2.0**-23
    Array([ True], dtype=bool)
    """
    if residual_dtype is None:
        return memory(lambda m, x, /, **h: m + f(m, x, **h), initial, dtype, **hyper)

    def rule(m: Accumulated, x: Array, t: None, p: None, /, **h: Numeric) -> tuple[Accumulated, Array]:
        return added(m, f(m.total.astype(x.dtype), x, **h))

    def first(p: Any) -> Accumulated:
        return sum_from(jnp.full_like(p, initial, dtype=dtype or wide_dtype(p)), residual_dtype)

    return leafwise(rule, hyper, initial=first)


def sum_from(m: Array, residual_dtype: Any) -> Any:
    """A memory of m, with a residual if that has a dtype."""
    return m if residual_dtype is None else Accumulated(m, jnp.zeros_like(m, dtype=residual_dtype))


def added(m: Any, step: Array) -> tuple[Any, Array]:
    """The memory m + step, and its number; of an `Accumulated` what rounding takes from it is kept."""
    if not isinstance(m, Accumulated):
        y = m.astype(step.dtype) + step
        return y.astype(m.dtype), y
    y, lost = exact_sum(m.total.astype(step.dtype), step + m.residual.astype(step.dtype))
    kept = y.astype(m.total.dtype)
    return Accumulated(kept, (lost + (y - kept.astype(y.dtype))).astype(m.residual.dtype)), y


def recurrent(
    f: Callable[..., tuple[Any, Array]],
    initial: Callable[[Any], Any] | None = None,
    dtype: Any = None,
    **hyper: Hyperparameter,
) -> Piece:
    """(m, x) ↦ f(m, x, **hyper) = (m′, y): keeps m′, which may be a tree of arrays, and emits y, or y(x).

    m starts as zeros in at least float32, or as `initial` makes it of these, and is stored in `dtype` where one is
    given. An f that needs the time asks for it as a hyperparameter, t=optax.safe_increment being the schedule
    count ↦ count + 1.

    >>> import jax.numpy as jnp
    >>> difference = recurrent(lambda m, x: (x, x - m))
    >>> _, m = difference.update(jnp.array([3.0]), difference.init(jnp.zeros(1)))
    >>> difference.update(jnp.array([4.0]), m)[0]
    Array([1.], dtype=float32)
    """

    def first(p: Any) -> Any:
        zeros = jnp.zeros_like(p, dtype=wide_dtype(p))
        return stored(initial(zeros) if initial else zeros)

    def stored(m: Any) -> Any:
        return m if dtype is None else jax.tree.map(lambda a: a.astype(dtype), m)

    def read(a: Array, x: Array) -> Array:
        return a.astype(x.dtype if is_complex(a) else jnp.finfo(x.dtype).dtype)

    def rule(m: Any, x: Array, t: None, p: None, /, **h: Numeric) -> tuple[Any, Array]:
        new, y = f(m if dtype is None else jax.tree.map(lambda a: read(a, x), m), x, **h)
        return stored(new), y

    return leafwise(rule, hyper, initial=first, waits=False)


def weights(f: Callable[..., tuple[Array, Array]], **hyper: Hyperparameter) -> Piece:
    """(w, x, p) ↦ f(w, x, p, **hyper) = (w′, y): a second set of weights beside the parameters.

    w starts as a copy of the parameters in at least float32. Its update raises ValueError without parameters.

    >>> import jax.numpy as jnp
    >>> behind = weights(lambda w, x, p: (p, x))
    >>> behind.init(jnp.ones(1)).weights
    Array([1.], dtype=float32)
    """
    return leafwise(
        lambda w, x, t, p, /, **h: f(w, x, p, **h),
        hyper,
        initial=lambda p: copy(p, wide_dtype(p)),
        timed=True,
        paired=True,
        state=Weights,
        waits=False,
    )


def displacement(f: Callable[..., Array], residual_dtype: Any = None, **hyper: Hyperparameter) -> Piece:
    """(d, x) ↦ d′ = d + f(d, x, **hyper), kept: how far from the parameters a second set of weights is; emits x − d′.

    x is the way from the parameters to where the second weights go, and x − d′ that of the parameters. d starts as
    zeros in at least float32. Where second weights stay near the parameters this keeps digits that the difference of
    two sets of weights would lose, and half precision may round the parameters without harm. `residual_dtype` is as in
    `accumulated`.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import eval_params
    >>> beyond = displacement(lambda d, x: -x)
    >>> y, state = beyond.update(jnp.array([2.0]), beyond.init(jnp.zeros(1)))
    >>> y, eval_params(state, y)
    (Array([4.], dtype=float32), Array([2.], dtype=float32))
    """

    def rule(d: Any, x: Array, t: Array, p: None, /, **h: Numeric) -> tuple[Any, Array]:
        new, total = added(d, f(totals(d).astype(x.dtype), x, **h))
        return new, x - total

    def first(p: Any) -> Any:
        return sum_from(jnp.zeros_like(p, dtype=wide_dtype(p)), residual_dtype)

    return leafwise(rule, hyper, initial=first, timed=True, state=Displaced, waits=False)


def pooled(f: Callable[..., Array], measure: Callable[[Array], Array], **hyper: Hyperparameter) -> Piece:
    """x ↦ f(x, mean, **hyper), the mean over all elements of all arrays together; measure(x) is an array's sum.

    >>> import jax.numpy as jnp
    >>> centered = pooled(lambda x, mean: x - mean, jnp.sum)
    >>> centered.update([jnp.ones(3), jnp.zeros(1)], ())[0]
    [Array([0.25, 0.25, 0.25], dtype=float32), Array([-0.75], dtype=float32)]
    """

    def of_all(x: ArrayTree, _: Any) -> list[dict[str, Any]]:
        arrays = [a for a in jax.tree.leaves(x) if not absent(a)]
        size, dtype = max(sum(a.size for a in arrays), 1), number_dtype(arrays)
        mean = sum((measure(a).astype(dtype) / size for a in arrays), jnp.zeros((), dtype))
        return [{} if absent(a) else {"mean": as_real(mean, a.dtype)} for a in jax.tree.leaves(x, is_leaf=absent)]

    return leafwise(lambda m, x, t, p, /, **h: (m, f(x, **h)), hyper, beside=of_all)


def located(f: Callable[..., Array], **hyper: Hyperparameter) -> Piece:
    """x ↦ f(x, path, **hyper), the path of the array in its tree such as "encoder/layer/kernel".

    >>> import jax.numpy as jnp
    >>> kernels = located(lambda x, path: x if path.endswith("kernel") else 0 * x)
    >>> kernels.update({"bias": jnp.ones(1), "kernel": jnp.ones(1)}, ())[0]
    {'bias': Array([0.], dtype=float32), 'kernel': Array([1.], dtype=float32)}
    """

    def paths(x: ArrayTree, _: Any) -> list[dict[str, Any]]:
        return [{"path": path_name(path)} for path, _ in jax.tree.leaves_with_path(x, is_leaf=absent)]

    return leafwise(lambda m, x, t, p, /, **h: (m, f(x, **h)), hyper, beside=paths)


def randomized(f: Callable[..., Array], seed: Numeric = 0, **hyper: Hyperparameter) -> Piece:
    """x ↦ f(x, key, **hyper), a key of its own for every array and every step, drawn from `seed` and the count.

    The state is the count alone, so that it can be saved wherever numbers can.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> noisy = randomized(lambda x, key: x + jax.random.normal(key, x.shape, x.dtype))
    >>> noisy.init(jnp.ones(1))["count"]
    Array(0, dtype=int32)
    """

    def keys(x: ArrayTree, count: Array) -> list[dict[str, Any]]:
        key = jax.random.fold_in(jax.random.key(seed), count)
        return [{"key": jax.random.fold_in(key, i)} for i in range(len(jax.tree.leaves(x, is_leaf=absent)))]

    return leafwise(lambda m, x, t, p, /, **h: (m, f(x, **h)), hyper, timed=True, beside=keys)
