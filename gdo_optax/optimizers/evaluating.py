"""Methods that evaluate the loss or its gradient more than once a step."""

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.combinators import chain, parallel
from gdo_optax.core import Hyperparameter, Piece, piece
from gdo_optax.pieces.scales import scale_by_learning_rate
from gdo_optax.wrappers.evaluations import gradient_ahead


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
        parallel(_mean, here=[], there=[scale_by_learning_rate(learning_rate), gradient_ahead()]),  # ∇f(θₜ₋₁), ∇f(θ̃)
        scale_by_learning_rate(learning_rate),
    )


def _mean(here: Array, there: Array) -> Array:
    return here / 2 + there / 2
