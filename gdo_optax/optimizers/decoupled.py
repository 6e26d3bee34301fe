"""Weights that decay beside the step and not through it."""

from chex import Numeric

from gdo_optax.engine.combinators import chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.trees import Mask
from gdo_optax.pieces.composite import scale_by_adam
from gdo_optax.pieces.moments import trace
from gdo_optax.pieces.scales import scale, scale_by_learning_rate
from gdo_optax.pieces.weights import add_decayed_weights
from gdo_optax.restarts import restarting_weight_decay, warm_restarts
from gdo_optax.schedules import product


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
    `adamwr` decays as the paper does.

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
def sgdw(
    learning_rate: Hyperparameter = 0.01,
    momentum: Hyperparameter = 0.9,
    weight_decay: Hyperparameter = 1e-4,
    mask: Mask | None = None,
) -> Piece:
    """SGDW: momentum, with weights that decay beside the velocity and not through it.

        vₜ = p·vₜ₋₁ + gₜ
        θₜ = θₜ₋₁ − α·( vₜ + λ·θₜ₋₁ )

    Coupled as in `adamw`: the rate is outside the velocity and multiplies the decay; the paper's α is inside, and its λ
    has a schedule only. PyTorch's weight_decay is the other thing, an L2 penalty within gₜ, which the velocity repeats
    1/(1−p) times.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        momentum: p in [0, 1), a number or a schedule.
        weight_decay: λ ≥ 0, a number or a schedule.
        mask: which parameters decay, as in `adamw`.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.

    Reference: I. Loshchilov, F. Hutter (2019), "Decoupled weight decay regularization", arXiv:1711.05101, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = sgdw(0.1, weight_decay=0.5)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.ones(1)), jnp.ones(1))[0]
    Array([-0.45000002], dtype=float32)
    """
    return chain(
        trace(momentum),  # vₜ
        add_decayed_weights(weight_decay, mask),  # + λ·θₜ₋₁
        scale_by_learning_rate(learning_rate),
    )


@piece
def adamwr(
    learning_rate: Hyperparameter = 1e-3,
    period: int = 100,
    t_mult: float = 2,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Numeric = 1e-8,
    weight_decay: Numeric = 0.025,
    mask: Mask | None = None,
) -> Piece:
    """AdamWR: AdamW with warm restarts, and a decay that is normalized to the length of each period.

        ηₜ = (1 + cos(π·T_cur/Tᵢ))/2,   λᵢ = λ·√(1/Tᵢ),   Tᵢ₊₁ = t_mult·Tᵢ
        θₜ = θₜ₋₁ − ηₜ·( α·m̂ₜ / (√v̂ₜ + ε) + λᵢ·θₜ₋₁ )

    The multiplier ηₜ is common to both, α belongs to the step alone, as in the paper (and not in `adamw`). 1/Tᵢ is the
    paper's b/(B·T), batch over points times epochs, as a period has B·T/b steps. T_cur is 0 in the first step after a
    restart; nothing else is restarted. The solutions to keep are those just before the restarts.

    Args:
        learning_rate: α ≥ 0, a number or a schedule beside ηₜ.
        period: T₀, the steps before the first restart, an integer ≥ 1.
        t_mult: ≥ 1, by which every period is longer than the one before.
        b1: in [0, 1), a number or a schedule.
        b2: in [0, 1), a number or a schedule.
        eps: ε ≥ 0, outside the root.
        weight_decay: λ ≥ 0, the normalized decay, a number; 0.025 to 0.05 in the paper.
        mask: which parameters decay, as in `adamw`.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.
        TypeError: a schedule for weight_decay, whose schedule the restarts are; a traced period.

    Reference: I. Loshchilov, F. Hutter (2019), "Decoupled weight decay regularization", arXiv:1711.05101, Algorithm 2
    and appendices B.1 and B.2.

    >>> import jax.numpy as jnp
    >>> tx = adamwr(0.1, period=4, weight_decay=0.5)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.ones(1)), jnp.ones(1))[0]
    Array([-0.35], dtype=float32)
    """
    return chain(
        scale_by_adam(b1, b2, eps),  # m̂ₜ / (√v̂ₜ + ε)
        scale(learning_rate),  # ·α
        add_decayed_weights(restarting_weight_decay(weight_decay, period, t_mult), mask),  # + λᵢ·θₜ₋₁
        scale_by_learning_rate(warm_restarts(period, t_mult)),  # ·(−ηₜ)
    )


@piece
def sgdwr(
    learning_rate: Hyperparameter = 0.05,
    period: int = 100,
    t_mult: float = 2,
    momentum: Hyperparameter = 0.9,
    weight_decay: Numeric = 0.025,
    mask: Mask | None = None,
) -> Piece:
    """SGDWR: SGDW with warm restarts, and a decay that is normalized to the length of each period.

        mₜ = p·mₜ₋₁ + ηₜ·α·gₜ
        θₜ = θₜ₋₁ − mₜ − ηₜ·λᵢ·θₜ₋₁      with AdamWR's ηₜ and λᵢ

    The rate is inside the velocity, as in the paper: what it gathered before a restart goes on at its own rate.

    Args:
        learning_rate: α ≥ 0, a number or a schedule beside ηₜ.
        period: T₀, the steps before the first restart, an integer ≥ 1.
        t_mult: ≥ 1, by which every period is longer than the one before.
        momentum: p in [0, 1), a number or a schedule.
        weight_decay: λ ≥ 0, the normalized decay, a number.
        mask: which parameters decay, as in `adamw`.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.
        TypeError: a schedule for weight_decay, whose schedule the restarts are; a traced period.

    Reference: I. Loshchilov, F. Hutter (2019), "Decoupled weight decay regularization", arXiv:1711.05101, Algorithm 1
    and appendices B.1 and B.2.

    >>> import jax.numpy as jnp
    >>> tx = sgdwr(0.1, period=4, weight_decay=0.5)
    >>> tx.update(jnp.array([4.0]), tx.init(jnp.ones(1)), jnp.ones(1))[0]
    Array([-0.65], dtype=float32)
    """
    restarts, decay = warm_restarts(period, t_mult), restarting_weight_decay(weight_decay, period, t_mult)
    return chain(
        scale(learning_rate),  # α·gₜ
        scale(restarts),  # ·ηₜ
        trace(momentum),  # mₜ
        add_decayed_weights(product(restarts, decay), mask),  # + ηₜ·λᵢ·θₜ₋₁
        scale(-1.0),
    )
