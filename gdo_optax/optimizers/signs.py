"""Methods that go by the sign of the gradient: for the length of the step, or for its direction."""

from chex import Numeric

from gdo_optax.engine.combinators import chain
from gdo_optax.engine.piece import Hyperparameter, Piece, piece
from gdo_optax.engine.trees import Mask
from gdo_optax.pieces.moments import two_rate_ema
from gdo_optax.pieces.scales import scale, scale_by_learning_rate, sign
from gdo_optax.pieces.steps import scale_by_delta_bar_delta, scale_by_gains, scale_by_rprop
from gdo_optax.pieces.weights import add_decayed_weights


@piece
def delta_bar_delta(
    learning_rate: Numeric = 0.01, kappa: Numeric = 1e-3, phi: Numeric = 0.1, decay: Hyperparameter = 0.7
) -> Piece:
    """Delta-bar-delta: a rate per coordinate that grows along a slope and shrinks across a ravine.

        εₜ = εₜ₋₁ + κ where δ̄ₜ₋₁·gₜ > 0,   (1−φ)·εₜ₋₁ where δ̄ₜ₋₁·gₜ < 0,   else εₜ₋₁
        θₜ = θₜ₋₁ − εₜ·gₜ
        δ̄ₜ = β·δ̄ₜ₋₁ + (1−β)·gₜ

    Growth is linear and decay geometric, so that no rate runs away; the signs must be those of the whole data, not of
    noisy small batches. κ is in the units of the rate and depends on the problem: the paper has from 0.005 to 0.1, and
    φ from 0.1 to 0.5. The first step takes the first rate, for there is no average before it.

    Args:
        learning_rate: ε₀ ≥ 0, a number: the first rate of every coordinate.
        kappa: κ ≥ 0, added where the signs agree.
        phi: φ in [0, 1), the share that is lost where they do not.
        decay: β in [0, 1), the paper's θ: the weight of the past in the average δ̄.

    Raises:
        ValueError: a value outside its range.
        TypeError: a schedule for the learning rate, which has its own.

    Reference: R. A. Jacobs (1988), "Increased rates of convergence through learning rate adaptation", Neural Networks
    1:295-307, after an analysis by R. S. Sutton (1986).

    >>> import jax.numpy as jnp
    >>> tx = delta_bar_delta(0.1, kappa=0.05)
    >>> _, state = tx.update(jnp.array([1.0, 1.0]), tx.init(jnp.zeros(2)))
    >>> tx.update(jnp.array([1.0, -1.0]), state)[0].round(6)
    Array([-0.15,  0.09], dtype=float32)
    """
    return chain(
        scale_by_delta_bar_delta(learning_rate, kappa, phi, decay),  # εₜ·gₜ, δ̄ₜ
        scale(-1.0),
    )


@piece
def hinton_gains(
    learning_rate: Hyperparameter = 0.01,
    increase: Numeric = 0.05,
    decrease: Numeric = 0.95,
    min_gain: Numeric = 0.1,
    max_gain: Numeric = 10.0,
) -> Piece:
    """Adaptive gains: a factor per coordinate beside one global rate, up by addition and down by multiplication.

        γₜ = γₜ₋₁ + 0.05 where gₜ·gₜ₋₁ > 0, otherwise 0.95·γₜ₋₁, within [0.1, 10];   γ₁ = 1
        θₜ = θₜ₋₁ − α·γₜ·gₜ

    With signs that change at random a gain stays about 1. Otherwise is also where a gradient is 0, unlike in
    `delta_bar_delta`, and the comparison is with the last gradient, not with an average. For whole data or big batches.

    Args:
        learning_rate: α ≥ 0, a number or a schedule.
        increase: what is added to a gain, ≥ 0.
        decrease: what a gain is multiplied by otherwise, in (0, 1].
        min_gain: the smallest gain, > 0.
        max_gain: the largest gain, > 0; the lecture has [0.1, 10] or [0.01, 100].

    Raises:
        ValueError: a value outside its range; min_gain > max_gain.

    Reference: G. Hinton, N. Srivastava, K. Swersky (2012), "Lecture 6d: adaptive learning rates for each connection",
    Neural Networks for Machine Learning, Coursera.

    >>> import jax.numpy as jnp
    >>> tx = hinton_gains(0.1)
    >>> _, state = tx.update(jnp.array([1.0, 1.0]), tx.init(jnp.zeros(2)))
    >>> tx.update(jnp.array([1.0, -1.0]), state)[0].round(6)
    Array([-0.105,  0.095], dtype=float32)
    """
    return chain(
        scale_by_gains(increase, decrease, min_gain, max_gain),  # γₜ·gₜ
        scale_by_learning_rate(learning_rate),
    )


@piece
def rprop(
    learning_rate: Numeric = 0.01,
    eta_minus: Numeric = 0.5,
    eta_plus: Numeric = 1.2,
    min_step_size: Numeric = 1e-6,
    max_step_size: Numeric = 50.0,
    variant: str = "iminus",
) -> Piece:
    """Rprop: steps that know only the signs of the gradient, and grow while these stay.

        Δₜ = min(η⁺·Δₜ₋₁, 50) where gₜ·gₜ₋₁ > 0,   max(η⁻·Δₜ₋₁, 1e-6) where gₜ·gₜ₋₁ < 0,   else Δₜ₋₁;   Δ₀ = α
        θₜ = θₜ₋₁ − Δₜ·sign gₜ

    What happens where the sign has changed tells the variants apart: "minus" just takes the shorter step, as in the
    lecture; "plus" (1993) takes the last step back; "iminus" stays, as in PyTorch. The last two then forget the
    gradient, so that Δ stays in the step after. The lecture also shrinks Δ where a gradient is 0. optax.rprop makes the
    steps of "iminus" one update late: its first is 0. For whole data: of small batches it sees signs, not averages.

    Args:
        learning_rate: Δ₀ ≥ 0, a number: the first step of every coordinate, in the units of the parameters.
        eta_minus: η⁻ in (0, 1).
        eta_plus: η⁺ ≥ 1.
        min_step_size: the smallest Δ, ≥ 0.
        max_step_size: the largest Δ, > 0.
        variant: "minus", "iminus" or "plus".

    Raises:
        ValueError: a value outside its range; min_step_size > max_step_size; another variant.
        TypeError: a schedule for the learning rate, which has its own.

    Reference: M. Riedmiller, H. Braun (1993), "A direct adaptive method for faster backpropagation learning: the RPROP
    algorithm", doi:10.1109/ICNN.1993.298623; C. Igel, M. Hüsken (2000), "Improving the Rprop learning algorithm", NC,
    for "minus" and "iminus".

    >>> import jax.numpy as jnp
    >>> tx = rprop(0.1)
    >>> _, state = tx.update(jnp.array([9.0, 9.0]), tx.init(jnp.zeros(2)))
    >>> tx.update(jnp.array([7.0, -7.0]), state)[0].round(6)
    Array([-0.12, -0.  ], dtype=float32)
    """
    return chain(
        scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size, variant),  # Δₜ·sign gₜ
        scale(-1.0),
    )


@piece
def lion(
    learning_rate: Hyperparameter = 1e-4,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.99,
    weight_decay: Hyperparameter = 0.0,
    mask: Mask | None = None,
) -> Piece:
    """Lion: the sign of an average that is newer than the one it remembers.

        cₜ = b1·mₜ₋₁ + (1−b1)·gₜ
        θₜ = θₜ₋₁ − α·( sign cₜ + λ·θₜ₋₁ )
        mₜ = b2·mₜ₋₁ + (1−b2)·gₜ

    Every coordinate with a gradient so far moves by α, so α is 3 to 10 times smaller than Adam's, and λ as much larger.
    optax.lion has λ = 1e-3 unless asked otherwise.

    Args:
        learning_rate: α ≥ 0, a number or a schedule: the step of every coordinate.
        b1: in [0, 1), a number or a schedule: the past in what is acted on.
        b2: in [0, 1), a number or a schedule: the past in what is kept.
        weight_decay: λ ≥ 0, a number or a schedule, multiplied by α.
        mask: which parameters decay, as in `adamw`.

    Raises:
        ValueError: a value outside its range; in the update, no parameters.

    Reference: X. Chen et al. (2023), "Symbolic discovery of optimization algorithms", arXiv:2302.06675, Algorithm 2.

    >>> import jax.numpy as jnp
    >>> tx = lion(0.1, weight_decay=0.5)
    >>> tx.update(jnp.array([4.0, 0.0]), tx.init(jnp.ones(2)), jnp.ones(2))[0]
    Array([-0.15, -0.05], dtype=float32)
    """
    return chain(
        two_rate_ema(b1, b2),  # cₜ, mₜ
        sign(),  # sign cₜ
        add_decayed_weights(weight_decay, mask),  # + λ·θₜ₋₁
        scale_by_learning_rate(learning_rate),
    )
