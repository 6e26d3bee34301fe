"""Around an optimizer of 16-bit parameters: updates that are smaller than their rounding are not lost."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine.combinators import part
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Whole
from gdo_optax.engine.numerics import copy, promoted, wide_dtype
from gdo_optax.engine.piece import piece
from gdo_optax.engine.trees import absent, columns, rounded, widened


_STRIDE = 49471
"""2¹⁶ over the plastic number 1.3247…, which is far from all fractions: strides of it do not soon meet again."""


@piece
def keep_master(inner: optax.GradientTransformation) -> Whole:
    """Master weights: the optimizer moves a float32 copy of 16-bit parameters, which follow it rounded.

        w ← w + inner(g; w)
        θ ← round(w)

    1000 steps of 1e-3 from 1 end at 0. In plain bfloat16, whose numbers are 2⁻⁸ apart there, they never leave 1. The
    state holds w as `master`, four bytes a parameter, and the inner optimizer sees w. The update is round(w) − θ, so
    `optax.apply_updates` lands on round(w) to the bit. The exception is a step larger than its target that the update's
    dtype cannot represent; the parameter is then exact one step later. Any other change to the parameters is
    overwritten by the next update. Float32 parameters pass through, and nothing is kept of them.

    It goes around the whole optimizer, keep_master(chain(…)), as only there the parameters' dtype is known.

    Args:
        inner: any optax transformation.

    Raises:
        ValueError: in the update, no parameters; when another of our combinators is made of it.
        TypeError: an inner that is no transformation.

    Reference: P. Micikevicius et al. (2018), "Mixed precision training", arXiv:1710.03740, section 3.1.

    >>> import jax.numpy as jnp
    >>> import optax
    >>> from gdo_optax import sgd
    >>> tx, params, g = keep_master(sgd(1e-3)), jnp.ones(1, jnp.bfloat16), jnp.ones(1, jnp.bfloat16)
    >>> state = tx.init(params)
    >>> for _ in range(4):
    ...     updates, state = tx.update(g, state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> params, state["state"]["master"]
    (Array([0.996094], dtype=bfloat16), Array([0.99600005], dtype=float32))
    """

    def init(params: ArrayTree, inner: Any) -> dict[str, Any]:
        return {"master": _of_narrow(lambda p: copy(p, jnp.dtype(jnp.float32)), params), "inner": inner}

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        weights = _weights(lambda p, w: w, "keep_master", x, params, state["master"])
        y, inner = now.run("inner", widened(x, weights), state["inner"], weights)

        def land(dtype: Any, p: Array, w: Array, _: Any, i: int) -> tuple[Array, Array]:
            return _way(p, nearest(w, p.dtype), dtype), w

        updates, master = _landed(land, x, y, params, weights, state["master"])
        return updates, {"master": master, "inner": inner}

    return Whole({"inner": part(inner)}, init, update, narrow=True)


@piece
def compensate(inner: optax.GradientTransformation) -> Whole:
    """Kahan summation: what rounding takes from a 16-bit parameter is kept, and added again in the next step.

        w = θ + c
        w ← w + inner(g; w)
        θ ← round(w)
        c ← w − θ

    Two bytes a parameter in place of the four of `keep_master`: updates count that are larger than about 2⁻¹⁷ of a
    bfloat16 parameter. The state holds c as `lost`. c is bfloat16, also beside float16 parameters, whose own smallest
    numbers it would fall below; the paper keeps it in the parameter's dtype and computes in that. c is taken from where
    `optax.apply_updates` really lands, whatever the step. Any other change to the parameters stays. Float32 parameters
    pass through.

    It goes around the whole optimizer, compensate(chain(…)).

    Args:
        inner: any optax transformation.

    Raises:
        ValueError: in the update, no parameters; when another of our combinators is made of it.
        TypeError: an inner that is no transformation.

    Reference: W. Kahan (1965), "Further remarks on reducing truncation errors", doi:10.1145/363707.363723; P. Zamirai
    et al. (2020), "Revisiting bfloat16 training", arXiv:2010.06192, Algorithm 3.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx, theta = compensate(sgd(1e-3)), jnp.ones(1, jnp.bfloat16)
    >>> updates, state = tx.update(jnp.ones(1, jnp.bfloat16), tx.init(theta), theta)
    >>> updates, state["state"]["lost"]
    (Array([0], dtype=bfloat16), Array([-0.000999451], dtype=bfloat16))
    """

    def init(params: ArrayTree, inner: Any) -> dict[str, Any]:
        return {"lost": _of_narrow(lambda p: jnp.zeros_like(p, dtype=jnp.bfloat16), params), "inner": inner}

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        weights = _weights(lambda p, c: _wide(p) + _wide(c), "compensate", x, params, state["lost"])
        y, inner = now.run("inner", widened(x, weights), state["inner"], weights)

        def land(dtype: Any, p: Array, w: Array, _: Any, i: int) -> tuple[Array, Array]:
            way = _way(p, nearest(w, p.dtype), dtype)
            there = nearest(_wide(p) + way, p.dtype)
            return way, nearest(w - there, jnp.bfloat16).astype(jnp.bfloat16)

        updates, lost = _landed(land, x, y, params, weights, state["lost"])
        return updates, {"lost": lost, "inner": inner}

    return Whole({"inner": part(inner)}, init, update, narrow=True)


@piece
def round_stochastically(inner: optax.GradientTransformation, seed: Numeric = 0) -> Whole:
    """Stochastic rounding: a 16-bit parameter goes up or down with the probability that makes its mean right.

        w = θ + inner(g; θ)
        θ ← ⌈w⌉ with probability (w − ⌊w⌋)/(⌈w⌉ − ⌊w⌋), else ⌊w⌋

    ⌊w⌋ and ⌈w⌉ are the two nearest numbers of the parameter's dtype. Nothing is kept. Each coordinate draws one number
    from `seed` and its place, and goes on from it in equal strides around the unit interval. Every draw is uniform, as
    in the paper, but one after another they fill the interval evenly. So the errors of steps that are alike cancel and
    do not add up to a random walk. (1000 steps of 1e-3 from 1 end 0.002 from 0 in the root mean square; with
    independent draws it is 0.04.) A number beyond the largest stays the largest. Float32 parameters pass through. Give
    trainings under vmap seeds of their own.

    It goes around the whole optimizer, round_stochastically(chain(…)).

    Args:
        inner: any optax transformation.
        seed: an integer.

    Raises:
        ValueError: in the update, no parameters; when another of our combinators is made of it.
        TypeError: an inner that is no transformation.

    Reference: S. Gupta et al. (2015), "Deep learning with limited numerical precision", arXiv:1502.02551, section 3.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx, theta = round_stochastically(sgd(1e-3)), jnp.ones(10_000, jnp.bfloat16)
    >>> updates, _ = tx.update(jnp.ones_like(theta), tx.init(theta), theta)
    >>> print(f"{updates.astype(jnp.float32).mean():.4f}")
    -0.0010
    """

    def init(params: ArrayTree, inner: Any) -> dict[str, Any]:
        return {"inner": inner}

    def update(x: ArrayTree, state: Any, params: Any, now: Now, seed: Numeric) -> tuple[ArrayTree, Any]:
        weights = _weights(lambda p, _: _wide(p), "round_stochastically", x, params, params)
        y, inner = now.run("inner", widened(x, weights), state["inner"], weights)
        strides = _STRIDE * now.count.astype(jnp.uint32)

        def land(dtype: Any, p: Array, w: Array, m: Any, i: int) -> tuple[Array, Any]:
            first = jax.random.bits(jax.random.fold_in(jax.random.key(seed), i), p.shape, jnp.uint16)
            bits = (first.astype(jnp.uint32) + strides) % 2**16
            return _way(p, dithered(w, p.dtype, bits), dtype), m

        updates, _ = _landed(land, x, y, params, weights, params)
        return updates, {"inner": inner}

    return Whole({"inner": part(inner)}, init, update, narrow=True, hyper={"seed": seed})


def nearest(x: Array, dtype: Any) -> Array:
    """x rounded to the numbers of a narrower dtype, still in its own; what is finite stays finite.

    Done by hand: XLA may leave out a rounding whose result is widened again.
    """
    narrow, own = jnp.finfo(dtype), jnp.finfo(x.dtype)
    if narrow.bits >= own.bits:
        return x
    y = jax.lax.reduce_precision(x, own.nexp, narrow.nmant)
    if narrow.minexp > own.minexp:
        step = float(narrow.smallest_subnormal)
        y = jnp.where(jnp.abs(x) < float(narrow.smallest_normal), jnp.round(x / step) * step, y)
    return _bounded(x, y, narrow)


def dithered(x: Array, dtype: Any, bits: Array) -> Array:
    """Float32 x rounded up or down to a 16-bit dtype, still in float32: up where the 16 bits (uint32) say so.

    The bits are added to the digits that go, before these are cut off.
    """
    narrow, own = jnp.finfo(dtype), jnp.finfo(x.dtype)
    cut = own.nmant - narrow.nmant
    whole = jax.lax.bitcast_convert_type(x, jnp.uint32) + (bits >> (16 - cut))
    y = jax.lax.bitcast_convert_type(whole & jnp.uint32(2**32 - 2**cut), x.dtype)
    if narrow.minexp > own.minexp:
        steps = jnp.abs(x) / float(narrow.smallest_subnormal)
        up = (steps - jnp.floor(steps)) * 2**16 > bits.astype(x.dtype)
        small = jnp.sign(x) * (jnp.floor(steps) + up.astype(x.dtype)) * float(narrow.smallest_subnormal)
        y = jnp.where(jnp.abs(x) < float(narrow.smallest_normal), small, y)
    return _bounded(x, y, narrow)


def _bounded(x: Array, y: Array, narrow: Any) -> Array:
    """y, at most the largest finite number, and x itself where that is not finite."""
    return jnp.where(jnp.isfinite(x), jnp.clip(y, -float(narrow.max), float(narrow.max)), x)


def _way(p: Array, to: Array, dtype: Any) -> Array:
    """The step from p to there, rounded to the update's dtype."""
    return nearest(to - _wide(p), dtype)


def _wide(x: Array) -> Array:
    return x.astype(jnp.float32)


def _narrow(p: Any) -> bool:
    floating = hasattr(p, "dtype") and jnp.issubdtype(p.dtype, jnp.floating)
    return floating and p.dtype != wide_dtype(p)


def _of_narrow(f: Callable, params: ArrayTree) -> ArrayTree:
    """f of the parameters in half precision, None for others."""
    return jax.tree.map(lambda p: f(p) if _narrow(p) else None, params)


def _weights(f: Callable, name: str, x: ArrayTree, params: Any, kept: ArrayTree) -> ArrayTree:
    """The parameters, f(parameter, what is kept of it) in place of those in half precision."""
    if params is None and jax.tree.leaves(x):
        raise ValueError(f"{name} reads the parameters: call update(updates, state, params)")
    return widened(jax.tree.map(lambda p, m: f(p, m) if _narrow(p) else p, params, kept, is_leaf=absent))


def _landed(land: Callable, x: ArrayTree, y: ArrayTree, params: Any, weights: Any, kept: Any) -> tuple[Any, Any]:
    """The updates and what is kept: land(the update's dtype, parameter, weight + step, kept, place)."""
    structure, rows = columns(x, y, params, weights, kept)

    def one(i: int, g: Any, y: Any, p: Any, w: Any, m: Any) -> tuple[Any, Any]:
        if absent(g):
            return g, m
        if not _narrow(p):
            return y, m
        return land(promoted(jnp.result_type(g), p.dtype), p, w + y, m, i)

    out = [one(i, *row) for i, row in enumerate(rows)]
    updates, kept = (structure.unflatten(part) for part in zip(*out, strict=True)) if out else (x, kept)
    return rounded(updates, x, params), kept
