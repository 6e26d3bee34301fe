"""Several workers that descend together: averages, elastic centres, parameter servers, gradients that come late.

grad(worker, t, x) is the gradient of worker 0, 1, ... at the weights x at update t = 1, 2, ...; all workers start at
x0, of any shape. Loops of several workers return (xs, centres): the weights of all workers, (steps, workers, *shape),
and those that they share, (steps, *shape), after each update. Loops of one worker ask for grad(0, t, x) and return xs,
(steps, *shape). `inner`, `outer` and `server` are methods of this package, each with its settings.
"""

import numpy as np

from .adagrad import adagrad
from .loop import rate, ratio
from .momentum import sgd


def begin(x0, workers):
    """The weights of all workers, equal ones, and x0 itself."""
    x0 = np.asarray(x0, dtype=np.float64)
    return [x0.copy() for _ in range(workers)], x0


def synchronous(grad, x0, workers, steps, inner=sgd, inner_settings=None):
    """Every update takes the mean of the gradients of all workers, which thus stay together."""
    _, x = begin(x0, workers)
    inner_step = inner.start(**(inner_settings or {}))
    xs, centres = [], []
    for t in range(1, steps + 1):
        g = np.mean([grad(i, t, x) for i in range(workers)], axis=0)
        x = x + inner_step(t, g, x)
        xs.append([x] * workers)
        centres.append(x)
    return np.array(xs), np.array(centres)


def local_sgd(
    grad,
    x0,
    workers,
    steps,
    inner=sgd,
    inner_settings=None,
    sync_period=10,
    outer=None,
    outer_settings=None,
):
    """Stich, ICLR 2019, arXiv:1805.09767: every worker steps alone and goes to the mean after each sync_period-th
    update. With an outer method (Wang et al., SlowMo, ICLR 2020, arXiv:1910.00643, Algorithm 1; Douillard et al.,
    DiLoCo, arXiv:2311.08105, Algorithm 1) it is the centre that moves, by the gradient centre - mean, and all go there.
    The inner methods keep their states; t of the outer one counts syncs. The centre is that of the last sync."""
    x, centre = begin(x0, workers)
    inner_steps = [inner.start(**(inner_settings or {})) for _ in range(workers)]
    outer_step = None if outer is None else outer.start(**(outer_settings or {}))
    xs, centres = [], []
    for t in range(1, steps + 1):
        for i in range(workers):
            x[i] = x[i] + inner_steps[i](t, grad(i, t, x[i]), x[i])
        if t % sync_period == 0:
            mean = np.mean(x, axis=0)
            centre = mean if outer is None else centre + outer_step(t // sync_period, centre - mean, centre)
            x = [centre] * workers
        xs.append(list(x))
        centres.append(centre)
    return np.array(xs), np.array(centres)


def easgd(grad, x0, workers, steps, learning_rate=0.01, moving_rate=0.9, sync_period=10):
    """Zhang, Choromanska, LeCun, NIPS 2015, arXiv:1412.6651, Algorithm 1 in the synchronous form of eqs. 5 and 6, where
    alpha = beta / workers and t - 1 = 0, 1, ... counts: all pulls and gradients are at the weights of before."""
    x, centre = begin(x0, workers)
    alpha = moving_rate / workers
    xs, centres = [], []
    for t in range(1, steps + 1):
        old = list(x)
        old_centre = centre
        for i in range(workers):
            x[i] = old[i] - rate(learning_rate, t) * grad(i, t, old[i])
            if (t - 1) % sync_period == 0:
                x[i] = x[i] - alpha * (old[i] - old_centre)
                centre = centre + alpha * (old[i] - old_centre)
        xs.append(list(x))
        centres.append(centre)
    return np.array(xs), np.array(centres)


def eamsgd(grad, x0, workers, steps, learning_rate=0.01, moving_rate=0.9, sync_period=10, momentum=0.9):
    """Zhang, Choromanska, LeCun, NIPS 2015, arXiv:1412.6651, Algorithm 2 in the synchronous form. Returns
    (xs, ys, centres): ys are the points x + delta v, where the next gradients will be taken, of the shape of xs."""
    x, centre = begin(x0, workers)
    v = [np.zeros_like(centre) for _ in range(workers)]
    alpha = moving_rate / workers
    xs, ys, centres = [], [], []
    for t in range(1, steps + 1):
        old = list(x)
        old_centre = centre
        for i in range(workers):
            if (t - 1) % sync_period == 0:
                x[i] = x[i] - alpha * (old[i] - old_centre)
                centre = centre + alpha * (old[i] - old_centre)
            v[i] = momentum * v[i] - rate(learning_rate, t) * grad(i, t, old[i] + momentum * v[i])
            x[i] = x[i] + v[i]
        xs.append(list(x))
        ys.append([x[i] + momentum * v[i] for i in range(workers)])
        centres.append(centre)
    return np.array(xs), np.array(ys), np.array(centres)


def downpour(
    grad,
    x0,
    workers,
    steps,
    server=adagrad,
    server_settings=None,
    learning_rate=0.01,
    push_period=1,
    fetch_period=1,
):
    """Dean et al., "Large scale distributed deep networks", NIPS 2012, Algorithm 7.1 with the workers in step: they
    push after each push_period-th gradient, one after another, then fetch after each fetch_period-th. The server makes
    one step with the sum that each worker has accrued; its t counts pushes. The centres are its weights."""
    x, centre = begin(x0, workers)
    accrued = [np.zeros_like(centre) for _ in range(workers)]
    server_step = server.start(**(server_settings or {}))
    pushes = 0
    xs, centres = [], []
    for t in range(1, steps + 1):
        for i in range(workers):
            g = grad(i, t, x[i])
            accrued[i] = accrued[i] + g
            x[i] = x[i] - rate(learning_rate, t) * g
        if t % push_period == 0:
            for i in range(workers):
                pushes += 1
                centre = centre + server_step(pushes, accrued[i], centre)
                accrued[i] = np.zeros_like(centre)
        if t % fetch_period == 0:
            x = [centre] * workers
        xs.append(list(x))
        centres.append(centre)
    return np.array(xs), np.array(centres)


def delay(grad, x0, steps, delay, inner=sgd, inner_settings=None):
    """Update t takes the gradient of update t - delay, at the weights of then; the first `delay` updates do nothing.
    The t of the inner method counts the gradients that it has got."""
    x = np.asarray(x0, dtype=np.float64)
    inner_step = inner.start(**(inner_settings or {}))
    gradients = {}
    xs = []
    for t in range(1, steps + 1):
        gradients[t] = grad(0, t, x)
        if t > delay:
            x = x + inner_step(t - delay, gradients[t - delay], x)
        xs.append(x)
    return np.array(xs)


def adaptive_revision(grad, x0, steps, delay, learning_rate=0.01, initial_accumulator_value=1.0):
    """McMahan, Streeter, "Delay-tolerant algorithms for asynchronous distributed online learning", NIPS 2014,
    Algorithm AdaptiveRevision: every gradient comes with the sum g_bar of all that had been applied when its weights
    were read. It is applied `delay` updates later; the first `delay` updates do nothing. 0 / 0 = 0 in g / sqrt(z)."""
    x = np.asarray(x0, dtype=np.float64)
    g_bar = np.zeros_like(x)
    z = np.full_like(x, initial_accumulator_value)
    z_max = z.copy()
    read = {}
    xs = []
    for t in range(1, steps + 1):
        read[t] = grad(0, t, x), g_bar
        if t > delay:
            g, g_bar_old = read[t - delay]
            g_back = g_bar - g_bar_old
            root_old = np.sqrt(z_max)
            z = z + g**2 + 2 * g * g_back
            z_max = np.maximum(z, z_max)
            root = np.sqrt(z_max)
            alpha = rate(learning_rate, t - delay)
            x = x - alpha * ratio(g, root)
            x = x + alpha * (ratio(g_back, root_old) - ratio(g_back, root))
            g_bar = g_bar + g
        xs.append(x)
    return np.array(xs)


def hogwild(grad, x0, delays, learning_rate=0.01):
    """Recht, Re, Wright, Niu, NIPS 2011, arXiv:1106.5730, as descent with late gradients: the coordinate c of the
    gradient of update t arrives at update t + delays[t - 1][c], where delays, (steps, *shape), are whole numbers. What
    arrives together is added up; the learning rate is that of the arrival."""
    x = np.asarray(x0, dtype=np.float64)
    delays = np.asarray(delays)
    assert delays.shape[1:] == x.shape
    sent = []
    xs = []
    for t in range(1, len(delays) + 1):
        sent.append(grad(0, t, x))
        arrived = np.zeros_like(x)
        for s in range(1, t + 1):
            arrived = arrived + np.where(s + delays[s - 1] == t, sent[s - 1], 0.0)
        x = x - rate(learning_rate, t) * arrived
        xs.append(x)
    return np.array(xs)
