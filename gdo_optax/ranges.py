"""Hyperparameter name → legal range, and the one check of every call against it."""

import difflib
import inspect
import math
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

    def allows(self, value: float) -> bool:
        """Whether a finite number is legal."""
        above = value >= self.low if "[" in self.closed else value > self.low
        below = value <= self.high if "]" in self.closed else value < self.high
        return above and below and math.isfinite(value) and (not self.integer or value == int(value))

    def __str__(self) -> str:
        left, right = "[" if "[" in self.closed else "(", "]" if "]" in self.closed else ")"
        return f"{'the integers of ' * self.integer}{left}{self.low:g}, {self.high:g}{right}"


_PAST = Range(0, 1, "it is the weight of the past, such as 0.9, not the weight of the new", schedule=True)
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
    "decay_rate": Range(0, 1, "it is the c of 1 - t^-c, such as 0.8", closed="]"),
    "clipping_threshold": Range(0, math.inf, "it is the largest root mean square of an update", closed=""),
    "min_parameter_scale": Range(0, math.inf, "it is the least size that a parameter counts with"),
    "step_size": Range(-math.inf, math.inf, "it is a factor", schedule=True),
    "constant": Range(-math.inf, math.inf, "it is a summand"),
    "power": Range(-math.inf, math.inf, "it is an exponent"),
    "ahead": Range(0, math.inf, "it counts steps", integer=True),
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


def _check_one(where: str, legal: Range, value: Any) -> None:
    if isinstance(value, jax.core.Tracer) or (callable(value) and legal.schedule):
        return
    kind = "a number or a schedule" if legal.schedule else "a number (no schedule)"
    array = isinstance(value, np.ndarray | np.generic | jax.Array) and np.isrealobj(value)
    if isinstance(value, bool) or not (isinstance(value, int | float) or array):
        raise TypeError(f"{where}={value!r} is not {kind} in {legal}: {legal.hint}")
    if array and value.ndim:
        raise TypeError(f"{where} has the shape {value.shape}, but is one number: to try several, jax.vmap over them")
    if not legal.allows(float(value)):
        half = array and value.dtype.itemsize < 4
        rounded = f"; it was rounded to {value.dtype}, give it in float32" if half else ""
        raise ValueError(f"{where}={value} is outside {legal}: {legal.hint}{rounded}")


def bind(name: str, signature: inspect.Signature, args: tuple, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call by name; a wrong keyword is answered with the right one."""
    for keyword in kwargs:
        variadic = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        if keyword not in signature.parameters and not variadic:
            near = difflib.get_close_matches(keyword, signature.parameters, 1)
            meant = SYNONYMS.get(keyword) or (near[0] if near else None)
            hint = f"did you mean {meant}=?" if meant else f"it takes {', '.join(signature.parameters)}"
            raise TypeError(f"{name}: no argument {keyword}=; {hint}")
    try:
        return signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise TypeError(f"{name}: {error}; it takes {signature}") from None
