"""The learning-rate range test: one short training that tells which learning rates are worth trying."""

import functools
from collections.abc import Callable
from os import PathLike
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.counting import Schedule
from gdo_optax.engine import numerics
from gdo_optax.engine.combinators import part
from gdo_optax.engine.printing import show
from gdo_optax.engine.ranges import Range
from gdo_optax.optimizers.momentum import sgd


LEGAL = {
    "batches": Range(10, np.inf, "each entry of the leading axis is a step of the test", integer=True),
    "low": Range(0, np.inf, "it is the first learning rate, such as 1e-6", closed=""),
    "high": Range(0, np.inf, "it is the last learning rate, such as 10", closed=""),
    "smoothing": Range(0, 1, "it is the weight of the past, such as 0.98"),
    "divergence": Range(1, np.inf, "it is how many times the least loss ends the test, such as 4", closed="]"),
}
BLUE, RED, GREY = "#1f5fa8", "#c8352b", "0.75"


class RangeTest(NamedTuple):
    """What `range_test` saw: a learning rate and a loss for every step, and two rates to try.

    `losses[i]` is the loss of batch i before the step with `rates[i]`, and `smoothed` the average; they are NaN from
    the first that is not finite on, and after one that diverged. The smoothed loss fell fastest at the `suggestion` and
    was least at the `minimum`; `minimum / 10` is the other rule in use. Both rates are NaN where it never fell.

    >>> found = range_test(lambda x, _: 2 * x**2, jnp.array(1.0), jnp.zeros(30))
    >>> found.rates[-1], found.losses[0], found.losses[-1]
    (Array(10., dtype=float32), Array(2., dtype=float32), Array(nan, dtype=float32))
    """

    rates: Array
    losses: Array
    smoothed: Array
    suggestion: float
    minimum: float

    def plot(self, path: str | PathLike | None = None) -> Any:
        """A matplotlib Figure of the loss over the learning rate, with both rules marked; written to `path` if given.

        Raises ImportError where matplotlib, an extra, is not installed: pip install "gdo_optax[plot]".
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            if (error.name or "").partition(".")[0] != "matplotlib":
                raise
            raise ImportError('plot needs matplotlib, which is not installed: pip install "gdo_optax[plot]"') from None
        figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
        _draw(figure.add_subplot(), self)
        if path is not None:
            figure.savefig(path)
        return figure


def range_test(
    loss: Callable[[Any, Any], Array],
    params: ArrayTree,
    batches: ArrayTree,
    optimizer: Callable[[Schedule], optax.GradientTransformation] = sgd,
    *,
    low: Numeric = 1e-6,
    high: Numeric = 10.0,
    smoothing: Numeric = 0.98,
    divergence: Numeric = 4.0,
) -> RangeTest:
    """The learning-rate range test: one training during which the rate rises, from far too small to far too large.

        αᵢ = low·(high/low)^(i/(n−1)),   i = 0, …, n−1
        ℓᵢ = loss(θᵢ, batchᵢ),   mᵢ = β·mᵢ₋₁ + (1−β)·ℓᵢ,   sᵢ = mᵢ/(1−βⁱ⁺¹)
        suggestion: the αᵢ with the least ds/d log α, after the first tenth of the steps and before the least sᵢ

    Smith raises the rate linearly and reads the accuracy; the geometric rise, the smoothed loss and the two rules are
    the fastai library's. After a loss that is not finite or exceeds `divergence` times the least sᵢ so far (for s < 0:
    s + (divergence−1)·|s|) nothing more is computed. The suggestion is a first guess, good to a factor of a few, the
    smaller the longer the test: give it about a hundred batches, as large as those of the training.

    Args:
        loss: a function of the parameters and a batch, which returns one number.
        params: the parameters to start from, which stay as they are.
        batches: a tree of arrays, one step per entry of their leading axis, n ≥ 10 of them.
        optimizer: a function of the learning rate, which is a schedule, such as `adam`, `optax.adam` or a partial.
        low: the first rate, > 0.
        high: the last rate, above `low`.
        smoothing: β in [0, 1), the weight of the past.
        divergence: > 1; with an infinite one only a loss that is not finite ends the test.

    Raises:
        ValueError: a value outside its range, low not below high, unequal leading axes, a loss that is not one number.
        TypeError: a value that is no number, an optimizer that is no function or makes no transformation.

    Reference: L. N. Smith (2017), "Cyclical learning rates for training neural networks", arXiv:1506.01186, section
    3.3; J. Howard, S. Gugger (2020), "fastai: a layered API for deep learning", arXiv:2002.04688.

    >>> found = range_test(lambda x, _: 2 * jnp.sum(x**2), jnp.ones(3), jnp.zeros(30))
    >>> round(found.suggestion, 2), round(found.minimum / 10, 2)  # the best rate is 0.25, and 0.5 is too large
    (0.2, 0.33)
    """
    if not callable(optimizer):
        raise TypeError(f"range_test: optimizer={show(optimizer)} is no function of the learning rate, such as adam")
    n, first, last, beta, limit = _checked(batches, low, high, smoothing, divergence)
    rates = np.geomspace(first, last, n)
    tx = optimizer(lambda count: jnp.take(jnp.asarray(rates, float), count, mode="clip"))
    part(tx, outermost=True)  # a TypeError where it is no transformation
    train = jax.jit(_training(loss, optax.with_extra_args_support(tx), beta, limit))
    losses, smoothed = train(params, batches, np.arange(1.0, n + 1))
    return RangeTest(jnp.asarray(rates, float), losses, smoothed, *_rules(rates, np.asarray(smoothed, float)))


def _training(loss: Callable, tx: Any, smoothing: float, divergence: float) -> Callable:
    """A function of parameters, batches and t = 1, …, n: the loss of every step, as it is and smoothed."""

    def step(run: tuple, batch: ArrayTree, t: Array) -> tuple:
        params, state, mean, best, _ = run
        fn = functools.partial(_number_of, loss, batch)
        value, grad = (both := jax.value_and_grad(fn))(params)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=fn, value_and_grad_fn=both)
        value = value.astype(float)
        mean = numerics.average(mean, value, smoothing)
        smoothed = mean / numerics.weight_of_past(t, smoothing)
        best, finite = jnp.minimum(best, smoothed), jnp.isfinite(value)
        over = ~finite | (value > best + (divergence - 1) * jnp.abs(best))
        new = optax.apply_updates(params, updates), state, mean, best, over
        return new, (jnp.where(finite, value, jnp.nan), jnp.where(finite, smoothed, jnp.nan))

    def step_or_not(run: tuple, x: tuple[ArrayTree, Array]) -> tuple:
        return jax.lax.cond(run[-1], lambda: (run, (jnp.full((), jnp.nan),) * 2), lambda: step(run, *x))

    def train(params: ArrayTree, batches: ArrayTree, times: Array) -> tuple[Array, Array]:
        start = params, tx.init(params), jnp.zeros(()), jnp.full((), jnp.inf), jnp.array(False)
        return jax.lax.scan(step_or_not, start, (batches, times))[1]

    return train


def _number_of(loss: Callable, batch: ArrayTree, params: ArrayTree) -> Array:
    shape = jax.tree.map(jnp.shape, value := loss(params, batch))
    if shape != ():
        raise ValueError(f"range_test: loss has the shape {shape}, but is one number: take its mean over the batch")
    return value


def _rules(rates: np.ndarray, smoothed: np.ndarray) -> tuple[float, float]:
    """The rates of the steepest descent and of the minimum; the first averages are of too few losses to count."""
    y, first = smoothed[np.isfinite(smoothed)], len(rates) // 10
    lowest = first + int(np.argmin(y[first:])) if len(y) > first else 0
    if lowest <= first or y[first] - y[lowest] < 1e-5 * abs(y[first]):  # less is rounding
        return np.nan, np.nan
    slopes = np.gradient(y)[first:lowest]  # the steps are even in log α
    return float(rates[first + slopes.argmin()]), float(rates[lowest])


def _checked(batches: ArrayTree, *given: Numeric) -> tuple[Any, ...]:
    axes = sorted({jnp.shape(x)[:1] for x in jax.tree.leaves(batches)})
    if len(axes) != 1 or axes == [()]:
        raise ValueError(f"range_test: batches has the leading axes {axes}, but needs the same one, of steps, in all")
    for (name, legal), value in zip(LEGAL.items(), (*axes[0], *given), strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number | jax.Array):
            raise TypeError(f"range_test: {name}={value!r} is not a number in {legal}: {legal.hint}")
        if not legal.allows(float(value)):
            raise ValueError(f"range_test: {name}={value} is outside {legal}: {legal.hint}")
    if given[0] >= given[1]:
        raise ValueError(f"range_test: low={given[0]} is not below high={given[1]}")
    return *axes[0], *map(float, given)  # the first is how many steps there are


def _draw(axes: Any, found: RangeTest) -> None:
    rates, losses, smoothed = (np.asarray(x, float) for x in found[:3])
    axes.plot(rates, losses, color=GREY, linewidth=1, label="loss of a batch")
    axes.plot(rates, smoothed, color=BLUE, linewidth=2, label="smoothed")
    axes.set(xscale="log", xlim=(rates[0], rates[-1]), xlabel="learning rate", ylabel="loss")
    axes.set_title("Learning-rate range test", loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    seen = losses[np.isfinite(losses)]
    if seen.size:  # what blows up in the end would flatten all the rest
        low, high = seen.min(), max(seen[: np.nanargmin(smoothed) + 1].max(), np.quantile(seen, 0.75))
        axes.set_ylim(low - 0.08 * (high - low or 1), high + 0.08 * (high - low or 1))
    if seen.size < losses.size:
        axes.axvline(rates[max(seen.size - 1, 0)], color=RED, linewidth=1, label="diverged")
    for rate, name, style in ((found.suggestion, "suggestion", "--"), (found.minimum / 10, "minimum / 10", ":")):
        if rate >= rates[0]:
            axes.axvline(rate, color=BLUE, linewidth=1.5, linestyle=style, label=f"{name}: {rate:.2g}")
            axes.plot(rate, np.interp(rate, rates, smoothed), "o", color=BLUE)
    axes.legend(frameon=False)
