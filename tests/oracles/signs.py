"""Methods that look at the signs of gradients: at two of them, or at one alone."""

import numpy as np

from .loop import oracle, rate


def agreement(g, h):
    """The sign of g h, without the underflow of the product."""
    return np.sign(g) * np.sign(h)


@oracle
def delta_bar_delta(learning_rate=0.01, kappa=1e-3, phi=0.1, decay=0.7):
    """Jacobs, "Increased rates of convergence through learning rate adaptation", Neural Networks 1(4):295-307, 1988,
    doi:10.1016/0893-6080(88)90003-2; learning_rate is eps_0 and decay is theta."""
    eps = learning_rate
    delta_bar = 0.0

    def step(t, g, x):
        nonlocal eps, delta_bar
        sign = agreement(delta_bar, g)
        eps = eps + kappa * (sign > 0) - phi * eps * (sign < 0)
        delta_bar = (1 - decay) * g + decay * delta_bar
        return -eps * g

    return step


@oracle
def hinton_gains(learning_rate=0.01, increase=0.05, decrease=0.95, min_gain=0.1, max_gain=10.0):
    """Hinton, Srivastava, Swersky, "Lecture 6d: a separate, adaptive learning rate for each connection", Coursera:
    Neural Networks for Machine Learning, 2012; the first step has no gradient before it and keeps the gain 1."""
    gain = 1.0
    previous = None

    def step(t, g, x):
        nonlocal gain, previous
        if previous is not None:
            gain = np.where(agreement(previous, g) > 0, gain + increase, gain * decrease)
            gain = np.clip(gain, min_gain, max_gain)
        previous = g
        return -rate(learning_rate, t) * gain * g

    return step


@oracle
def rprop(learning_rate=0.01, eta_minus=0.5, eta_plus=1.2, min_step_size=1e-6, max_step_size=50.0, variant="iminus"):
    """Riedmiller, Braun, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm", ICNN 1993
    ("plus", with its weight backtracking); Igel, Huesken, "Improving the Rprop learning algorithm", NC 2000 ("minus":
    nothing special on a change of sign; "iminus": the gradient then counts as 0, now and when it is remembered)."""
    assert variant in ("minus", "iminus", "plus")
    delta = learning_rate
    previous = 0.0
    u = 0.0

    def step(t, g, x):
        nonlocal delta, previous, u
        sign = agreement(previous, g)
        delta = np.where(sign > 0, np.minimum(delta * eta_plus, max_step_size), delta)
        delta = np.where(sign < 0, np.maximum(delta * eta_minus, min_step_size), delta)
        previous = g if variant == "minus" else np.where(sign < 0, 0.0, g)
        undo = (sign < 0) & (variant == "plus")
        u = np.where(undo, -u, -delta * np.sign(previous))
        return u

    return step


@oracle
def lion(learning_rate=1e-4, b1=0.9, b2=0.99, weight_decay=0.0):
    """Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023, arXiv:2302.06675, Algorithm 2."""
    m = 0.0

    def step(t, g, x):
        nonlocal m
        c = b1 * m + (1 - b1) * g
        m = b2 * m + (1 - b2) * g
        return -rate(learning_rate, t) * (np.sign(c) + weight_decay * x)

    return step
