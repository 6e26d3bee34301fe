"""Every method against its float64 NumPy loop, which was written from the paper and knows nothing of this package."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdo_optax.family import family, get
from tests.catalogue import CASES, SETTINGS, Case, gradients, orthogonal_gradients, parameters, updates_of


def relative_error(ours: np.ndarray, oracle: np.ndarray, x: np.ndarray, *, single: bool, slow: float) -> float:
    """The largest error of all steps, each relative to the largest element of its step.

    In float32 the recent steps count too (0.8 a step), for an average that crosses 0 keeps their rounding. Where the
    update is a difference of weights, a few ulp of those are allowed; elsewhere a step of 0 is 0.
    """
    largest = np.max(np.abs(oracle), axis=tuple(range(1, oracle.ndim)), keepdims=True)
    assert slow or np.all(ours[np.broadcast_to(largest == 0, ours.shape)] == 0)
    if single:
        for t in range(1, len(largest)):
            largest[t] = np.maximum(largest[t], 0.8 * largest[t - 1])
    if slow:
        largest = np.maximum(largest, (slow if single else 1e-6) * np.max(np.abs(x + np.cumsum(oracle, 0))))
    return float(np.max(np.abs(np.float64(ours) - oracle) / np.where(largest == 0, 1, largest)))


def test_every_method_has_three_settings() -> None:
    assert {k: len(v) for k, v in SETTINGS.items()} == {entry.name: 3 for entry in family()}


DIFFERENCES = {"slow_weights(": 1e-2, "proximal(": 1e-2, "extrapolate(": 1e-4}
"""Pieces that emit a difference of weights, and how far float32 may be from these in units of the tolerance.

Of `extrapolate` it is the loop in float64 that takes one.
"""


@pytest.mark.parametrize("case", CASES)
def test_equals_the_oracle(case: Case) -> None:
    params, grads = parameters(scale=0.01), orthogonal_gradients() if get(case.name).dense else gradients()
    expected = {k: case.oracle(params[k], grads[k]) for k in params}
    for x64, tolerance in ((True, 1e-9), (False, 2e-5)):
        with jax.enable_x64(x64):
            dtype = jnp.float64 if x64 else jnp.float32
            ours = updates_of(case, *({k: jnp.asarray(v, dtype) for k, v in t.items()} for t in (params, grads)))
            slow = max((share for name, share in DIFFERENCES.items() if name in str(case.tx())), default=0.0)
            errors = {
                k: relative_error(np.asarray(ours[k]), expected[k], params[k], single=not x64, slow=slow)
                for k in params
            }
        assert max(errors.values()) <= tolerance, (dtype, errors)
