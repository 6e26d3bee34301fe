"""Pieces that read the parameters, and second sets of weights beside them."""

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax import arithmetic
from gdo_optax.combinators import masked
from gdo_optax.core import Hyperparameter, Piece, piece
from gdo_optax.makers import paired, weights
from gdo_optax.trees import Mask


@piece
def add_decayed_weights(weight_decay: Hyperparameter, mask: Mask | None = None) -> Piece:
    """x ↦ x + λ·p: before a scale it is an L2 penalty, after it decoupled weight decay.

    `mask` says which parameters decay: a tree of booleans, a prefix of one, or a function of the tree (as in optax).

    >>> import jax.numpy as jnp
    >>> tx = add_decayed_weights(0.5)
    >>> tx.update(jnp.array([1.0]), tx.init(None), jnp.array([2.0]))[0]
    Array([2.], dtype=float32)
    """
    if mask is not None:
        return masked(add_decayed_weights(weight_decay), mask)
    return paired(lambda x, p, weight_decay: x + weight_decay * p, weight_decay=weight_decay)


@piece
def trust_ratio() -> Piece:
    """x ↦ ‖p‖₂/‖x‖₂ · x, layer by layer (array by array); the ratio is 1 where either norm is 0.

    Without that exception a layer that starts at 0 would stay there (Y. You et al., 2020, arXiv:1904.00962).

    >>> import jax.numpy as jnp
    >>> tx = trust_ratio()
    >>> tx.update(jnp.array([3.0, 4.0]), tx.init(None), jnp.array([0.0, 10.0]))[0]
    Array([6., 8.], dtype=float32)
    """

    def adapted(x: Array, p: Array) -> Array:
        of_p, of_x = arithmetic.norm(p), arithmetic.norm(x)
        return jnp.where((of_p == 0) | (of_x == 0), 1, of_p * arithmetic.reciprocal(of_x)) * x

    return paired(adapted)


@piece
def scale_by_parameter_rms(min_parameter_scale: Numeric = 1e-3) -> Piece:
    """x ↦ max(ε₂, RMS(p))·x: a step relative to the size of the parameter (Adafactor's α; array by array).

    >>> import jax.numpy as jnp
    >>> tx = scale_by_parameter_rms()
    >>> tx.update(jnp.array([1.0, 1.0]), tx.init(None), jnp.array([2.0, -2.0]))[0]
    Array([2., 2.], dtype=float32)
    """
    return paired(lambda x, p, least: jnp.maximum(least, arithmetic.root_mean_square(p)) * x, least=min_parameter_scale)


@piece
def slow_weights(sync_period: Numeric = 5, slow_step_size: Hyperparameter = 0.5) -> Piece:
    """Every k-th step the slow weights go a share α of the way to the fast ones, and the fast ones go to them.

        φ ← φ + α·(θ − φ),   θ ← φ       when t is a multiple of k = sync_period

    The last piece of a chain. φ starts at the first parameters, lives in the state and is read by `eval_params`; the
    parameters are the fast weights θ and stay plain (optax.lookahead pairs them up in `LookaheadParams`). α = 1 changes
    nothing. Without parameters the update raises ValueError.

    M. R. Zhang, J. Lucas, G. Hinton, J. Ba (2019), "Lookahead optimizer: k steps forward, 1 step back",
    arXiv:1907.08610, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = slow_weights(sync_period=1)
    >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)), jnp.zeros(1))[0]
    Array([0.5], dtype=float32)
    """

    def pulled(slow: Array, x: Array, p: Array, sync: Array, slow_step_size: Numeric) -> tuple[Array, Array]:
        # x − (1−α)·(θ − φ) is φ′ − p: α = 1 leaves x as it is, and p + x is φ′ to the last bit
        x = jnp.where(sync, x - (1 - slow_step_size) * (p + x - slow), x)
        return jnp.where(sync, p + x, slow), x

    return weights(pulled, sync=lambda count: (count + 1) % sync_period == 0, slow_step_size=slow_step_size)
