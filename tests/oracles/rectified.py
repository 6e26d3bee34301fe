"""Rectified Adam."""

from decimal import Decimal, localcontext

import numpy as np

from .loop import oracle, rate, ratio


def sma_lengths(b2, t):
    """rho_inf and rho_t, in 60 digits because the two terms of rho_t cancel."""
    with localcontext() as context:
        context.prec = 60
        beta = Decimal(float(b2))
        rho_inf = 2 / (1 - beta) - 1
        rho = rho_inf - 2 * t * beta**t / (1 - beta**t)
        return float(rho_inf), float(rho)


def rectification(rho_inf, rho):
    """r_t, the variance rectification term."""
    return np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))


@oracle
def radam(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, threshold=5.0):
    """Liu, Jiang, He, Chen, Liu, Gao, Han, ICLR 2020, arXiv:1908.03265, with rho_t >= threshold in the place of
    rho_t > 4 and with the eps of Adam's Algorithm 1."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        rho_inf, rho = sma_lengths(b2, t)
        if rho >= threshold:
            v_hat = v / (1 - b2**t)
            return -rate(learning_rate, t) * rectification(rho_inf, rho) * ratio(m_hat, np.sqrt(v_hat) + eps)
        return -rate(learning_rate, t) * m_hat

    return step
