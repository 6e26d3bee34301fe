"""Methods as their authors' repositories run them, where the library's default form is another."""

import numpy as np

from .loop import oracle, rate, ratio
from .momentum import sgd
from .rectified import rectification, sma_lengths
from .slow import lookahead as paper_lookahead


@oracle
def radam(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.0):
    """github.com/LiyuanLucasLiu/RAdam since 2021-07-31: rho_t >= 5, eps beside the raw sqrt(v), the decay before the
    step; nothing moves in the steps before, while the moments do."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        rho_inf, rho = sma_lengths(b2, t)
        if rho < 5:
            return np.zeros_like(x)
        eta = rate(learning_rate, t)
        step_size = eta * rectification(rho_inf, rho) * np.sqrt(1 - b2**t) / (1 - b1**t)
        return -eta * weight_decay * x - step_size * ratio(m, np.sqrt(v) + eps)

    return step


@oracle
def lookahead(inner=sgd, inner_settings=None, sync_period=5, slow_step_size=0.8):
    """github.com/michaelrzhang/lookahead, whose default is the step size of the paper's CIFAR runs."""
    return paper_lookahead.start(inner, inner_settings, sync_period, slow_step_size)


@oracle
def nadam(learning_rate=2e-3, b1=0.9, b2=0.9, eps=1e-16):
    """Dozat's own TensorFlow code (2015): the momenta mu_t and upsilon_t are such that both averages weigh as Adam's
    corrected ones, so nothing else is corrected; eps is inside the root."""
    m = 0.0
    v = 0.0

    def debiased(b, t):
        return b * (1 - b ** (t - 1)) / (1 - b**t)

    def step(t, g, x):
        nonlocal m, v
        mu, mu_next, upsilon = debiased(b1, t), debiased(b1, t + 1), debiased(b2, t)
        m = mu * m + (1 - mu) * g
        v = upsilon * v + (1 - upsilon) * g**2
        m_bar = mu_next * m + (1 - mu) * g
        return -rate(learning_rate, t) * ratio(m_bar, np.sqrt(v + eps))

    return step
