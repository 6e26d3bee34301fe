"""RMSProp, with the mean taken off, and with momentum."""

import numpy as np

from .loop import oracle, rate, ratio


@oracle
def rmsprop(learning_rate=1e-3, decay=0.9, eps=1e-8):
    """Tieleman, Hinton, "Lecture 6.5 - rmsprop", Coursera: Neural Networks for Machine Learning, 2012."""
    ms = 0.0

    def step(t, g, x):
        nonlocal ms
        ms = decay * ms + (1 - decay) * g**2
        return -rate(learning_rate, t) * ratio(g, np.sqrt(ms) + eps)

    return step


@oracle
def rmsprop_centered(learning_rate=1e-3, decay=0.9, eps=1e-8):
    """Graves, "Generating sequences with recurrent neural networks", 2013, arXiv:1308.0850: the standard deviation in
    the place of the root mean square, here with eps outside the root."""
    ms = 0.0
    mean = 0.0

    def step(t, g, x):
        nonlocal ms, mean
        ms = decay * ms + (1 - decay) * g**2
        mean = decay * mean + (1 - decay) * g
        variance = np.maximum(ms - mean**2, 0.0)
        return -rate(learning_rate, t) * ratio(g, np.sqrt(variance) + eps)

    return step


@oracle
def rmsprop_momentum(learning_rate=1e-3, decay=0.9, eps=1e-8, momentum=0.9):
    """Tieleman, Hinton, "Lecture 6.5 - rmsprop", Coursera: Neural Networks for Machine Learning, 2012: "combining
    rmsprop with standard momentum", with the rate outside the velocity."""
    ms = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal ms, v
        ms = decay * ms + (1 - decay) * g**2
        v = momentum * v + ratio(g, np.sqrt(ms) + eps)
        return -rate(learning_rate, t) * v

    return step


@oracle
def rmsprop_nesterov(learning_rate=1e-3, decay=0.9, eps=1e-8, momentum=0.9):
    """Tieleman, Hinton, "Lecture 6.5 - rmsprop", Coursera: Neural Networks for Machine Learning, 2012: the root mean
    square divides the correction and not the jump; the gradient is at the current point theta - eta mu v."""
    ms = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal ms, v
        ms = decay * ms + (1 - decay) * g**2
        correction = ratio(g, np.sqrt(ms) + eps)
        v = momentum * v + correction
        return -rate(learning_rate, t) * (correction + momentum * v)

    return step
