"""Adaptive step sizes between bounds that do not move."""

from chex import Numeric

from gdo_optax.engine import ranges
from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.optimizers.bounded import step_size
from gdo_optax.pieces.bounds import clip_step_size, following
from gdo_optax.pieces.moments import ema
from gdo_optax.pieces.scales import scale, square


@piece
def sgdbound(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    lower_bound: Hyperparameter = 0.01,
    upper_bound: Hyperparameter = 1.0,
) -> Piece:
    """SGDBound: AdaBound between bounds that do not move.

        ηₜ = clip( α·√(1−b2ᵗ)/(1−b1ᵗ) / (√vₜ + ε),  ηₗ,  ηᵤ )
        θₜ = θₜ₋₁ − ηₜ·mₜ                     with AdaBound's mₜ and vₜ

    The name is in no paper: it is AdaBound seen from its limit. Where the bounds meet it is SGD with momentum, of the
    rate ηₗ·(1−b1) in PyTorch's terms; between 0 and infinity it is Adam. The bounds follow a schedule of α:
    ηₗ·α(t)/α(0).

    Args:
        learning_rate: α ≥ 0, a number or a schedule that does not start at 0.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root, before the correction.
        lower_bound: ηₗ ≥ 0, a number or a schedule of its own.
        upper_bound: ηᵤ ≥ ηₗ, a number, which may be infinite, or a schedule of its own.

    Raises:
        ValueError: a value outside its range; bounds the wrong way round; a schedule that starts at 0.

    Reference: L. Luo, Y. Xiong, Y. Liu, X. Sun (2019), "Adaptive gradient methods with dynamic bound of learning rate",
    arXiv:1902.09843, section 4, with constant bounds.

    >>> import jax.numpy as jnp
    >>> tx = sgdbound(b1=0.5, lower_bound=0.25, upper_bound=0.25)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0]
    Array([-0.5], dtype=float32)
    """
    ranges.check_order("sgdbound", lower_bound=lower_bound, upper_bound=upper_bound)
    return chain(
        adaptive(
            direction=[ema(b1)],  # mₜ
            scale=[
                square(),  # g²
                ema(b2),  # vₜ
                *step_size(learning_rate, b1, b2, eps),  # α·√(1−b2ᵗ)/(1−b1ᵗ) / (√vₜ+ε)
                clip_step_size(following(lower_bound, learning_rate), following(upper_bound, learning_rate)),  # ηₜ
            ],
        ),
        scale(-1.0),
    )
