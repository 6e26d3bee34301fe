"""Slow weights around any optimizer."""

import optax
from chex import Numeric

from gdo_optax.combinators import chain
from gdo_optax.core import Hyperparameter, Piece, piece
from gdo_optax.pieces.weights import slow_weights


@piece
def lookahead(
    inner: optax.GradientTransformation, sync_period: Numeric = 5, slow_step_size: Hyperparameter = 0.5
) -> Piece:
    """Lookahead: k steps forward with any optimizer, then one step back towards where they started.

        θₜ = inner(θₜ₋₁)
        φ ← φ + α·(θₜ − φ),   θₜ ← φ       when t is a multiple of k

    The parameters are the fast weights θ, plain as ever; `eval_params(state, params)` reads the slow ones φ
    (optax.lookahead needs `LookaheadParams`). The inner optimizer keeps its state over a synchronisation and gets every
    extra argument of the update. The paper has k = 5, α = 0.5 for ImageNet and α = 0.8 for CIFAR and as its code's
    default.

    Args:
        inner: any optax transformation.
        sync_period: k, an integer ≥ 1.
        slow_step_size: α in (0, 1], a number or a schedule; 1 is the inner optimizer itself.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.
        TypeError: an inner that is no transformation.

    Reference: M. R. Zhang, J. Lucas, G. Hinton, J. Ba (2019), "Lookahead optimizer: k steps forward, 1 step back",
    arXiv:1907.08610, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx = lookahead(sgd(1.0), sync_period=1)
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)), jnp.zeros(1))[0]
    Array([-1.], dtype=float32)
    """
    return chain(
        inner,  # θₜ
        slow_weights(sync_period, slow_step_size),  # φ
    )
