"""AdaBound and its relatives: a step size per coordinate, clipped between two bounds."""

import numpy as np

from .adam import moments
from .loop import oracle, rate


@oracle
def adabound(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, final_learning_rate=0.1, gamma=1e-3, weight_decay=0.0):
    """Luo, Xiong, Liu, Sun, ICLR 2019, arXiv:1902.09843, Algorithm 2 in the form of the authors' code; the decay is
    added to the gradient."""
    bounds = moving(final_learning_rate, gamma)
    return bounded(learning_rate, b1, b2, eps, bounds, np.asarray, weight_decay)


@oracle
def amsbound(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, final_learning_rate=0.1, gamma=1e-3, weight_decay=0.0):
    """Luo, Xiong, Liu, Sun, ICLR 2019, arXiv:1902.09843: AdaBound with the maximum of v as in AMSGrad."""
    bounds = moving(final_learning_rate, gamma)
    return bounded(learning_rate, b1, b2, eps, bounds, maximum_so_far(), weight_decay)


@oracle
def adaboundw(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, final_learning_rate=0.1, gamma=1e-3, weight_decay=1e-4):
    """AdaBoundW of the code of Luo, Xiong, Liu, Sun, ICLR 2019, arXiv:1902.09843: AdaBound, with the decay taken from
    the weights and not multiplied by any rate."""
    adabound_step = adabound.start(learning_rate, b1, b2, eps, final_learning_rate, gamma)

    def step(t, g, x):
        return adabound_step(t, g, x) - weight_decay * x

    return step


@oracle
def sgdbound(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, lower_bound=0.01, upper_bound=1.0):
    """AdaBound (Luo, Xiong, Liu, Sun, ICLR 2019, arXiv:1902.09843) with bounds that do not move."""
    return bounded(learning_rate, b1, b2, eps, lambda t: (lower_bound, upper_bound), np.asarray, 0.0)


def moving(final, gamma):
    """t -> (eta_l(t), eta_u(t))."""
    return lambda t: (final * (1 - 1 / (gamma * t + 1)), final * (1 + 1 / (gamma * t)))


def maximum_so_far():
    """A function of v_1, v_2, ... in turn that returns the maximum so far, 0 included."""
    v_max = 0.0

    def maximum(v):
        nonlocal v_max
        v_max = np.maximum(v_max, v)
        return v_max

    return maximum


def quotient(alpha, denominator):
    """alpha / denominator, infinite where the denominator is 0: the upper bound is taken there."""
    unbounded = np.full(np.shape(denominator), np.inf)
    return np.divide(alpha, denominator, out=unbounded, where=np.not_equal(denominator, 0))


def bounded(learning_rate, b1, b2, eps, bounds, second_moment, weight_decay):
    """The step of all of them; they differ in the bounds, and in the second moment under the root."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        g = g + weight_decay * x
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        alpha = rate(learning_rate, t) * np.sqrt(1 - b2**t) / (1 - b1**t)
        follow = rate(learning_rate, t) / rate(learning_rate, 1)
        lower, upper = bounds(t)
        eta = quotient(alpha, np.sqrt(second_moment(v)) + eps)
        return -np.clip(eta, follow * lower, follow * upper) * m

    return step


def uncorrected(learning_rate, b1, b2, final_learning_rate, gamma, second_moment):
    """The step as the paper prints it: no bias correction, no eps, and the clipped step size over sqrt(t)."""
    averages = moments(b1, b2)
    bounds = moving(final_learning_rate, 1 - b2 if gamma is None else gamma)

    def step(t, g, x):
        m, v = averages(g)
        alpha = rate(learning_rate, t)
        follow = alpha / rate(learning_rate, 1)
        lower, upper = bounds(t)
        eta_hat = np.clip(quotient(alpha, np.sqrt(second_moment(v))), follow * lower, follow * upper)
        return -eta_hat / np.sqrt(t) * m

    return step
