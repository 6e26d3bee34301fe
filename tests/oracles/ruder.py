"""Methods as Ruder writes them: "An overview of gradient descent optimization algorithms", 2016, arXiv:1609.04747."""

import numpy as np

from .loop import oracle, rate, ratio


@oracle
def momentum(learning_rate=0.01, momentum=0.9):
    """Section 4.1: the rate is inside the velocity."""
    v = 0.0

    def step(t, g, x):
        nonlocal v
        v = momentum * v + rate(learning_rate, t) * g
        return -v

    return step


@oracle
def nesterov(learning_rate=0.01, momentum=0.9):
    """Section 4.2: the rate is inside the velocity; x is theta - gamma v, where the gradient is taken."""
    v = 0.0

    def step(t, g, x):
        nonlocal v
        from_theta = -momentum * v  # x - theta
        v = momentum * v + rate(learning_rate, t) * g
        return -v - momentum * v - from_theta

    return step


@oracle
def adagrad(learning_rate=0.01, eps=1e-8):
    """Section 4.3: eps is inside the root."""
    G = 0.0

    def step(t, g, x):
        nonlocal G
        G = G + g**2
        return -rate(learning_rate, t) * ratio(g, np.sqrt(G + eps))

    return step


@oracle
def rmsprop(learning_rate=1e-3, decay=0.9, eps=1e-8):
    """Section 4.5: eps is inside the root."""
    Eg2 = 0.0

    def step(t, g, x):
        nonlocal Eg2
        Eg2 = decay * Eg2 + (1 - decay) * g**2
        return -rate(learning_rate, t) * ratio(g, np.sqrt(Eg2 + eps))

    return step


@oracle
def adamax(learning_rate=2e-3, b1=0.9, b2=0.999):
    """Section 4.7: no eps."""
    m = 0.0
    u = 0.0

    def step(t, g, x):
        nonlocal m, u
        m = b1 * m + (1 - b1) * g
        u = np.maximum(b2 * u, np.abs(g))
        m_hat = m / (1 - b1**t)
        return -rate(learning_rate, t) * ratio(m_hat, u)

    return step


@oracle
def nadam(learning_rate=2e-3, b1=0.9, b2=0.999, eps=1e-8):
    """Section 4.8: a constant momentum, and m_hat corrected as in Adam; the survey names no rate."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        v_hat = v / (1 - b2**t)
        look_ahead = b1 * m_hat + (1 - b1) * g / (1 - b1**t)
        return -rate(learning_rate, t) * ratio(look_ahead, np.sqrt(v_hat) + eps)

    return step
