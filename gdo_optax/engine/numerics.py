"""Array functions where float32 needs care. Each says, once, which error it avoids."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.engine.xla import total


def wide_dtype(x: Array) -> jnp.dtype:
    """The dtype to compute in: float32 for half precision and integers, else the dtype of x.

    >>> import jax.numpy as jnp
    >>> wide_dtype(jnp.zeros(3, jnp.bfloat16)), wide_dtype(jnp.zeros(3, jnp.complex64))
    (dtype('float32'), dtype('complex64'))
    """
    dtype = jnp.result_type(x)
    narrow = not jnp.issubdtype(dtype, jnp.inexact) or jnp.finfo(dtype).bits < 32
    return jnp.dtype(jnp.float32) if narrow else dtype


def promoted(a: Any, b: Any) -> Any:
    """The dtype that holds both, also where promotion is strict."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(a, b)


def number_dtype(tree: Any) -> Any:
    """Of a number that belongs to no array: double precision where any array has it."""
    double = any(wide_dtype(p) in (jnp.float64, jnp.complex128) for p in jax.tree.leaves(tree))
    return jnp.float64 if double else jnp.float32


def capped(v: Array) -> Array:
    """v ≥ 0, at most a quarter of the largest finite number; a NaN stays a NaN.

    An infinite square would come back from an average as inf − inf = NaN one step later; the quarter leaves room for
    the division of a bias correction. Steps of gradients above 1e19 in float32 are finite, but no longer to scale.
    """
    return jnp.minimum(v, float(jnp.finfo(v.dtype).max) / 4)


def square(x: Array) -> Array:
    """|x|², `capped`."""
    return capped(squared(x))


def squared(x: Array) -> Array:
    """|x|², however large."""
    return jnp.square(jnp.abs(x)) if jnp.iscomplexobj(x) else jnp.square(x)


def mean(x: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
    """The mean over some axes, 0 over none: divided before it is summed, so that it is finite where x is."""
    x = x * _share(x, axis)
    of_all = _within(total(x, axis) if isinstance(axis, int) else jnp.sum(x, axis))
    return jnp.expand_dims(of_all, axis) if keepdims else of_all


def mean_squares(x: Array, first: int, second: int) -> tuple[Array, Array]:
    """The means of |x|² over one axis and over another, both `capped`.

    One is of 2x, which is exact: squares that two sums have in common the compiler would write out.
    """
    doubled = _share(x, first) / 4 * jnp.sum(squared(x + x), first)
    return capped(doubled), capped(_share(x, second) * jnp.sum(squared(x), second))


def _share(x: Array, axis: int | tuple[int, ...]) -> float:
    """One over the number of elements along the axes."""
    axes = (axis,) if isinstance(axis, int) else axis
    return 1 / max(math.prod(x.shape[a] for a in axes), 1)


def _within(x: Array) -> Array:
    """x, or the nearest finite number where x is infinite."""
    if jnp.iscomplexobj(x):
        return x
    largest = float(jnp.finfo(x.dtype).max)
    return jnp.minimum(jnp.maximum(x, -largest), largest)


@jax.custom_jvp
def root(v: Array) -> Array:
    """√v, whose derivative at 0 is taken as 0: so that the update of a coordinate without a gradient has one."""
    return jnp.sqrt(v)


@root.defjvp
def _root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (v,), (dv,) = primals, tangents
    r = root(v)
    return r, jnp.where(v == 0, 0, dv / (2 * jnp.where(v == 0, 1, r)))


def reciprocal(x: Array) -> Array:
    """1/x, and 0 where x is 0 (a coordinate that has never moved does not move: 0/0 := 0). A NaN stays a NaN."""
    nothing = x == 0
    return jnp.where(nothing, 0.0, 1.0) / jnp.where(nothing, 1.0, x)


def quotient(a: Array, b: Array) -> Array:
    """a/b, and 0 where b is 0 (0/0 := 0, as in `reciprocal`)."""
    nothing = b == 0
    return jnp.where(nothing, 0.0, a) / jnp.where(nothing, 1.0, b)


def ratio(a: Array, b: Array, neither: Array) -> Array:
    """a/b, and 1 where there is `neither`; there b may be 0 and its derivative is none."""
    return jnp.where(neither, 1.0, a) / jnp.where(neither, 1.0, b)


def inverse_root(v: Array, eps: Numeric, eps_root: Numeric) -> Array:
    """1/(√(v + eps_root) + eps) for v ≥ 0, and 0 where that divides by 0.

    The zero is looked for only where it can be, and before the root: what comes after it every reader would do again.
    """
    v = v if is_zero(eps_root) else v + eps_root
    if not any(isinstance(e, int | float) and e > 0 for e in (eps, eps_root)):
        v = jnp.where(v == 0 if is_zero(eps) else (v == 0) & (eps == 0), jnp.inf, v)
    return 1 / (root(v) if is_zero(eps) else root(v) + eps)


def is_zero(x: Numeric) -> bool:
    """Whether it is the number 0, which need not be added."""
    return isinstance(x, int | float) and x == 0


def average(m: Array, x: Array, decay: Numeric, new: Numeric | None = None) -> Array:
    """β·m + (1−β)·x, written m + ((1−β)x − (1−β)m), 1−β taken before β is rounded; from the other end where β < ½.

    In float32 0.999 is 1.3e-8 off, so a rounded β gives 1−β an error of 1.3e-5, for ever. From m's end a small β would
    leave m's rounding in place of a small x. `new` is 1−β where it is known better than from β.
    """
    new = 1 - decay if new is None else new
    from_past, from_new = m + (new * x - new * m), x + (decay * m - decay * x)  # x − m itself may overflow
    if isinstance(decay, int | float):
        return from_new if decay < 0.5 else from_past
    return jnp.where(decay < 0.5, from_new, from_past)


def exact_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b, and what rounding takes from it: their own sum is exact. Nothing where it is not finite.

    O. Møller (1965), BIT 5:37-50; D. E. Knuth, "The art of computer programming", vol. 2, section 4.2.2.
    """
    total = a + b
    of_b = total - a
    return total, jnp.where(jnp.isfinite(total), (a - (total - of_b)) + (b - of_b), 0)


def log(decay: Numeric) -> Numeric:
    """log β, −∞ at 0; in double precision where β is a Python number."""
    if isinstance(decay, int | float):
        return math.log(decay) if decay > 0 else -math.inf
    return jnp.log(decay)


def weight_of_past(t: Array, decay: Numeric) -> Array:
    """1 − βᵗ, the weight an average that started at 0 has gathered after t steps.

    Written −expm1(t·log β): subtracting βᵗ from 1 would lose all digits that 1 − β has below 1.
    """
    return -jnp.expm1(t * log(as_dtype(decay, t.dtype)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def norm(x: Array, axes: tuple[int, ...] | None = None) -> Array:
    """The Euclidean norm ‖x‖₂ over all axes, or some, which stay as 1: finite for finite x, with derivative 0 at 0."""
    return _root_of_sum(total(squared(x)) if axes is None else jnp.sum(squared(x), axes, keepdims=True))


@norm.defjvp
def _norm_jvp(axes: tuple[int, ...] | None, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    length = norm(x, axes)
    return length, jnp.sum(jnp.real(jnp.conj(x) * dx), axes, keepdims=axes is not None) * reciprocal(length)


def _root_of_sum(total: Array) -> Array:
    """It is the sum that is kept finite: a bound on every square would be an array for the compiler to write out."""
    return root(jnp.minimum(total, float(jnp.finfo(total.dtype).max)))


def root_of_size(x: Array) -> float:
    """By which ‖x‖ is divided for the root of the mean of x²."""
    return math.sqrt(max(x.size, 1))


def langevin(y: Array) -> Array:
    """coth y − 1/y for y ≥ 0, the difference taken where it does not cancel.

    Below 1 it is Gauss's continued fraction y/(3 + y²/(5 + y²/(7 + …))).
    """
    small, large = jnp.minimum(y, 1), jnp.maximum(y, 1)
    fraction = 19 + jnp.zeros_like(y)
    for odd in range(17, 1, -2):
        fraction = odd + small**2 / fraction
    return jnp.where(y < 1, small / fraction, 1 + 2 / jnp.expm1(2 * large) - 1 / large)


def sma_length(t: Array, decay: Numeric) -> tuple[Array, Array]:
    """RAdam's ρₜ = ρ∞ − 2tβᵗ/(1−βᵗ) and ρ∞ = 2/(1−β) − 1: the length of the simple average that an EMA resembles.

    The two terms of ρₜ agree in their leading digits (optax loses 0.6 % of a step at t = 7). With L = −log β and
    Langevin's function 𝓛 they are ρₜ = 𝓛(L/2) + t·(1 − 𝓛(tL/2)), where nothing cancels: for large t the bracket is
    1/y − 2/(e²ʸ−1) with y = tL/2.
    """
    decay = as_dtype(decay, t.dtype)
    rate = -log(decay)
    y = t * rate / 2
    far = jnp.maximum(y, 1)
    remaining = jnp.where(y < 1, 1 - langevin(y), 1 / far - 2 / jnp.expm1(2 * far))
    return langevin(jnp.asarray(rate / 2, y.dtype)) + t * remaining, 2 / (1 - decay) - 1


def as_dtype(value: Numeric, dtype: jnp.dtype) -> Numeric:
    """Python numbers stay exact until they meet an array; arrays get its dtype, and cannot widen it; booleans stay."""
    if isinstance(value, bool | int | float):
        return value
    value = jnp.asarray(value)
    return value if value.dtype == bool else value.astype(dtype)


def as_real(value: Numeric, dtype: jnp.dtype) -> Numeric:
    """`as_dtype`, of a complex dtype that of its parts."""
    return as_dtype(value, jnp.finfo(dtype).dtype)


def copy(x: Array, dtype: jnp.dtype) -> Array:
    """x in a buffer of its own, so that both may be donated; shapes without values stay shapes."""
    return x.update(dtype=dtype) if isinstance(x, jax.ShapeDtypeStruct) else jnp.array(x, dtype, copy=True)
