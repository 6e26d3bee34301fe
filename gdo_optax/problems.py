"""Small problems whose answers are known: what a method is good at, and where it fails, in a second."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from chex import Array

from gdo_optax.engine import ranges


class Problem(NamedTuple):
    """A loss, where to start, where its gradient is 0, its infimum, and its Hessian's eigenvalues at `solution`."""

    loss: Callable[[Array], Array]
    params: Array
    solution: Array
    minimum: float
    curvatures: np.ndarray


class MarginalValue(NamedTuple):
    """Least squares with more features than examples: the features, (n, 3 + 5n), and the labels, ±1. Start from 0."""

    features: np.ndarray
    labels: np.ndarray

    def loss(self, weights: Array) -> Array:
        """‖Xw − y‖²/(2n)."""
        weights = jnp.asarray(weights)
        x, y = (jnp.asarray(a, weights.dtype) for a in self)
        return jnp.sum((jnp.matmul(x, weights, precision="highest") - y) ** 2) / (2 * len(y))

    def test_scores(self, weights: Array) -> tuple[Array, Array]:
        """The scores of a new positive and of a new negative example: what is new in them has no weight yet."""
        return weights[0] + weights[1] + weights[2], -weights[0] + weights[1] + weights[2]

    @property
    def min_norm_scores(self) -> tuple[float, float]:
        """`test_scores` of the solution of least norm, which gradient descent finds."""
        plus, minus = int((self.labels > 0).sum()), int((self.labels < 0).sum())
        scale = 8 * plus * minus + 15 * plus + 3 * minus + 5
        of_plus, of_minus = plus * (4 * minus + 5) / scale, -minus * (4 * plus + 1) / scale  # n₊a₊, n₋a₋
        return 3 * of_plus + of_minus, of_plus + 3 * of_minus


class Online(NamedTuple):
    """A sequence of losses gₜ·x on [low, high]: their slopes, and the best and the worst fixed x."""

    gradients: Array
    best: float
    worst: float
    low: float
    high: float


def ravine(ratio: float = 100.0, dim: int = 2, angle: float = 0.0, seed: int | None = None) -> Problem:
    """A ravine: ½·xᵀAx, whose curvatures go from 1 to `ratio` in equal proportions.

    Steepest descent needs steps in proportion to the ratio. A step size of its own for every parameter helps where the
    ravine runs along an axis, the default, and not where it is turned. The start is as far away along all curvatures.

    Args:
        ratio: ≥ 1, the largest curvature divided by the smallest.
        dim: ≥ 2, how many parameters.
        angle: of the turn between the first and the last axis, in radians.
        seed: instead, of a random turn of all axes.

    Raises:
        ValueError: a value outside its range; an angle and a seed.

    Reference: R. S. Sutton (1986), "Two problems with backpropagation and other steepest-descent learning procedures
    for networks", Proc. 8th Annual Conference of the Cognitive Science Society.

    >>> problem = ravine(ratio=9.0)
    >>> problem.loss(problem.params), problem.curvatures
    (Array(5., dtype=float32), array([1., 9.]))
    """
    ranges.check("ravine", {"ratio": ratio, "dim": dim, "angle": angle})
    if angle and seed is not None:
        raise ValueError(f"ravine: angle={angle} and seed={seed}: it is turned once, by an angle or at random")
    dim = int(dim)  # which may be a float
    curvatures = np.geomspace(1, ratio, dim)
    turn = np.eye(dim)
    if seed is not None:
        q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))
        turn = q * np.sign(np.diag(r))  # which makes every direction as probable
    if angle:
        turn[np.ix_([0, -1], [0, -1])] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]

    def loss(params: Array) -> Array:
        params = jnp.asarray(params)
        along = jnp.matmul(jnp.asarray(turn.T, params.dtype), params, precision="highest")
        return jnp.sum(jnp.asarray(curvatures, params.dtype) * along**2) / 2

    return Problem(loss, jnp.asarray(turn.sum(1), float), jnp.zeros(dim), 0.0, curvatures)


def beale() -> Problem:
    """Beale's function: a flat valley, bent, between steep walls, with its minimum 0 at (3, ½).

        (1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²

    Reference: S. Ruder (2016), arXiv:1609.04747, section 4, whose animations show it.

    >>> beale().loss(beale().params), beale().loss(jnp.array([3.0, 0.5]))
    (Array(41.25, dtype=float32), Array(0., dtype=float32))
    """

    def loss(params: Array) -> Array:
        x, y = params
        return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2

    slopes = np.array([[-0.5, 3.0], [-0.75, 3.0], [-0.875, 2.25]])  # of the three terms, which are 0 at the minimum
    return Problem(loss, jnp.array([1.0, 1.5]), jnp.array([3.0, 0.5]), 0.0, np.linalg.eigvalsh(2 * slopes.T @ slopes))


def saddle() -> Problem:
    """A saddle: x² − y², from near its ridge. `solution` is the saddle point; the loss has no minimum.

    Reference: S. Ruder (2016), arXiv:1609.04747, section 4, whose animations show it.

    >>> saddle().loss(jnp.array([1.0, 2.0])), saddle().minimum
    (Array(-3., dtype=float32), -inf)
    """
    curvatures = np.array([-2.0, 2.0])
    return Problem(lambda p: p[0] ** 2 - p[1] ** 2, jnp.array([1.0, 1e-3]), jnp.zeros(2), -np.inf, curvatures)


def marginal_value_problem(n: int, seed: int, p: float = 0.6) -> MarginalValue:
    """The marginal value of adaptive methods: they fit the training set and fail every new negative example.

    The first feature is the label, the second and third are 1, and every example has features of its own, one if it is
    positive and five if not. From w = 0 AdaGrad, RMSprop and Adam see the sign of the gradient Xᵀy alone and end at
    sign(Xᵀy)/4, with the scores ¾ and ¼; gradient descent ends at the solution of least norm.

    Args:
        n: how many examples, ≥ 1.
        seed: of the labels, which are drawn again until most are positive.
        p: how probable a positive label is, in (½, 1].

    Raises:
        ValueError: a value outside its range.

    Reference: A. C. Wilson et al. (2017), "The marginal value of adaptive gradient methods", arXiv:1705.08292, sec. 3.

    >>> problem = marginal_value_problem(50, seed=0)
    >>> problem.test_scores(np.sign(problem.features.T @ problem.labels) / 4)
    (np.float64(0.75), np.float64(0.25))
    """
    if n != int(n) or n < 1:
        raise ValueError(f"marginal_value_problem: n={n} is outside the integers of [1, inf): it counts examples")
    if not 0.5 < p <= 1:
        raise ValueError(f"marginal_value_problem: p={p} is outside (0.5, 1]: most labels are positive")
    random, labels = np.random.default_rng(seed), np.zeros(n)
    while labels.sum() <= 0:
        labels = np.where(random.random(n) < p, 1.0, -1.0)
    own = np.where(labels > 0, 1, 5)[:, None] > np.arange(5)
    blocks = np.einsum("ij,ik->ijk", np.eye(n), own).reshape(n, 5 * n)
    return MarginalValue(np.column_stack([labels, np.ones((n, 2)), blocks]), labels)


def reddi_online(steps: int) -> Online:
    """Adam's failure, online: gₜ = 1010 where t mod 101 = 1, else −10; the best x is −1, Adam goes to 1.

    Reference: S. J. Reddi, S. Kale, S. Kumar (2018), arXiv:1904.09237, section 5.

    >>> reddi_online(102).gradients.sum()
    Array(1020., dtype=float32)
    """
    return _online("reddi_online", steps, 1010, 10, lambda t: t % 101 == 1)


def reddi_stochastic(steps: int, seed: int) -> Online:
    """Adam's failure, stochastic: gₜ = 1010 with probability 0.01, else −10; 0.2 on the average.

    Reference: S. J. Reddi, S. Kale, S. Kumar (2018), arXiv:1904.09237, section 5.

    >>> sorted(set(reddi_stochastic(1000, seed=0).gradients.tolist()))
    [-10.0, 1010.0]
    """
    return _online("reddi_stochastic", steps, 1010, 10, lambda t: np.random.default_rng(seed).random(len(t)) < 0.01)


def reddi_theorem1(c: float, steps: int) -> Online:
    """Adam's failure, proved: gₜ = C where t mod 3 = 1, else −1. With b1 = 0, b2 = 1/(1+C²), C > 2, Adam goes to 1.

    Reference: S. J. Reddi, S. Kale, S. Kumar (2018), arXiv:1904.09237, theorem 1.

    >>> reddi_theorem1(3.0, steps=5).gradients
    Array([ 3., -1., -1.,  3., -1.], dtype=float32)
    """
    if not 2 < c < np.inf:
        raise ValueError(f"reddi_theorem1: c={c} is outside (2, inf): below, the best x is not -1")
    return _online("reddi_theorem1", steps, c, 1, lambda t: t % 3 == 1)


def _online(name: str, steps: int, up: float, down: float, rises: Callable[[np.ndarray], np.ndarray]) -> Online:
    ranges.check(name, {"steps": steps})
    gradients = np.where(rises(np.arange(1, int(steps) + 1)), up, -down)
    return Online(jnp.asarray(gradients, float), best=-1.0, worst=1.0, low=-1.0, high=1.0)
