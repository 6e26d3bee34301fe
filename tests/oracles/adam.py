"""Adam and the methods that differ from it in one line."""

import numpy as np

from .loop import oracle, rate, ratio


@oracle
def adam(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0):
    """Kingma, Ba, ICLR 2015, arXiv:1412.6980, Algorithm 1; eps_root is added to v_hat inside the root."""
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        v_hat = v / (1 - b2**t)
        return -rate(learning_rate, t) * ratio(m_hat, np.sqrt(v_hat + eps_root) + eps)

    return step


@oracle
def adamax(learning_rate=2e-3, b1=0.9, b2=0.999, eps=1e-8):
    """Kingma, Ba, ICLR 2015, arXiv:1412.6980, Algorithm 2, with |g_t| + eps in the place of |g_t|."""
    m = 0.0
    u = 0.0

    def step(t, g, x):
        nonlocal m, u
        m = b1 * m + (1 - b1) * g
        u = np.maximum(b2 * u, np.abs(g) + eps)
        return -rate(learning_rate, t) / (1 - b1**t) * ratio(m, u)

    return step


@oracle
def nadam(learning_rate=2e-3, b1=0.99, b2=0.999, eps=1e-8):
    """Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016 (OpenReview OM0jvwB8jIp57ZJjtNEZ),
    Algorithm 2, without the factor nu of n_hat."""
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
        n_hat = n / (1 - b2**t)
        return -rate(learning_rate, t) * ratio(m_hat, np.sqrt(n_hat) + eps)

    return step


@oracle
def amsgrad(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8):
    """Reddi, Kale, Kumar, ICLR 2018, arXiv:1904.09237, Algorithm 2, with m and the maximum of the raw v corrected for
    their bias as in Adam."""
    m = 0.0
    v = 0.0
    v_max = 0.0

    def step(t, g, x):
        nonlocal m, v, v_max
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        v_max = np.maximum(v_max, v)
        m_hat = m / (1 - b1**t)
        v_hat = v_max / (1 - b2**t)
        return -rate(learning_rate, t) * ratio(m_hat, np.sqrt(v_hat) + eps)

    return step


@oracle
def adamnc(learning_rate=1e-3, b1=0.9, b1_decay=1 - 1e-8, eps=1e-8):
    """Reddi, Kale, Kumar, ICLR 2018, arXiv:1904.09237, Algorithm 3 with b2_t = 1 - 1/t: v is the mean of the squares so
    far; b1_t = b1 b1_decay^(t-1), alpha_t = alpha / sqrt(t), nothing corrected, and eps beside the root."""
    m = 0.0
    squares = 0.0

    def step(t, g, x):
        nonlocal m, squares
        b1_t = b1 * b1_decay ** (t - 1)
        m = b1_t * m + (1 - b1_t) * g
        squares = squares + g**2
        return -rate(learning_rate, t) / np.sqrt(t) * ratio(m, np.sqrt(squares / t) + eps)

    return step


@oracle
def qhadam(learning_rate=1e-3, b1=0.995, b2=0.999, nu1=0.7, nu2=1.0, eps=1e-8):
    """Ma, Yarats, ICLR 2019, arXiv:1810.06801: Adam with the present gradient mixed into both of its averages."""
    averages = moments(b1, b2)

    def step(t, g, x):
        m, v = averages(g)
        numerator = (1 - nu1) * g + nu1 * m / (1 - b1**t)
        square = (1 - nu2) * g**2 + nu2 * v / (1 - b2**t)
        return -rate(learning_rate, t) * ratio(numerator, np.sqrt(square) + eps)

    return step


def moments(b1, b2):
    """A function of g_1, g_2, ... in turn that returns the averages m_t and v_t of Adam, not corrected."""
    m = 0.0
    v = 0.0

    def averages(g):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        return m, v

    return averages
