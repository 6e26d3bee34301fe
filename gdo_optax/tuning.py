"""The learning-rate range test: one short training that tells which learning rates are worth trying."""

from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax import arithmetic
from gdo_optax.combinators import single
from gdo_optax.optimizers.momentum import sgd
from gdo_optax.ranges import Range
from gdo_optax.recipe import show
from gdo_optax.schedules import Schedule


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGAL = {
    "low": Range(0, np.inf, "it is the first learning rate, such as 1e-6", closed=""),
    "high": Range(0, np.inf, "it is the last learning rate, such as 10", closed=""),
    "smoothing": Range(0, 1, "it is the weight of the past, such as 0.98"),
    "divergence": Range(1, np.inf, "it is how many times the least loss ends the test, such as 4", closed="]"),
}
FEWEST = 10
STYLE: Any = {"font.size": 12, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "0.5"}
BLUE, RED, GREY = "#1f5fa8", "#c8352b", "0.7"


class RangeTest(NamedTuple):
    """What `range_test` saw: a learning rate and a loss for every step, and two rates to try.

    `losses[i]` is the loss of batch i before the step with `rates[i]`, `smoothed` its bias-corrected moving average;
    both are NaN after the test was over. `suggestion` is the rate at which the smoothed loss fell fastest, `minimum`
    the one at which it was least, and `minimum / 10` the other rule in use. Both are NaN where the loss never fell.

    >>> RangeTest(rates=jnp.ones(2), losses=jnp.ones(2), smoothed=jnp.ones(2), suggestion=0.25, minimum=1.0).minimum / 10
    0.1
    """

    rates: Array
    losses: Array
    smoothed: Array
    suggestion: float
    minimum: float

    def plot(self, path: str | PathLike | None = None) -> "Figure":
        """A matplotlib figure of the loss over the learning rate, with both rules marked; written to `path` if given.

        Raises ImportError where matplotlib, an extra, is not installed: pip install "gdo_optax[plot]".
        """
        try:
            from matplotlib import rc_context
            from matplotlib.figure import Figure
        except ImportError as error:
            if (error.name or "").partition(".")[0] != "matplotlib":
                raise
            message = 'RangeTest.plot needs matplotlib, which is not installed: pip install "gdo_optax[plot]"'
            raise ImportError(message, name="matplotlib") from None
        with rc_context(STYLE):
            figure = Figure(figsize=(9, 5.5), dpi=100, layout="constrained")
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
    those of the fastai library. The test is over, within the same compiled scan, after the first loss that is not
    finite or exceeds `divergence` times the least sᵢ so far, s + (divergence−1)·|s| for any sign; no parameter moves
    from then on. The suggestion is a first guess, good to a factor of a few: it needs batches as large as those of the
    training and about a hundred of them or more, for the average reaches back 1/(1−β) steps.

    Args:
        loss: a function of the parameters and a batch, which returns one number.
        params: the parameters to start from, which stay as they are.
        batches: a tree of arrays, one step per entry of their leading axis, n ≥ 10 of them.
        optimizer: a function of the learning rate, such as `gdo_optax.adam`, `optax.adam` or a partial of one; it is
            given a schedule, whose count has to be that of the steps.
        low: the first rate, > 0.
        high: the last rate, above `low`.
        smoothing: β in [0, 1), the weight of the past.
        divergence: > 1, and infinite for a test that ends only where the loss is not finite.

    Raises:
        ValueError: a value outside its range, low not below high, unequal leading axes, a loss that is not one number.
        TypeError: a value that is no number, an optimizer that is no function or makes no transformation.

    Reference: L. N. Smith (2017), "Cyclical learning rates for training neural networks", arXiv:1506.01186, section
    3.3; J. Howard, S. Gugger (2020), "fastai: a layered API for deep learning", arXiv:2002.04688.

    >>> found = range_test(lambda x, _: jnp.sum(x**2) / 2, jnp.ones(3), jnp.zeros(100))
    >>> round(found.suggestion, 2), round(found.minimum, 2)  # the best rate is 1, from 2 on it diverges
    (0.87, 2.3)
    """
    n = _length(batches)
    limits = _numbers(low=low, high=high, smoothing=smoothing, divergence=divergence)
    rates = np.geomspace(limits["low"], limits["high"], n)
    tx = _made(optimizer, lambda count: jnp.take(jnp.asarray(rates, float), count, mode="clip"))
    train = jax.jit(_training(loss, tx, limits["smoothing"], limits["divergence"]))
    losses, smoothed = train(params, batches)
    suggestion, minimum = _rules(rates, np.asarray(smoothed, np.float64))
    return RangeTest(jnp.asarray(rates, float), losses, smoothed, suggestion, minimum)


class _Run(NamedTuple):
    """What one step hands to the next."""

    params: ArrayTree
    state: Any
    mean: Array
    best: Array
    over: Array


def _training(loss: Callable, tx: optax.GradientTransformationExtraArgs, smoothing: float, divergence: float) -> Callable:
    """A function of parameters and batches: the loss of every step, as it is and smoothed."""

    def step(run: _Run, t: Array, batch: ArrayTree) -> tuple[_Run, tuple[Array, Array]]:
        value_and_grad = jax.value_and_grad(lambda p: _scalar(loss(p, batch)))
        value, gradient = value_and_grad(run.params)
        params, state = _moved(tx, run, batch_loss=lambda p: loss(p, batch), value=value, gradient=gradient)
        value = value.astype(float)
        mean = arithmetic.average(run.mean, value, smoothing)
        smoothed = mean / arithmetic.weight_of_past(t, smoothing)
        best = jnp.minimum(run.best, smoothed)
        over = ~jnp.isfinite(value) | (value > best + (divergence - 1) * jnp.abs(best))
        seen = tuple(jnp.where(jnp.isfinite(value), x, jnp.nan) for x in (value, smoothed))
        return _Run(params, state, mean, best, over), seen

    return step
