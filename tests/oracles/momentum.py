"""Gradient descent, the heavy ball and Nesterov's momentum."""

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
    doi:10.1016/S0893-6080(98)00116-6, with the rate outside the velocity."""
    v = 0.0

    def step(t, g, x):
        nonlocal v
        v = momentum * v + g
        return -rate(learning_rate, t) * v

    return step


@oracle
def nesterov(learning_rate=0.01, momentum=0.9):
    """Nesterov, Doklady AN SSSR 269:543-547, 1983, as in Sutskever, Martens, Dahl, Hinton, ICML 2013, with a constant
    momentum mu and the gradient at the current point theta + mu v."""
    v = 0.0

    def step(t, g, x):
        nonlocal v
        v = momentum * v + g
        return -rate(learning_rate, t) * (g + momentum * v)

    return step
