"""All trainings of a method, every learning rate and every seed, in one compiled scan."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax

from benchmarks.problems import Data, Problem
from gdo_optax import eval_params
from gdo_optax.family import Entry


FACTORS = tuple(10 ** (k / 2) for k in range(-2, 5))
"""The learning rates, as multiples of the paper's default. Most are larger: there are few steps, a paper had many."""


# What XLA may be told depends on its version: without these emitters, here, it compiles in half the time.
UNOPTIMIZED: dict[str, str | bool] = {"xla_backend_optimization_level": "0"} | (
    {"xla_cpu_use_fusion_emitters": False} if jaxlib.__version__.startswith("0.10.") else {}
)
"""Compiler options for a short race, most of which would be compiling."""


class Runs(NamedTuple):
    """What the trainings of a method recorded; the arrays begin with (rates, seeds)."""

    loss: np.ndarray
    """Mean training loss since the evaluation before, (rates, seeds, evaluations)."""
    accuracy: np.ndarray
    """Accuracy on the test set, (rates, seeds, evaluations)."""
    diverged: np.ndarray
    compile_seconds: float
    run_seconds: float


def evaluations(steps: int) -> np.ndarray:
    """The numbers of the steps after which the test set is seen: every tenth (of a short race, more) and the last."""
    every = min(10, max(1, steps // 10))
    return np.append(np.arange(every, steps, every), steps)


def diverged(losses: np.ndarray, finite: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which trainings diverged, from the losses of all steps: (rates, seeds, steps) to (rates, seeds).

    Those whose losses or parameters are not finite, and those that end (mean of the last tenth) no better than
    guessing and far worse than the same seed with a smaller rate, or with none: slow trainings are not among them.
    """
    last = losses[..., -max(1, losses.shape[-1] // 10) :].mean(-1)
    last = np.where(finite & np.isfinite(losses).all(-1), last, np.inf)
    shares = np.unique(labels, return_counts=True)[1] / labels.size
    guessing = -(shares * np.log(shares)).sum()
    smaller = np.minimum.accumulate(np.concatenate([losses[:1, :, 0], last[:-1]]))
    return np.isinf(last) | ((last > 0.95 * guessing) & (last > 1.5 * smaller))


def train(
    entry: Entry,
    problem: Problem,
    batches: np.ndarray,
    say: Callable[[str], None] = lambda doing: None,
    options: dict[str, str | bool] | None = None,
) -> Runs:
    """Every factor of the default learning rate with every seed; `say` is told what is going on.

    `options` are the compiler's.
    """
    steps = batches.shape[1]
    ends = evaluations(steps)
    due = np.isin(np.arange(1, steps + 1), ends)
    every_seed = jax.vmap(_training(entry, problem), (None, 0, 0, None, None))
    every_rate = jax.vmap(every_seed, (0, None, None, None, None))
    args = (np.array(FACTORS, np.float32), problem.params, batches, due, problem.data)

    say("compiling")
    start = time.perf_counter()
    compiled = jax.jit(every_rate).lower(*args).compile(options)
    ready = time.perf_counter()
    say("training")
    losses, accuracy, finite = jax.tree.map(np.asarray, jax.block_until_ready(compiled(*args)))
    done = time.perf_counter()

    losses = losses.astype(float)
    mean = np.add.reduceat(losses, np.append(0, ends[:-1]), axis=-1) / np.diff(ends, prepend=0)
    failed = diverged(losses, finite, problem.data.train_y)
    return Runs(mean, accuracy[..., ends - 1].astype(float), failed, ready - start, done - ready)


def _training(entry: Entry, problem: Problem) -> Callable:
    """One training as a function of the factor of the learning rate and of the seed's parameters and batches."""
    default = entry.learning_rate

    def training(factor: jax.Array, params: Any, batches: jax.Array, due: jax.Array, data: Data) -> tuple:
        tx = entry(learning_rate=(lambda count: factor * default(count)) if callable(default) else factor * default)

        def loss(params: Any, batch: jax.Array) -> jax.Array:
            logits = problem.logits(params, data.train_x[batch])
            return optax.softmax_cross_entropy_with_integer_labels(logits, data.train_y[batch]).mean()

        def accuracy(params: Any, state: Any) -> jax.Array:
            logits = problem.logits(eval_params(state, params), data.test_x)
            return (logits.argmax(-1) == data.test_y).mean()

        def step(carry: tuple, now: tuple) -> tuple[tuple, tuple]:
            (params, state), (batch, due) = carry, now
            value, grads = jax.value_and_grad(loss)(params, batch)
            updates, state = tx.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            seen = jax.lax.cond(due, accuracy, lambda *_: jnp.float32(jnp.nan), params, state)
            return (params, state), (value, seen)

        (params, _), (losses, seen) = jax.lax.scan(step, (params, tx.init(params)), (batches, due))
        return losses, seen, jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]))

    return training
