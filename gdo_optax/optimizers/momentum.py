"""Plain descent, and descent with a velocity."""

from collections.abc import Sequence
from typing import Any

from gdo_optax.engine import ranges
from gdo_optax.engine.combinators import chain, mean_of, parallel
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.composite import look_ahead
from gdo_optax.pieces.moments import trace
from gdo_optax.pieces.scales import scale_by_learning_rate
from gdo_optax.pieces.slow import extrapolate


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

        vₜ = pₜ·vₜ₋₁ + gₜ
        θₜ = θₜ₋₁ − α·(gₜ + pₜ₊₁·vₜ)

    The parameters are the looked-ahead ones, θ = x − α·p·v, as in optax and PyTorch: with a constant α the iterates of
    Sutskever's form up to that change of variable. A p that changes is ahead of itself where it looks ahead; optax and
    PyTorch know only a constant one. `nesterov_1983` is the method of the older paper.

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
        look_ahead(momentum),  # gₜ + pₜ₊₁·vₜ
        scale_by_learning_rate(learning_rate),
    )


@piece
def nesterov_1983(learning_rate: Hyperparameter = 0.01, residual_dtype: Any = None) -> Piece:
    """Nesterov's accelerated gradient: plain steps, each followed by a jump along the line of the last two.

        x_k = y_k − α·∇f(y_k)
        a_{k+1} = (1 + √(4a_k² + 1))/2,   a_0 = 1
        y_{k+1} = x_k + (a_k − 1)/a_{k+1} · (x_k − x_{k−1})

    The paper's own momentum, about 1 − 3/(k+5), with a step that is given and not searched for by halving; on a convex
    function of curvature L and with α = 1/L the error of x_k is at most 2·L·‖y₀ − x*‖²/(k+2)². The parameters are y_k,
    where the gradient is taken; `eval_params(state, params)` reads x_k. The first step is one of plain descent.

    Args:
        learning_rate: α ≥ 0, a number or a schedule; the theory has it never grow.
        residual_dtype: in which to keep, too, what rounding takes from x_k − y_{k+1}; as in `adagrad`.

    Raises:
        ValueError: a learning rate below 0; in the update, no parameters.

    Reference: Yu. E. Nesterov (1983), "A method for unconstrained convex minimization problem with the rate of
    convergence O(1/k²)", Soviet Math. Dokl. 27:372-376.

    >>> import jax.numpy as jnp
    >>> tx, y = nesterov_1983(0.5), jnp.zeros(1)
    >>> u, state = tx.update(jnp.array([2.0]), tx.init(y), y)
    >>> u, tx.update(jnp.array([2.0]), state, y + u)[0].round(6)
    (Array([-1.], dtype=float32), Array([-1.281754], dtype=float32))
    """
    return chain(
        scale_by_learning_rate(learning_rate),  # x_k − y_k
        extrapolate(residual_dtype),  # y_{k+1} − y_k
    )


@piece
def aggmo(learning_rate: Hyperparameter = 0.1, momenta: Sequence[Hyperparameter] = (0.0, 0.9, 0.99)) -> Piece:
    """Aggregated momentum: the average of several velocities, each with a damping of its own.

        vₜ⁽ⁱ⁾ = pᵢ·vₜ₋₁⁽ⁱ⁾ + gₜ,   i = 1, …, K
        θₜ = θₜ₋₁ − α/K · Σᵢ vₜ⁽ⁱ⁾

    The fast velocities damp the oscillations of the slow ones, so that a momentum of 0.99 or 0.999 may be among them.
    The paper's are 1 − 0.1ⁱ, from i = 0 on. A word of state for each.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        momenta: p₁, …, p_K, each in [0, 1), a number or a schedule.

    Raises:
        ValueError: a value outside its range; no momenta.
        TypeError: momenta that are one number.

    Reference: J. Lucas, S. Sun, R. Zemel, R. Grosse (2019), "Aggregated momentum: stability through passive damping",
    arXiv:1804.00325, section 3.

    >>> import jax.numpy as jnp
    >>> tx = aggmo(0.5, momenta=(0.0, 0.5))
    >>> _, state = tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([1.0]), state)[0]
    Array([-0.625], dtype=float32)
    """
    if not isinstance(momenta, tuple | list):
        raise TypeError(f"aggmo: momenta={momenta!r} is not a tuple of numbers, such as (0.0, 0.9, 0.99)")
    if not momenta:
        raise ValueError("aggmo: momenta is empty, but there is no average of no velocities")
    for p in momenta:
        ranges.check("aggmo: one of momenta", {"momentum": p})
    return chain(
        parallel(mean_of, **{f"velocity_{i}": [trace(p)] for i, p in enumerate(momenta, 1)}),  # Σᵢ vₜ⁽ⁱ⁾ / K
        scale_by_learning_rate(learning_rate),
    )
