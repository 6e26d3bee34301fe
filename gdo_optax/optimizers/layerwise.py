"""Steps in proportion to the norm of each layer."""

import math

from chex import Numeric

from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.trees import Mask
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.composite import nesterov_ema, scale_by_adam
from gdo_optax.pieces.moments import ema
from gdo_optax.pieces.scales import inverse_root, scale, scale_by_learning_rate, square
from gdo_optax.pieces.weights import add_decayed_weights, trust_ratio


@piece
def lamb(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-6,
    weight_decay: Hyperparameter = 0.01,
    mask: Mask | None = None,
    trust_ratio_mask: Mask | None = None,
    min_norm: Numeric = 0.0,
    max_norm: Numeric = math.inf,
) -> Piece:
    """LAMB: Adam's direction with decay, as long in every layer as the layer's own weights.

        uₜ = m̂ₜ / (√v̂ₜ + ε) + λ·θₜ₋₁
        θₜ = θₜ₋₁ − α·φ(‖θₜ₋₁‖)/‖uₜ‖ · uₜ      layer by layer; the ratio is 1 where either norm is 0

    The last version of the paper, with bias correction; φ(z) = clip(z, min_norm, max_norm), by default z itself. Biases
    and norms are usually left out of both the decay and the ratio: `excluding("bias", "scale")` is such a mask. The
    first versions had no correction, and an early PyTorch port a max_norm of 10. optax.lamb has no decay unless asked
    for, and no φ.

    Args:
        learning_rate: α ≥ 0, a number or a schedule: the relative change of a layer in a step.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.
        weight_decay: λ ≥ 0, a number or a schedule.
        mask: which parameters decay: a tree of booleans, a prefix of one, or a function of the tree; None for all.
        trust_ratio_mask: which are scaled to their norm; the others take α·uₜ.
        min_norm: the least norm that a layer counts with, ≥ 0.
        max_norm: the largest, > 0, may be infinite.

    Raises:
        ValueError: a value outside its range; norms the wrong way round; in the update, no parameters.

    Reference: Y. You et al. (2020), "Large batch optimization for deep learning: training BERT in 76 minutes",
    arXiv:1904.00962, Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = lamb(0.1)
    >>> tx.update(jnp.array([5.0, 5.0]), tx.init(jnp.ones(2)), jnp.array([3.0, 3.0]))[0].round(6)
    Array([-0.3, -0.3], dtype=float32)
    """
    return chain(
        scale_by_adam(b1, b2, eps),  # m̂ₜ / (√v̂ₜ + ε)
        add_decayed_weights(weight_decay, mask),  # + λ·θₜ₋₁
        trust_ratio(min_norm, max_norm, trust_ratio_mask),  # ·φ(‖θₜ₋₁‖)/‖uₜ‖
        scale_by_learning_rate(learning_rate),
    )


@piece
def nlamb(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-6,
    weight_decay: Hyperparameter = 0.01,
    mask: Mask | None = None,
) -> Piece:
    """N-LAMB: LAMB whose momentum is Nesterov's.

        m̂ₜ = b1·mₜ / (1−b1ᵗ⁺¹) + (1−b1)·gₜ / (1−b1ᵗ)
        v̂ₜ = b2·vₜ / (1−b2ᵗ)
        uₜ and θₜ as in LAMB

    Nadam's direction, with a constant b1 unless it is given a schedule, and the stray factor b2 of Nadam's v̂ₜ, which
    `nadam` leaves out.

    Args:
        learning_rate: α ≥ 0, a number or a schedule: the relative change of a layer in a step.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.
        weight_decay: λ ≥ 0, a number or a schedule.
        mask: which parameters decay, as in `lamb`.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.

    Reference: Y. You et al. (2020), "Large batch optimization for deep learning: training BERT in 76 minutes",
    arXiv:1904.00962, appendix, N-LAMB.

    >>> import jax.numpy as jnp
    >>> tx = nlamb(0.1)
    >>> tx.update(jnp.array([5.0, 5.0]), tx.init(jnp.ones(2)), jnp.array([3.0, 3.0]))[0].round(6)
    Array([-0.3, -0.3], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[nesterov_ema(b1)],  # m̂ₜ
            scale=[square(), ema(b2), scale(b2), bias_correction(b2), inverse_root(eps)],  # g², vₜ, v̂ₜ, 1/(√v̂ₜ+ε)
        ),
        add_decayed_weights(weight_decay, mask),  # + λ·θₜ₋₁
        trust_ratio(),  # ·‖θₜ₋₁‖/‖uₜ‖
        scale_by_learning_rate(learning_rate),
    )


@piece
def nnlamb(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-6,
    weight_decay: Hyperparameter = 0.01,
    mask: Mask | None = None,
) -> Piece:
    """NN-LAMB: LAMB that looks ahead in both moments.

        v̂ₜ = b2·vₜ / (1−b2ᵗ⁺¹) + (1−b2)·gₜ² / (1−b2ᵗ)      in place of N-LAMB's

    See `nlamb` for everything else. The newest square counts twice, in vₜ and beside it: a sudden gradient is divided
    by more than in LAMB.

    Args:
        learning_rate: α ≥ 0, a number or a schedule: the relative change of a layer in a step.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.
        weight_decay: λ ≥ 0, a number or a schedule.
        mask: which parameters decay, as in `lamb`.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.

    Reference: Y. You et al. (2020), "Large batch optimization for deep learning: training BERT in 76 minutes",
    arXiv:1904.00962, appendix, NN-LAMB.

    >>> import jax.numpy as jnp
    >>> tx = nnlamb(0.1)
    >>> tx.update(jnp.array([5.0, 5.0]), tx.init(jnp.ones(2)), jnp.array([3.0, 3.0]))[0].round(6)
    Array([-0.3, -0.3], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[nesterov_ema(b1)],  # m̂ₜ
            scale=[square(), nesterov_ema(b2), inverse_root(eps)],  # g², v̂ₜ, 1/(√v̂ₜ+ε)
        ),
        add_decayed_weights(weight_decay, mask),  # + λ·θₜ₋₁
        trust_ratio(),  # ·‖θₜ₋₁‖/‖uₜ‖
        scale_by_learning_rate(learning_rate),
    )
