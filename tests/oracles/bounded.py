"""AdaBound and AMSBound."""

import numpy as np

from .loop import oracle, rate


@oracle
def adabound(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, final_learning_rate=0.1, gamma=1e-3):
    """Luo, Xiong, Liu, Sun, ICLR 2019, arXiv:1902.09843, Algorithm 2 in the form of the authors' code."""
    return bounded(learning_rate, b1, b2, eps, final_learning_rate, gamma, np.asarray)


@oracle
def amsbound(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, final_learning_rate=0.1, gamma=1e-3):
    """Luo, Xiong, Liu, Sun, ICLR 2019, arXiv:1902.09843: AdaBound with the maximum of v as in AMSGrad."""
    v_max = 0.0

    def maximum(v):
        nonlocal v_max
        v_max = np.maximum(v_max, v)
        return v_max

    return bounded(learning_rate, b1, b2, eps, final_learning_rate, gamma, maximum)


def bounded(learning_rate, b1, b2, eps, final_learning_rate, gamma, second_moment):
    """The step of both methods; they differ in the second moment under the root."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        denominator = np.sqrt(second_moment(v)) + eps
        alpha = rate(learning_rate, t) * np.sqrt(1 - b2**t) / (1 - b1**t)
        final = final_learning_rate * rate(learning_rate, t) / rate(learning_rate, 1)
        lower = final * (1 - 1 / (gamma * t + 1))  # eta_l(t)
        upper = final * (1 + 1 / (gamma * t))  # eta_u(t)
        eta = np.divide(alpha, denominator, out=np.full(np.shape(g), np.inf), where=np.not_equal(denominator, 0))
        return -np.clip(eta, lower, upper) * m

    return step
