"""The closed forms of momentum on a quadratic: when it converges, how fast, and which rate and momentum are best.

On one eigenvector of the Hessian, of curvature k, the heavy ball Δxₜ = p·Δxₜ₋₁ − α·k·xₜ₋₁ is z² − (1+p−αk)·z + p = 0:
overdamped where its roots are real, critically damped where they are one, oscillating where they are complex.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from chex import Numeric

from gdo_optax.engine import ranges


class HeavyBall(NamedTuple):
    """A rate and a momentum: momentum(*optimal_heavy_ball(1, 100))."""

    learning_rate: float
    momentum: float


def critical_momentum(rate: Any, curvature: Any) -> Any:
    """Critical damping: the momentum with which a mode decays fastest at a given rate.

        p* = (1 − √(αk))²,   where |z| = |1 − √(αk)|

    Args:
        rate: α ≥ 0, a number or an array.
        curvature: k > 0, a number or an array, αk < 4.

    Raises:
        ValueError: a value outside its range; αk ≥ 4, where no momentum below 1 is enough.

    Reference: N. Qian (1999), "On the momentum term in gradient descent learning algorithms",
    doi:10.1016/S0893-6080(98)00116-6.

    >>> round(critical_momentum(0.01, 1.0), 6)
    0.81
    """
    _check("critical_momentum", rate=rate, curvature=curvature)
    if np.max(np.multiply(rate, curvature)) >= 4:
        raise ValueError("critical_momentum: rate·curvature is outside [0, 4): no momentum below 1 converges there")
    return (1 - (rate * curvature) ** 0.5) ** 2


def largest_stable_rate(momentum: Any, curvature: Any) -> Any:
    """The edge of stability: the heavy ball converges for the rates below it, and diverges above.

        α < (2 + 2p)/k

    Args:
        momentum: p in [0, 1), a number or an array; 0 is gradient descent, α < 2/k.
        curvature: k > 0, the largest there is.

    Raises:
        ValueError: a value outside its range.

    Reference: N. Qian (1999), doi:10.1016/S0893-6080(98)00116-6.

    >>> largest_stable_rate(0.5, 3.0)
    1.0
    """
    _check("largest_stable_rate", momentum=momentum, curvature=curvature)
    return (2 + 2 * momentum) / curvature


def spectral_radius(rate: Any, momentum: Any, curvature: Any) -> Any:
    """|z|: the factor by which a mode shrinks in a step, in the long run; above 1 it grows.

        z = (b ± √(b² − 4p))/2,   b = 1 + p − αk;   |z| = √p where that is complex, (1−√p)² < αk < (1+√p)²

    Args:
        rate: α ≥ 0, a number or an array.
        momentum: p in [0, 1), a number or an array.
        curvature: k > 0, a number or an array.

    Raises:
        ValueError: a value outside its range.

    Reference: N. Qian (1999), doi:10.1016/S0893-6080(98)00116-6.

    >>> [round(spectral_radius(0.01, p, 1.0), 4) for p in (0.0, 0.9, 0.99)]
    [0.99, 0.9487, 0.995]
    """
    _check("spectral_radius", rate=rate, momentum=momentum, curvature=curvature)
    product, root = np.multiply(rate, curvature), np.sqrt(momentum)
    discriminant = ((1 - root) ** 2 - product) * ((1 + root) ** 2 - product)
    real = (np.abs(1 + momentum - product) + np.sqrt(np.maximum(discriminant, 0))) / 2
    radius = np.maximum(root, real)  # complex roots have |b|/2 < √p, real ones the product p
    return radius if np.ndim(radius) else radius.item()


def optimal_gradient_descent(lmin: Numeric, lmax: Numeric) -> Numeric:
    """The best rate of gradient descent between two curvatures, 2/(lmax + lmin): it shrinks by (κ−1)/(κ+1) a step.

    Args:
        lmin: the smallest eigenvalue of the Hessian, > 0.
        lmax: the largest, ≥ lmin.

    Raises:
        ValueError: a value outside its range; lmin > lmax.

    Reference: B. T. Polyak (1964), doi:10.1016/0041-5553(64)90137-5.

    >>> optimal_gradient_descent(1.0, 3.0)
    0.5
    """
    _check("optimal_gradient_descent", lmin=lmin, lmax=lmax)
    return 2 / (lmax + lmin)


def optimal_heavy_ball(lmin: Numeric, lmax: Numeric) -> HeavyBall:
    """The best rate and momentum between two curvatures: it shrinks by (√κ−1)/(√κ+1) a step, κ = lmax/lmin.

        α* = (2/(√lmax + √lmin))²,   p* = ((√lmax − √lmin)/(√lmax + √lmin))²

    Both outermost modes are critically damped, and all between them oscillate.

    Args:
        lmin: the smallest eigenvalue of the Hessian, > 0.
        lmax: the largest, ≥ lmin.

    Raises:
        ValueError: a value outside its range; lmin > lmax.

    Reference: B. T. Polyak (1964), "Some methods of speeding up the convergence of iteration methods",
    doi:10.1016/0041-5553(64)90137-5.

    >>> optimal_heavy_ball(1.0, 9.0)
    HeavyBall(learning_rate=0.25, momentum=0.25)
    """
    _check("optimal_heavy_ball", lmin=lmin, lmax=lmax)
    low, high = lmin**0.5, lmax**0.5
    return HeavyBall((2 / (high + low)) ** 2, ((high - low) / (high + low)) ** 2)


def _check(name: str, **given: Any) -> None:
    """The least and the largest of every array inside the range; a NaN is both."""
    for argument, value in given.items():
        if callable(value):
            raise TypeError(f"{name}: {argument} cannot be a schedule")
        several = isinstance(value, np.ndarray | jax.Array) and value.ndim and argument not in ("lmin", "lmax")
        for extreme in (np.min(value), np.max(value)) if several else (value,):
            ranges.check(name, {argument: extreme})
    if "lmin" in given and given["lmin"] > given["lmax"]:
        raise ValueError(f"{name}: lmin={given['lmin']} is above lmax={given['lmax']}")
