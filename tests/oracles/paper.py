"""Methods as their papers print them, where the library's default form is another."""

import numpy as np

from .adam import moments
from .bounded import maximum_so_far, uncorrected
from .layerwise import trust_ratio
from .loop import oracle, rate, ratio
from .rectified import rectification, sma_lengths


@oracle
def momentum(learning_rate=0.01, momentum=0.9):
    """Qian, Neural Networks 12(1):145-151, 1999, doi:10.1016/S0893-6080(98)00116-6: the rate is inside the velocity."""
    dw = 0.0

    def step(t, g, x):
        nonlocal dw
        dw = -rate(learning_rate, t) * g + rate(momentum, t) * dw
        return dw

    return step


@oracle
def nesterov(learning_rate=0.01, momentum=0.9):
    """Sutskever, Martens, Dahl, Hinton, ICML 2013: the rate is inside the velocity; x is theta + mu v, where the
    gradient is taken."""
    v = 0.0

    def step(t, g, x):
        nonlocal v
        to_theta = -rate(momentum, t) * v  # theta - x
        v = rate(momentum, t) * v - rate(learning_rate, t) * g
        return to_theta + v + rate(momentum, t + 1) * v

    return step


@oracle
def rmsprop(learning_rate=1e-3, decay=0.9):
    """Tieleman, Hinton, "Lecture 6.5 - rmsprop", Coursera: Neural Networks for Machine Learning, 2012: no eps; the
    lecture names no rate."""
    ms = 0.0

    def step(t, g, x):
        nonlocal ms
        ms = decay * ms + (1 - decay) * g**2
        return -rate(learning_rate, t) * ratio(g, np.sqrt(ms))

    return step


@oracle
def lamb(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01):
    """You et al., ICLR 2020, arXiv:1904.00962, Appendix E: without the corrections of the bias; ratio 1 where a norm is
    0."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        d = ratio(m, np.sqrt(v) + eps) + weight_decay * x
        return -rate(learning_rate, t) * trust_ratio(x, d) * d

    return step


@oracle
def radam(learning_rate=1e-3, b1=0.9, b2=0.999):
    """Liu et al., ICLR 2020, arXiv:1908.03265, Algorithm 2: adaptive where rho_t > 4, no eps."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        rho_inf, rho = sma_lengths(b2, t)
        if rho > 4:
            v_hat = v / (1 - b2**t)
            return -rate(learning_rate, t) * rectification(rho_inf, rho) * ratio(m_hat, np.sqrt(v_hat))
        return -rate(learning_rate, t) * m_hat

    return step


@oracle
def adam(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8):
    """Kingma, Ba, ICLR 2015, arXiv:1412.6980, end of Section 2: the corrections are in the rate; eps is eps_hat."""
    averages = moments(b1, b2)

    def step(t, g, x):
        m, v = averages(g)
        alpha = rate(learning_rate, t) * np.sqrt(1 - b2**t) / (1 - b1**t)
        return -alpha * ratio(m, np.sqrt(v) + eps)

    return step


@oracle
def adamax(learning_rate=2e-3, b1=0.9, b2=0.999):
    """Kingma, Ba, ICLR 2015, arXiv:1412.6980, Algorithm 2: no eps."""
    m = 0.0
    u = 0.0

    def step(t, g, x):
        nonlocal m, u
        m = b1 * m + (1 - b1) * g
        u = np.maximum(b2 * u, np.abs(g))
        return -rate(learning_rate, t) / (1 - b1**t) * ratio(m, u)

    return step


@oracle
def nadam(learning_rate=2e-3, b1=0.99, b2=0.999, eps=1e-8):
    """Dozat, ICLR workshop 2016 (OpenReview OM0jvwB8jIp57ZJjtNEZ), Algorithm 2, with its factor nu of n_hat."""
    m = 0.0
    n = 0.0
    product = 1.0  # mu_1 ... mu_t

    def mu(t):
        return b1 * (1 - 0.5 * 0.96 ** (t / 250))

    def step(t, g, x):
        nonlocal m, n, product
        product = product * mu(t)
        m = mu(t) * m + (1 - mu(t)) * g
        n = b2 * n + (1 - b2) * g**2
        m_hat = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
        n_hat = b2 * n / (1 - b2**t)
        return -rate(learning_rate, t) * ratio(m_hat, np.sqrt(n_hat) + eps)

    return step


@oracle
def amsgrad(learning_rate=1e-3, b1=0.9, b2=0.999, eps=0.0):
    """Reddi, Kale, Kumar, ICLR 2018, arXiv:1904.09237, Algorithm 2: nothing is corrected, and there is no eps."""
    averages = moments(b1, b2)
    maximum = maximum_so_far()

    def step(t, g, x):
        m, v = averages(g)
        return -rate(learning_rate, t) * ratio(m, np.sqrt(maximum(v)) + eps)

    return step


@oracle
def adamw(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, weight_decay=1e-2, schedule=1.0):
    """Loshchilov, Hutter, ICLR 2019, arXiv:1711.05101, Algorithm 2: the schedule eta_t multiplies the decay, the
    learning rate alpha does not."""
    averages = moments(b1, b2)

    def step(t, g, x):
        m, v = averages(g)
        adam = ratio(m / (1 - b1**t), np.sqrt(v / (1 - b2**t)) + eps)
        return -rate(schedule, t) * (rate(learning_rate, t) * adam + weight_decay * x)

    return step


@oracle
def sgdw(learning_rate=0.05, momentum=0.9, weight_decay=1e-2, schedule=1.0):
    """Loshchilov, Hutter, ICLR 2019, arXiv:1711.05101, Algorithm 1: eta_t alpha is inside the velocity, and eta_t alone
    multiplies the decay."""
    m = 0.0

    def step(t, g, x):
        nonlocal m
        m = momentum * m + rate(schedule, t) * rate(learning_rate, t) * g
        return -m - rate(schedule, t) * weight_decay * x

    return step


@oracle
def adabound(learning_rate=1e-3, b1=0.9, b2=0.999, final_learning_rate=0.1, gamma=None):
    """Luo, Xiong, Liu, Sun, ICLR 2019, arXiv:1902.09843, Algorithm 2: nothing is corrected, there is no eps, and the
    clipped step size is divided by sqrt(t). The bounds follow a schedule of alpha."""
    return uncorrected(learning_rate, b1, b2, final_learning_rate, gamma, np.asarray)


@oracle
def amsbound(learning_rate=1e-3, b1=0.9, b2=0.999, final_learning_rate=0.1, gamma=None):
    """Luo, Xiong, Liu, Sun, ICLR 2019, arXiv:1902.09843: AdaBound with the maximum of v."""
    return uncorrected(learning_rate, b1, b2, final_learning_rate, gamma, maximum_so_far())
