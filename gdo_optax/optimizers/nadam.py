"""Adam with Nesterov's momentum."""

from chex import Numeric

from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.composite import nesterov_ema
from gdo_optax.pieces.moments import ema
from gdo_optax.pieces.scales import inverse_root, scale_by_learning_rate, square
from gdo_optax.schedules import nadam_momentum


@piece
def nadam(
    learning_rate: Hyperparameter = 2e-3,
    b1: Hyperparameter = 0.99,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    eps_root: Numeric = 0.0,
) -> Piece:
    """Nadam: Adam whose momentum is Nesterov's, with a momentum that grows.

        μₜ = b1·(1 − 0.5·0.96^(t/250))
        mₜ = μₜ·mₜ₋₁ + (1−μₜ)·gₜ
        m̂ₜ = μₜ₊₁·mₜ / (1−μ₁…μₜ₊₁) + (1−μₜ)·gₜ / (1−μ₁…μₜ)
        vₜ = b2·vₜ₋₁ + (1−b2)·gₜ²,   v̂ₜ = vₜ / (1−b2ᵗ)
        θₜ = θₜ₋₁ − α·m̂ₜ / (√v̂ₜ + ε)

    The paper's schedule in full, also within m, but without the stray factor b2 of its v̂. PyTorch and Keras average
    with a constant b1, optax.nadam has no schedule at all. b1 is 0.99 as in the report; the workshop's experiments took
    0.975, the frameworks 0.9.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        b1: what μₜ grows to, in [0, 1), a number.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.
        eps_root: added inside the root, after the correction.

    Raises:
        ValueError: a value outside its range.
        TypeError: a schedule for b1, which has its own.

    Reference: T. Dozat (2016), "Incorporating Nesterov momentum into Adam", ICLR workshop,
    https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = nadam(1.0, b1=0.9)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0]
    Array([-1.3104432], dtype=float32)
    """
    if callable(b1):
        raise TypeError("nadam: b1 cannot be a schedule: it is what the paper's own schedule grows to")
    return chain(
        adaptive(
            direction=[nesterov_ema(nadam_momentum(b1))],  # m̂ₜ, with μₜ
            scale=[square(), ema(b2), bias_correction(b2), inverse_root(eps, eps_root)],  # g², vₜ, v̂ₜ, 1/(√v̂ₜ+ε)
        ),
        scale_by_learning_rate(learning_rate),
    )
