"""Gradient descent, the heavy ball, several of them together, and Nesterov's momentum."""

import math

import numpy as np

from .loop import oracle, rate


@oracle
def sgd(learning_rate=0.01):
    """Gradient descent: x_t = x_{t-1} - eta g_t."""

    def step(t, g, x):
        return -rate(learning_rate, t) * g

    return step


@oracle
def momentum(learning_rate=0.01, momentum=0.9):
    """Qian, "On the momentum term in gradient descent learning algorithms", Neural Networks 12(1):145-151, 1999,
    doi:10.1016/S0893-6080(98)00116-6, with the rate outside the velocity; momentum is a number or a schedule."""
    v = 0.0

    def step(t, g, x):
        nonlocal v
        v = rate(momentum, t) * v + g
        return -rate(learning_rate, t) * v

    return step


@oracle
def nesterov(learning_rate=0.01, momentum=0.9):
    """Nesterov, Doklady AN SSSR 269:543-547, 1983, as in Sutskever, Martens, Dahl, Hinton, ICML 2013, with the rate
    outside the velocity and the gradient at the current point theta + mu v; momentum is a number or a schedule."""
    v = 0.0

    def step(t, g, x):
        nonlocal v
        v = rate(momentum, t) * v + g
        return -rate(learning_rate, t) * (g + rate(momentum, t + 1) * v)

    return step


def next_a(a):
    """a_{k+1} of Nesterov's sequence, from a_k."""
    return (1 + math.sqrt(4 * a * a + 1)) / 2


@oracle
def nesterov_1983(learning_rate=0.01):
    """Nesterov, Doklady AN SSSR 269:543-547, 1983, with a given step alpha in the place of the halving; x is y_k, where
    the gradient is taken."""
    a = 1.0
    previous = None  # x_{k-1}

    def step(t, g, y):
        nonlocal a, previous
        if previous is None:
            previous = y  # x_{-1} = y_0
        to_x = -rate(learning_rate, t) * g  # x_k - y_k
        a_next = next_a(a)
        u = to_x + (a - 1) / a_next * (y + to_x - previous)
        previous = y + to_x
        a = a_next
        return u

    return step


def nesterov_1983_backtracking(f, gradient, y0, steps, learning_rate=1.0, max_backtracking_steps=30):
    """Nesterov, Doklady AN SSSR 269:543-547, 1983, with alpha_{-1} = learning_rate.

    Returns x_0..x_{steps-1}, y_0..y_{steps} (one more, for y_k is where step k starts) and alpha_0..alpha_{steps-1}.
    """
    y = previous = np.asarray(y0, dtype=np.float64)
    a = 1.0
    alpha = float(learning_rate)
    xs, ys, alphas = [], [y], []
    for _ in range(steps):
        g = gradient(y)
        alpha = halved(f, y, g, alpha, max_backtracking_steps)
        x = y - alpha * g
        a_next = next_a(a)
        y = x + (a - 1) / a_next * (x - previous)
        previous, a = x, a_next
        xs.append(x)
        ys.append(y)
        alphas.append(alpha)
    return np.array(xs), np.array(ys), np.array(alphas)


def halved(f, y, g, alpha, most):
    """2^-i alpha of the first i whose step gains at least 2^-(i+1) alpha |g|^2, and of i = most if none before has."""
    value = f(y)
    for _ in range(most):
        if value - f(y - alpha * g) >= alpha / 2 * np.sum(g * g):
            break
        alpha = alpha / 2
    return alpha


@oracle
def aggmo(learning_rate=0.1, momenta=(0.0, 0.9, 0.99)):
    """Lucas, Sun, Zemel, Grosse, "Aggregated momentum: stability through passive damping", ICLR 2019,
    arXiv:1804.00325: K velocities of the same gradient, each with its own damping, and their mean."""
    velocities = [0.0] * len(momenta)

    def step(t, g, x):
        nonlocal velocities
        velocities = [b * v - g for b, v in zip(momenta, velocities, strict=True)]
        return rate(learning_rate, t) / len(momenta) * sum(velocities)

    return step
