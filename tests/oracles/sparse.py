"""Methods for a table of rows of which each update touches few: no other row moves, and none of their memories.

Each is name(x, rows, counts="global", **hyperparameters) for a table x, (V, *rest), and the list rows of the
(indices (k,), values (k, *rest)) of every update. Values of the same row are added up, an index of V or more means
nothing, a row whose sum is all 0 is not touched. Returns the updates, (n, V, *rest), of x_t = x_{t-1} + u_t. With
counts="global" t is that of the update, with counts="row" it counts how often the row has been touched.
"""

import numpy as np

from .loop import rate, ratio


def summed(indices, values, size):
    """{row: sum of its values} of the rows that are touched."""
    sums = {}
    for index, value in zip(indices, values, strict=True):
        assert index >= 0
        if index < size:
            sums[int(index)] = sums.get(int(index), 0.0) + np.asarray(value, dtype=np.float64)
    return {row: g for row, g in sums.items() if np.any(g != 0)}


def row_wise(method):
    """Turn method(t, g, memory, **hyperparameters) -> u of one row, whose memory is a dict, into name(x, rows, ...)."""

    def run(x, rows, counts="global", **hyperparameters):
        assert counts in ("global", "row")
        x = np.asarray(x, dtype=np.float64)
        memories = [{} for _ in x]
        touched = [0 for _ in x]
        updates = np.zeros((len(rows), *x.shape))
        for t, (indices, values) in enumerate(rows, start=1):
            for row, g in summed(indices, values, len(x)).items():
                touched[row] += 1
                count = t if counts == "global" else touched[row]
                updates[t - 1, row] = method(count, g, memories[row], **hyperparameters)
        return updates

    run.__name__ = run.__qualname__ = method.__name__
    run.__module__ = method.__module__
    run.__doc__ = method.__doc__
    return run


@row_wise
def sgd(t, g, memory, learning_rate):
    """x = x - eta g."""
    return -rate(learning_rate, t) * g


@row_wise
def momentum(t, g, memory, learning_rate, momentum):
    """v = mu v + g; x = x - eta v."""
    memory["v"] = momentum * memory.get("v", 0.0) + g
    return -rate(learning_rate, t) * memory["v"]


@row_wise
def adagrad(t, g, memory, learning_rate, initial_accumulator_value, eps):
    """G = G + g^2; x = x - eta g / (sqrt(G) + eps)."""
    memory["G"] = memory.get("G", initial_accumulator_value) + g**2
    return -rate(learning_rate, t) * ratio(g, np.sqrt(memory["G"]) + eps)


@row_wise
def rmsprop(t, g, memory, learning_rate, b2, eps):
    """v = b2 v + (1 - b2) g^2; x = x - eta g / (sqrt(v) + eps)."""
    memory["v"] = b2 * memory.get("v", 0.0) + (1 - b2) * g**2
    return -rate(learning_rate, t) * ratio(g, np.sqrt(memory["v"]) + eps)


@row_wise
def adam(t, g, memory, learning_rate, b1, b2, eps):
    """Kingma, Ba, ICLR 2015, arXiv:1412.6980, Algorithm 1, its moments divided by 1 - b^t for the t of the counts."""
    memory["m"] = b1 * memory.get("m", 0.0) + (1 - b1) * g
    memory["v"] = b2 * memory.get("v", 0.0) + (1 - b2) * g**2
    m_hat = memory["m"] / (1 - b1**t)
    v_hat = memory["v"] / (1 - b2**t)
    return -rate(learning_rate, t) * ratio(m_hat, np.sqrt(v_hat) + eps)
