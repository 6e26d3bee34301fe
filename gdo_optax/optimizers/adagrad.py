"""One step size per coordinate, from the squares of its past gradients."""

from chex import Numeric

from gdo_optax.combinators import adaptive, chain
from gdo_optax.core import Hyperparameter, Piece, piece
from gdo_optax.pieces.composite import scale_by_rms
from gdo_optax.pieces.moments import ema, scale_by_past_updates, total
from gdo_optax.pieces.scales import inverse_root, scale_by_learning_rate, square


@piece
def adagrad(
    learning_rate: Hyperparameter = 0.01,
    initial_accumulator_value: Numeric = 0.0,
    eps: Numeric = 1e-10,
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
            scale=[square(), total(initial_accumulator_value), inverse_root(eps)],  # g², Gₜ, 1/(√Gₜ+ε)
        ),
        scale_by_learning_rate(learning_rate),
    )


@piece
def rmsprop(learning_rate: Hyperparameter = 1e-3, decay: Hyperparameter = 0.9, eps: Numeric = 1e-8) -> Piece:
    """RMSprop: the gradient divided by a running root mean square of itself.

        E[g²]ₜ = β·E[g²]ₜ₋₁ + (1−β)·gₜ²
        θₜ = θₜ₋₁ − α·gₜ / (√E[g²]ₜ + ε)

    Plain: no bias correction, so the first step is 3.16 α long with β = 0.9. The lecture has no ε; optax puts it inside
    the root, PyTorch outside with β = 0.99.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        decay: β in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.

    Raises:
        ValueError: a value outside its range.

    Reference: T. Tieleman, G. Hinton (2012), "Lecture 6.5: rmsprop", Neural Networks for Machine Learning, Coursera.

    >>> import jax.numpy as jnp
    >>> tx = rmsprop(0.1, decay=0.75)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0]
    Array([-0.2], dtype=float32)
    """
    return chain(
        scale_by_rms(decay, eps),  # gₜ / (√E[g²]ₜ + ε)
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
        adaptive(
            direction=[],
            scale=[square(), ema(rho), inverse_root(0, eps_root=eps)],  # g², E[g²]ₜ, 1/√(E[g²]ₜ+ε)
        ),
        scale_by_past_updates(rho, eps),  # Δₜ, E[Δ²]ₜ
        scale_by_learning_rate(learning_rate),
    )
