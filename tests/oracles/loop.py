"""The loop x_t = x_{t-1} + u_t that every method shares."""

import numpy as np


def oracle(method):
    """Turn method(**hyperparameters) -> step(t, g, x) -> u into run(x, gradients, **hyperparameters) -> [u_1..u_T].

    The step function holds the state of the method; run.start makes a new one, for the methods that wrap another.
    """

    def run(x, gradients, *args, **hyperparameters):
        x = np.asarray(x, dtype=np.float64)
        gradients = np.asarray(gradients, dtype=np.float64)
        assert gradients.shape[1:] == x.shape
        step = method(*args, **hyperparameters)
        updates = np.empty_like(gradients)
        for t, g in enumerate(gradients, start=1):
            u = step(t, g, x)
            updates[t - 1] = u
            x = x + u
        return updates

    run.__name__ = run.__qualname__ = method.__name__
    run.__module__ = method.__module__
    run.__doc__ = method.__doc__
    run.start = method
    return run


def rate(learning_rate, t):
    """The learning rate of step t = 1, 2, ...; a schedule is a function of the count t - 1."""
    return float(learning_rate(t - 1)) if callable(learning_rate) else float(learning_rate)


def ratio(a, b):
    """a / b with 0 / 0 = 0."""
    return np.divide(a, b, out=np.zeros(np.shape(a)), where=np.not_equal(a, 0))


def rms(z):
    """RMS(z) = sqrt(mean(z^2))."""
    return np.sqrt(np.mean(z * z))


def norm(z):
    """The l2 norm over all entries."""
    return np.sqrt(np.sum(z * z))
