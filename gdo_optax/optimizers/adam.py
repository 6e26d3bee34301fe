"""Adam and its nearest relatives."""

from chex import Numeric

from gdo_optax.combinators import adaptive, chain
from gdo_optax.core import Hyperparameter, Piece, piece
from gdo_optax.pieces.clocks import bias_correction
from gdo_optax.pieces.composite import scale_by_adam
from gdo_optax.pieces.moments import decayed_max, ema, running_max
from gdo_optax.pieces.scales import (
    absolute,
    add_constant,
    inverse_root,
    reciprocal,
    scale_by_learning_rate,
    square,
)
from gdo_optax.pieces.weights import add_decayed_weights
from gdo_optax.trees import Mask


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
            scale=[absolute(), add_constant(eps), decayed_max(b2), reciprocal()],  # |g|, |g|+ε, uₜ, 1/uₜ
        ),
        scale_by_learning_rate(learning_rate),
    )


@piece
def adamw(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    eps_root: Numeric = 0.0,
    weight_decay: Hyperparameter = 1e-4,
    mask: Mask | None = None,
) -> Piece:
    """AdamW: Adam, with weights that decay beside the adaptive step and not through it.

        θₜ = θₜ₋₁ − α·( m̂ₜ / (√v̂ₜ + ε) + λ·θₜ₋₁ )

    The decay is multiplied by the learning rate, as in optax and PyTorch; the paper's λ is not, so its λ is α·λ here.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.
        eps_root: added inside the root, after the correction.
        weight_decay: λ ≥ 0, a number or a schedule.
        mask: which parameters decay: a tree of booleans, a prefix of one, or a function of the tree; None for all.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.

    Reference: I. Loshchilov, F. Hutter (2019), "Decoupled weight decay regularization", arXiv:1711.05101, Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = adamw(0.1, weight_decay=0.5)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.ones(1)), jnp.ones(1))[0]
    Array([-0.15], dtype=float32)
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),  # m̂ₜ / (√v̂ₜ + ε)
        add_decayed_weights(weight_decay, mask),  # + λ·θₜ₋₁
        scale_by_learning_rate(learning_rate),
    )


@piece
def amsgrad(
    learning_rate: Hyperparameter = 1e-3,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    eps_root: Numeric = 0.0,
) -> Piece:
    """AMSGrad: Adam with a second moment that never shrinks.

        mₜ = b1·mₜ₋₁ + (1−b1)·gₜ,    m̂ₜ = mₜ / (1−b1ᵗ)
        vₜ = b2·vₜ₋₁ + (1−b2)·gₜ²,   v̄ₜ = max(v̄ₜ₋₁, vₜ),   v̂ₜ = v̄ₜ / (1−b2ᵗ)
        θₜ = θₜ₋₁ − α·m̂ₜ / (√v̂ₜ + ε)

    The paper corrects nothing, PyTorch after the maximum (as here), optax before it: there the first noisy g² stays the
    maximum for ever.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.
        eps_root: added inside the root, after the correction.

    Raises:
        ValueError: a value outside its range.

    Reference: S. J. Reddi, S. Kale, S. Kumar (2018), "On the convergence of Adam and beyond", arXiv:1904.09237,
    Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = amsgrad(0.1)
    >>> _, state = tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([0.0]), state)[0].round(4)
    Array([-0.067], dtype=float32)
    """
    return chain(
        adaptive(
            direction=[ema(b1), bias_correction(b1)],  # mₜ, m̂ₜ
            scale=[
                square(),  # g²
                ema(b2),  # vₜ
                running_max(),  # v̄ₜ
                bias_correction(b2),  # v̂ₜ
                inverse_root(eps, eps_root),  # 1/(√v̂ₜ+ε)
            ],
        ),
        scale_by_learning_rate(learning_rate),
    )
