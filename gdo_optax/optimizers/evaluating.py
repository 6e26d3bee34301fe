"""Methods that evaluate the loss or its gradient more than once a step."""

import optax
from chex import Numeric

from gdo_optax.engine.combinators import chain, mean_of
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.scales import scale, scale_by_learning_rate
from gdo_optax.pieces.slow import extrapolate
from gdo_optax.pieces.units import normalize_by_update_norm
from gdo_optax.wrappers.evaluations import scale_by_backtracking, with_second_gradient


@piece
def nesterov_1983_backtracking(learning_rate: Numeric = 1.0, max_backtracking_steps: Numeric = 30) -> Piece:
    """Nesterov's accelerated gradient as he wrote it: with a step that is halved where it promises too much.

        α_k = 2⁻ⁱ·α_{k−1} for the smallest i ≥ 0 with   f(y_k) − f(y_k − α_k·∇f(y_k)) ≥ α_k/2·‖∇f(y_k)‖²
        x_k = y_k − α_k·∇f(y_k)
        a_{k+1} = (1 + √(4a_k² + 1))/2,   y_{k+1} = x_k + (a_k − 1)/a_{k+1} · (x_k − x_{k−1})

    No constant has to be known: on a convex function of curvature L, f(x_k) − f* ≤ 4·L·‖y₀ − x*‖²/(k+2)². The update
    takes the extra arguments of optax's line searches, `value_fn` (a function of the parameters) and, to save one
    evaluation, `value`. The parameters are y_k; `eval_params` reads x_k. The paper estimates α₋₁ from two gradients,
    ‖y₀−z‖/‖∇f(y₀)−∇f(z)‖; here it is given. For whole data, not for batches.

    Args:
        learning_rate: α₋₁ ≥ 0, a number: too large rather than too small, for it never grows.
        max_backtracking_steps: the most halvings of one step.

    Raises:
        ValueError: a value outside its range; in the update, no parameters or no value_fn.

    Reference: Yu. E. Nesterov (1983), "A method for unconstrained convex minimization problem with the rate of
    convergence O(1/k²)", Soviet Math. Dokl. 27:372-376.

    >>> import jax.numpy as jnp
    >>> tx, y = nesterov_1983_backtracking(1.0), jnp.array([1.0])
    >>> tx.update(4 * y, tx.init(y), y, value_fn=lambda y: 2 * jnp.sum(y**2))[0]
    Array([-1.], dtype=float32)
    """
    return chain(
        scale_by_backtracking(learning_rate, max_backtracking_steps),  # x_k − y_k
        extrapolate(),  # y_{k+1} − y_k
    )


@piece
def heun(learning_rate: Hyperparameter = 0.01) -> Piece:
    """Heun's method: the mean of the gradient here and of the one where it leads.

        θ̃ = θₜ₋₁ − α·∇f(θₜ₋₁)
        θₜ = θₜ₋₁ − α·( ∇f(θₜ₋₁) + ∇f(θ̃) )/2

    Two gradients a step, both on the same batch: the update takes the extra argument `value_and_grad_fn`, such as
    `jax.value_and_grad(loss)`. A second-order solver of the gradient flow, not a faster optimizer.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.

    Raises:
        ValueError: a learning rate below 0; in the update, no parameters or no value_and_grad_fn.

    Reference: J. Su (2018), "Custom optimizers", https://kexue.fm/archives/5879.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> tx, p = heun(0.1), jnp.array([1.0])
    >>> square = jax.value_and_grad(lambda p: jnp.sum(p**2) / 2)
    >>> tx.update(p, tx.init(p), p, value_and_grad_fn=square)[0].round(6)
    Array([-0.095], dtype=float32)
    """
    return chain(
        with_second_gradient([scale_by_learning_rate(learning_rate)], mean_of),  # θ̃, (∇f(θₜ₋₁) + ∇f(θ̃))/2
        scale_by_learning_rate(learning_rate),
    )


@piece
def extragradient(learning_rate: Hyperparameter = 0.01) -> Piece:
    """Extragradient: a step with the gradient of where the step would lead.

        θ̃ = θₜ₋₁ − α·∇f(θₜ₋₁)
        θₜ = θₜ₋₁ − α·∇f(θ̃)

    For games and saddle points: where gradient descent on x and ascent on y run away in circles, as on f = x·y, it
    converges. Two gradients a step, both on the same batch: the update takes the extra argument `value_and_grad_fn`,
    whose gradient may be any vector field, such as (∂f/∂x, −∂f/∂y).

    Args:
        learning_rate: α ≥ 0, a number or a schedule; below 1/L for a field with the Lipschitz constant L.

    Raises:
        ValueError: a learning rate below 0; in the update, no parameters or no value_and_grad_fn.

    Reference: G. M. Korpelevich (1976), "The extragradient method for finding saddle points and other problems",
    Matecon 12:747-756.

    >>> import jax.numpy as jnp
    >>> tx, x_y = extragradient(0.1), jnp.array([1.0, 1.0])
    >>> game = lambda p: (p[0] * p[1], jnp.array([p[1], -p[0]]))  # x descends on x·y, y ascends
    >>> tx.update(game(x_y)[1], tx.init(x_y), x_y, value_and_grad_fn=game)[0].round(4)
    Array([-0.11,  0.09], dtype=float32)
    """
    return chain(
        with_second_gradient([scale_by_learning_rate(learning_rate)]),  # ∇f(θ̃)
        scale_by_learning_rate(learning_rate),
    )


@piece
def sam(inner: optax.GradientTransformation, radius: Hyperparameter = 0.05) -> Piece:
    """SAM, sharpness-aware minimization: the gradient of the worst point nearby, for any optimizer.

        ε̂ = ρ·∇f(θ)/‖∇f(θ)‖
        θ ← inner( ∇f(θ + ε̂) )

    It seeks minima whose whole neighbourhood is low. The norm is over all parameters together. Two gradients a step,
    both on the same batch: the update takes the extra argument `value_and_grad_fn`, such as `jax.value_and_grad(loss)`.
    Where the gradient is zero the second one is taken at the same point, with no ε in the norm (optax.contrib.sam has
    one, and spreads a step over several updates unless it is given a function).

    Args:
        inner: any optax transformation.
        radius: ρ ≥ 0, a length, or a schedule; with 0 it is `inner`.

    Raises:
        ValueError: a radius below 0; in the update, no parameters or no value_and_grad_fn.
        TypeError: an inner that is no transformation.

    Reference: P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur (2021), "Sharpness-aware minimization for efficiently
    improving generalization", arXiv:2010.01412, Algorithm 1.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx, p = sam(sgd(0.5), radius=1.0), jnp.array([1.0])
    >>> square = jax.value_and_grad(lambda p: jnp.sum(p**2) / 2)
    >>> tx.update(p, tx.init(p), p, value_and_grad_fn=square)[0]
    Array([-1.], dtype=float32)
    """
    return chain(
        with_second_gradient([normalize_by_update_norm(), scale(radius)]),  # ε̂, ∇f(θ + ε̂)
        inner,
    )
