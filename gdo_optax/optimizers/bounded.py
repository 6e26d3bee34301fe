"""Adaptive step sizes between bounds that close in."""

from chex import Numeric

from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.trees import Mask
from gdo_optax.pieces.bounds import clip_by_bounds, following
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.moments import ema, running_max
from gdo_optax.pieces.scales import inverse_root, scale, square
from gdo_optax.pieces.weights import add_decayed_weights


@piece
def adabound(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    final_learning_rate: Hyperparameter = 0.1,
    gamma: Numeric = 1e-3,
    weight_decay: Hyperparameter = 0.0,
    mask: Mask | None = None,
) -> Piece:
    """AdaBound: Adam at first, SGD with momentum in the end.

        mₜ = b1·mₜ₋₁ + (1−b1)·gₜ
        vₜ = b2·vₜ₋₁ + (1−b2)·gₜ²
        ηₜ = clip( α·√(1−b2ᵗ)/(1−b1ᵗ) / (√vₜ + ε),  η*·(1 − 1/(γt+1)),  η*·(1 + 1/(γt)) )
        θₜ = θₜ₋₁ − ηₜ·mₜ

    The authors' code, which bias-corrects within the bounds and has no 1/√t; the paper's Algorithm 2 is the other way
    round. m is an average, so the SGD that remains has the rate η*·(1−b1) in PyTorch's terms. η* follows a schedule of
    α: η*·α(t)/α(0). Beware of the wide bounds at the start: a first step may be 100·η*·gₜ. The regret proof of the
    paper is wrong (P. Savarese, 2019, arXiv:1908.04457). `adaboundw` decays the weights beside the step.

    Args:
        learning_rate: α ≥ 0, a number or a schedule that does not start at 0.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root, before the correction.
        final_learning_rate: η* > 0, a number or a schedule of its own.
        gamma: γ > 0, how fast the bounds close.
        weight_decay: λ ≥ 0 of an L2 penalty, gₜ + λ·θₜ₋₁ in place of gₜ; a number or a schedule.
        mask: which parameters are penalized, as in `adamw`.

    Raises:
        ValueError: a value outside its range; a schedule that starts at 0; in the update, no parameters for a penalty.

    Reference: L. Luo, Y. Xiong, Y. Liu, X. Sun (2019), "Adaptive gradient methods with dynamic bound of learning rate",
    arXiv:1902.09843, Algorithm 2 and the authors' code.

    >>> import jax.numpy as jnp
    >>> tx = adabound()
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0]
    Array([-0.001], dtype=float32)
    """
    return chain(
        *_penalty(weight_decay, mask),  # gₜ + λ·θₜ₋₁
        adaptive(
            direction=[ema(b1)],  # mₜ
            scale=[
                square(),  # g²
                ema(b2),  # vₜ
                *step_size(learning_rate, b1, b2, eps),  # α·√(1−b2ᵗ)/(1−b1ᵗ) / (√vₜ+ε)
                clip_by_bounds(following(final_learning_rate, learning_rate), gamma),  # ηₜ
            ],
        ),
        scale(-1.0),
    )


@piece
def amsbound(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    final_learning_rate: Hyperparameter = 0.1,
    gamma: Numeric = 1e-3,
    weight_decay: Hyperparameter = 0.0,
    mask: Mask | None = None,
) -> Piece:
    """AMSBound: AdaBound with a second moment that never shrinks.

        v̄ₜ = max(v̄ₜ₋₁, vₜ)   in place of vₜ in AdaBound's ηₜ

    See `adabound` for everything else.

    Args:
        learning_rate: α ≥ 0, a number or a schedule that does not start at 0.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root, before the correction.
        final_learning_rate: η* > 0, a number or a schedule of its own.
        gamma: γ > 0, how fast the bounds close.
        weight_decay: λ ≥ 0 of an L2 penalty, a number or a schedule.
        mask: which parameters are penalized, as in `adamw`.

    Raises:
        ValueError: a value outside its range; a schedule that starts at 0; in the update, no parameters for a penalty.

    Reference: L. Luo, Y. Xiong, Y. Liu, X. Sun (2019), "Adaptive gradient methods with dynamic bound of learning rate",
    arXiv:1902.09843, section 5 and the authors' code.

    >>> import jax.numpy as jnp
    >>> tx = amsbound()
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0]
    Array([-0.001], dtype=float32)
    """
    return chain(
        *_penalty(weight_decay, mask),  # gₜ + λ·θₜ₋₁
        adaptive(
            direction=[ema(b1)],  # mₜ
            scale=[
                square(),  # g²
                ema(b2),  # vₜ
                running_max(),  # v̄ₜ
                *step_size(learning_rate, b1, b2, eps),  # α·√(1−b2ᵗ)/(1−b1ᵗ) / (√v̄ₜ+ε)
                clip_by_bounds(following(final_learning_rate, learning_rate), gamma),  # ηₜ
            ],
        ),
        scale(-1.0),
    )


@piece
def adaboundw(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    final_learning_rate: Hyperparameter = 0.1,
    gamma: Numeric = 1e-3,
    weight_decay: Hyperparameter = 1e-4,
    mask: Mask | None = None,
) -> Piece:
    """AdaBoundW: AdaBound, with weights that decay beside the bounded step.

        θₜ = θₜ₋₁ − ηₜ·mₜ − λ·θₜ₋₁      with AdaBound's ηₜ and mₜ

    The decay is a share of the weights in every step, not multiplied by any rate: here λ is a thousand times what it is
    in `adamw` at its default rate. A λ that should fall with the rate is a schedule of its own.

    Args:
        learning_rate: α ≥ 0, a number or a schedule that does not start at 0.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root, before the correction.
        final_learning_rate: η* > 0, a number or a schedule of its own.
        gamma: γ > 0, how fast the bounds close.
        weight_decay: λ ≥ 0, the share that a weight loses in a step; a number or a schedule.
        mask: which parameters decay, as in `adamw`.

    Raises:
        ValueError: a value outside its range; a schedule that starts at 0; in the update, no parameters.

    Reference: L. Luo, Y. Xiong, Y. Liu, X. Sun (2019), "Adaptive gradient methods with dynamic bound of learning rate",
    arXiv:1902.09843; the decay is that of the authors' code.

    >>> import jax.numpy as jnp
    >>> tx = adaboundw(weight_decay=0.1)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.ones(1)), jnp.ones(1))[0]
    Array([-0.101], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[ema(b1)],  # mₜ
            scale=[
                square(),  # g²
                ema(b2),  # vₜ
                *step_size(learning_rate, b1, b2, eps),  # α·√(1−b2ᵗ)/(1−b1ᵗ) / (√vₜ+ε)
                clip_by_bounds(following(final_learning_rate, learning_rate), gamma),  # ηₜ
            ],
        ),
        add_decayed_weights(weight_decay, mask),  # + λ·θₜ₋₁
        scale(-1.0),
    )


def step_size(learning_rate: Hyperparameter, b1: Hyperparameter, b2: Hyperparameter, eps: Numeric) -> list[Piece]:
    """Adam's step size from vₜ, before any bound.

    The order of D. P. Kingma, J. Ba (2015), arXiv:1412.6980, end of section 2.
    """
    return [
        inverse_root(eps),  # 1/(√vₜ+ε)
        bias_correction(b2, power=-1 / 2),  # ·√(1−b2ᵗ)
        bias_correction(b1),  # /(1−b1ᵗ)
        scale(learning_rate),  # ·α
    ]


def _penalty(weight_decay: Hyperparameter, mask: Mask | None) -> list[Piece]:
    """An L2 penalty, where there is any: without it the update needs no parameters."""
    if isinstance(weight_decay, int | float) and weight_decay == 0:
        return []
    return [add_decayed_weights(weight_decay, mask)]
