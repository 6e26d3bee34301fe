"""Adafactor."""

import math

import numpy as np

from .loop import oracle, rate, ratio, rms


@oracle
def adafactor(
    learning_rate=None,
    decay_rate=0.8,
    eps=1e-30,
    min_parameter_scale=1e-3,
    clipping_threshold=1.0,
    factored_dims="last",
    min_dim_size_to_factor=1,
    momentum=None,
    momentum_position="after",
):
    """Shazeer, Stern, ICML 2018, arXiv:1804.04235, Algorithm 4 (rank >= 2: matrices of two axes) and Algorithm 5 (lower
    ranks, and small axes); learning_rate takes the place of the relative step rho_t = min(1e-2, 1/sqrt(t)).

    The average of the momentum is one of the finished steps alpha U_hat ("after") or of U_hat ("before").
    """
    second_moment = factored_moment(decay_rate, eps, factored_dims, min_dim_size_to_factor)
    average = moving_average(momentum)

    def step(t, g, x):
        rho = min(1e-2, 1 / math.sqrt(t)) if learning_rate is None else rate(learning_rate, t)
        alpha = rho if min_parameter_scale is None else max(min_parameter_scale, rms(x)) * rho
        U = ratio(g, np.sqrt(second_moment(t, g)))
        U_hat = U / max(1.0, rms(U) / clipping_threshold)
        return -average(alpha * U_hat) if momentum_position == "after" else -alpha * average(U_hat)

    return step


def factored_moment(decay_rate, eps, factored_dims, min_dim_size_to_factor):
    """(t, g) -> V_hat_t, the product of the sums over either axis, or the full average where there is no such pair."""
    R = 0.0
    C = 0.0
    V = 0.0

    def second_moment(t, g):
        nonlocal R, C, V
        b2 = 1 - t**-decay_rate
        axes = factored_axes(g.shape, factored_dims, min_dim_size_to_factor)
        if axes is None:
            V = b2 * V + (1 - b2) * (g**2 + eps)
            return V
        row, column = axes
        R = b2 * R + (1 - b2) * np.sum(g**2 + eps, axis=column, keepdims=True)
        C = b2 * C + (1 - b2) * np.sum(g**2 + eps, axis=row, keepdims=True)
        return ratio(R * C, np.sum(R, axis=row, keepdims=True))

    return second_moment


def factored_axes(shape, factored_dims, min_dim_size_to_factor):
    """The axes of the rows and of the columns; None: not factored."""
    if len(shape) < 2:
        return None
    axes = (-2, -1) if factored_dims == "last" else tuple(np.argsort(shape)[-2:])
    return axes if min(shape[axis] for axis in axes) >= min_dim_size_to_factor else None


def moving_average(decay):
    """A function of z_1, z_2, ... in turn that returns their average from 0, not corrected; None: z itself."""
    m = 0.0

    def average(z):
        nonlocal m
        m = z if decay is None else decay * m + (1 - decay) * z
        return m

    return average
