"""LAMB, LARS and the ratio of norms that they share; the parameter array is one layer."""

import numpy as np

from .loop import norm, oracle, rate, ratio


def trust_ratio(x, d, min_norm=0.0, max_norm=np.inf):
    """phi(||x||) / ||d||, and 1 where either norm is 0."""
    if norm(x) == 0 or norm(d) == 0:
        return 1.0
    return np.clip(norm(x), min_norm, max_norm) / norm(d)


@oracle
def lamb(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01, min_norm=0.0, max_norm=np.inf):
    """You et al., ICLR 2020, arXiv:1904.00962, Algorithm 2, with phi(z) = clip(z, min_norm, max_norm) and ratio 1 where
    a norm is 0 (before phi)."""
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
        return -rate(learning_rate, t) * trust_ratio(x, d, min_norm, max_norm) * d

    return step


@oracle
def nlamb(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01):
    """N-LAMB of You et al., ICLR 2020, arXiv:1904.00962: m_hat looks one step ahead as Nadam's, with constant betas;
    v_hat = b2 v / (1 - b2^t) keeps the factor b2 of Nadam's n_hat."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        v_hat = b2 * v / (1 - b2**t)
        d = ratio(m_hat, np.sqrt(v_hat) + eps) + weight_decay * x
        return -rate(learning_rate, t) * trust_ratio(x, d) * d

    return step


@oracle
def nnlamb(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01):
    """NN-LAMB of You et al., ICLR 2020, arXiv:1904.00962: both m_hat and v_hat look one step ahead."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        v_hat = b2 * v / (1 - b2 ** (t + 1)) + (1 - b2) * g**2 / (1 - b2**t)
        d = ratio(m_hat, np.sqrt(v_hat) + eps) + weight_decay * x
        return -rate(learning_rate, t) * trust_ratio(x, d) * d

    return step


@oracle
def lars(learning_rate=0.1, momentum=0.9, weight_decay=1e-4):
    """LARS as in You et al., ICLR 2020, arXiv:1904.00962, Algorithm 1: the ratio is of the momentum, with phi the
    identity and ratio 1 where a norm is 0."""
    m = 0.0

    def step(t, g, x):
        nonlocal m
        m = momentum * m + (1 - momentum) * (g + weight_decay * x)
        return -rate(learning_rate, t) * trust_ratio(x, m) * m

    return step


@oracle
def lars_2017(learning_rate=0.1, momentum=0.9, weight_decay=1e-4, trust_coefficient=0.001):
    """You, Gitman, Ginsburg, arXiv:1708.03888: the local rate is of the gradient and both rates are inside the
    velocity; it is 1 where ||x|| or ||g|| is 0."""
    v = 0.0

    def step(t, g, x):
        nonlocal v
        local_rate = 1.0
        if norm(x) > 0 and norm(g) > 0:
            local_rate = trust_coefficient * norm(x) / (norm(g) + weight_decay * norm(x))
        v = momentum * v + rate(learning_rate, t) * local_rate * (g + weight_decay * x)
        return -v

    return step


@oracle
def layerwise(inner, inner_settings, learning_rate):
    """You et al., ICLR 2020, arXiv:1904.00962, the general strategy: the update of any inner method at the norm
    learning_rate ||x||; where a norm is 0, the inner update as it is."""
    inner_step = inner.start(**(inner_settings or {}))

    def step(t, g, x):
        u = inner_step(t, g, x)
        if norm(x) == 0 or norm(u) == 0:
            return u
        return rate(learning_rate, t) * norm(x) / norm(u) * u

    return step
