"""Adafactor."""

import math

import numpy as np

from .loop import oracle, rate, ratio, rms


@oracle
def adafactor(learning_rate=None, decay_rate=0.8, eps=1e-30, min_parameter_scale=1e-3, clipping_threshold=1.0):
    """Shazeer, Stern, ICML 2018, arXiv:1804.04235, Algorithm 4 (rank >= 2: matrices of the last two axes) and
    Algorithm 5 (lower ranks); learning_rate takes the place of the relative step rho_t = min(1e-2, 1/sqrt(t))."""
    R = 0.0
    C = 0.0
    V = 0.0

    def step(t, g, x):
        nonlocal R, C, V
        rho = min(1e-2, 1 / math.sqrt(t)) if learning_rate is None else rate(learning_rate, t)
        alpha = max(min_parameter_scale, rms(x)) * rho
        b2 = 1 - t**-decay_rate
        if g.ndim >= 2:
            R = b2 * R + (1 - b2) * np.sum(g**2 + eps, axis=-1)
            C = b2 * C + (1 - b2) * np.sum(g**2 + eps, axis=-2)
            V_hat = ratio(R[..., :, None] * C[..., None, :], np.sum(R, axis=-1)[..., None, None])
        else:
            V_hat = V = b2 * V + (1 - b2) * (g**2 + eps)
        U = ratio(g, np.sqrt(V_hat))
        U_hat = U / max(1.0, rms(U) / clipping_threshold)
        return -alpha * U_hat

    return step
