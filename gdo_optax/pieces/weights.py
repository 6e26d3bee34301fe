"""Pieces that read the parameters."""

import math

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.engine import numerics, ranges
from gdo_optax.engine.combinators import chain, masked
from gdo_optax.engine.nodes import Rule, rule
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.trees import Mask, inverted


@piece
def add_decayed_weights(weight_decay: Hyperparameter, mask: Mask | None = None) -> Piece | Rule:
    """x ↦ x + λ·p: before a scale it is an L2 penalty, after it decoupled weight decay.

    `mask` says which parameters decay: a tree of booleans, a prefix of one, or a function of the tree (as in optax).

    >>> import jax.numpy as jnp
    >>> tx = add_decayed_weights(0.5)
    >>> tx.update(jnp.array([1.0]), tx.init(None), jnp.array([2.0]))[0]
    Array([2.], dtype=float32)
    """
    if mask is not None:
        return masked(add_decayed_weights(weight_decay), mask)
    return rule(
        lambda x, p, weight_decay: x if numerics.is_zero(weight_decay) else x + weight_decay * p,
        weight_decay=weight_decay,
    )


@piece
def trust_ratio(min_norm: Numeric = 0.0, max_norm: Numeric = math.inf, mask: Mask | None = None) -> Piece | Rule:
    """x ↦ φ(‖p‖₂)/‖x‖₂ · x, layer by layer (array by array); the ratio is 1 where either norm is 0.

    Without that exception a layer that starts at 0 would stay there. φ clips the norm to [min_norm, max_norm]; arrays
    that the mask leaves out take x as it is. ValueError for norms the wrong way round.

    Y. You et al. (2020), "Large batch optimization for deep learning: training BERT in 76 minutes", arXiv:1904.00962,
    section 3.

    >>> import jax.numpy as jnp
    >>> tx = trust_ratio()
    >>> tx.update(jnp.array([3.0, 4.0]), tx.init(None), jnp.array([0.0, 10.0]))[0]
    Array([6., 8.], dtype=float32)
    """
    ranges.check_order("trust_ratio", min_norm=min_norm, max_norm=max_norm)
    if mask is not None:
        return masked(trust_ratio(min_norm, max_norm), mask)

    def adapted(x: Array, measured: Array, p: Array, min_norm: Numeric, max_norm: Numeric) -> Array:
        of_p = numerics.norm(p)
        clipped = jnp.minimum(jnp.maximum(of_p, min_norm), max_norm)
        return numerics.ratio(clipped, measured, (of_p == 0) | (measured == 0)) * x

    return rule(adapted, measure=numerics.norm, min_norm=min_norm, max_norm=max_norm)


@piece
def scale_by_local_rate(
    trust_coefficient: Numeric = 1e-3,
    weight_decay: Hyperparameter = 0.0,
    mask: Mask | None = None,
    trust_ratio_mask: Mask | None = None,
) -> Piece | Rule:
    """x ↦ η·‖p‖/(‖x‖ + λ·‖p‖) · (x + λ·p), layer by layer; the rate is 1 where ‖p‖ or ‖x‖ is 0.

    `mask` says which parameters decay, `trust_ratio_mask` which have a rate of their own; elsewhere λ is 0, the rate 1.

    Y. You, I. Gitman, B. Ginsburg (2017), "Large batch training of convolutional networks", arXiv:1708.03888,
    Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_local_rate(0.1, weight_decay=0.5)
    >>> tx.update(jnp.array([3.0, 4.0]), tx.init(None), jnp.array([0.0, 10.0]))[0].round(6)
    Array([0.3, 0.9], dtype=float32)
    """
    if trust_ratio_mask is not None:
        local = scale_by_local_rate(trust_coefficient, weight_decay, mask)
        return _either(trust_ratio_mask, local, add_decayed_weights(weight_decay, mask))
    if mask is not None:
        decayed = scale_by_local_rate(trust_coefficient, weight_decay)
        return _either(mask, decayed, scale_by_local_rate(trust_coefficient))

    def scaled(x: Array, measured: Array, p: Array, trust: Numeric, weight_decay: Numeric) -> Array:
        of_p = numerics.norm(p)
        rate = numerics.ratio(trust * of_p, measured + weight_decay * of_p, (of_p == 0) | (measured == 0))
        return rate * (x + weight_decay * p)

    return rule(scaled, measure=numerics.norm, trust=trust_coefficient, weight_decay=weight_decay)


def _either(mask: Mask, inside: Piece, outside: Piece) -> Piece:
    """One piece for the arrays of the mask, another for all others."""
    return chain(masked(inside, mask), masked(outside, inverted(mask)))


@piece
def scale_to_parameter_norm(learning_rate: Hyperparameter) -> Rule:
    """x ↦ α·‖p‖₂/‖x‖₂ · x, layer by layer: a step as long as its layer, times α; x itself where either norm is 0.

    What `trust_ratio` is before the learning rate, this is after it: x is a finished step, of any length.

    >>> import jax.numpy as jnp
    >>> tx = scale_to_parameter_norm(0.1)
    >>> tx.update(jnp.array([3.0, 4.0]), tx.init(None), jnp.array([0.0, 10.0]))[0]
    Array([0.6, 0.8], dtype=float32)
    """

    def scaled(x: Array, measured: Array, p: Array, learning_rate: Numeric) -> Array:
        of_p = numerics.norm(p)
        return numerics.ratio(learning_rate * of_p, measured, (of_p == 0) | (measured == 0)) * x

    return rule(scaled, measure=numerics.norm, learning_rate=learning_rate)


@piece
def scale_by_parameter_rms(min_parameter_scale: Numeric = 1e-3) -> Rule:
    """x ↦ max(ε₂, RMS(p))·x: a step relative to the size of the parameter (Adafactor's α; array by array).

    >>> import jax.numpy as jnp
    >>> tx = scale_by_parameter_rms()
    >>> tx.update(jnp.array([1.0, 1.0]), tx.init(None), jnp.array([2.0, -2.0]))[0].round(5)
    Array([2., 2.], dtype=float32)
    """

    def scaled(x: Array, p: Array, least: Numeric) -> Array:
        return jnp.maximum(least, numerics.norm(p) / numerics.root_of_size(p)) * x

    return rule(scaled, least=min_parameter_scale)
