"""Adagrad as the paper has it: with a penalty that is not linearized, on a box."""

from chex import Numeric

from gdo_optax.engine.combinators import chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.pieces.clocks import scale_by_time
from gdo_optax.pieces.moments import mean, total
from gdo_optax.pieces.proximal import first_parameters, parameters, project_to_box, proximal
from gdo_optax.pieces.scales import inverse_root, scale, square


@piece
def adagrad_rda(
    learning_rate: Hyperparameter = 0.01,
    eps: Numeric = 1e-10,
    l1: Numeric = 0.0,
    l2: Numeric = 0.0,
    low: Numeric | None = None,
    high: Numeric | None = None,
) -> Piece:
    """Adagrad by dual averaging: where the average gradient, the penalty and the way from the start balance.

        ḡₜ = (g₁ + … + gₜ)/t,   Hₜ = √(g₁² + … + gₜ²) + ε,   φ(x) = l1·|x| + l2/2·x²
        θₜ = argmin of  ḡₜ·x + φ(x) + Hₜ·(x − θ₀)²/(2αt)  over low ≤ x ≤ high

    Not the last point but the first is the centre (the paper's is 0), so that the penalty has acted in every step: of
    two methods with the same l1 this is the sparser. Where l1 holds a coordinate it is 0 exactly. The penalty acts on
    the parameter, not on its distance from θ₀. Where there was no gradient so far, the penalty is held by ε alone, and
    by ε = 0 not let in.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        eps: ε ≥ 0, the paper's δ, outside the root.
        l1: ≥ 0, the weight of |x| beside the loss of one step.
        l2: ≥ 0, the weight of x²/2.
        low: the lower border of every coordinate, None for none.
        high: the upper border of every coordinate, None for none.

    Raises:
        ValueError: a value outside its range; low > high; in the update, no parameters.

    Reference: J. Duchi, E. Hazan, Y. Singer (2011), "Adaptive subgradient methods for online learning and stochastic
    optimization", JMLR 12:2121-2159, Figure 1 (primal-dual subgradient update).

    >>> import jax.numpy as jnp
    >>> tx = adagrad_rda(0.5, l1=1.0)
    >>> tx.update(jnp.array([4.0, 0.5]), tx.init(jnp.zeros(2)), jnp.zeros(2))[0]
    Array([-0.375, -0.   ], dtype=float32)
    """
    return chain(
        proximal(
            direction=[mean()],  # ḡₜ
            scale=[square(), total(), inverse_root(eps), scale(learning_rate), scale_by_time()],  # αt/Hₜ
            centre=[first_parameters()],  # θ₀
            l1=l1,
            l2=l2,
        ),
        project_to_box(low, high),
    )


@piece
def adagrad_mirror(
    learning_rate: Hyperparameter = 0.01,
    eps: Numeric = 1e-10,
    l1: Numeric = 0.0,
    l2: Numeric = 0.0,
    low: Numeric | None = None,
    high: Numeric | None = None,
) -> Piece:
    """Adagrad by composite mirror descent: a step of Adagrad, and where it arrives the penalty pulls back.

        Hₜ = √(g₁² + … + gₜ²) + ε,   φ(x) = l1·|x| + l2/2·x²
        θₜ = argmin of  gₜ·x + φ(x) + Hₜ·(x − θₜ₋₁)²/(2α)  over low ≤ x ≤ high

    Without penalty and box it is `adagrad`. A coordinate whose step is small is pulled little: where there was no
    gradient so far, the penalty is held by ε alone, and by ε = 0 not let in. What l1 holds at 0 is 0 exactly.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        eps: ε ≥ 0, the paper's δ, outside the root.
        l1: ≥ 0, the weight of |x| beside the loss of one step.
        l2: ≥ 0, the weight of x²/2.
        low: the lower border of every coordinate, None for none.
        high: the upper border of every coordinate, None for none.

    Raises:
        ValueError: a value outside its range; low > high; in the update, no parameters.

    Reference: J. Duchi, E. Hazan, Y. Singer (2011), "Adaptive subgradient methods for online learning and stochastic
    optimization", JMLR 12:2121-2159, Figure 1 (composite mirror descent update).

    >>> import jax.numpy as jnp
    >>> tx = adagrad_mirror(0.5, l1=1.0)
    >>> tx.update(jnp.array([4.0, 4.0]), tx.init(jnp.zeros(2)), jnp.array([0.5, 1.0]))[0]
    Array([-0.5  , -0.625], dtype=float32)
    """
    return chain(
        proximal(
            direction=[],  # gₜ
            scale=[square(), total(), inverse_root(eps), scale(learning_rate)],  # α/Hₜ
            centre=[parameters()],  # θₜ₋₁
            l1=l1,
            l2=l2,
        ),
        project_to_box(low, high),
    )
