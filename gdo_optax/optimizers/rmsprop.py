"""A step size per coordinate from a running average of its squared gradients, and what a velocity makes of it."""

from chex import Numeric

from gdo_optax.engine.combinators import adaptive, chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.composite import look_ahead, scale_by_rms
from gdo_optax.pieces.moments import trace, variance
from gdo_optax.pieces.scales import inverse_root, scale_by_learning_rate


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
def rmsprop_centered(learning_rate: Hyperparameter = 1e-3, decay: Hyperparameter = 0.9, eps: Numeric = 1e-8) -> Piece:
    """Centered RMSprop: the gradient divided by a running standard deviation of itself.

        E[g]ₜ = β·E[g]ₜ₋₁ + (1−β)·gₜ,   E[g²]ₜ = β·E[g²]ₜ₋₁ + (1−β)·gₜ²
        θₜ = θₜ₋₁ − α·gₜ / (√(E[g²]ₜ − E[g]ₜ²) + ε)

    The difference is not taken but followed, by a recursion of its own that cannot make it negative. Of a gradient that
    does not change it goes to 0, and the steps grow up to α·g/ε: Graves has ε = 1e-4, inside the root, as optax has its
    1e-8; PyTorch has it outside, with β = 0.99.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        decay: β in [0, 1), a number or a schedule; with 0 there is no deviation, and ε alone divides.
        eps: ε ≥ 0, outside the root.

    Raises:
        ValueError: a value outside its range.

    Reference: A. Graves (2013), "Generating sequences with recurrent neural networks", arXiv:1308.0850, equations 38
    to 40, without the velocity.

    >>> import jax.numpy as jnp
    >>> tx = rmsprop_centered(0.1, decay=0.5)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0]
    Array([-0.2], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[],
            scale=[variance(decay), inverse_root(eps)],  # E[g²]ₜ − E[g]ₜ², 1/(√… + ε)
        ),
        scale_by_learning_rate(learning_rate),
    )


@piece
def rmsprop_momentum(
    learning_rate: Hyperparameter = 1e-3,
    decay: Hyperparameter = 0.9,
    eps: Numeric = 1e-8,
    momentum: Hyperparameter = 0.9,
) -> Piece:
    """RMSprop with momentum: a velocity gathers the gradients that were divided by their root mean square.

        nₜ = gₜ / (√E[g²]ₜ + ε)
        vₜ = p·vₜ₋₁ + nₜ
        θₜ = θₜ₋₁ − α·vₜ

    The rate stays outside the velocity, as in optax and PyTorch; in TensorFlow and Keras it is inside. The lecture
    finds that the velocity helps less here than it does SGD.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        decay: β in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.
        momentum: p in [0, 1), a number or a schedule.

    Raises:
        ValueError: a value outside its range.

    Reference: T. Tieleman, G. Hinton (2012), "Lecture 6.5: rmsprop", Neural Networks for Machine Learning, Coursera,
    further developments.

    >>> import jax.numpy as jnp
    >>> tx = rmsprop_momentum(0.1, decay=0.75)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0].round(6)
    Array([-0.2], dtype=float32)
    """
    return chain(
        scale_by_rms(decay, eps),  # nₜ
        trace(momentum),  # vₜ
        scale_by_learning_rate(learning_rate),
    )


@piece
def rmsprop_nesterov(
    learning_rate: Hyperparameter = 1e-3,
    decay: Hyperparameter = 0.9,
    eps: Numeric = 1e-8,
    momentum: Hyperparameter = 0.9,
) -> Piece:
    """RMSprop with Nesterov's momentum: the root mean square divides the correction, and not the jump.

        nₜ = gₜ / (√E[g²]ₜ + ε)
        vₜ = pₜ·vₜ₋₁ + nₜ
        θₜ = θₜ₋₁ − α·(nₜ + pₜ₊₁·vₜ)

    What has once been divided is not divided again, as the lecture advises. The parameters are the looked-ahead ones,
    as in `nesterov`, and the rate is outside the velocity, as in optax.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        decay: β in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.
        momentum: p in [0, 1), a number or a schedule.

    Raises:
        ValueError: a value outside its range.

    Reference: T. Tieleman, G. Hinton (2012), "Lecture 6.5: rmsprop", Neural Networks for Machine Learning, Coursera,
    further developments.

    >>> import jax.numpy as jnp
    >>> tx = rmsprop_nesterov(0.1, decay=0.75)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0].round(6)
    Array([-0.38], dtype=float32)
    """
    return chain(
        scale_by_rms(decay, eps),  # nₜ
        look_ahead(momentum),  # nₜ + pₜ₊₁·vₜ
        scale_by_learning_rate(learning_rate),
    )
