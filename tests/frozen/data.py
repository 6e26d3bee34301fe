"""What goes in: parameters and gradients of a few bits each, exact in float64, float32, bfloat16 and float16."""

import functools
from typing import Any

import numpy as np

import gdo_optax as g


STEPS = 30
RECORDED = (1, 2, 3, 6, 13, 30)
SHAPES = {"bias": (5,), "conv": (2, 3, 4), "gain": (), "kernel": (4, 3)}
TABLES = {"cube": (5, 2, 2), "words": (11, 3)}
WORKERS = 3
TASKS = 3


def numbers(rng: np.random.Generator, shape: tuple[int, ...], scales: Any = 0) -> np.ndarray:
    """Integers of 7 bits and a sign, at 2^scales."""
    return rng.integers(-127, 128, shape) * 2.0 ** (np.asarray(scales) - 7)


def gradients_of(seed: int) -> dict[str, np.ndarray]:
    """Of scales 2^-13 … 2^6 by coordinate, with steps, rows and coordinates of zeros."""
    rng = np.random.default_rng(seed)
    out = {}
    for k, shape in SHAPES.items():
        x = numbers(rng, (STEPS, *shape), rng.integers(-13, 7, shape))
        x[[3, 4, 12]] = 0
        if shape:
            x[:, 0] = 0  # a row that never has a gradient
            x[:8, -1] = 0  # one that has none at first
            x.reshape(STEPS, -1)[:, -2] = 0  # a coordinate that never has one
        out[k] = x
    return out


def parameters_of(seed: int = 0, shapes: dict[str, tuple[int, ...]] = SHAPES) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {k: numbers(rng, s, 1) for k, s in shapes.items()}


@functools.cache
def data_of(kind: str) -> tuple[Any, Any, dict[str, Any]]:
    """Parameters, gradients stacked over steps, and the extra arguments of updates, stacked too."""
    params, grads = parameters_of(), gradients_of(1)
    if kind == "plain":
        return params, grads, {}
    if kind == "holes":  # a parameter without a gradient, and nothing at all
        return params | {"none": None}, grads | {"none": None}, {}
    if kind == "broken":
        kernel = grads["kernel"].copy()
        kernel[1, 2, 1], kernel[6, 1, 0], kernel[12, 1, 1] = np.nan, np.inf, -np.inf
        return params, grads | {"kernel": kernel}, {}
    if kind == "workers":
        own = [gradients_of(seed) for seed in range(1, WORKERS + 1)]
        stacked = {k: np.stack([own[w][k] for w in range(WORKERS)], 1) for k in SHAPES}
        return {k: np.stack([p] * WORKERS) for k, p in params.items()}, stacked, {}
    if kind == "tasks":
        own = [gradients_of(seed) for seed in range(1, TASKS + 1)]
        losses = np.abs(numbers(np.random.default_rng(9), (STEPS, TASKS), [0, 3, -2])) + 0.125
        return params, {k: np.stack([own[i][k] for i in range(TASKS)], 1) for k in SHAPES}, {"losses": losses}
    if kind == "rows":
        rng, rows = np.random.default_rng(2), {}
        for name, (size, *rest) in TABLES.items():
            indices, values = rng.integers(0, size + 2, (STEPS, 6)), numbers(rng, (STEPS, 6, *rest))
            indices[:, 1] = indices[:, 0]  # twice
            indices[::3, 2] = indices[::3, 3] = size - 1  # two that cancel
            values[::3, 2] = -values[::3, 3]
            values[::5, 4] = 0
            rows[name] = g.Rows(indices.astype(np.int32), values)
        dense = {"kernel": (4, 3)}
        return parameters_of(3, TABLES | dense), rows | {"kernel": grads["kernel"]}, {}
    assert kind == "table"
    rng = np.random.default_rng(4)
    return {"e": numbers(rng, (12, 3), 1)}, {"e": numbers(rng, (STEPS, 12, 3), -2)}, {}
