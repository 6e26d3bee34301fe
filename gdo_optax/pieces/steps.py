"""Step sizes, one per coordinate, that grow while the sign of the gradient stays and shrink when it changes.

Signs are multiplied, not gradients, whose product may underflow or overflow.
"""

import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.engine import numerics, ranges
from gdo_optax.engine.nodes import Rule, rule
from gdo_optax.engine.piece import Hyperparameter, piece
from gdo_optax.engine.xla import after


@piece
def scale_by_delta_bar_delta(
    learning_rate: Numeric = 0.01, kappa: Numeric = 1e-3, phi: Numeric = 0.1, decay: Hyperparameter = 0.7
) -> Rule:
    """x ↦ εₜ·x: a step ε that grows by κ where x agrees in sign with its average so far, and shrinks by φ·ε where not.

    ε starts at `learning_rate`, a number; without an average, and where x is 0, it stays. TypeError for a schedule.

    R. A. Jacobs (1988), "Increased rates of convergence through learning rate adaptation", Neural Networks 1:295-307.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_delta_bar_delta(1.0, kappa=0.5)
    >>> x, state = tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))
    >>> x, tx.update(jnp.array([1.0]), state)[0]
    (Array([1.], dtype=float32), Array([1.5], dtype=float32))
    """
    _check_first("delta_bar_delta", learning_rate)

    def stepped(m: dict[str, Array], x: Array, kappa: Numeric, phi: Numeric, decay: Numeric) -> tuple[dict, Array]:
        same = _agreement(m["average"], x)
        step = jnp.where(same > 0, m["step"] + kappa, jnp.where(same < 0, (1 - phi) * m["step"], m["step"]))
        average = numerics.average(m["average"], x, decay)
        return {"average": after(average, step), "step": step}, step * x

    slots = {"average": 0.0, "step": learning_rate}
    return rule(stepped, init=slots, real="a sign", kappa=kappa, phi=phi, decay=decay)


@piece
def scale_by_gains(
    increase: Numeric = 0.05, decrease: Numeric = 0.95, min_gain: Numeric = 0.1, max_gain: Numeric = 10.0
) -> Rule:
    """x ↦ gain·x: a gain from 1 on, plus `increase` where x has the sign it had before, otherwise times `decrease`.

    "Otherwise" includes an x of 0, but not the first x, which has none before it. ValueError where min_gain > max_gain.

    G. Hinton, N. Srivastava, K. Swersky (2012), "Lecture 6d: adaptive learning rates for each connection", Neural
    Networks for Machine Learning, Coursera.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_gains()
    >>> x, state = tx.update(jnp.array([1.0, 1.0]), tx.init(jnp.zeros(2)))
    >>> x, tx.update(jnp.array([1.0, -1.0]), state)[0]
    (Array([1., 1.], dtype=float32), Array([ 1.05, -0.95], dtype=float32))
    """
    ranges.check_order("hinton_gains", min_gain=min_gain, max_gain=max_gain)

    def gained(
        m: dict[str, Array], x: Array, increase: Numeric, decrease: Numeric, least: Numeric, most: Numeric
    ) -> tuple[dict[str, Array], Array]:
        agree = _agreement(m["previous"], x) > 0
        gain = jnp.clip(jnp.where(agree, m["gain"] + increase, decrease * m["gain"]), least, most)
        gain = jnp.where(m["gain"] == 0, 1, gain)
        return {"previous": after(x, gain), "gain": gain}, gain * x

    slots = {"previous": 0.0, "gain": 0.0}  # no gain can become 0: it says that there was no x before
    hyper = {"increase": increase, "decrease": decrease, "least": min_gain, "most": max_gain}
    return rule(gained, init=slots, real="a sign", **hyper)


@piece
def scale_by_rprop(
    learning_rate: Numeric = 0.01,
    eta_minus: Numeric = 0.5,
    eta_plus: Numeric = 1.2,
    min_step_size: Numeric = 1e-6,
    max_step_size: Numeric = 50.0,
    variant: str = "iminus",
) -> Rule:
    """x ↦ Δₜ·sign x: a step Δ that is multiplied by η⁺ where x keeps its sign, and by η⁻ where the sign changes.

    Δ starts at `learning_rate`, a number, and stays where x or the x before is 0. Where the sign changes, `variant`
    "minus" takes the shorter step, "plus" takes the last one back, "iminus" takes none; after a change of sign the last
    two compare with nothing. optax.scale_by_rprop is "iminus", one step late. TypeError for a schedule, ValueError for
    another variant or where min_step_size > max_step_size.

    C. Igel, M. Hüsken (2000), "Improving the Rprop learning algorithm", NC 2000, Algorithms 1, 2 and 4.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_rprop(1.0)
    >>> x, state = tx.update(jnp.array([9.0, 9.0]), tx.init(jnp.zeros(2)))
    >>> x, tx.update(jnp.array([7.0, -7.0]), state)[0]
    (Array([1., 1.], dtype=float32), Array([1.2, 0. ], dtype=float32))
    """
    if variant not in ("minus", "iminus", "plus"):
        raise ValueError(f"rprop: variant={variant!r} is none of 'minus', 'iminus' and 'plus'")
    ranges.check_order("rprop", min_step_size=min_step_size, max_step_size=max_step_size)
    _check_first("rprop", learning_rate)

    def stepped(
        m: dict[str, Array], x: Array, eta_minus: Numeric, eta_plus: Numeric, least: Numeric, most: Numeric
    ) -> tuple[dict[str, Array], Array]:
        last, same = m["step"], _agreement(m["previous"], x)
        growth = jnp.where(same > 0, (eta_plus - 1) * last, (eta_minus - 1) * last)
        changed = jnp.clip(last + growth, least, most)  # η·Δ with a rounded η would compound its error over the steps
        step = jnp.where(same == 0, last, changed)
        compared = after(x if variant == "minus" else jnp.where(same < 0, 0, x), step)
        y = jnp.where(same < 0, last, step) * jnp.sign(x) if variant == "plus" else step * jnp.sign(compared)
        return {"previous": compared, "step": step}, y

    slots = {"previous": 0.0, "step": learning_rate}
    hyper = {"eta_minus": eta_minus, "eta_plus": eta_plus, "least": min_step_size, "most": max_step_size}
    return rule(stepped, init=slots, real="a sign", **hyper)


def _agreement(before: Array, x: Array) -> Array:
    """1 where the signs agree, −1 where they do not, 0 where either is 0."""
    return jnp.sign(before) * jnp.sign(x)


def _check_first(name: str, learning_rate: Numeric) -> None:
    """Raises for a schedule in place of the first step."""
    if callable(learning_rate):
        raise TypeError(
            f"{name}: learning_rate cannot be a schedule: it is the first step, which the rule then changes"
        )
