"""Pieces that look at each output unit, or at all parameters together."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine import numerics
from gdo_optax.engine.combinators import chain
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Rule, Whole, per_step, rule
from gdo_optax.engine.numerics import as_dtype, as_real, number_dtype
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.reductions import global_norm
from gdo_optax.engine.trees import each
from gdo_optax.pieces.scales import inverse_root, scale


@piece
def adaptive_grad_clip(clipping: Numeric = 0.01, eps: Numeric = 1e-3) -> Rule:
    """g ↦ g·c/‖g‖ where ‖g‖ > c = clipping·max(‖p‖, ε), unit by unit: no unit's gradient outgrows its weights.

    A unit is what the last axis counts, as in Flax's kernels; a vector is one unit (`optax.adaptive_grad_clip` takes
    its elements for units).

    A. Brock, S. De, S. L. Smith, K. Simonyan (2021), "High-performance large-scale image recognition without
    normalization", arXiv:2102.06171, equation 3.

    >>> import jax.numpy as jnp
    >>> tx = adaptive_grad_clip(0.5)
    >>> tx.update(jnp.array([3.0, 4.0]), tx.init(None), jnp.array([0.0, 2.0]))[0]
    Array([0.6, 0.8], dtype=float32)
    """

    def clipped(g: Array, measured: Array, p: Array, clipping: Numeric, eps: Numeric) -> Array:
        most = clipping * jnp.maximum(_unit_norm(p), eps)
        return jnp.where(measured > most, g * (most / jnp.maximum(measured, 1e-6)), g)

    return rule(clipped, measure=_unit_norm, clipping=clipping, eps=eps)


@piece
def normalize(eps: Numeric = 1e-8) -> Rule:
    """g ↦ g / (std g + ε), the standard deviation over the whole array; arrays of one or two elements stay.

    >>> import jax.numpy as jnp
    >>> tx = normalize()
    >>> tx.update(jnp.array([0.0, 2.0, 4.0]), tx.init(None))[0]
    Array([0., 1., 2.], dtype=float32)
    """

    def deviation(g: Array) -> Array | None:
        if g.size <= 2:
            return None
        return numerics.norm(g - numerics.mean(g, tuple(range(g.ndim)))) / (g.size - 1) ** 0.5

    def normalized(g: Array, measured: Array | None, eps: Numeric) -> Array:
        return g if measured is None else g * (1 / (measured + eps))

    return rule(normalized, measure=deviation, eps=eps)


@piece
def normalize_by_update_norm() -> Whole:
    """x ↦ x / ‖x‖, the norm over all arrays together; zeros stay.

    As optax's of that name, without its ε.

    >>> import jax.numpy as jnp
    >>> tx = normalize_by_update_norm()
    >>> tx.update([jnp.array([3.0]), jnp.array([4.0])], tx.init(None))[0]
    [Array([0.6], dtype=float32), Array([0.8], dtype=float32)]
    """

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        length = global_norm(x)
        return _with_number(_times, x, 1 / jnp.where(length > 0, length, 1)), state

    return Whole(update=update)


@piece
def clip_by_global_norm(max_norm: Numeric) -> Whole:
    """x ↦ x·c/max(‖x‖, c), c = max_norm, the norm over all arrays together (`optax.clip_by_global_norm`).

    R. Pascanu, T. Mikolov, Y. Bengio (2013), "On the difficulty of training recurrent neural networks",
    arXiv:1211.5063, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = clip_by_global_norm(1.0)
    >>> tx.update([jnp.array([3.0]), jnp.array([4.0])], tx.init(None))[0]
    [Array([0.6], dtype=float32), Array([0.8], dtype=float32)]
    """

    def update(x: ArrayTree, state: Any, params: Any, now: Now, max_norm: Numeric) -> tuple[ArrayTree, Any]:
        length = global_norm(x)
        most = as_dtype(max_norm, length.dtype)
        # one number: XLA would materialize a division of every element
        return _with_number(_times, x, jnp.where(length > most, most / jnp.where(length > most, length, 1), 1)), state

    return Whole(update=update, hyper={"max_norm": max_norm})


@piece
def positive_negative_momentum(
    decay: Numeric = 0.9, positive_negative_factor: Numeric = 1.0, dtype: Any = None
) -> Rule:
    """mₜ = β²·mₜ₋₂ + (1−β²)·gₜ, emitted as ((1+β₀)·mₜ − β₀·mₜ₋₁) / √((1+β₀)² + β₀²): two averages take turns.

    Their difference keeps the size of the noise in the gradient, which an average loses.

    Z. Xie et al. (2021), "Positive-negative momentum", arXiv:2103.17182, algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = positive_negative_momentum(0.5, 0.0)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0]
    Array([3.], dtype=float32)
    """
    if callable(decay):
        raise TypeError("positive_negative_momentum: decay cannot be a schedule: two averages share its square")

    def in_turn(
        m: dict[str, Array], g: Array, decay: Numeric, factor: Numeric, turn: Array
    ) -> tuple[dict[str, Array], Array]:
        is_odd = turn == 1
        kept = {  # each stays in its place: XLA copies a memory that moves
            "odd": jnp.where(is_odd, numerics.average(m["odd"], g, decay), m["odd"]),
            "even": jnp.where(is_odd, m["even"], numerics.average(m["even"], g, decay)),
        }
        new, last = jnp.where(is_odd, kept["odd"], kept["even"]), jnp.where(is_odd, kept["even"], kept["odd"])
        return kept, ((1 + factor) * new - factor * last) / ((1 + factor) ** 2 + factor**2) ** 0.5

    turn = per_step(lambda m: (1 - m, 1 - m), init=0.0)  # 1, 0, 1, …
    slots = {"odd": 0.0, "even": 0.0}
    return rule(in_turn, init=slots, dtype=dtype, decay=decay**2, factor=positive_negative_factor, turn=turn)


@piece
def stable_weight_decay(weight_decay: Hyperparameter) -> Piece:
    """v̂ ↦ λ·p / √(mean v̂), the mean over all parameters: decay in the unit of the adaptive step; 0 where v̂ is.

    Z. Xie, I. Sato, M. Sugiyama (2020), "Stable weight decay regularization", arXiv:2011.11152.

    >>> import jax.numpy as jnp
    >>> tx = stable_weight_decay(0.5)
    >>> tx.update([jnp.array([3.0]), jnp.array([5.0])], tx.init(None), [jnp.ones(1), jnp.zeros(1)])[0]
    [Array([0.25], dtype=float32), Array([0.], dtype=float32)]
    """
    return chain(
        mean_of_all(),  # mean v̂
        inverse_root(0),  # 1/√
        scale(weight_decay),  # ·λ
        scale_by_parameters(),  # ·p
    )


@piece
def mean_of_all() -> Whole:
    """x ↦ mean x, one number for all elements of all arrays.

    >>> import jax.numpy as jnp
    >>> tx = mean_of_all()
    >>> tx.update([jnp.array([1.0, 2.0]), jnp.array([6.0])], tx.init(None))[0]
    [Array([3., 3.], dtype=float32), Array([3.], dtype=float32)]
    """

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        arrays = jax.tree.leaves(x)
        size, dtype = max(sum(a.size for a in arrays), 1), number_dtype(arrays)
        mean = sum((jnp.sum(a).astype(dtype) / size for a in arrays), jnp.zeros((), dtype))
        return _with_number(_filled, x, mean), state

    return Whole(update=update)


@piece
def scale_by_parameters() -> Rule:
    """x ↦ p·x, element by element.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_parameters()
    >>> tx.update(jnp.array([0.5]), tx.init(None), jnp.array([4.0]))[0]
    Array([2.], dtype=float32)
    """
    return rule(lambda x, p: p * x)


@piece
def add_norm_loss(norm_loss: Hyperparameter, eps: Numeric = 1e-8) -> Rule:
    """x ↦ x + 2c·(1 − 1/(‖p‖ + ε))·p, unit by unit: the gradient of c·(1 − ‖p‖)², which pulls every unit to norm 1.

    T. Georgiou et al. (2021), "Norm loss", arXiv:2103.06583.

    >>> import jax.numpy as jnp
    >>> tx = add_norm_loss(0.25)
    >>> tx.update(jnp.zeros(2), tx.init(None), jnp.array([0.0, 2.0]))[0]
    Array([0. , 0.5], dtype=float32)
    """

    def pulled(x: Array, p: Array, norm_loss: Numeric, eps: Numeric) -> Array:
        return x + 2 * norm_loss * (p - p / (_unit_norm(p) + eps))

    return rule(pulled, norm_loss=norm_loss, eps=eps)


@piece
def inverse_softplus_root(eps: Numeric = 1e-8, sharpness: Numeric = 50.0) -> Rule:
    """v ↦ 1/softplus(√v + ε), softplus(z) = log(1 + eᵏᶻ)/k, k = `sharpness`: a denominator that is never below 0.69/k.

    Q. Tong, G. Liang, J. Bi (2019), "Calibrating the adaptive learning rate", arXiv:1908.00700.

    >>> import jax.numpy as jnp
    >>> tx = inverse_softplus_root()
    >>> tx.update(jnp.array([0.0, 4.0]), tx.init(None))[0].round(2)
    Array([72.13,  0.5 ], dtype=float32)
    """

    def inverse(v: Array, eps: Numeric, sharpness: Numeric) -> Array:
        return 1 / (jnp.logaddexp(sharpness * (numerics.root(v) + eps), jnp.zeros_like(v)) / sharpness)

    return rule(inverse, eps=eps, sharpness=sharpness)


def _with_number(f: Callable[[Array, Array], Array], x: ArrayTree, number: Array) -> ArrayTree:
    """f(array, number) for every array."""
    return each(f, x, jax.tree.map(lambda _: number, x))


def _times(x: Array, share: Array) -> Array:
    return as_real(share, x.dtype) * x


def _filled(x: Array, value: Array) -> Array:
    return jnp.full_like(x, as_real(value, x.dtype))


def _unit_norm(x: Array) -> Array:
    """The norm over all axes but the last, of a vector over its one axis; kept as axes of length 1."""
    axes = tuple(range(x.ndim - 1)) if x.ndim > 1 else tuple(range(x.ndim))
    return numerics.norm(x, axes)
