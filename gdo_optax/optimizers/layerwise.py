"""Steps in proportion to the norm of each layer."""

from chex import Numeric

from gdo_optax.combinators import chain
from gdo_optax.core import Hyperparameter, Piece, piece
from gdo_optax.pieces.composite import scale_by_adam
from gdo_optax.pieces.scales import scale_by_learning_rate
from gdo_optax.pieces.weights import add_decayed_weights, trust_ratio
from gdo_optax.trees import Mask


@piece
def lamb(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-6,
    eps_root: Numeric = 0.0,
    weight_decay: Hyperparameter = 0.01,
    mask: Mask | None = None,
) -> Piece:
    """LAMB: Adam's direction with decay, as long in every layer as the layer's own weights.

        uₜ = m̂ₜ / (√v̂ₜ + ε) + λ·θₜ₋₁
        θₜ = θₜ₋₁ − α·‖θₜ₋₁‖/‖uₜ‖ · uₜ      layer by layer; the ratio is 1 where either norm is 0

    The last version of the paper, with bias correction and φ the identity. optax.lamb has no decay unless asked for.

    Args:
        learning_rate: α ≥ 0, a number or a schedule: the relative change of a layer in a step.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.
        eps_root: added inside the root, after the correction.
        weight_decay: λ ≥ 0, a number or a schedule.
        mask: which parameters decay, as in `adamw`; usually not biases and norms.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.

    Reference: Y. You et al. (2020), "Large batch optimization for deep learning: training BERT in 76 minutes",
    arXiv:1904.00962, Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = lamb(0.1)
    >>> tx.update(jnp.array([5.0, 5.0]), tx.init(jnp.ones(2)), jnp.array([3.0, 3.0]))[0].round(6)
    Array([-0.3, -0.3], dtype=float32)
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),  # m̂ₜ / (√v̂ₜ + ε)
        add_decayed_weights(weight_decay, mask),  # + λ·θₜ₋₁
        trust_ratio(),  # ·‖θₜ₋₁‖/‖uₜ‖
        scale_by_learning_rate(learning_rate),
    )
