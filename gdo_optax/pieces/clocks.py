"""Pieces that know the time, t = 1, 2, …, or the age of the memories around them.

Numbers that depend on the time alone are computed once a step, for all arrays.
"""

from typing import Any

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.engine import numerics
from gdo_optax.engine.nodes import Rule, per_step, rule
from gdo_optax.engine.piece import Hyperparameter, piece
from gdo_optax.schedules import ahead as later
from gdo_optax.schedules import complement


@piece
def bias_correction(decay: Hyperparameter, power: float = 1, ahead: int = 0) -> Rule:
    """x ↦ x / (1 − βᵗ)ᵖ, with t + ahead in place of t: what an average started at 0 lacks.

    Where β changes, as a schedule, an injected array or between two runs, the product of the βs that were used takes
    the place of βᵗ, as `ema` needs. (optax takes today's β to the power t, which is wrong as soon as β changes.) The
    state is the weight 1 − Πβ of the average. `power=-1/2` on 1/√v gives Adam's second form,
    α·√(1−b2ᵗ)/(1−b1ᵗ)·m/(√v+ε̂).

    D. P. Kingma, J. Ba (2015), arXiv:1412.6980, section 3.

    >>> import jax.numpy as jnp
    >>> tx = bias_correction(0.9)
    >>> tx.update(jnp.array([0.2]), tx.init(jnp.zeros(1)))[0].round(6)
    Array([2.], dtype=float32)
    """
    ahead = int(ahead)

    def inverse(m: Array, age: Array, **betas: Numeric) -> tuple[Array, Array]:
        gathered = weight = _gathered(m, age, m.dtype, betas["decay"], betas["rest"])
        for i in range(1, ahead + 1):
            weight = _gathered(weight, age + i, m.dtype, betas[f"decay{i}"], betas[f"rest{i}"])
        return gathered, weight**-power

    betas = {"decay": decay} | {f"decay{i}": later(decay, i) if callable(decay) else decay for i in range(1, ahead + 1)}
    rests = {k.replace("decay", "rest"): complement(beta) if callable(beta) else None for k, beta in betas.items()}
    return rule(lambda x, inverse: x * inverse, inverse=per_step(inverse, init={"weight": 0.0}, **betas, **rests))


def _gathered(weight: Array, age: Array, stored: Any, decay: Numeric, rest: Numeric | None) -> Array:
    """1 − Πβ after one more step: the average of ones, which loses no digits.

    Of a constant β it is 1 − βᵗ, where no rounding adds up. Where that is not the next weight, β was another before.
    """
    decay, rest = (b if b is None else numerics.as_dtype(b, weight.dtype) for b in (decay, rest))
    next_weight = numerics.average(weight, 1.0, decay, rest)
    if not isinstance(decay, int | float):
        return next_weight
    constant = numerics.weight_of_past(age, decay)  # in double precision where JAX counts in it
    next_weight = next_weight.astype(constant.dtype)
    near = jnp.abs(constant - next_weight) <= 32 * float(jnp.finfo(stored).eps) * constant
    return jnp.where(near, constant, next_weight)


@piece
def rectify(decay: Numeric, threshold: Numeric = 5.0, otherwise: Numeric = 1.0) -> Rule:
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

    def rectification(age: Array, decay: Numeric, threshold: Numeric) -> Array:  # 0 for "not yet"
        rho, rho_inf = numerics.sma_length(age, decay)
        adapts = (rho >= numerics.as_dtype(threshold, rho.dtype)) & (rho > 4)
        rho, rho_inf = jnp.where(adapts, rho, 5), jnp.where(adapts, rho_inf, 5)  # no root of a negative in either arm
        squared = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
        return numerics.root(jnp.where(adapts, squared, 0))

    return rule(
        lambda scale, r, otherwise: jnp.where(r > 0, r * scale, otherwise),
        r=per_step(rectification, decay=decay, threshold=threshold),
        otherwise=otherwise,
    )


@piece
def scale_by_time() -> Rule:
    """x ↦ t·x: what turns the mean of all that came into their sum.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_time()
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> tx.update(jnp.array([3.0]), state)[0]
    Array([6.], dtype=float32)
    """
    return rule(lambda x, age: age * x)
