"""Weights from the losses of the tasks alone: how fast they fall, or how large they are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from chex import Array, Numeric

from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Whole
from gdo_optax.engine.numerics import as_dtype
from gdo_optax.engine.piece import Hyperparameter, piece
from gdo_optax.optimizers.adam import adam
from gdo_optax.tasks.weighing import balancer, first_state, if_finite, made, stepped


@piece
def dynamic_weight_average(tasks: int = 2, temperature: Numeric = 2.0, every: Numeric = 1) -> Whole:
    """Dynamic weight average: more weight to the tasks whose loss has fallen least from one period to the next.

        vᵢ = Lᵢ(t−1)/Lᵢ(t−2),   wᵢ(t) = T·exp(vᵢ/τ)/Σⱼ exp(vⱼ/τ)
        output: Σᵢ wᵢ·∇Lᵢ

    The first piece of a chain; gradients come in stacked, (T, …) in every array (see `task_gradients`), and the update
    takes the extra argument `losses`, (T,). A period is `every` updates, over which the losses are averaged; the
    paper's is an epoch. In the first two all weights are 1. A task without a loss in the last period but one has
    vᵢ = 1, and an update with losses that are not finite is not counted. The state holds the number of updates in this
    period, its weights and mean losses, and the mean losses of the period before.

    Args:
        tasks: T ≥ 1.
        temperature: τ > 0; the larger it is, the more equal are the weights.
        every: how many updates a period has, an integer ≥ 1.

    Raises:
        ValueError: a value outside its range; in the update, losses that are missing or no (T,), arrays whose first
            axis is not T.

    Reference: S. Liu, E. Johns, A. J. Davison (2019), "End-to-end multi-task learning with attention",
    arXiv:1803.10704, equation 7.

    >>> import jax.numpy as jnp
    >>> tx = dynamic_weight_average(tasks=2)
    >>> state = tx.init(jnp.zeros(1))
    >>> for losses in jnp.array([[1.0, 1.0], [1.0, 0.5]]):
    ...     _, state = tx.update(jnp.ones((2, 1)), state, losses=losses)
    >>> state["state"]["weights"].round(4)
    Array([1.1244, 0.8756], dtype=float32)
    """
    tasks = int(tasks)

    def initial(dtype: Any) -> dict[str, Array]:
        arrays = {name: jnp.full(tasks, n, dtype) for name, n in {"weights": 1, "losses": 0, "last_losses": 0}.items()}
        return {"updates": jnp.zeros((), jnp.int32), **arrays}

    def rule(
        memory: dict[str, Array], losses: Array, gradients: list[Array], now: Now, temperature: Numeric, every: Numeric
    ) -> tuple[Array, dict[str, Array]]:
        count, last = memory["updates"] + 1, memory["last_losses"]
        share = 1 / count.astype(losses.dtype)
        mean = (1 - share) * memory["losses"] + share * losses  # Lᵢ(t−1), as soon as the period is over
        had = last != 0
        v = jnp.where(had, mean / jnp.where(had, last, 1), 1)
        weights = tasks * jax.nn.softmax(v / as_dtype(temperature, v.dtype))
        within = {"updates": count, "weights": memory["weights"], "losses": mean, "last_losses": last}
        none = {"updates": jnp.zeros_like(count), "losses": jnp.zeros_like(mean)}
        after = none | {"weights": weights, "last_losses": mean}
        new = jax.tree.map(lambda a, b: jnp.where(count >= every, a, b), after, within)
        return memory["weights"], if_finite(losses, new, memory)

    return balancer(tasks, rule, initial, temperature=temperature, every=every)


@piece
def uncertainty_weights(
    tasks: int = 2,
    learning_rate: Hyperparameter = 1e-3,
    optimizer: Callable[[Any], optax.GradientTransformation] = adam,
) -> Whole:
    """Uncertainty weights: each loss counts by a learned variance, as in the likelihood of a Gaussian.

        L = Σᵢ ½·e^(−sᵢ)·Lᵢ + ½·sᵢ,   sᵢ = log σᵢ², from 0
        output: Σᵢ ½·e^(−sᵢ)·∇Lᵢ              with s as it was before this update
        s ← s − optimizer of ∂L/∂sᵢ = ½ − ½·e^(−sᵢ)·Lᵢ

    The first piece of a chain; gradients come in stacked, (T, …) in every array (see `task_gradients`), and the update
    takes the extra argument `losses`, (T,). The weights are ½ at first, and tend to 1/(2Lᵢ). The losses are to be
    squared errors; for a classification by cross entropy the paper doubles the weight. An update with losses that are
    not finite moves no s.

    Args:
        tasks: T ≥ 1.
        learning_rate: of s, ≥ 0, a number or a schedule.
        optimizer: of s, a function of the learning rate, such as `adam`.

    Raises:
        ValueError: a value outside its range; in the update, losses that are missing or no (T,), arrays whose first
            axis is not T.
        TypeError: an optimizer that is not a function which returns one.

    Reference: A. Kendall, Y. Gal, R. Cipolla (2018), "Multi-task learning using uncertainty to weigh losses for scene
    geometry and semantics", arXiv:1705.07115, equation 7.

    >>> import jax.numpy as jnp
    >>> from gdo_optax import sgd
    >>> tx = uncertainty_weights(tasks=2, learning_rate=1.0, optimizer=sgd)
    >>> out, state = tx.update(jnp.array([[1.0], [3.0]]), tx.init(jnp.zeros(1)), losses=jnp.array([0.5, 2.0]))
    >>> out, state["state"]["log_variances"]
    (Array([2.], dtype=float32), Array([-0.25,  0.5 ], dtype=float32))
    """
    own = made("uncertainty_weights", optimizer, learning_rate)

    def initial(dtype: Any) -> dict[str, Any]:
        s = jnp.zeros(int(tasks), dtype)
        return {"log_variances": s, "optimizer": first_state(own, s)}

    def rule(memory: dict[str, Any], losses: Array, gradients: list[Array], now: Now) -> tuple[Array, dict[str, Any]]:
        s = memory["log_variances"]
        weights = jnp.exp(-s) / 2  # 1/(2σᵢ²)
        step, kept = stepped(own, 1 / 2 - weights * losses, memory["optimizer"], s, now)
        return weights, if_finite(losses, {"log_variances": s + step, "optimizer": kept}, memory)

    return balancer(tasks, rule, initial)
