"""Two gradients a step: sharpness-aware minimization and the extragradient method.

The weights are a list of arrays and grad(xs) is the list of their gradients, or of any vector field. The loops return
the list of the weights x_1, ..., x_steps, each a list of arrays.
"""

import numpy as np

from .loop import rate
from .momentum import sgd


def prepared(xs):
    """The weights as float64 arrays."""
    return [np.asarray(x, dtype=np.float64) for x in xs]


def sam(grad, xs, steps, radius=0.05, inner=sgd, inner_settings=None):
    """Foret, Kleiner, Mobahi, Neyshabur, ICLR 2021, arXiv:2010.01412, Algorithm 1 with p = 2: the inner method steps
    from x with the gradient at x + rho g / ||g||, a norm over all arrays together; where g = 0 that is the one at x."""
    xs = prepared(xs)
    inner_steps = [inner.start(**(inner_settings or {})) for _ in xs]
    trajectory = []
    for t in range(1, steps + 1):
        gs = grad(xs)
        length = np.sqrt(sum(np.sum(g**2) for g in gs))
        scale = radius / length if length > 0 else 0.0
        uphill = grad([x + scale * g for x, g in zip(xs, gs, strict=True)])
        xs = [x + step(t, g, x) for x, g, step in zip(xs, uphill, inner_steps, strict=True)]
        trajectory.append(xs)
    return trajectory


def extragradient(grad, xs, steps, learning_rate=0.01):
    """Korpelevich, "The extragradient method for finding saddle points and other problems", Matecon 12:747-756, 1976:
    from x by the gradient at x - eta grad(x)."""
    xs = prepared(xs)
    trajectory = []
    for t in range(1, steps + 1):
        eta = rate(learning_rate, t)
        ahead = [x - eta * g for x, g in zip(xs, grad(xs), strict=True)]
        xs = [x - eta * g for x, g in zip(xs, grad(ahead), strict=True)]
        trajectory.append(xs)
    return trajectory
