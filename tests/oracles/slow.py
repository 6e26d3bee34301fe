"""Lookahead, Ranger and Ranger21, which synchronise with slow weights."""

import math
from fractions import Fraction

import numpy as np

from .loop import oracle, rate, ratio
from .momentum import sgd
from .rectified import rectification, sma_lengths


@oracle
def lookahead(inner=sgd, inner_settings=None, sync_period=5, slow_step_size=0.5, inner_state="keep"):
    """Zhang, Lucas, Hinton, Ba, NeurIPS 2019, arXiv:1907.08610, Algorithm 1. At a sync the inner method keeps its state
    ("keep"), starts anew ("reset"), or its first moment, step.m, moves as the weights do ("interpolate")."""
    assert inner_state in ("keep", "reset", "interpolate")
    inner_step = inner.start(**(inner_settings or {}))
    born = 0
    phi = None
    slow_m = 0.0

    def step(t, g, x):
        nonlocal inner_step, born, phi, slow_m
        if phi is None:
            phi = x  # phi_0
        u = inner_step(t - born, g, x)
        if t % sync_period != 0:
            return u
        phi = phi + slow_step_size * (x + u - phi)
        if inner_state == "reset":
            inner_step = inner.start(**(inner_settings or {}))
            born = t
        if inner_state == "interpolate":
            slow_m = inner_step.m = slow_step_size * inner_step.m + (1 - slow_step_size) * slow_m
        return phi - x

    return step


@oracle
def open_momentum(learning_rate=0.01, momentum=0.9):
    """The heavy ball with the rate outside, whose velocity is step.m, for Lookahead to interpolate."""

    def step(t, g, x):
        step.m = momentum * step.m + g
        return -rate(learning_rate, t) * step.m

    step.m = 0.0
    return step


@oracle
def open_adam(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8):
    """Adam, whose first moment is step.m, for Lookahead to interpolate."""
    v = 0.0

    def step(t, g, x):
        nonlocal v
        step.m = b1 * step.m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = step.m / (1 - b1**t)
        v_hat = v / (1 - b2**t)
        return -rate(learning_rate, t) * ratio(m_hat, np.sqrt(v_hat) + eps)

    step.m = 0.0
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


@oracle
def ranger_qh(
    learning_rate=1e-3,
    b1=0.9,
    b2=0.999,
    nu1=0.7,
    nu2=1.0,
    eps=1e-8,
    weight_decay=0.0,
    sync_period=6,
    slow_step_size=0.5,
):
    """Wright, RangerQH (2019): QHAdam (Ma, Yarats, arXiv:1810.06801) with decoupled decay, inside Lookahead."""
    m = 0.0
    v = 0.0
    phi = None

    def step(t, g, x):
        nonlocal m, v, phi
        if phi is None:
            phi = x  # phi_0
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        d = (1 - nu1) * g + nu1 * m / (1 - b1**t)
        s = np.sqrt((1 - nu2) * g**2 + nu2 * v / (1 - b2**t)) + eps
        u = -rate(learning_rate, t) * (ratio(d, s) + weight_decay * x)
        if t % sync_period == 0:
            phi = phi + slow_step_size * (x + u - phi)
            return phi - x
        return u

    return step


@oracle
def ranger_va(
    learning_rate=1e-3,
    b1=0.95,
    b2=0.999,
    eps=1e-5,
    weight_decay=0.0,
    threshold=5.0,
    sync_period=6,
    slow_step_size=0.5,
):
    """Wright, RangerVA (2019), as it is meant: RAdam on the largest v so far, with the softplus of its root for a
    denominator (Tong et al., arXiv:1908.00700), decoupled decay, inside Lookahead."""
    m = 0.0
    v = 0.0
    v_max = 0.0
    phi = None

    def step(t, g, x):
        nonlocal m, v, v_max, phi
        if phi is None:
            phi = x  # phi_0
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        v_max = np.maximum(v_max, v)
        d = m / (1 - b1**t)
        rho_inf, rho = sma_lengths(b2, t)
        if rho >= threshold:
            root = np.sqrt(v_max / (1 - b2**t)) + eps
            d = rectification(rho_inf, rho) * d / (np.logaddexp(0.0, 50 * root) / 50)
        u = -rate(learning_rate, t) * (d + weight_decay * x)
        if t % sync_period == 0:
            phi = phi + slow_step_size * (x + u - phi)
            return phi - x
        return u

    return step


def unit_norm(z):
    """The norms over all axes but the last, which is the outputs; of a vector or a number the norm of the whole."""
    return np.sqrt(np.sum(z * z, axis=tuple(range(z.ndim - 1)) if z.ndim > 1 else None, keepdims=True))


def prepared(g, x, clipping):
    """The gradient of Ranger21: clipped against the weights unit by unit, centralized, of standard deviation 1."""
    largest = clipping * np.maximum(unit_norm(x), 1e-3)
    g = np.where(unit_norm(g) > largest, g * largest / np.maximum(unit_norm(g), 1e-6), g)
    if g.ndim > 1:
        g = g - np.mean(g, axis=tuple(range(g.ndim - 1)), keepdims=True)
    return g / (np.std(g, ddof=1) + 1e-8) if g.size > 2 else g


def warmed(eta, t, steps, b2):
    """The rate eta after the linear warm-up and the linear warm-down of the last 28 % of the steps to 3e-5."""
    up = math.ceil(2 / (1 - Fraction(str(b2))))  # 2 / (1 - 0.9) is more than 20 in floats
    if 100 * up > 45 * steps:
        up = max(1, 22 * steps // 100)
    down = -(-72 * steps // 100)
    if t <= down or eta <= 3e-5:
        return eta * min(1.0, t / up)
    part = min(1.0, (t - down) / max(1, steps - down))
    return (1 - part) * eta + part * 3e-5


@oracle
def ranger21(
    learning_rate=1e-3,
    steps=1000,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    weight_decay=1e-4,
    positive_negative_factor=1.0,
    clipping=1e-2,
    sync_period=5,
    slow_step_size=0.5,
):
    """Wright, Demeure, arXiv:2106.13731, the formulas of the paper on one array, whose mean of v_hat is thus that of
    all parameters. Outputs are the last axis."""
    m = [0.0, 0.0]  # of the even and of the odd steps
    v = 0.0
    v_max = 0.0
    phi = None

    def adapted(t, g):
        nonlocal v, v_max
        b0 = positive_negative_factor
        m[t % 2] = b1**2 * m[t % 2] + (1 - b1**2) * g
        pn = ((1 + b0) * m[t % 2] - b0 * m[1 - t % 2]) / np.sqrt((1 + b0) ** 2 + b0**2)
        v = b2 * v + (1 - b2) * g**2
        v_max = np.maximum(v_max, v)
        v_hat = v_max / (1 - b2**t)
        softplus = np.logaddexp(0.0, 50 * (np.sqrt(v_hat) + eps)) / 50
        return pn / (1 - b1**t) / softplus, v_hat

    def step(t, g, x):
        nonlocal phi
        if phi is None:
            phi = x  # phi_0
        eta = warmed(rate(learning_rate, t), t, steps, b2)
        d, v_hat = adapted(t, prepared(g, x, clipping))
        u = -eta * d
        if np.mean(v_hat) > 0:
            u = u - eta * weight_decay / np.sqrt(np.mean(v_hat)) * x
        u = u - eta * 2 * 1e-4 * (1 - 1 / (unit_norm(x) + eps)) * x
        if t % sync_period == 0:
            phi = phi + slow_step_size * (x + u - phi)
            return phi - x
        return u

    return step
