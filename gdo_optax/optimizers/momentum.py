"""Plain descent, and descent with a velocity."""

import jax.numpy as jnp

from gdo_optax.combinators import chain, parallel
from gdo_optax.core import Hyperparameter, Piece, piece
from gdo_optax.pieces.moments import trace
from gdo_optax.pieces.scales import scale, scale_by_learning_rate


@piece
def sgd(learning_rate: Hyperparameter = 0.01) -> Piece:
    """Stochastic gradient descent: straight downhill.

        θₜ = θₜ₋₁ − α·gₜ

    Momentum is a method of its own here: `momentum`, `nesterov`.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.

    Raises:
        ValueError: a learning rate below 0.

    Reference: H. Robbins, S. Monro (1951), "A stochastic approximation method", doi:10.1214/aoms/1177729586.

    >>> import jax.numpy as jnp
    >>> tx = sgd(0.5)
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
    Array([-1.], dtype=float32)
    """
    return chain(scale_by_learning_rate(learning_rate))


@piece
def momentum(learning_rate: Hyperparameter = 0.01, momentum: Hyperparameter = 0.9) -> Piece:
    """The heavy ball: a velocity gathers gradients and loses a share of itself in every step.

        vₜ = p·vₜ₋₁ + gₜ
        θₜ = θₜ₋₁ − α·vₜ

    The rate stays outside the velocity, as in optax and PyTorch; Qian's Δθₜ = p·Δθₜ₋₁ − α·gₜ is the same while α does
    not change.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        momentum: p in [0, 1), a number or a schedule.

    Raises:
        ValueError: a value outside its range.

    Reference: N. Qian (1999), "On the momentum term in gradient descent learning algorithms",
    doi:10.1016/S0893-6080(98)00116-6.

    >>> import jax.numpy as jnp
    >>> tx = momentum(0.1)
    >>> _, state = tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([1.0]), state)[0]
    Array([-0.19], dtype=float32)
    """
    return chain(
        trace(momentum),  # vₜ
        scale_by_learning_rate(learning_rate),
    )


@piece
def nesterov(learning_rate: Hyperparameter = 0.01, momentum: Hyperparameter = 0.9) -> Piece:
    """Nesterov's momentum: the gradient is taken where the velocity is about to carry the parameters.

        vₜ = p·vₜ₋₁ + gₜ
        θₜ = θₜ₋₁ − α·(gₜ + p·vₜ)

    The parameters are the looked-ahead ones, θ = x − α·p·v, as in optax and PyTorch: with constant p and α the same
    iterates as Sutskever's form up to that change of variable.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        momentum: p in [0, 1), a number or a schedule.

    Raises:
        ValueError: a value outside its range.

    Reference: Yu. E. Nesterov (1983), "A method for unconstrained convex minimization problem with the rate of
    convergence O(1/k²)", Soviet Math. Dokl. 27:372-376; I. Sutskever, J. Martens, G. Dahl, G. Hinton (2013), "On the
    importance of initialization and momentum in deep learning", ICML, equations 3 and 4.

    >>> import jax.numpy as jnp
    >>> tx = nesterov(0.1)
    >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))[0]
    Array([-0.19], dtype=float32)
    """
    return chain(
        parallel(jnp.add, gradient=[], velocity=[trace(momentum), scale(momentum)]),  # gₜ + p·vₜ
        scale_by_learning_rate(learning_rate),
    )
