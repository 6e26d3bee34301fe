"""LAMB; the parameter array is one layer."""

import numpy as np

from .loop import norm, oracle, rate, ratio


@oracle
def lamb(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01):
    """You et al., ICLR 2020, arXiv:1904.00962, Algorithm 2, with phi the identity and ratio 1 where a norm is 0."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        v_hat = v / (1 - b2**t)
        r = ratio(m_hat, np.sqrt(v_hat) + eps)
        d = r + weight_decay * x
        trust = norm(x) / norm(d) if norm(x) > 0 and norm(d) > 0 else 1.0
        return -rate(learning_rate, t) * trust * d

    return step
