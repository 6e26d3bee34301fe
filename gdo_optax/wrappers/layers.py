"""Steps in proportion to each layer's own weights, around a finished optimizer."""

import optax

from gdo_optax.engine.combinators import chain, masked
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.trees import Mask
from gdo_optax.pieces.weights import scale_to_parameter_norm


@piece
def layerwise(
    inner: optax.GradientTransformation, learning_rate: Hyperparameter = 1e-3, mask: Mask | None = None
) -> Piece:
    """Layer adaptation of any finished optimizer: its direction, as long in every layer as the layer's own weights.

        uₜ = inner's step
        θₜ = θₜ₋₁ + α·‖θₜ₋₁‖/‖uₜ‖ · uₜ      layer by layer; uₜ itself where either norm is 0

    Around Adam with weight decay it is LAMB, around momentum LARS, whatever the rate of the inner optimizer is. (bojone
    divides uₜ by the inner rate; as the ratio takes the length of uₜ out, one rate is enough.)

    Args:
        inner: any optax transformation, with its learning rate.
        learning_rate: α ≥ 0, a number or a schedule: the relative change of a layer in a step.
        mask: which parameters are adapted; usually not biases and norms (see `excluding`).

    Raises:
        ValueError: a value outside its range; in the update, no parameters.
        TypeError: an inner that is no transformation.

    Reference: J. Su (2019), "Six derived optimizers", https://kexue.fm/archives/7094; Y. You et al. (2020),
    arXiv:1904.00962.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import adam
    >>> tx = layerwise(adam(), 0.1)
    >>> tx.update(jnp.array([5.0, 5.0]), tx.init(jnp.ones(2)), jnp.array([3.0, 3.0]))[0].round(6)
    Array([-0.3, -0.3], dtype=float32)
    """
    adapted = scale_to_parameter_norm(learning_rate)
    return chain(
        inner,  # uₜ
        adapted if mask is None else masked(adapted, mask),  # ·α·‖θₜ₋₁‖/‖uₜ‖
    )
