"""Pieces that know the time, t = 1, 2, …: each keeps a count of its own updates.

What depends on the time alone is a schedule, evaluated once for all arrays.
"""

import functools

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax import arithmetic
from gdo_optax.core import Hyperparameter, Piece, piece
from gdo_optax.counting import time_of
from gdo_optax.leafwise import Running
from gdo_optax.makers import pointwise, timed
from gdo_optax.schedules import complement


@piece
def bias_correction(decay: Hyperparameter, power: float = 1, ahead: int = 0) -> Piece:
    """x ↦ x / (1 − βᵗ)ᵖ, with t + ahead in place of t: what an average started at 0 lacks.

    Where `decay` is a schedule the product of the βs that were used takes the place of βᵗ, as ema(decay) needs (optax
    takes today's β to the power t, which is wrong as soon as β changes). `power=-1/2` on 1/√v gives Adam's second form,
    α·√(1−b2ᵗ)/(1−b1ᵗ)·m/(√v+ε̂).

    D. P. Kingma, J. Ba (2015), arXiv:1412.6980, section 3.

    >>> import jax.numpy as jnp
    >>> tx = bias_correction(0.9)
    >>> tx.update(jnp.array([0.2]), tx.init(jnp.zeros(1)))[0].round(6)
    Array([2.], dtype=float32)
    """

    def inverse(count: Array) -> Array:
        return arithmetic.weight_of_past(time_of(count) + ahead, decay) ** -power

    if not callable(decay):
        return pointwise(lambda x, inverse: x * inverse, inverse=inverse)  # one division for all arrays

    def gathered(weight: Numeric, count: Array) -> Array:  # 1 − Πβ is the average of ones, and loses no digits
        later = jnp.maximum(count, count + ahead)  # a full count must not wrap
        betas = (arithmetic.as_dtype(s(later), jnp.result_type(weight)) for s in (decay, complement(decay)))
        return arithmetic.average(weight, 1.0, *betas)

    def initial() -> Numeric:
        return functools.reduce(lambda weight, i: gathered(weight, jnp.int32(i - ahead)), range(ahead), 0.0)

    return pointwise(lambda x, weight: x * weight**-power, weight=Running(gathered, initial))


@piece
def rectify(decay: Numeric, threshold: Numeric = 5.0, otherwise: Numeric = 1.0) -> Piece:
    """scale ↦ rₜ·scale where ρₜ ≥ threshold, else 1: "do not adapt yet"; with `otherwise=0`, "do not move yet".

        ρ∞ = 2/(1−β) − 1,   ρₜ = ρ∞ − 2tβᵗ/(1−βᵗ)
        rₜ = √((ρₜ−4)(ρₜ−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρₜ))

    Any scale that averages squares with `decay` can be rectified. With β ≤ 0.6 it never adapts. The paper compares
    with 4; its authors' library, TensorFlow Addons and optax with 5, which differs in one step (t = 5).
    Raises TypeError for a schedule.

    L. Liu et al. (2020), "On the variance of the adaptive learning rate and beyond", arXiv:1908.03265, Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = rectify(0.999)
    >>> tx.update(jnp.array([7.0]), tx.init(jnp.zeros(1)))[0]
    Array([1.], dtype=float32)
    """
    if callable(decay):
        raise TypeError("rectify: decay cannot be a schedule: ρ is the length of an average with one constant decay")

    def rectification(count: Array) -> Array:  # 0 for "not yet"
        rho, rho_inf = arithmetic.sma_length(time_of(count), decay)
        adapts = (rho >= arithmetic.as_dtype(threshold, rho.dtype)) & (rho > 4)
        rho, rho_inf = jnp.where(adapts, rho, 5), jnp.where(adapts, rho_inf, 5)  # no root of a negative in either arm
        squared = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
        return arithmetic.root(jnp.where(adapts, squared, 0))

    return pointwise(
        lambda scale, r, otherwise: jnp.where(r > 0, r * scale, otherwise), r=rectification, otherwise=otherwise
    )


@piece
def scale_by_time() -> Piece:
    """x ↦ t·x: what turns the mean of all that came into their sum.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_time()
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([3.0]), state)[0]
    Array([6.], dtype=float32)
    """
    return timed(lambda x, t: t * x)
