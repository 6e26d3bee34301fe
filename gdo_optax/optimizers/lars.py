"""Momentum with a rate of its own in every layer."""

from typing import Any

from chex import Numeric

from gdo_optax.engine.combinators import chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.trees import Mask
from gdo_optax.pieces.moments import ema, trace
from gdo_optax.pieces.scales import scale_by_learning_rate
from gdo_optax.pieces.weights import add_decayed_weights, scale_by_local_rate, trust_ratio


@piece
def lars(
    learning_rate: Hyperparameter = 0.1,
    momentum: Hyperparameter = 0.9,
    weight_decay: Hyperparameter = 1e-4,
    mask: Mask | None = None,
    trust_ratio_mask: Mask | None = None,
    residual_dtype: Any = None,
) -> Piece:
    """LARS: momentum with decay, as long in every layer as the layer's own weights.

        mₜ = p·mₜ₋₁ + (1−p)·(gₜ + λ·θₜ₋₁)
        θₜ = θₜ₋₁ − α·‖θₜ₋₁‖/‖mₜ‖ · mₜ      layer by layer; the ratio is 1 where either norm is 0

    As the paper of LAMB tells it, with the ratio on the momentum: a step is α times as long as the layer. The original
    is `lars_2017`. optax.lars takes the ratio of the gradient and the momentum after it, which is neither. Biases and
    norms are usually left out of both masks: `excluding("bias", "scale")`.

    Args:
        learning_rate: α ≥ 0, a number or a schedule: the relative change of a layer in a step.
        momentum: p in [0, 1), a number or a schedule.
        weight_decay: λ ≥ 0, a number or a schedule.
        mask: which parameters decay, as in `lamb`.
        trust_ratio_mask: which are scaled to their norm; the others take α·mₜ.
        residual_dtype: in which to keep, too, what rounding takes from mₜ; as in `adagrad`.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.

    Reference: Y. You et al. (2020), "Large batch optimization for deep learning: training BERT in 76 minutes",
    arXiv:1904.00962, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = lars(0.1, weight_decay=0.0)
    >>> tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.ones(2)), jnp.array([0.0, 10.0]))[0].round(6)
    Array([-0.6, -0.8], dtype=float32)
    """
    return chain(
        add_decayed_weights(weight_decay, mask),  # gₜ + λ·θₜ₋₁
        ema(momentum, residual_dtype=residual_dtype),  # mₜ
        trust_ratio(mask=trust_ratio_mask),  # ·‖θₜ₋₁‖/‖mₜ‖
        scale_by_learning_rate(learning_rate),
    )


@piece
def lars_2017(
    learning_rate: Hyperparameter = 0.1,
    momentum: Hyperparameter = 0.9,
    weight_decay: Hyperparameter = 1e-4,
    trust_coefficient: Numeric = 1e-3,
    mask: Mask | None = None,
    trust_ratio_mask: Mask | None = None,
) -> Piece:
    """LARS (2017): a velocity of gradients, each scaled to the norm of its layer.

        λₜ = η·‖θₜ₋₁‖ / (‖gₜ‖ + β·‖θₜ₋₁‖)      layer by layer; 1 where ‖θₜ₋₁‖ or ‖gₜ‖ is 0
        vₜ = p·vₜ₋₁ + α·λₜ·(gₜ + β·θₜ₋₁)
        θₜ = θₜ₋₁ − vₜ

    The rates are inside the velocity. The paper does not say what a layer of zeros does; here it takes a plain step.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        momentum: p in [0, 1), a number or a schedule.
        weight_decay: β ≥ 0, a number or a schedule.
        trust_coefficient: η > 0, how far a layer can go in relation to its norm while α is 1.
        mask: which parameters decay, as in `lamb`; the others have β = 0.
        trust_ratio_mask: which have a rate of their own; the others have λₜ = 1.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.

    Reference: Y. You, I. Gitman, B. Ginsburg (2017), "Large batch training of convolutional networks",
    arXiv:1708.03888, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = lars_2017(weight_decay=0.0)
    >>> tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.ones(2)), jnp.array([0.0, 10.0]))[0].round(6)
    Array([-0.0006, -0.0008], dtype=float32)
    """
    return chain(
        scale_by_local_rate(trust_coefficient, weight_decay, mask, trust_ratio_mask),  # λₜ·(gₜ + β·θₜ₋₁)
        scale_by_learning_rate(learning_rate),  # ·(−α)
        trace(momentum),  # −vₜ
    )
