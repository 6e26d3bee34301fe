"""Adaptive step sizes between bounds that close in."""

import jax
import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.combinators import adaptive, chain
from gdo_optax.core import Hyperparameter, Piece, piece
from gdo_optax.pieces.clocks import bias_correction, clip_by_bounds
from gdo_optax.pieces.moments import ema, running_max
from gdo_optax.pieces.scales import inverse_root, scale, square


@piece
def adabound(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    final_learning_rate: Hyperparameter = 0.1,
    gamma: Numeric = 1e-3,
) -> Piece:
    """AdaBound: Adam at first, SGD with momentum in the end.

        mₜ = b1·mₜ₋₁ + (1−b1)·gₜ
        vₜ = b2·vₜ₋₁ + (1−b2)·gₜ²
        ηₜ = clip( α·√(1−b2ᵗ)/(1−b1ᵗ) / (√vₜ + ε),  η*·(1 − 1/(γt+1)),  η*·(1 + 1/(γt)) )
        θₜ = θₜ₋₁ − ηₜ·mₜ

    The authors' code, which bias-corrects within the bounds and has no 1/√t; the paper's Algorithm 2 is the other way
    round. m is an average, so the SGD that remains has the rate η*·(1−b1) in PyTorch's terms. η* follows a schedule of
    α: η*·α(t)/α(0). Beware of the wide bounds at the start: a first step may be 100·η*·gₜ. The regret proof of the
    paper is wrong (P. Savarese, 2019, arXiv:1908.04457).

    Args:
        learning_rate: α ≥ 0, a number or a schedule that does not start at 0.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root, before the correction.
        final_learning_rate: η* > 0, a number or a schedule of its own.
        gamma: γ > 0, how fast the bounds close.

    Raises:
        ValueError: a value outside its range; a schedule that starts at 0.

    Reference: L. Luo, Y. Xiong, Y. Liu, X. Sun (2019), "Adaptive gradient methods with dynamic bound of learning rate",
    arXiv:1902.09843, Algorithm 2 and the authors' code.

    >>> import jax.numpy as jnp
    >>> tx = adabound()
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0]
    Array([-0.001], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[ema(b1)],  # mₜ
            scale=[
                square(),  # g²
                ema(b2),  # vₜ
                inverse_root(eps),  # 1/(√vₜ+ε)
                bias_correction(b2, power=-1 / 2),  # ·√(1−b2ᵗ)
                bias_correction(b1),  # /(1−b1ᵗ)
                scale(learning_rate),  # ·α
                clip_by_bounds(_following(final_learning_rate, learning_rate), gamma),  # ηₜ
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

    Raises:
        ValueError: a value outside its range; a schedule that starts at 0.

    Reference: L. Luo, Y. Xiong, Y. Liu, X. Sun (2019), "Adaptive gradient methods with dynamic bound of learning rate",
    arXiv:1902.09843, section 5 and the authors' code.

    >>> import jax.numpy as jnp
    >>> tx = amsbound()
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0]
    Array([-0.001], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[ema(b1)],  # mₜ
            scale=[
                square(),  # g²
                ema(b2),  # vₜ
                running_max(),  # v̄ₜ
                inverse_root(eps),  # 1/(√v̄ₜ+ε)
                bias_correction(b2, power=-1 / 2),  # ·√(1−b2ᵗ)
                bias_correction(b1),  # /(1−b1ᵗ)
                scale(learning_rate),  # ·α
                clip_by_bounds(_following(final_learning_rate, learning_rate), gamma),  # ηₜ
            ],
        ),
        scale(-1.0),
    )


def _following(final: Hyperparameter, learning_rate: Hyperparameter) -> Hyperparameter:
    """The final rate, in proportion to a schedule of the learning rate (the authors' final_lr·lr/base_lr)."""
    if callable(final) or not callable(learning_rate):
        return final
    first = learning_rate(jnp.int32(0))
    if not isinstance(first, jax.core.Tracer) and first == 0:
        raise ValueError(
            "learning_rate(0) is 0, but the bounds follow learning_rate(t)/learning_rate(0): start the warm-up above 0 "
            "or give final_learning_rate a schedule of its own"
        )

    def final_rate(count: Array) -> Array:
        return final * learning_rate(count) / first

    return final_rate
