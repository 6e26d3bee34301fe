"""Step sizes from the squares of the past gradients."""

from typing import Any

from chex import Numeric

from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.matrices import scale_by_full_matrix
from gdo_optax.pieces.moments import scale_by_adadelta, total
from gdo_optax.pieces.scales import inverse_root, scale_by_learning_rate, square


@piece
def adagrad(
    learning_rate: Hyperparameter = 0.01,
    initial_accumulator_value: Numeric = 0.0,
    eps: Numeric = 1e-10,
    residual_dtype: Any = None,
) -> Piece:
    """Adagrad: every coordinate divided by the root of the sum of its squared gradients.

        Gₜ = Gₜ₋₁ + gₜ²
        θₜ = θₜ₋₁ − α·gₜ / (√Gₜ + ε)

    The diagonal method with δ outside the root, as in the paper and PyTorch; optax starts the sum at 0.1 and adds
    its eps inside. A coordinate without a gradient so far does not move (0/0 := 0).

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        initial_accumulator_value: G₀ ≥ 0.
        eps: ε ≥ 0, the paper's δ.
        residual_dtype: in which to keep, too, what rounding takes from Gₜ, such as jnp.bfloat16: after 20,000 steps
            the update is then exact to 2 ulps, and without it to 47. A step moves twice as many words.

    Raises:
        ValueError: a value outside its range.

    Reference: J. Duchi, E. Hazan, Y. Singer (2011), "Adaptive subgradient methods for online learning and stochastic
    optimization", JMLR 12:2121-2159, Figure 1 (composite mirror descent, φ = 0).

    >>> import jax.numpy as jnp
    >>> tx = adagrad(0.1)
    >>> tx.update(jnp.array([4.0, 0.0]), tx.init(jnp.zeros(2)))[0]
    Array([-0.1, -0. ], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[],
            scale=[
                square(),  # g²
                total(initial_accumulator_value, residual_dtype=residual_dtype),  # Gₜ
                inverse_root(eps),  # 1/(√Gₜ+ε)
            ],
        ),
        scale_by_learning_rate(learning_rate),
    )


@piece
def adagrad_full_matrix(learning_rate: Hyperparameter = 0.01, eps: Numeric = 1e-10) -> Piece:
    """Full-matrix Adagrad: every array's gradient multiplied by the inverse root of the sum of its outer products.

        Gₜ = Gₜ₋₁ + gₜ·gₜᵀ
        θₜ = θₜ₋₁ − α·(Gₜ^½ + ε)⁻¹·gₜ

    Adagrad in the axes of the gradients and not of the coordinates: turning the coordinates turns the steps. The matrix
    is an array's own, of its size squared, and is decomposed in every step: for a few hundred parameters. To have one
    matrix for the whole model: `optax.flatten(adagrad_full_matrix())`. Directions without a gradient so far are left
    out, as the paper's pseudo-inverse does where ε = 0.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        eps: ε ≥ 0, the paper's δ, outside the root.

    Raises:
        ValueError: a value outside its range.

    Reference: J. Duchi, E. Hazan, Y. Singer (2011), "Adaptive subgradient methods for online learning and stochastic
    optimization", JMLR 12:2121-2159, Figure 2 (composite mirror descent, φ = 0).

    >>> import jax.numpy as jnp
    >>> tx = adagrad_full_matrix(0.5)
    >>> tx.update(jnp.array([0.0, 4.0]), tx.init(jnp.zeros(2)))[0]
    Array([-0. , -0.5], dtype=float32)
    """
    return chain(
        scale_by_full_matrix(eps),  # Gₜ, (Gₜ^½ + ε)⁻¹·gₜ
        scale_by_learning_rate(learning_rate),
    )


@piece
def adadelta(learning_rate: Hyperparameter = 1.0, rho: Numeric = 0.95, eps: Numeric = 1e-6) -> Piece:
    """Adadelta: a step in the units of the parameters, without a learning rate to tune.

        E[g²]ₜ = ρ·E[g²]ₜ₋₁ + (1−ρ)·gₜ²
        Δₜ = √(E[Δ²]ₜ₋₁ + ε) / √(E[g²]ₜ + ε) · gₜ
        E[Δ²]ₜ = ρ·E[Δ²]ₜ₋₁ + (1−ρ)·Δₜ²
        θₜ = θₜ₋₁ − α·Δₜ

    The paper has no α; E[Δ²] averages Δ before it is multiplied, as in optax and PyTorch (whose ρ is 0.9). ε also sets
    how fast it starts: the first step is √(ε/(1−ρ)) long.

    Args:
        learning_rate: α ≥ 0, a number or a schedule; 1 is the paper's method.
        rho: ρ in [0, 1).
        eps: ε ≥ 0, inside both roots, in the squared units of the parameters.

    Raises:
        ValueError: a value outside its range.

    Reference: M. D. Zeiler (2012), "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = adadelta()
    >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))[0]
    Array([-0.00447209], dtype=float32)
    """
    return chain(
        scale_by_adadelta(rho, eps),  # E[g²]ₜ, Δₜ, E[Δ²]ₜ
        scale_by_learning_rate(learning_rate),
    )
