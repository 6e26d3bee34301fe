"""Around an optimizer of 16-bit parameters: updates that are smaller than their rounding are not lost."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine.numerics import copy, wide_dtype
from gdo_optax.engine.combinators import initial_state, run_update, single
from gdo_optax.engine.piece import ITSELF, Piece, piece
from gdo_optax.engine.trees import absent, columns, rounded, widened


_STRIDE = 49471
"""2¹⁶ over the plastic number 1.3247…, which is far from all fractions: strides of it do not soon meet again."""


class Mastered(NamedTuple):
    """The parameters in float32, `optax.MaskedNode` for those that have no fewer bits, and the optimizer's state."""

    master: ArrayTree
    inner: Any


class Compensated(NamedTuple):
    """What rounding has taken from the parameters (bfloat16), beside the optimizer's state."""

    lost: ArrayTree
    inner: Any


class Drawn(NamedTuple):
    """A count of updates (int32) from which random numbers are drawn, and the optimizer's state."""

    count: Array
    inner: Any


@piece
def keep_master(inner: optax.GradientTransformation) -> Piece:
    """Master weights: the optimizer moves a float32 copy of 16-bit parameters, which follow it rounded.

        w ← w + inner(g; w)
        θ ← round(w)

    1000 steps of 1e-3 from 1 end at 0; in plain bfloat16, whose numbers are 2⁻⁸ apart there, they never leave 1. Four
    bytes a parameter; the inner optimizer sees w. What is emitted is round(w) − θ, so `optax.apply_updates` lands on
    round(w) to the bit, unless the step is larger than what it leads to and its dtype, the gradient's, cannot hold it:
    then it lands there to the step's last place, and to the bit one step later. What else moves the parameters is
    undone by the next update. Float32 parameters pass through, and nothing is kept of them.

    It goes around the whole optimizer, keep_master(chain(…)), as only there the parameters' dtype is known.

    Args:
        inner: any optax transformation.

    Raises:
        ValueError: in the update, no parameters; or inside another of our combinators.
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
    >>> params, state.master
    (Array([0.996094], dtype=bfloat16), Array([0.99600005], dtype=float32))
    """
    inner = single(inner)

    def init(params: ArrayTree) -> Mastered:
        master = _of_narrow(lambda p: copy(p, jnp.dtype(jnp.float32)), params)
        return Mastered(master, initial_state(inner, widened(params)))

    def update(x: ArrayTree, state: Mastered, params: Any = None, **extra: Any) -> tuple[ArrayTree, Mastered]:
        weights = _weights(lambda p, w: w, "keep_master", params, state.master)
        y, kept = run_update(inner, widened(x), state.inner, weights, **extra)

        def land(g: Array, p: Array, w: Array, _: Any, i: int) -> tuple[Array, Array]:
            return _way(p, nearest(w, p.dtype), g.dtype), w

        updates, master = _landed(land, x, y, params, weights, state.master)
        return updates, Mastered(master, kept)

    return _outermost("keep_master", init, update)


@piece
def compensate(inner: optax.GradientTransformation) -> Piece:
    """Kahan summation: what rounding takes from a 16-bit parameter is kept, and added again in the next step.

        w = θ + c
        w ← w + inner(g; w)
        θ ← round(w)
        c ← w − θ

    Two bytes a parameter in place of the four of `keep_master`: updates count that are larger than about 2⁻¹⁷ of a
    bfloat16 parameter. c is bfloat16, also beside float16 parameters, whose own smallest numbers it would fall below;
    the paper keeps it in the parameter's dtype and computes in that. c is taken from where `optax.apply_updates` really
    lands, whatever the step. What else moves the parameters stays. Float32 parameters pass through.

    It goes around the whole optimizer, compensate(chain(…)).

    Args:
        inner: any optax transformation.

    Raises:
        ValueError: in the update, no parameters; or inside another of our combinators.
        TypeError: an inner that is no transformation.

    Reference: W. Kahan (1965), "Further remarks on reducing truncation errors", doi:10.1145/363707.363723; P. Zamirai
    et al. (2020), "Revisiting bfloat16 training", arXiv:2010.06192, Algorithm 3.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx, theta = compensate(sgd(1e-3)), jnp.ones(1, jnp.bfloat16)
    >>> updates, state = tx.update(jnp.ones(1, jnp.bfloat16), tx.init(theta), theta)
    >>> updates, state.lost
    (Array([0], dtype=bfloat16), Array([-0.000999451], dtype=bfloat16))
    """
    inner = single(inner)

    def init(params: ArrayTree) -> Compensated:
        lost = _of_narrow(lambda p: jnp.zeros_like(p, dtype=jnp.bfloat16), params)
        return Compensated(lost, initial_state(inner, widened(params)))

    def update(x: ArrayTree, state: Compensated, params: Any = None, **extra: Any) -> tuple[ArrayTree, Compensated]:
        weights = _weights(lambda p, c: _wide(p) + _wide(c), "compensate", params, state.lost)
        y, kept = run_update(inner, widened(x), state.inner, weights, **extra)

        def land(g: Array, p: Array, w: Array, _: Any, i: int) -> tuple[Array, Array]:
            way = _way(p, nearest(w, p.dtype), g.dtype)
            there = nearest(_wide(p) + way, p.dtype)
            return way, nearest(w - there, jnp.bfloat16).astype(jnp.bfloat16)

        updates, lost = _landed(land, x, y, params, weights, state.lost)
        return updates, Compensated(lost, kept)

    return _outermost("compensate", init, update)


@piece
def round_stochastically(inner: optax.GradientTransformation, seed: Numeric = 0) -> Piece:
    """Stochastic rounding: a 16-bit parameter goes up or down with the probability that makes its mean right.

        w = θ + inner(g; θ)
        θ ← ⌈w⌉ with probability (w − ⌊w⌋)/(⌈w⌉ − ⌊w⌋), else ⌊w⌋

    ⌊w⌋ and ⌈w⌉ are the two nearest numbers of the parameter's dtype. Nothing is kept but a count. Each coordinate draws
    one number from `seed` and its place, and goes on from it in equal strides around the unit interval: every draw is
    uniform, as in the paper, but one after another they fill the interval evenly, and errors of steps that are alike
    cancel in place of adding up to a random walk (1000 steps of 1e-3 from 1 end 0.002 from 0 in the root mean square;
    independent draws, 0.04). A number beyond the largest stays the largest. Float32 parameters pass through. Give
    trainings under vmap seeds of their own.

    It goes around the whole optimizer, round_stochastically(chain(…)).

    Args:
        inner: any optax transformation.
        seed: an integer.

    Raises:
        ValueError: in the update, no parameters; or inside another of our combinators.
        TypeError: an inner that is no transformation.

    Reference: S. Gupta et al. (2015), "Deep learning with limited numerical precision", arXiv:1502.02551, section 3.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx, theta = round_stochastically(sgd(1e-3)), jnp.ones(10_000, jnp.bfloat16)
    >>> updates, _ = tx.update(jnp.ones_like(theta), tx.init(theta), theta)
    >>> print(f"{updates.astype(jnp.float32).mean():.4f}")
    -0.0010
    """
    inner = single(inner)

    def init(params: ArrayTree) -> Drawn:
        return Drawn(jnp.zeros((), jnp.int32), initial_state(inner, widened(params)))

    def update(x: ArrayTree, state: Drawn, params: Any = None, **extra: Any) -> tuple[ArrayTree, Drawn]:
        weights = _weights(lambda p, _: _wide(p), "round_stochastically", params, params)
        y, kept = run_update(inner, widened(x), state.inner, weights, **extra)
        strides = _STRIDE * state.count.astype(jnp.uint32)

        def land(g: Array, p: Array, w: Array, m: Any, i: int) -> tuple[Array, Any]:
            first = jax.random.bits(jax.random.fold_in(jax.random.key(seed), i), p.shape, jnp.uint16)
            bits = (first.astype(jnp.uint32) + strides) % 2**16
            return _way(p, dithered(w, p.dtype, bits), g.dtype), m

        updates, _ = _landed(land, x, y, params, weights, params)
        return updates, Drawn(optax.safe_increment(state.count), kept)

    return _outermost("round_stochastically", init, update)


def nearest(x: Array, dtype: Any) -> Array:
    """x rounded to the numbers of a narrower dtype, still in its own; what is finite stays finite.

    Done by hand: of a rounding whose result is widened again XLA may leave out both.
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
    """What is to be added to p to be there, as well as the update's dtype can say it."""
    return nearest(to - _wide(p), dtype)


def _wide(x: Array) -> Array:
    return x.astype(jnp.float32)


def _narrow(p: Any) -> bool:
    floating = hasattr(p, "dtype") and jnp.issubdtype(p.dtype, jnp.floating)
    return floating and p.dtype != wide_dtype(p)


def _of_narrow(f: Callable, params: ArrayTree) -> ArrayTree:
    """f of the parameters in half precision, `optax.MaskedNode` for others."""
    return jax.tree.map(lambda p: f(p) if _narrow(p) else optax.MaskedNode(), params)


def _weights(f: Callable, name: str, params: Any, kept: ArrayTree) -> ArrayTree:
    """The parameters, f(parameter, what is kept of it) in place of those in half precision."""
    if params is None:
        raise ValueError(f"{name} reads the parameters: call update(updates, state, params)")
    return widened(jax.tree.map(lambda p, m: f(p, m) if _narrow(p) else p, params, kept, is_leaf=absent))


def _landed(land: Callable, x: ArrayTree, y: ArrayTree, params: Any, weights: Any, kept: Any) -> tuple[Any, Any]:
    """The updates in the dtypes of x, and what is kept: land(gradient, parameter, weight + step, kept, place)."""
    structure, rows = columns(x, y, params, weights, kept)

    def one(i: int, g: Any, y: Any, p: Any, w: Any, m: Any) -> tuple[Any, Any]:
        if absent(g):
            return g, m
        return land(g, p, w + y, m, i) if _narrow(p) else (y, m)

    out = [one(i, *row) for i, row in enumerate(rows)]
    updates, kept = (structure.unflatten(part) for part in zip(*out, strict=True)) if out else (x, kept)
    return rounded(updates, x), kept


def _outermost(name: str, init: Callable, update: Callable) -> Piece:
    """A piece that must see the parameters as they are."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError(f"{name} must see the parameters' dtypes: put it around the whole optimizer, {name}(chain(…))")

    made = Piece(init, update)
    made.body, made.wide_update = ITSELF, refuse
    return made
