"""Array functions where float32 needs care. Each says, once, which error it avoids."""

import math

import jax
import jax.numpy as jnp
from chex import Array, Numeric


def wide_dtype(x: Array) -> jnp.dtype:
    """The dtype to compute in: float32 for half precision and integers, else the dtype of x.

    >>> import jax.numpy as jnp
    >>> wide_dtype(jnp.zeros(3, jnp.bfloat16)), wide_dtype(jnp.zeros(3, jnp.complex64))
    (dtype('float32'), dtype('complex64'))
    """
    dtype = jnp.result_type(x)
    narrow = not jnp.issubdtype(dtype, jnp.inexact) or jnp.finfo(dtype).bits < 32
    return jnp.dtype(jnp.float32) if narrow else dtype


def square(x: Array) -> Array:
    """|x|², at most a quarter of the largest finite number.

    An infinite square would come back from an average as inf − inf = NaN one step later; the quarter leaves room for
    the division of a bias correction. A NaN stays a NaN.
    """
    squared = jnp.square(jnp.abs(x)) if jnp.iscomplexobj(x) else jnp.square(x)
    return jnp.minimum(squared, float(jnp.finfo(squared.dtype).max) / 4)


def reciprocal(x: Array) -> Array:
    """1/x, and 0 where x is 0 (a coordinate that has never moved does not move: 0/0 := 0). A NaN stays a NaN."""
    return jnp.where(x == 0, 0, 1 / x)


def inverse_root(v: Array, eps: Numeric, eps_root: Numeric) -> Array:
    """1/(√(v + eps_root) + eps) for v ≥ 0, and 0 where that divides by 0.

    The zero is looked for only where it can be, and in v: a second reader of the root makes the compiler write it out.
    """
    inverse = 1 / (jnp.sqrt(v + eps_root) + eps)
    if any(isinstance(e, int | float) and e > 0 for e in (eps, eps_root)):
        return inverse
    return jnp.where((v + eps_root == 0) & (eps == 0), 0, inverse)


def average(m: Array, x: Array, decay: Numeric) -> Array:
    """β·m + (1−β)·x, written m + (1−β)(x−m), with 1−β taken before β is rounded; from the other end where β < ½.

    In float32 0.999 is 1.3e-8 off, so a rounded β gives 1−β an error of 1.3e-5, for ever. From m's end a small β would
    leave m's rounding in place of a small x.
    """
    from_past, from_new = m + (1 - decay) * (x - m), x + decay * (m - x)
    if isinstance(decay, int | float):
        return from_new if decay < 0.5 else from_past
    return jnp.where(decay < 0.5, from_new, from_past)


def log(decay: Numeric) -> Numeric:
    """log β, −∞ at 0; in double precision where β is a Python number."""
    if isinstance(decay, int | float):
        return math.log(decay) if decay > 0 else -math.inf
    return jnp.log(decay)


def weight_of_past(t: Array, decay: Numeric) -> Array:
    """1 − βᵗ, the weight an average that started at 0 has gathered after t steps.

    Written −expm1(t·log β): subtracting βᵗ from 1 would lose all digits that 1 − β has below 1.
    """
    return -jnp.expm1(t * log(decay))


def norm(x: Array) -> Array:
    """The Euclidean norm over all axes, ‖x‖₂: finite for finite x, with derivative 0 at 0.

    It is the sum that is kept finite: a bound on every square would be an array for the compiler to write out.
    """
    squares = jnp.square(jnp.abs(x)) if jnp.iscomplexobj(x) else jnp.square(x)
    total = jnp.minimum(jnp.sum(squares), float(jnp.finfo(squares.dtype).max))
    return jnp.where(total == 0, 0, jnp.sqrt(jnp.where(total == 0, 1, total)))


def root_mean_square(x: Array) -> Array:
    """√(mean x²) over all axes, through `norm`."""
    return norm(x) / math.sqrt(max(x.size, 1))


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


def copy(x: Array, dtype: jnp.dtype) -> Array:
    """x in a buffer of its own, so that both may be donated; shapes without values stay shapes."""
    return x.update(dtype=dtype) if isinstance(x, jax.ShapeDtypeStruct) else jnp.array(x, dtype, copy=True)
