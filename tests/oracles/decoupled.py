"""Weight decay beside the gradient's step instead of inside the gradient, and warm restarts."""

import numpy as np

from .loop import oracle, rate, ratio


@oracle
def adamw(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, weight_decay=1e-4):
    """Loshchilov, Hutter, ICLR 2019, arXiv:1711.05101, Algorithm 2, with the decay multiplied by the learning rate."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        v_hat = v / (1 - b2**t)
        return -rate(learning_rate, t) * (ratio(m_hat, np.sqrt(v_hat) + eps) + weight_decay * x)

    return step


@oracle
def sgdw(learning_rate=0.01, momentum=0.9, weight_decay=1e-4):
    """Loshchilov, Hutter, ICLR 2019, arXiv:1711.05101, Algorithm 1, with the rate outside the velocity and the decay
    multiplied by the learning rate."""
    v = 0.0

    def step(t, g, x):
        nonlocal v
        v = momentum * v + g
        return -rate(learning_rate, t) * (v + weight_decay * x)

    return step


@oracle
def adamwr(learning_rate=1e-3, period=100, t_mult=2, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.025):
    """Loshchilov, Hutter, ICLR 2019, arXiv:1711.05101, Algorithm 2 with the warm restarts and the normalized decay of
    Appendix B; learning_rate is alpha, which does not multiply the decay."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        eta, steps = restarts(t, period, t_mult)
        decay = weight_decay * np.sqrt(1 / steps)
        m_hat = m / (1 - b1**t)
        v_hat = v / (1 - b2**t)
        return -eta * (rate(learning_rate, t) * ratio(m_hat, np.sqrt(v_hat) + eps) + decay * x)

    return step


@oracle
def sgdwr(learning_rate=0.05, period=100, t_mult=2, momentum=0.9, weight_decay=0.025):
    """Loshchilov, Hutter, ICLR 2019, arXiv:1711.05101, Algorithm 1 with the warm restarts and the normalized decay of
    Appendix B; eta_t alpha is inside the velocity."""
    m = 0.0

    def step(t, g, x):
        nonlocal m
        eta, steps = restarts(t, period, t_mult)
        decay = weight_decay * np.sqrt(1 / steps)
        m = momentum * m + eta * rate(learning_rate, t) * g
        return -m - eta * decay * x

    return step


def restarts(t, period, t_mult):
    """eta_t = 1/2 + 1/2 cos(pi T_cur / T_i), and T_i, the steps between the restarts before and after step t."""
    current = t - 1
    while current >= period:
        current = current - period
        period = t_mult * period
    return 0.5 + 0.5 * np.cos(np.pi * current / period), period
