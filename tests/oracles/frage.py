"""FRAGE: Gong et al., NeurIPS 2018, arXiv:1809.06858. embedding is (V, d), popular (V,) says which are frequent."""

import numpy as np


def frequency_classes(counts, share=0.2):
    """Which words, (V,), are popular: the round(share V) most frequent of them, of equal ones the first."""
    order = np.argsort(-np.asarray(counts, dtype=np.float64), kind="stable")
    popular = np.zeros(len(order), dtype=bool)
    popular[order[: round(share * len(order))]] = True
    return popular


def frage_loss(embedding, popular, kernel, bias, strength=0.1, push="both"):
    """(loss, d_embedding, d_kernel, d_bias) of the linear discriminator z = embedding kernel + bias, kernel (d,), bias
    a number, whose sigmoid is the probability that a word is popular. The loss is the mean cross entropy of the popular
    words plus that of the rare ones. Its discriminator descends; the embedding gets the gradient times -strength, or
    its rare rows alone with push="rare"."""
    assert push in ("both", "rare")
    E = np.asarray(embedding, dtype=np.float64)
    k = np.asarray(kernel, dtype=np.float64)
    popular = np.asarray(popular, dtype=bool)
    z = E @ k + bias
    loss = np.mean(np.logaddexp(0.0, -z[popular])) + np.mean(np.logaddexp(0.0, z[~popular]))
    probability = np.exp(-np.logaddexp(0.0, -z))
    dz = np.where(popular, -np.exp(-np.logaddexp(0.0, z)) / np.sum(popular), probability / np.sum(~popular))
    d_embedding = -strength * np.outer(dz, k)
    if push == "rare":
        d_embedding[popular] = 0.0
    return loss, d_embedding, E.T @ dz, np.sum(dz)


def moments(rows):
    """Mean, unbiased variance, and the third and fourth moments divided by powers of that variance, 0 where it is 0; of
    each feature. Analytic, for complex steps."""
    mean = np.mean(rows, axis=0)
    centred = rows - mean
    variance = np.sum(centred**2, axis=0) / (len(rows) - 1)
    constant = np.all(rows.real == rows.real[0], axis=0)
    safe = np.where(constant, 1.0, variance)
    skewness = np.where(constant, 0.0, np.mean(centred**3, axis=0) / safe**1.5)
    kurtosis = np.where(constant, 0.0, np.mean(centred**4, axis=0) / safe**2)
    return mean, variance, skewness, kurtosis


def length(z):
    """The l2 norm of a complex step, whose derivative at 0 is 0."""
    return np.sqrt(np.sum(z**2)) if np.any(z.real != 0) else 0.0


def moment_loss_value(embedding, popular):
    """The lengths of the differences of the four moments of both classes, added up."""
    pairs = zip(moments(embedding[popular]), moments(embedding[~popular]), strict=True)
    return sum(length(a - b) for a, b in pairs)


def moment_loss(embedding, popular):
    """(loss, d_embedding): the moment matching of the authors' code, whose gradient goes to both classes here."""
    E = np.asarray(embedding, dtype=np.float64)
    popular = np.asarray(popular, dtype=bool)
    h = 1e-30
    d_embedding = np.zeros_like(E)
    for at in np.ndindex(E.shape):
        moved = E.astype(np.complex128)
        moved[at] += h * 1j
        d_embedding[at] = np.imag(moment_loss_value(moved, popular)) / h
    return float(np.real(moment_loss_value(E, popular))), d_embedding
