"""Pieces for the raw gradient."""

import jax
import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.engine.nodes import Rule, per_step, rule
from gdo_optax.engine.numerics import as_dtype, mean
from gdo_optax.engine.piece import piece


@piece
def centralize(out_axis: int = -1) -> Rule:
    """g ↦ g − mean of g over all axes but `out_axis`: each output unit's gradient sums to 0; vectors stay as they are.

    The output axis is the last of Flax's kernels, (in, out) and (height, width, in, out); optax.centralize keeps the
    first, as PyTorch lays them out. TypeError for an axis that is no integer.

    H. Yong et al. (2020), "Gradient centralization", arXiv:2004.01461, equation 1.

    >>> import jax.numpy as jnp
    >>> tx = centralize()
    >>> tx.update(jnp.array([[1.0, 0.0], [3.0, 0.0]]), tx.init(None))[0]
    Array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """
    if isinstance(out_axis, bool) or not isinstance(out_axis, int):
        raise TypeError(f"centralize: out_axis={out_axis!r} is not the number of an axis, such as -1")

    def of_units(g: Array) -> Array | None:
        if g.ndim < 2:
            return None
        return mean(g, tuple(i for i in range(g.ndim) if i != out_axis % g.ndim), True)

    return rule(lambda g, measured: g if measured is None else g - measured, measure=of_units)


@piece
def add_gradient_noise(eta: Numeric = 0.01, gamma: Numeric = 0.55, seed: Numeric = 0) -> Rule:
    """g ↦ g + N(0, σₜ²), σₜ² = η/(1+t)^γ, t = 0, 1, …: noise that fades, against bad starts and saddles.

    It remembers nothing: the noise is drawn from `seed`, the step count and the array's place in the tree. So it is the
    same on every run and after a checkpoint. (The state of optax.noisy_sgd holds a key, which most formats cannot
    save.) Give trainings under vmap seeds of their own.

    A. Neelakantan et al. (2015), "Adding gradient noise improves learning for very deep networks", arXiv:1511.06807,
    equation 1; there η is one of 0.01, 0.3 and 1.

    >>> import jax.numpy as jnp
    >>> tx = add_gradient_noise(eta=0.01)
    >>> noise, _ = tx.update(jnp.zeros(10_000), tx.init(jnp.zeros(10_000)))
    >>> print(f"{noise.std():.2f}")
    0.10
    """

    def noisy(g: Array, key: Array, sigma: Array) -> Array:
        return g + sigma * jax.random.normal(key, g.shape, g.dtype)

    def deviation(t: Array, eta: Numeric, gamma: Numeric) -> Array:
        return jnp.sqrt(as_dtype(eta, t.dtype) / t ** as_dtype(gamma, t.dtype))

    return rule(noisy, seed=seed, sigma=per_step(deviation, eta=eta, gamma=gamma))
