"""What goes around a method: averages of the weights, accumulated gradients, Heun's steps, rows that rest, noise."""

import numpy as np

from .loop import oracle, rate, ratio


def temporal_average(xs, decay=0.999):
    """Kingma, Ba, ICLR 2015, arXiv:1412.6980, Section 7.2: the unbiased averages of x_1, ..., x_t, t = 1..T."""
    average = 0.0
    averages = []
    for t, x in enumerate(xs, start=1):
        average = decay * average + (1 - decay) * np.asarray(x, dtype=np.float64)
        averages.append(average / (1 - decay**t))
    return averages


def polyak(xs):
    """Polyak, Juditsky, SIAM J. Control Optim. 30(4):838-855, 1992: the means of x_1, ..., x_t, t = 1..T."""
    return [np.mean(np.asarray(xs[:t], dtype=np.float64), axis=0) for t in range(1, len(xs) + 1)]


@oracle
def accumulate(inner, inner_settings, every):
    """One step of the inner method with the mean of `every` gradients, whose t counts those steps; 0 in between."""
    inner_step = inner.start(**(inner_settings or {}))
    total = 0.0

    def step(t, g, x):
        nonlocal total
        total = total + g
        if t % every != 0:
            return np.zeros_like(x)
        mean = total / every
        total = 0.0
        return inner_step(t // every, mean, x)

    return step


def heun(f_gradient, x0, learning_rate, steps):
    """Heun's method for x' = -f_gradient(x): the mean of the slopes at both ends of a step; [x_1, ..., x_steps]."""
    x = np.asarray(x0, dtype=np.float64)
    xs = []
    for t in range(1, steps + 1):
        eta = rate(learning_rate, t)
        g = f_gradient(x)
        x = x - eta * (g + f_gradient(x - eta * g)) / 2
        xs.append(x)
    return xs


@oracle
def lazy_adam(learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8, state="frozen"):
    """Adam that moves only the rows (slices along the last axis) whose gradient is not all 0. The moments of the others
    are "frozen" or decay as ever ("dense"); t counts all steps."""
    assert state in ("frozen", "dense")
    m = 0.0
    v = 0.0

    def step(t, g, x):
        nonlocal m, v
        touched = np.any(g != 0, axis=-1, keepdims=True) if g.ndim > 0 else g != 0
        moving = touched if state == "frozen" else True
        m = np.where(moving, b1 * m + (1 - b1) * g, m)
        v = np.where(moving, b2 * v + (1 - b2) * g**2, v)
        m_hat = m / (1 - b1**t)
        v_hat = v / (1 - b2**t)
        return np.where(touched, -rate(learning_rate, t) * ratio(m_hat, np.sqrt(v_hat) + eps), 0.0)

    return step


def noise_sigma(t, eta=0.01, gamma=0.55):
    """Neelakantan et al., arXiv:1511.06807: sigma_t^2 = eta / (1 + t)^gamma, with t = 0 at the first step."""
    return np.sqrt(eta / (1 + t) ** gamma)
