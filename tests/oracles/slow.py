"""Lookahead and Ranger, which synchronise with slow weights."""

import numpy as np

from .loop import oracle, rate, ratio
from .momentum import sgd
from .rectified import rectification, sma_lengths


@oracle
def lookahead(inner=sgd, inner_settings=None, sync_period=5, slow_step_size=0.5):
    """Zhang, Lucas, Hinton, Ba, NeurIPS 2019, arXiv:1907.08610, Algorithm 1; the inner state is kept over the syncs."""
    inner_step = inner.start(**(inner_settings or {}))
    phi = None

    def step(t, g, x):
        nonlocal phi
        if phi is None:
            phi = x  # phi_0
        u = inner_step(t, g, x)
        if t % sync_period == 0:
            phi = phi + slow_step_size * (x + u - phi)
            return phi - x
        return u

    return step


@oracle
def ranger(
    learning_rate=1e-3,
    b1=0.95,
    b2=0.999,
    eps=1e-5,
    weight_decay=0.0,
    sync_period=6,
    slow_step_size=0.5,
    threshold=5.0,
):
    """Wright, Ranger 20.4.11 (2020): gradient centralization (Yong et al., arXiv:2004.01461), RAdam (arXiv:1908.03265,
    eps_hat form, rho_t > threshold) with decoupled decay, Lookahead (arXiv:1907.08610). Outputs are the last axis."""
    m = 0.0
    v = 0.0
    phi = None

    def step(t, g, x):
        nonlocal m, v, phi
        if phi is None:
            phi = x  # phi_0
        eta = rate(learning_rate, t)
        if g.ndim > 1:
            g = g - np.mean(g, axis=tuple(range(g.ndim - 1)), keepdims=True)
        v = b2 * v + (1 - b2) * g**2
        m = b1 * m + (1 - b1) * g
        rho_inf, rho = sma_lengths(b2, t)
        u = -eta * weight_decay * x
        if rho > threshold:
            r = rectification(rho_inf, rho)
            u = u - eta * r * np.sqrt(1 - b2**t) / (1 - b1**t) * ratio(m, np.sqrt(v) + eps)
        else:
            u = u - eta / (1 - b1**t) * m
        if t % sync_period == 0:
            phi = phi + slow_step_size * (x + u - phi)
            return phi - x
        return u

    return step
