"""Adam and its nearest relatives."""

from typing import Any

from chex import Numeric

from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.composite import quasi_hyperbolic, scale_by_adam
from gdo_optax.pieces.moments import decayed_max, ema
from gdo_optax.pieces.scales import (
    absolute,
    add_constant,
    inverse_root,
    reciprocal,
    scale_by_learning_rate,
    square,
)


@piece
def adam(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    eps_root: Numeric = 0.0,
) -> Piece:
    """Adam: the average gradient over its root mean square, both corrected for their start at 0.

        mₜ = b1·mₜ₋₁ + (1−b1)·gₜ,    m̂ₜ = mₜ / (1−b1ᵗ)
        vₜ = b2·vₜ₋₁ + (1−b2)·gₜ²,   v̂ₜ = vₜ / (1−b2ᵗ)
        θₜ = θₜ₋₁ − α·m̂ₜ / (√v̂ₜ + ε)

    optax's and PyTorch's Adam; with schedules for b1 and b2 the corrections stay exact, which theirs do not.

    Args:
        learning_rate: α ≥ 0, a number or a schedule: about the largest step of a coordinate (of gradients below 1e19).
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.
        eps_root: added inside the root, after the correction.

    Raises:
        ValueError: a value outside its range.

    Reference: D. P. Kingma, J. Ba (2015), "Adam: a method for stochastic optimization", arXiv:1412.6980, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = adam(0.1)
    >>> tx.update(jnp.array([4.0, 0.0]), tx.init(jnp.zeros(2)))[0]
    Array([-0.1, -0. ], dtype=float32)
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),  # m̂ₜ / (√v̂ₜ + ε)
        scale_by_learning_rate(learning_rate),
    )


@piece
def adamax(
    learning_rate: Hyperparameter = 2e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    residual_dtype: Any = None,
) -> Piece:
    """AdaMax: Adam with the largest gradient of the recent past in place of the root mean square.

        mₜ = b1·mₜ₋₁ + (1−b1)·gₜ
        uₜ = max(b2·uₜ₋₁, |gₜ| + ε)
        θₜ = θₜ₋₁ − α/(1−b1ᵗ) · mₜ/uₜ

    No coordinate moves further than about α; exactly, than α·(1−b1)/(1−b1/b2). The paper has no ε, so a coordinate
    without a gradient so far would be 0/0; it stands where optax and PyTorch put it.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, added to |gₜ|.
        residual_dtype: in which to keep, too, what rounding takes from uₜ; as in `adagrad`.

    Raises:
        ValueError: a value outside its range.

    Reference: D. P. Kingma, J. Ba (2015), "Adam: a method for stochastic optimization", arXiv:1412.6980, Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = adamax(0.1)
    >>> tx.update(jnp.array([4.0, 0.0]), tx.init(jnp.zeros(2)))[0].round(6)
    Array([-0.1, -0. ], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[ema(b1), bias_correction(b1)],  # mₜ, mₜ/(1−b1ᵗ)
            scale=[
                absolute(),  # |gₜ|
                add_constant(eps),  # |gₜ| + ε
                decayed_max(b2, residual_dtype=residual_dtype),  # uₜ
                reciprocal(),  # 1/uₜ
            ],
        ),
        scale_by_learning_rate(learning_rate),
    )


@piece
def qhadam(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.995,
    b2: Hyperparameter = 0.999,
    nu1: Hyperparameter = 0.7,
    nu2: Hyperparameter = 1.0,
    eps: Numeric = 1e-8,
) -> Piece:
    """QHAdam: Adam that takes a share of its step from the newest gradient alone.

        θₜ = θₜ₋₁ − α·( (1−ν1)·gₜ + ν1·m̂ₜ ) / (√((1−ν2)·gₜ² + ν2·v̂ₜ) + ε)      with Adam's m̂ₜ and v̂ₜ

    ν1 = ν2 = 1 is Adam, ν2 = 1 and ν1 = b1 about Nadam, ν1 = ν2 = 0 descent by signs. The defaults are those of the
    authors' code; the longer average of b1 = 0.995 is made up for by the gradient's share of 0.3.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        nu1: the share of the average in the direction, in [0, 1], a number or a schedule.
        nu2: the share of the average in the squares, in [0, 1], a number or a schedule.
        eps: ε ≥ 0, outside the root.

    Raises:
        ValueError: a value outside its range.

    Reference: J. Ma, D. Yarats (2019), "Quasi-hyperbolic momentum and Adam for deep learning", arXiv:1810.06801,
    section 4.

    >>> import jax.numpy as jnp
    >>> tx = qhadam(0.1)
    >>> tx.update(jnp.array([4.0, 0.0]), tx.init(jnp.zeros(2)))[0].round(6)
    Array([-0.1, -0. ], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[quasi_hyperbolic(b1, nu1)],  # (1−ν1)·gₜ + ν1·m̂ₜ
            scale=[square(), quasi_hyperbolic(b2, nu2), inverse_root(eps)],  # g², (1−ν2)·g² + ν2·v̂ₜ, 1/(√·+ε)
        ),
        scale_by_learning_rate(learning_rate),
    )
