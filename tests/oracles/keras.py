"""Methods as Keras 3 has them, with its defaults."""

import math

import numpy as np

from .adam import moments
from .bounded import maximum_so_far
from .factored import factored_moment
from .loop import norm, oracle, rate, ratio, rms


@oracle
def momentum(learning_rate=0.01, momentum=0.9):
    """SGD(momentum): the rate is inside the velocity."""
    m = 0.0

    def step(t, g, x):
        nonlocal m
        m = momentum * m - rate(learning_rate, t) * g
        return m

    return step


@oracle
def nesterov(learning_rate=0.01, momentum=0.9):
    """SGD(momentum, nesterov=True): the rate is inside the velocity, and the present rate in the look-ahead."""
    m = 0.0

    def step(t, g, x):
        nonlocal m
        m = momentum * m - rate(learning_rate, t) * g
        return momentum * m - rate(learning_rate, t) * g

    return step


@oracle
def adagrad(learning_rate=1e-3, initial_accumulator_value=0.1, eps=1e-7):
    """Adagrad: eps is inside the root."""
    G = initial_accumulator_value

    def step(t, g, x):
        nonlocal G
        G = G + g**2
        return -rate(learning_rate, t) * ratio(g, np.sqrt(G + eps))

    return step


@oracle
def rmsprop(learning_rate=1e-3, decay=0.9, eps=1e-7):
    """RMSprop: eps is inside the root."""
    v = 0.0

    def step(t, g, x):
        nonlocal v
        v = decay * v + (1 - decay) * g**2
        return -rate(learning_rate, t) * ratio(g, np.sqrt(v + eps))

    return step


@oracle
def adadelta(learning_rate=1e-3, rho=0.95, eps=1e-7):
    """Adadelta: E[dx^2] is that of dx before the learning rate."""
    Eg2 = 0.0
    Edx2 = 0.0

    def step(t, g, x):
        nonlocal Eg2, Edx2
        Eg2 = rho * Eg2 + (1 - rho) * g**2
        dx = -ratio(np.sqrt(Edx2 + eps) * g, np.sqrt(Eg2 + eps))
        Edx2 = rho * Edx2 + (1 - rho) * dx**2
        return rate(learning_rate, t) * dx

    return step


@oracle
def adam(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-7):
    """Adam: the corrections are in the rate, so eps is eps_hat."""
    averages = moments(b1, b2)

    def step(t, g, x):
        m, v = averages(g)
        return -corrected(rate(learning_rate, t), b1, b2, t) * ratio(m, np.sqrt(v) + eps)

    return step


@oracle
def amsgrad(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-7):
    """Adam(amsgrad=True): the maximum of the raw v, and eps_hat."""
    averages = moments(b1, b2)
    maximum = maximum_so_far()

    def step(t, g, x):
        m, v = averages(g)
        return -corrected(rate(learning_rate, t), b1, b2, t) * ratio(m, np.sqrt(maximum(v)) + eps)

    return step


@oracle
def adamw(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-7, weight_decay=0.004):
    """AdamW: Adam with eps_hat, and the decay multiplied by the learning rate."""
    adam_step = adam.start(learning_rate, b1, b2, eps)

    def step(t, g, x):
        return adam_step(t, g, x) - rate(learning_rate, t) * weight_decay * x

    return step


def corrected(alpha, b1, b2, t):
    """alpha_t, the rate of the eps_hat form."""
    return alpha * np.sqrt(1 - b2**t) / (1 - b1**t)


@oracle
def adamax(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-7):
    """Adamax: eps is added to the maximum."""
    m = 0.0
    u = 0.0

    def step(t, g, x):
        nonlocal m, u
        m = b1 * m + (1 - b1) * g
        u = np.maximum(b2 * u, np.abs(g))
        return -rate(learning_rate, t) / (1 - b1**t) * ratio(m, u + eps)

    return step


@oracle
def nadam(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-7):
    """Nadam: a constant momentum in m, and mu_t, which reaches b1 250 times faster than Dozat's, around it."""
    averages = moments(b1, b2)
    product = 1.0  # mu_1 ... mu_t

    def mu(t):
        return b1 * (1 - 0.5 * 0.96**t)

    def step(t, g, x):
        nonlocal product
        m, v = averages(g)
        product = product * mu(t)
        m_hat = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
        return -rate(learning_rate, t) * ratio(m_hat, np.sqrt(v / (1 - b2**t)) + eps)

    return step


@oracle
def adafactor(learning_rate=1e-3, decay_rate=0.8, eps=1e-30, min_parameter_scale=1e-3, clipping_threshold=1.0):
    """Adafactor: the rate is at most 1/sqrt(t)."""
    second_moment = factored_moment(decay_rate, eps, "last", 1)

    def step(t, g, x):
        alpha = max(min_parameter_scale, rms(x)) * min(rate(learning_rate, t), 1 / math.sqrt(t))
        U = ratio(g, np.sqrt(second_moment(t, g)))
        return -alpha * U / max(1.0, rms(U) / clipping_threshold)

    return step


@oracle
def lamb(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-7, weight_decay=0.0):
    """Lamb: the decay comes first and is no part of the adapted update, but the norm is that of the decayed weights."""
    averages = moments(b1, b2)

    def step(t, g, x):
        m, v = averages(g)
        r = ratio(m / (1 - b1**t), np.sqrt(v / (1 - b2**t)) + eps)
        decay = rate(learning_rate, t) * weight_decay * x
        x = x - decay
        trust = norm(x) / norm(r) if norm(x) > 0 and norm(r) > 0 else 1.0
        return -decay - rate(learning_rate, t) * trust * r

    return step
