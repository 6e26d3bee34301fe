"""Methods that divide by the root of summed or averaged squared gradients."""

import numpy as np

from .loop import oracle, rate, ratio


@oracle
def adagrad(learning_rate=0.01, initial_accumulator_value=0.0, eps=1e-10):
    """Duchi, Hazan, Singer, JMLR 12:2121-2159, 2011: the diagonal composite mirror descent step with phi = 0."""
    G = initial_accumulator_value

    def step(t, g, x):
        nonlocal G
        G = G + g**2
        H = eps + np.sqrt(G)
        return -rate(learning_rate, t) * ratio(g, H)

    return step


@oracle
def adadelta(learning_rate=1.0, rho=0.95, eps=1e-6):
    """Zeiler, 2012, arXiv:1212.5701, Algorithm 1; E[dx^2] is that of dx before the learning rate."""
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
def adagrad_full_matrix(learning_rate=0.01, eps=1e-10):
    """Duchi, Hazan, Singer, JMLR 12:2121-2159, 2011: the mirror descent step with H = eps I + G^(1/2) for the matrix G
    of the flattened array; with eps = 0 its pseudo-inverse, where less than 1e-7 of the largest eigenvalue is 0."""
    history = []

    def step(t, g, x):
        history.append(g.ravel())
        A = np.stack(history, axis=1)  # G = A A^T, so that G^(1/2) = U diag(s) U^T, without the squares of s
        U, s, _ = np.linalg.svd(A, full_matrices=False)
        rounding = max(A.shape) * np.finfo(np.float64).eps  # g lies in the range of G: nothing of it is below
        kept = s > (1e-7 if eps == 0 else rounding) * np.max(s, initial=0.0)
        U, s = U[:, kept], s[kept]
        return -rate(learning_rate, t) * (U @ (U.T @ g.ravel() / (eps + s))).reshape(g.shape)

    return step


@oracle
def adagrad_rda(learning_rate=0.01, eps=1e-10, l1=0.0, l2=0.0, low=None, high=None):
    """Duchi, Hazan, Singer, JMLR 12:2121-2159, 2011: the diagonal primal-dual step with phi = l1 |x| + l2 x^2 / 2 over
    the box [low, high]; psi is centred at the first x, which is 0 in the paper."""
    G = 0.0
    total = 0.0  # t times the mean gradient
    first = None

    def step(t, g, x):
        nonlocal G, total, first
        if first is None:
            first = x
        G = G + g**2
        total = total + g
        eta = rate(learning_rate, t)
        return nearest(first, eta * total, eps + np.sqrt(G), eta * t * l1, eta * t * l2, low, high) - x

    return step


@oracle
def adagrad_mirror(learning_rate=0.01, eps=1e-10, l1=0.0, l2=0.0, low=None, high=None):
    """Duchi, Hazan, Singer, JMLR 12:2121-2159, 2011: the diagonal composite mirror descent step with
    phi = l1 |x| + l2 x^2 / 2 over the box [low, high]."""
    G = 0.0

    def step(t, g, x):
        nonlocal G
        G = G + g**2
        eta = rate(learning_rate, t)
        return nearest(x, eta * g, eps + np.sqrt(G), eta * l1, eta * l2, low, high) - x

    return step


def nearest(centre, slope, H, l1, l2, low, high):
    """argmin of slope x + l1 |x| + l2 x^2 / 2 + H (x - centre)^2 / 2 over [low, high]; the centre where H = 0."""
    h = np.where(H == 0, 1.0, H)
    x = centre - slope / h
    x = np.sign(x) * np.maximum(np.abs(x) - l1 / h, 0.0) / (1 + l2 / h)
    x = np.clip(x, -np.inf if low is None else low, np.inf if high is None else high)
    return np.where(H == 0, centre, x)
