"""Warm restarts, and the weight decay that goes with periods of any length."""

import jax.numpy as jnp
import numpy as np
from chex import Array, Numeric

from gdo_optax.counting import Schedule, between, check_numbers, schedule
from gdo_optax.engine.numerics import as_dtype


@schedule
def warm_restarts(period: int, t_mult: float = 1.0, min_value: Numeric = 0.0, peak_value: Numeric = 1.0) -> Schedule:
    """Warm restarts: half a cosine from the peak down, again and again, each t_mult times as long as the one before.

        min + (peak − min)·(1 + cos(π·T_cur/Tᵢ))/2,   T₀ = period,   Tᵢ₊₁ = t_mult·Tᵢ

    T_cur is 0 in the first step of every period, and whole periods pass before every restart: 100 and 2 make it restart
    at the counts 100, 300, 700, 1500. With a t_mult that is no integer each Tᵢ is rounded to whole steps. As it is, it
    is the multiplier ηₜ of the paper, for the rate and for the weight decay.

    Args:
        period: T₀ ≥ 1, the steps before the first restart.
        t_mult: ≥ 1.
        min_value: the value that a period ends towards, ≥ 0.
        peak_value: the value that a period starts from, ≥ min_value.

    Raises:
        ValueError: a value outside its range; a t_mult so close to 1 that there are more than 100 000 restarts.

    Reference: I. Loshchilov, F. Hutter (2017), "SGDR: stochastic gradient descent with warm restarts",
    arXiv:1608.03983, equation 5; (2019), arXiv:1711.05101, appendix B.2.

    >>> rate = warm_restarts(100, t_mult=2)
    >>> rate(50).round(6), rate(100), rate(200).round(6), rate(300)
    (Array(0.5, dtype=float32), Array(1., dtype=float32), Array(0.5, dtype=float32), Array(1., dtype=float32))
    """
    check_numbers("warm_restarts", period=period, t_mult=t_mult, min_value=min_value, peak_value=peak_value)
    if isinstance(min_value, int | float) and isinstance(peak_value, int | float) and min_value > peak_value:
        raise ValueError(f"warm_restarts: min_value={min_value} is above peak_value={peak_value}")
    restarts = _restarts("warm_restarts", period, t_mult)

    def value(count: Array) -> Array:
        left, gone, length = _in_period(count, *restarts)
        return between(peak_value, min_value, left / length, gone / length, cosine=True)

    return value


@schedule
def restart_lengths(period: int, t_mult: float = 1.0) -> Schedule:
    """Tᵢ: how many steps the present period of `warm_restarts(period, t_mult)` has, as a float.

    Raises ValueError for a period or a t_mult below 1.

    >>> lengths = restart_lengths(100, t_mult=2)
    >>> lengths(99), lengths(100), lengths(300)
    (Array(100., dtype=float32), Array(200., dtype=float32), Array(400., dtype=float32))
    """
    check_numbers("restart_lengths", period=period, t_mult=t_mult)
    restarts = _restarts("restart_lengths", period, t_mult)
    return lambda count: _in_period(count, *restarts)[2]


@schedule
def restarting_weight_decay(weight_decay: Numeric, period: int, t_mult: float = 1.0) -> Schedule:
    """Normalized weight decay under warm restarts: a longer period decays less in each step.

        λ = λ_norm·√(1/Tᵢ),   Tᵢ the steps of the present period

    Args:
        weight_decay: λ_norm ≥ 0; 0.025 to 0.05 in the paper.
        period: T₀ ≥ 1, as in `warm_restarts`.
        t_mult: ≥ 1, as there.

    Raises:
        ValueError: a value outside its range.

    Reference: I. Loshchilov, F. Hutter (2019), "Decoupled weight decay regularization", arXiv:1711.05101, appendix B.

    >>> decay = restarting_weight_decay(0.025, 100, t_mult=3)
    >>> decay(0).round(6), decay(100).round(6)
    (Array(0.0025, dtype=float32), Array(0.001443, dtype=float32))
    """
    check_numbers("restarting_weight_decay", weight_decay=weight_decay, period=period, t_mult=t_mult)
    restarts = _restarts("restarting_weight_decay", period, t_mult)

    def decay(count: Array) -> Array:
        *_, length = _in_period(count, *restarts)
        return as_dtype(weight_decay, length.dtype) / jnp.sqrt(length)

    return decay


def normalized_weight_decay(
    weight_decay: Numeric, batch_size: Numeric, training_points: Numeric, epochs: Numeric
) -> Numeric:
    """Normalized weight decay: one λ_norm for trainings of any length.

        λ = λ_norm·√(b/(B·T))

    Args:
        weight_decay: λ_norm ≥ 0; 0.025 to 0.05 in the paper.
        batch_size: b ≥ 1.
        training_points: B ≥ 1, the size of the training set.
        epochs: T > 0, of the training or, with restarts, of the period (see `restarting_weight_decay`).

    Raises:
        ValueError: a value outside its range.

    Reference: I. Loshchilov, F. Hutter (2019), "Decoupled weight decay regularization", arXiv:1711.05101, appendix B.1.

    >>> round(normalized_weight_decay(0.025, batch_size=128, training_points=50_000, epochs=100), 7)
    0.0001265
    """
    check_numbers(
        "normalized_weight_decay",
        weight_decay=weight_decay,
        batch_size=batch_size,
        training_points=training_points,
        epochs=epochs,
    )
    return weight_decay * (batch_size / training_points / epochs) ** 0.5


def _restarts(name: str, period: int, t_mult: float) -> tuple[np.ndarray, np.ndarray]:
    """The counts below 2³¹ at which a period starts, and how many steps it has; one period where all are alike."""
    starts, lengths = [0], [int(period)]
    while t_mult > 1 and starts[-1] + lengths[-1] < 2**31:
        starts.append(starts[-1] + lengths[-1])
        lengths.append(round(int(period) * float(t_mult) ** len(lengths)))
        if len(lengths) > 100_000:
            raise ValueError(f"{name}: t_mult={t_mult} makes more than 100 000 periods: give 1, or a larger one")
    return np.array(starts), np.array(lengths)


def _in_period(count: Array, starts: np.ndarray, lengths: np.ndarray) -> tuple[Array, Array, Array]:
    """The steps to the next restart and those since the last, counted as integers, and their sum, as floats."""
    count, first = jnp.asarray(count, int), jnp.asarray(starts, int)
    if len(starts) == 1:
        gone = count % int(lengths[0])
        return (int(lengths[0]) - gone).astype(float), gone.astype(float), jnp.full(gone.shape, lengths[0], float)
    i = jnp.searchsorted(first, count, side="right", method="compare_all") - 1
    ends = starts + lengths
    reached = np.minimum(ends, 2**31 - 1)  # the last period may end after the last count
    left = (jnp.asarray(reached, int)[i] - count).astype(float) + jnp.asarray(ends - reached, float)[i]
    return left, (count - first[i]).astype(float), jnp.asarray(lengths, float)[i]
