"""Methods that evaluate the loss or its gradient more than once a step."""

from chex import Numeric

from gdo_optax.combinators import chain, mean_of, parallel
from gdo_optax.core import Hyperparameter, Piece, piece
from gdo_optax.pieces.scales import scale_by_learning_rate
from gdo_optax.pieces.slow import extrapolate
from gdo_optax.wrappers.evaluations import gradient_ahead, scale_by_backtracking


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
        parallel(mean_of, here=[], there=[scale_by_learning_rate(learning_rate), gradient_ahead()]),  # ∇f(θₜ₋₁), ∇f(θ̃)
        scale_by_learning_rate(learning_rate),
    )
