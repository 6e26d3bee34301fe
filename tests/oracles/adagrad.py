"""Methods that divide by the root of summed or averaged squared gradients."""

import numpy as np

from .loop import oracle, rate, ratio


@oracle
def adagrad(learning_rate=0.01, initial_accumulator_value=0.0, eps=1e-10):
    """Duchi, Hazan, Singer, JMLR 12:2121-2159, 2011: the diagonal composite mirror descent step with phi = 0."""
    G = initial_accumulator_value

    def step(t, g, x):
        nonlocal G
        G = G + g**2
        H = eps + np.sqrt(G)
        return -rate(learning_rate, t) * ratio(g, H)

    return step


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
def adadelta(learning_rate=1.0, rho=0.95, eps=1e-6):
    """Zeiler, 2012, arXiv:1212.5701, Algorithm 1; E[dx^2] is that of dx before the learning rate."""
    Eg2 = 0.0
    Edx2 = 0.0

    def step(t, g, x):
        nonlocal Eg2, Edx2
        Eg2 = rho * Eg2 + (1 - rho) * g**2
        dx = -ratio(np.sqrt(Edx2 + eps) * g, np.sqrt(Eg2 + eps))
        Edx2 = rho * Edx2 + (1 - rho) * dx**2
        return rate(learning_rate, t) * dx

    return step
