"""Hyperparameter name → legal range, and the one check of every call against it."""

import difflib
import inspect
import math
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np


class Range(NamedTuple):
    """The legal values of a hyperparameter, and what to say to somebody who misses them."""

    low: float
    high: float
    hint: str
    closed: str = "["  # which ends belong to it: "[", "]", "[]" or ""
    schedule: bool = False
    integer: bool = False
    static: bool = False  # whether shapes depend on it, so that it must be known before anything is compiled

    def allows(self, value: float) -> bool:
        """Whether a number is legal; an infinite one only where the range is closed at infinity."""
        above = value >= self.low if "[" in self.closed else value > self.low
        below = value <= self.high if "]" in self.closed else value < self.high
        finite = math.isfinite(value) or (value == self.high and "]" in self.closed)
        return above and below and finite and (not self.integer or value == int(value))

    def __str__(self) -> str:
        left, right = "[" if "[" in self.closed else "(", "]" if "]" in self.closed else ")"
        return f"{'the integers of ' * self.integer}{left}{self.low:g}, {self.high:g}{right}"


_PAST = Range(0, 1, "it is the weight of the past, such as 0.9, not the weight of the new", schedule=True)
_BLEND = Range(0, 1, "it is the share of the average beside the newest value itself", closed="[]", schedule=True)
_SMALL = Range(0, math.inf, "it keeps a division away from 0, such as 1e-8, not its exponent -8")

RANGES = {
    "learning_rate": Range(0, math.inf, "the step goes downhill by itself, no sign is needed", schedule=True),
    "b1": _PAST,
    "b2": _PAST,
    "decay": _PAST,
    "momentum": _PAST,
    "rho": _PAST._replace(schedule=False),
    "eps": _SMALL,
    "eps_root": _SMALL,
    "initial_accumulator_value": Range(0, math.inf, "it is a sum of squares"),
    "weight_decay": Range(0, math.inf, "weights shrink by themselves, no sign is needed", schedule=True),
    "final_learning_rate": Range(0, math.inf, "it is the rate of the SGD that remains", closed="", schedule=True),
    "gamma": Range(0, math.inf, "it is how fast the bounds close, such as 1e-3", closed=""),
    "threshold": Range(4, math.inf, "the variance of the adaptive rate is finite only where rho > 4"),
    "sync_period": Range(1, math.inf, "it counts steps", integer=True),
    "slow_step_size": Range(0, 1, "it is the share of the way to the fast weights", closed="]", schedule=True),
    "decay_rate": Range(0, 1, "it is the c of 1 - t^-c, such as 0.8", closed="]", schedule=True),
    "clipping_threshold": Range(0, math.inf, "it is the largest root mean square of an update", closed=""),
    "min_parameter_scale": Range(0, math.inf, "it is the least size that a parameter counts with"),
    "every": Range(1, math.inf, "it counts updates", integer=True),
    "share": Range(0, 1, "it is the share of the new", closed="[]", schedule=True),
    "min_slow_step_size": Range(0, 1, "it is the least share of the way to the fast weights", closed="]"),
    "max_backtracking_steps": Range(0, math.inf, "it counts halvings of the rate", integer=True),
    "clipping": Range(0, math.inf, "it is the largest gradient relative to the weights, such as 0.01", closed=""),
    "sharpness": Range(0, math.inf, "it is how closely the softplus follows its argument, such as 50", closed=""),
    "positive_negative_factor": Range(0, math.inf, "it is the weight of the negative momentum, such as 1"),
    "norm_loss": Range(0, math.inf, "it is the weight of the penalty, such as 1e-4", schedule=True),
    "eta": Range(0, math.inf, "it is the variance of the first step's noise, such as 0.01"),
    "steps": Range(1, math.inf, "it counts steps", integer=True, static=True),
    "step_size": Range(-math.inf, math.inf, "it is a factor", schedule=True),
    "constant": Range(-math.inf, math.inf, "it is a summand"),
    "power": Range(-math.inf, math.inf, "it is an exponent"),
    "b1_decay": Range(0, 1, "it is the factor by which b1 falls in a step, such as 1 - 1e-8", closed="]"),
    "nu": _BLEND,
    "nu1": _BLEND,
    "nu2": _BLEND,
    "lower_bound": Range(0, math.inf, "it is the least step size of a coordinate", schedule=True),
    "upper_bound": Range(0, math.inf, "it is the largest step size of a coordinate", closed="]", schedule=True),
    "min_norm": Range(0, math.inf, "it is the least norm that a layer counts with"),
    "max_norm": Range(0, math.inf, "it is the largest norm that counts", closed="]"),
    "trust_coefficient": Range(0, math.inf, "it is the relative change of a layer, such as 1e-3", closed=""),
    "min_dim_size_to_factor": Range(1, math.inf, "it is the size of an axis", integer=True, static=True),
    "ahead": Range(0, math.inf, "it counts steps", integer=True),
    "kappa": Range(0, math.inf, "it is added to the rate, in its units, such as 1e-3"),
    "phi": Range(0, 1, "it is the share of the rate that is lost, such as 0.1, not the share that stays"),
    "increase": Range(0, math.inf, "it is added to a gain, such as 0.05, not a factor"),
    "decrease": Range(0, 1, "it is what a gain is multiplied by, such as 0.95, not what is subtracted", closed="]"),
    "min_gain": Range(0, math.inf, "it is the smallest gain, such as 0.1", closed=""),
    "max_gain": Range(0, math.inf, "it is the largest gain, such as 10", closed=""),
    "eta_minus": Range(0, 1, "it is the factor of a step that shrinks, such as 0.5", closed=""),
    "eta_plus": Range(1, math.inf, "it is the factor of a step that grows, such as 1.2"),
    "min_step_size": Range(0, math.inf, "it is the smallest step of a coordinate"),
    "max_step_size": Range(0, math.inf, "it is the largest step of a coordinate", closed=""),
    "l1": Range(0, math.inf, "it is the weight of the penalty |x|, which shrinks by itself, no sign is needed"),
    "l2": Range(0, math.inf, "it is the weight of the penalty x²/2, which shrinks by itself, no sign is needed"),
    "low": Range(-math.inf, math.inf, "it is the lower border of a parameter, None for none"),
    "high": Range(-math.inf, math.inf, "it is the upper border of a parameter, None for none"),
    "value": Range(0, math.inf, "it is a value of the schedule"),
    "peak_value": Range(0, math.inf, "it is the largest value of the schedule"),
    "min_value": Range(0, math.inf, "it is the least value of the schedule"),
    "max_momentum": Range(0, 1, "it is the weight of the past, such as 0.99"),
    "warmup_steps": Range(1, 2**31, "it counts steps, and 1 is no warm-up", integer=True),
    "model_dim": Range(1, math.inf, "it is the width of the Transformer, such as 512", integer=True),
    "total_steps": Range(1, 2**31, "it counts the steps of the whole run", integer=True, static=True),
    "period": Range(1, 2**31, "it counts the steps before the first restart", integer=True, static=True),
    "t_mult": Range(1, 2**31, "every period is that many times as long as the one before", static=True),
    "batch_size": Range(1, math.inf, "it counts examples", integer=True),
    "training_points": Range(1, math.inf, "it counts examples", integer=True),
    "epochs": Range(0, math.inf, "it is how often the run, or the period, sees the training set", closed=""),
    "pct_start": Range(0, 1, "it is the share of steps that go up, such as 0.3, not per cent", "[]", static=True),
    "pct": Range(0, 1, "it is the share of steps after the cycle, such as 0.1, not per cent", "[]", static=True),
    "div_factor": Range(1, math.inf, "the first rate is the largest divided by it"),
    "final_div_factor": Range(1, math.inf, "the last rate is the first divided by it"),
    "rate": Range(0, math.inf, "it is a learning rate"),
    "curvature": Range(0, math.inf, "it is an eigenvalue of the Hessian", closed=""),
    "lmin": Range(0, math.inf, "it is the smallest eigenvalue of the Hessian", closed=""),
    "lmax": Range(0, math.inf, "it is the largest eigenvalue of the Hessian", closed=""),
    "ratio": Range(1, math.inf, "it is the largest curvature divided by the smallest"),
    "dim": Range(2, math.inf, "it counts parameters", integer=True, static=True),
    "alpha": Range(0, math.inf, "it is how strongly slow tasks are pulled forward, such as 1.5, and 0 for equal norms"),
    "min_weight": Range(0, 1, "it is the least weight of a task, such as 1e-3", closed=""),
    "temperature": Range(0, math.inf, "it is how even the weights are, such as 2", closed=""),
    "tasks": Range(1, math.inf, "it counts tasks", integer=True, static=True),
    "moving_rate": Range(0, 1, "it is the share of the way to the mean of the workers, such as 0.9", closed="[]"),
    "push_period": Range(1, math.inf, "it counts steps", integer=True),
    "fetch_period": Range(1, math.inf, "it counts steps", integer=True),
    "delay": Range(0, math.inf, "it counts steps", integer=True, static=True),
    "max_delay": Range(0, math.inf, "it counts steps", integer=True, static=True),
    "strength": Range(0, math.inf, "the gradient is turned round by itself, no sign is needed"),
    "radius": Range(0, math.inf, "it is the length of the step uphill, such as 0.05"),
    "turn": Range(0, math.inf, "it is the first update that counts, from 0", integer=True),
    "patience": Range(0, math.inf, "it counts evaluations without improvement", integer=True),
    "min_delta": Range(0, math.inf, "it is the least change that counts as an improvement"),
    "examples": Range(1, math.inf, "it counts examples", integer=True, static=True),
    "angle": Range(-math.inf, math.inf, "it is in radians"),
    "momentum_decay": Range(0, math.inf, "it is how fast the momentum grows, such as 1/250"),
    "learning_rate_decay": Range(0, math.inf, "it is how fast the rate falls, 0 for not at all"),
    "block_size": Range(2, math.inf, "it counts numbers that share a scale, such as 256", integer=True, static=True),
}

SYNONYMS = {
    "lr": "learning_rate", "alpha": "learning_rate", "betas": "b1= and b2", "beta1": "b1", "beta_1": "b1",
    "beta2": "b2", "beta_2": "b2", "epsilon": "eps", "wd": "weight_decay", "k": "sync_period",
    "la_steps": "sync_period", "la_alpha": "slow_step_size", "final_lr": "final_learning_rate",
    "initial_accumulator": "initial_accumulator_value",
}  # fmt: skip


def check(name: str, given: Mapping[str, Any]) -> None:
    """Raises where an argument of the call `name` has a range and is outside it; traced values pass."""
    for argument, value in given.items():
        if argument in RANGES:
            _check_one(f"{name}: {argument}", RANGES[argument], value)
        elif argument in ("dtype", "residual_dtype"):
            _check_dtype(f"{name}: {argument}", value)


def _check_dtype(name: str, value: Any) -> None:
    try:
        found = jax.dtypes.canonicalize_dtype(value)
    except TypeError:
        found = None
    if found is None or not jax.dtypes.issubdtype(found, np.inexact):
        raise TypeError(f"{name}={value!r} is none of floats, such as jnp.bfloat16")


def _check_one(where: str, legal: Range, value: Any) -> None:
    if isinstance(value, jax.core.Tracer) and legal.static:
        raise TypeError(f"{where} cannot be traced, shapes depend on it: name it in static_args of inject_hyperparams")
    if isinstance(value, jax.core.Tracer) or (callable(value) and legal.schedule):
        return
    kind = "a number or a schedule" if legal.schedule else "a number (no schedule)"
    array = isinstance(value, np.ndarray | np.generic | jax.Array) and value.dtype != bool and np.isrealobj(value)
    if isinstance(value, bool) or not (isinstance(value, int | float) or array):
        raise TypeError(f"{where}={value!r} is not {kind} in {legal}: {legal.hint}")
    if array and value.ndim:
        raise TypeError(f"{where} has the shape {value.shape}, but is one number: to try several, jax.vmap over them")
    if not legal.allows(float(value)):
        half = array and value.dtype.itemsize < 4
        rounded = f"; it was rounded to {value.dtype}, give it in float32" if half else ""
        raise ValueError(f"{where}={value} is outside {legal}: {legal.hint}{rounded}")


def check_order(name: str, **ends: Any) -> None:
    """Raises where the first of two numbers is above the second; schedules and traced values pass."""
    (low_name, low), (high_name, high) = ends.items()
    known = not any(callable(v) or isinstance(v, jax.core.Tracer) for v in (low, high))
    if known and low > high:
        raise ValueError(f"{name}: {low_name}={low} is above {high_name}={high}")


def bind(name: str, signature: inspect.Signature, args: tuple, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call by name, but for a None that the annotation allows.

    A wrong keyword is answered with the right one.
    """
    for keyword in kwargs:
        variadic = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        if keyword not in signature.parameters and not variadic:
            near = difflib.get_close_matches(keyword, signature.parameters, 1)
            meant = SYNONYMS.get(keyword) or (near[0] if near else None)
            hint = f"did you mean {meant}=?" if meant else f"it takes {', '.join(signature.parameters)}"
            raise TypeError(f"{name}: no argument {keyword}=; {hint}")
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise TypeError(f"{name}: {error}; it takes {', '.join(signature.parameters)}") from None
    return {k: v for k, v in given.items() if v is not None or not optional(signature.parameters[k])}


def optional(parameter: inspect.Parameter) -> bool:
    """Whether a parameter may be None, by its annotation.

    >>> def method(momentum: float | None = None, decay: float = 0.9): ...
    >>> [optional(p) for p in inspect.signature(method).parameters.values()]
    [True, False]
    """
    return type(None) in typing.get_args(parameter.annotation)
