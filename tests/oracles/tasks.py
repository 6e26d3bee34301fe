"""Weights of the losses of several tasks: GradNorm, dynamic averages, uncertainties, and conflicting gradients.

losses are (n, T) and gradients a list of arrays (n, T, *shape): those of T tasks at n updates, given in advance.
`shared` says of each array whether the norms and products are of it too, None that they are of all. Every loop returns
(sums, weights): a list of arrays (n, *shape), sum_i w_i g_i, and the weights (n, T) that were used.
"""

import numpy as np

from .loop import ratio


def prepared(gradients):
    """The gradients as float64 arrays."""
    return [np.asarray(g, dtype=np.float64) for g in gradients]


def flat(gradients, shared, t, i):
    """The gradient of task i at update t with respect to all shared arrays, as one vector."""
    chosen = [True] * len(gradients) if shared is None else list(shared)
    assert any(chosen)
    assert len(chosen) == len(gradients)
    return np.concatenate([g[t, i].ravel() for g, yes in zip(gradients, chosen, strict=True) if yes])


def weighted_sums(gradients, weights):
    """sum_i w_i g_i of every update and array."""
    sums = []
    for g in gradients:
        total = np.zeros(g.shape[:1] + g.shape[2:])
        for t in range(g.shape[0]):
            for i in range(g.shape[1]):
                total[t] = total[t] + weights[t, i] * g[t, i]
        sums.append(total)
    return sums


def adam_steps(learning_rate, b1, b2, eps):
    """A function of g_1, g_2, ... in turn that returns the steps of Adam, arXiv:1412.6980, Algorithm 1."""
    m = 0.0
    v = 0.0
    t = 0

    def step(g):
        nonlocal m, v, t
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        v_hat = v / (1 - b2**t)
        return -learning_rate * ratio(m_hat, np.sqrt(v_hat) + eps)

    return step


def gradnorm(
    losses,
    gradients,
    shared=None,
    alpha=1.5,
    learning_rate=0.025,
    initial_losses=None,
    min_weight=1e-3,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
):
    """Chen, Badrinarayanan, Lee, Rabinovich, ICML 2018, arXiv:1711.02257, Algorithm 1, with Adam for the weights, which
    are clipped at min_weight before they are scaled to the sum T. Losses at the start must not be 0; where all losses
    are 0 later, all r_i = 1."""
    losses = np.asarray(losses, dtype=np.float64)
    gradients = prepared(gradients)
    n, T = losses.shape
    first = losses[0] if initial_losses is None else np.asarray(initial_losses, dtype=np.float64)
    assert np.all(first > 0)
    step = adam_steps(learning_rate, b1, b2, eps)
    w = np.ones(T)
    used = []
    for t in range(n):
        used.append(w)
        norms = np.array([np.linalg.norm(flat(gradients, shared, t, i)) for i in range(T)])
        G = w * norms
        L_tilde = losses[t] / first
        r = L_tilde / np.mean(L_tilde) if np.any(L_tilde != 0) else np.ones(T)
        target = np.mean(G) * r**alpha  # a constant for the derivative of sum_i |G_i - target_i|
        w = w + step(np.sign(G - target) * norms)
        w = np.maximum(w, min_weight)
        w = T * w / np.sum(w)
    used = np.array(used)
    return weighted_sums(gradients, used), used


def dynamic_weight_average(losses, gradients, temperature=2.0, every=1):
    """Liu, Johns, Davison, CVPR 2019, arXiv:1803.10704, eq. 7: lambda_i = T softmax(r_i / temperature) with the ratio
    r_i of the mean losses of the last two periods of `every` updates, r_i = 1 in the first two periods."""
    losses = np.asarray(losses, dtype=np.float64)
    gradients = prepared(gradients)
    n, T = losses.shape
    used = []
    for t in range(n):
        period = t // every
        r = np.ones(T)
        if period >= 2:
            last = np.mean(losses[(period - 1) * every : period * every], axis=0)
            before = np.mean(losses[(period - 2) * every : (period - 1) * every], axis=0)
            r = last / before
        e = np.exp((r - np.max(r)) / temperature)
        used.append(T * e / np.sum(e))
    used = np.array(used)
    return weighted_sums(gradients, used), used


def uncertainty_weights(losses, gradients, learning_rate=1e-3, b1=0.9, b2=0.999, eps=1e-8):
    """Kendall, Gal, Cipolla, CVPR 2018, arXiv:1705.07115, eq. 7, in s_i = log sigma_i^2, which start at 0: the loss
    sum_i exp(-s_i) L_i / 2 + s_i / 2, whose s move by Adam after the weights exp(-s_i) / 2 have been used."""
    losses = np.asarray(losses, dtype=np.float64)
    gradients = prepared(gradients)
    n, T = losses.shape
    step = adam_steps(learning_rate, b1, b2, eps)
    s = np.zeros(T)
    used = []
    for t in range(n):
        used.append(np.exp(-s) / 2)
        s = s + step(1 / 2 - np.exp(-s) * losses[t] / 2)
    used = np.array(used)
    return weighted_sums(gradients, used), used


def pcgrad(gradients, permutations, shared=None):
    """Yu et al., NeurIPS 2020, arXiv:2001.06782, Algorithm 1. permutations[t, i], (n, T, T), is the order in which
    task i meets the tasks at update t, itself included, which it passes by. The gradients outside `shared` are just
    added up. The weights are those of the original gradients in the sum over the shared arrays, of any sign."""
    gradients = prepared(gradients)
    n, T = gradients[0].shape[:2]
    permutations = np.asarray(permutations)
    assert permutations.shape == (n, T, T)
    used = np.array([projected(gradients, shared, t, permutations[t]) for t in range(n)])
    sums = weighted_sums(gradients, used)
    if shared is not None:
        plain = weighted_sums(gradients, np.ones((n, T)))
        sums = [a if yes else b for a, b, yes in zip(sums, plain, shared, strict=True)]
    return sums, used


def projected(gradients, shared, t, orders):
    """The weights of the gradients g_j in sum_i g_i^PC at one update."""
    T = len(orders)
    g = [flat(gradients, shared, t, i) for i in range(T)]
    weights = np.zeros(T)
    for i in range(T):
        g_pc = g[i].copy()
        c = np.zeros(T)
        c[i] = 1.0  # g_pc = sum_j c_j g_j
        for j in orders[i]:
            product = np.sum(g_pc * g[j])
            if j != i and product < 0:
                c[j] = c[j] - product / np.sum(g[j] ** 2)
                g_pc = g_pc - product / np.sum(g[j] ** 2) * g[j]
        weights = weights + c
    return weights
