"""Weights from the gradients of the tasks: their norms, or where they conflict."""

from collections.abc import Callable, Sequence
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
from gdo_optax.tasks.stacked import Shared, norms, products
from gdo_optax.tasks.weighing import balancer, first_state, if_finite, made, positive, stepped


@piece
def gradnorm(
    tasks: int = 2,
    alpha: Numeric = 1.5,
    learning_rate: Hyperparameter = 0.025,
    shared: Shared = None,
    optimizer: Callable[[Any], optax.GradientTransformation] = adam,
    initial_losses: Array | Sequence[float] | None = None,
    min_weight: Numeric = 1e-3,
) -> Whole:
    """GradNorm: weights that bring the tasks' gradients to one norm, and to a larger one where a task lags behind.

        output: Σᵢ wᵢ·∇Lᵢ                       with the weights as they were before this update
        Gᵢ = wᵢ·‖∇_W Lᵢ‖,   Ḡ = mean G,   rᵢ = (Lᵢ/Lᵢ(0)) / mean_j(Lⱼ/Lⱼ(0))
        w ← w − optimizer of ∂/∂wᵢ Σ|Gᵢ − Ḡ·rᵢ^α| = sign(Gᵢ − Ḡ·rᵢ^α)·‖∇_W Lᵢ‖
        w ← T·w/Σw, after wᵢ ← max(wᵢ, min_weight)

    The first piece of a chain, before the optimizer of the parameters. Gradients come in stacked, (T, …) in every array
    (see `task_gradients`), and the update takes the extra argument `losses`, (T,). W are the arrays that `shared`
    selects; the paper's are the weights of the last shared layer. As Ḡ·rᵢ^α counts as a constant, no second derivative
    is taken. The paper has no least weight; with one a weight never turns negative. Divided by the sum the least may
    come out below it. A task with Lᵢ(0) = 0 has rᵢ = 1. An update whose losses or norms are not finite moves no weight
    and is not counted.

    Args:
        tasks: T ≥ 1.
        alpha: α ≥ 0, how strongly a task that lags behind is pulled; 0 is equal norms. The paper has 1.5, and 0.12
            where the tasks are alike.
        learning_rate: of the weights, ≥ 0, a number or a schedule.
        shared: W: None for all arrays, a regular expression searched in the path of an array such as
            "encoder/last/kernel", or a mask as in `masked`, where a function is given shapes without the first axis.
        optimizer: of the weights, a function of the learning rate, such as `adam`.
        initial_losses: L(0) > 0, where theory knows it, such as log C of C classes; else those of the first update.
        min_weight: in (0, 1).

    Raises:
        ValueError: a value outside its range; in the update, losses that are missing or no (T,), arrays whose first
            axis is not T; a `shared` that selects nothing.
        TypeError: an optimizer that is not a function which returns one.

    Reference: Z. Chen, V. Badrinarayanan, C.-Y. Lee, A. Rabinovich (2018), "GradNorm: gradient normalization for
    adaptive loss balancing in deep multitask networks", arXiv:1711.02257, equation 2 and Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = gradnorm(tasks=2)
    >>> gradients, losses = jnp.array([[1.0, 0.0], [0.0, 3.0]]), jnp.array([1.0, 1.0])
    >>> out, state = tx.update(gradients, tx.init(jnp.zeros(2)), losses=losses)
    >>> out, state["state"]["weights"]
    (Array([1., 3.], dtype=float32), Array([1.025, 0.975], dtype=float32))
    """
    tasks = int(tasks)
    own = made("gradnorm", optimizer, learning_rate)
    known = None if initial_losses is None else positive("gradnorm: initial_losses", initial_losses, tasks)

    def initial(dtype: Any) -> dict[str, Any]:
        w = jnp.ones(tasks, dtype)
        first = jnp.zeros(tasks, dtype) if known is None else jnp.array(known, dtype, copy=True)
        return {"weights": w, "first_losses": first, "optimizer": first_state(own, w)}

    def rule(
        memory: dict[str, Any], losses: Array, gradients: list[Array], now: Now, alpha: Numeric, least: Numeric
    ) -> tuple[Array, dict[str, Any]]:
        w, first, kept = memory["weights"], memory["first_losses"], memory["optimizer"]
        first = jnp.where(kept["inner_count"] == 0, losses, first) if known is None else first  # L(0)
        n = norms(gradients, tasks, w.dtype)  # ‖∇_W Lᵢ‖
        target = jnp.mean(w * n) * _lag(losses, first) ** as_dtype(alpha, w.dtype)  # Ḡ·rᵢ^α
        slope = jnp.sign(w * n - target) * n  # ∂/∂wᵢ
        step, kept = stepped(own, slope, kept, w, now)
        moved = jnp.maximum(w + step, as_dtype(least, w.dtype))
        new = {"weights": tasks * moved / jnp.sum(moved), "first_losses": first, "optimizer": kept}
        return w, if_finite((losses, slope), new, memory)

    return balancer(tasks, rule, initial, shared, alpha=alpha, least=min_weight)


@piece
def pcgrad(tasks: int = 2, seed: Numeric = 0, shared: Shared = None) -> Whole:
    """PCGrad, gradient surgery: from each task's gradient goes what conflicts with another's, then they are summed.

        for every i, gᵢ′ = gᵢ, and for all j ≠ i in random order:
            gᵢ′ ← gᵢ′ − (gᵢ′·gⱼ)/‖gⱼ‖²·gⱼ     where gᵢ′·gⱼ < 0
        output: Σᵢ gᵢ′

    The first piece of a chain; gradients come in stacked, (T, …) in every array (see `task_gradients`). All gᵢ′ are
    sums of the gⱼ, so that their products with each other tell the weights and no projected gradient is ever stored.
    The orders are drawn from `seed` and the clock. Losses are not asked for.

    Args:
        tasks: T ≥ 1.
        seed: of the orders.
        shared: where there is surgery, as in `gradnorm`; all other arrays get the plain sum.

    Raises:
        ValueError: a value outside its range; in the update, arrays whose first axis is not T; a `shared` that
            selects nothing.

    Reference: T. Yu et al. (2020), "Gradient surgery for multi-task learning", arXiv:2001.06782, Algorithm 1.

    >>> import jax.numpy as jnp
    >>> tx = pcgrad(tasks=2)
    >>> tx.update(jnp.array([[1.0, 0.0], [-1.0, 1.0]]), tx.init(jnp.zeros(2)))[0]
    Array([0.5, 1.5], dtype=float32)
    """
    tasks = int(tasks)

    def rule(memory: Any, losses: Array, gradients: list[Array], now: Now, seed: Numeric) -> tuple[Array, Any]:
        key = jax.random.fold_in(jax.random.key(seed), now.count)
        everyone = jnp.broadcast_to(jnp.arange(tasks), (tasks, tasks))
        orders = jax.random.permutation(key, everyone, axis=1, independent=True)  # a row for each task
        shares = jax.vmap(_surgery, (0, 0, None))(jnp.arange(tasks), orders, products(gradients, tasks))
        return jnp.sum(shares, 0), memory

    return balancer(tasks, rule, None, shared, reads_losses=False, only_shared=True, seed=seed)


def _lag(losses: Array, first: Array) -> Array:
    """rᵢ, the loss ratio relative to the mean of those that have one; 1 for the others, and where all losses are 0."""
    known = first > 0
    ratios = jnp.where(known, losses / jnp.where(known, first, 1), 0)
    mean = jnp.sum(ratios) / jnp.maximum(jnp.sum(known.astype(losses.dtype)), 1)
    lag = jnp.where(known & (mean > 0), ratios / jnp.where(mean > 0, mean, 1), 1)
    return jnp.maximum(lag, 0)  # a negative loss has no power


def _surgery(i: Array, order: Array, dots: Array) -> Array:
    """gᵢ′ as its shares of g₁ … g_T."""

    def project(shares: Array, j: Array) -> tuple[Array, None]:
        along, square = jnp.sum(shares * dots[:, j]), dots[j, j]  # gᵢ′·gⱼ, ‖gⱼ‖²
        conflict = (along < 0) & (j != i) & (square > 0)
        return shares.at[j].add(jnp.where(conflict, -along / jnp.where(conflict, square, 1), 0)), None

    return jax.lax.scan(project, (jnp.arange(len(order)) == i).astype(dots.dtype), order)[0]
