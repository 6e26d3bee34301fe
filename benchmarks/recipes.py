"""Random recipes: chains of 1 to 8 pieces, whole optimizers, wrappers and optax's own transformations.

A recipe is Python, to be evaluated by `built`: what is printed is how to have it again.
"""

import inspect
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import gdo_optax
from gdo_optax.family import family


def matrices(tree: Any) -> Any:
    """A mask that does not depend on names."""
    return jax.tree.map(lambda x: jnp.ndim(x) > 1, tree)


def ranks(tree: Any) -> Any:
    """Labels that do not depend on names."""
    return jax.tree.map(lambda x: "matrix" if jnp.ndim(x) > 1 else "rest", tree)


MODULES = ("wrappers.precision", "wrappers.skipping", "wrappers.storage")
SPACE: dict[str, Any] = {k: v for m in MODULES for k, v in vars(import_module(f"gdo_optax.{m}")).items()}
SPACE |= vars(gdo_optax) | {"optax": optax, "jnp": jnp, "matrices": matrices, "ranks": ranks, "add": jnp.add}

# What arguments of these names may be; all others keep their defaults.
RATES = ("0.1", "0.01", "1.0")
VALUES = """
learning_rate rate: 0.1 0.01 1.0
b1 b2 decay momentum rho: 0.9 0.5 0.0 0.99
eps eps_root initial_accumulator_value: 1e-3 1e-8 0.1
weight_decay norm_loss l1 l2: 0.1 0.0 1e-3
sync_period every push_period fetch_period: 2 1 3
nu nu1 nu2 share: 0.7 0.0 1.0
slow_step_size min_slow_step_size moving_rate: 0.5 0.8 1.0
delay max_delay: 1 0 2
mask trust_ratio_mask: matrices excluding('bias')
clipping clipping_threshold radius eta final_learning_rate: 0.1 1.0
momenta: (0.0,0.9) (0.5,0.9,0.99)
decay_rate: 0.8 1.0
threshold: 5.0 4.5
step_size: 0.5 -1.0 2
gamma: 1e-3 0.5
b1_decay: 0.9 1.0
lower_bound: 0.01 0.0
upper_bound: 1.0 float('inf')
min_norm: 0.0 0.1
max_norm: 10.0 1.0
trust_coefficient min_parameter_scale: 0.1 1e-3
low: -0.5 -2.0
high: 0.5 3.0
factored_dims: 'last' 'largest'
min_dim_size_to_factor: 2 3
momentum_position: 'after' 'before'
kappa: 0.1 0.0
phi: 0.1 0.5
increase: 0.05 0.5
decrease: 0.95 0.5
min_gain: 0.1 0.5
max_gain: 10.0 2.0
eta_minus: 0.5 0.9
eta_plus: 1.2 1.0
variant: 'iminus' 'plus' 'minus'
seed: 0 7
period: 2 3
t_mult: 2 1
steps: 6 20
positive_negative_factor: 1.0 0.5
ahead: 0 1
power: 1 0.5
sharpness: 50.0 5.0
max_backtracking_steps: 2 0
state: 'frozen' 'dense'
inner_state: 'keep' 'reset' 'interpolate'
counts: 'global' 'row'
as_: 'int8' 'bfloat16'
block_size: 2 3
out_axis: -1
constant: 0.1
otherwise: 1.0 0.0
factors: {'bias':0.5}
to: [scale(-0.1)] [normalize()]
merge: second mean_of
outer: None momentum(0.5) sgd(1.0)
"""
NUMBERS = {
    name: values.split()
    for names, values in (line.split(":", 1) for line in VALUES.strip().splitlines())
    for name in names.split()
}
SCHEDULES: dict[str, Sequence[str]] = {
    "learning_rate": (
        "linear_warmup(3, 0.1)", "warm_restarts(2, 2, peak_value=0.1)", "inverse_sqrt_decay(0.1)", "noam(64, 4)",
        "piecewise_linear({0: 0.1, 3: 0.01})", "untuned_linear_warmup(0.9)", "untuned_exponential_warmup(0.9, 0.1)",
        "ranger21_schedule(0.1, 9)", "one_cycle(5, 0.1).learning_rate", "optax.cosine_decay_schedule(0.1, 5)",
        "relative_step", "one_cycle_three_phase(6, 0.1).learning_rate",
    ),
    "b1": ("nadam_momentum(0.9)", "one_cycle(5, 0.1).momentum", "geometric_decay(0.9, 0.9)", "sutskever_momentum(0.9)"),
    "b2": ("corrected_decay(0.9)", "complement(geometric_decay(0.5, 0.9))"),
    "weight_decay": ("restarting_weight_decay(0.1, 2, 2)", "normalized_weight_decay(0.1, 1, 9, 2)"),
    "step_size": ("linear_warmup(3, 0.1)", "ahead(linear_warmup(3, 0.1), 2)"),
    "slow_step_size": ("linear_warmup(3, 1.0)",),
}  # fmt: skip
UNSCHEDULED = ("nadam.b1",)
ALIKE = {"decay": "b1", "momentum": "b1", "norm_loss": "weight_decay", "share": "slow_step_size"}

OPTIMIZERS = tuple(e.name for e in family() if not e.dense and e.name != "lookahead")
SERIES = (
    "ema", "trace", "scale", "sign", "mean", "total", "square", "absolute", "nesterov_ema", "look_ahead",
    "quasi_hyperbolic", "scale_by_adam", "scale_by_rms", "two_rate_ema", "positive_negative_momentum",
    "scale_by_adadelta", "scale_by_delta_bar_delta", "scale_by_gains", "scale_by_rprop", "scale_by_full_matrix",
    "normalize", "normalize_by_update_norm", "clip_by_block_rms", "centralize", "adaptive_grad_clip", "scale_by_path",
    "add_gradient_noise", "random_delay", "add_constant", "add_decayed_weights", "add_norm_loss", "trust_ratio",
    "scale_by_local_rate", "scale_to_parameter_norm", "scale_by_parameter_rms", "scale_by_parameters",
    "project_to_box", "parameters", "first_parameters", "slow_weights", "temporal_average", "polyak_average",
    "extrapolate", "synchronize", "elastic", "worker_mean", "scale_by_backtracking", "gradient_ahead",
    "with_second_gradient", "mean_of_all", "bias_correction", "rectify", "scale_by_time", "running_max",
    "decayed_max", "scale_by_learning_rate", "adaptive_revision", "hogwild", "easgd", "eamsgd", "heun",
    "extragradient", "nesterov_1983_backtracking",
)  # fmt: skip
FOREIGN = (
    "optax.clip(1.0)", "optax.trace(0.9)", "optax.clip_by_global_norm(1.0)", "optax.scale_by_adam()", "optax.ema(0.9)",
    "optax.trace(0.5, nesterov=True)", "optax.add_decayed_weights(0.1)", "optax.zero_nans()", "optax.centralize()",
    "optax.scale_by_trust_ratio()", "optax.scale_by_lion()", "optax.scale_by_rss()", "optax.normalize_by_update_norm()",
    "optax.scale_by_schedule(linear_warmup(3, 1.0))", "optax.identity()", "optax.adaptive_grad_clip(0.1)",
    "optax.inject_hyperparams(adam)(0.1, b1=0.5)", "optax.inject_hyperparams(trace)(decay=linear_warmup(9, 0.9))",
    "optax.inject_hyperparams(adamw)(linear_warmup(3, 0.1), weight_decay=0.1)", "optax.keep_params_nonnegative()",
)  # fmt: skip
AROUND_ONE = (
    "masked(ONE, matrices)", "masked(ONE, excluding('bias'))", "optax.masked(ONE, matrices)",
    "optax.partition({'matrix': ONE, 'rest': ONE}, ranks)", "optax.chain(ONE, ONE)",
    "parallel(mean_of, a=[ONE], b=[])", "parallel(add, a=[ONE], b=[recall('a'), ONE])", "chain(ONE, ONE)",
)  # fmt: skip
MOMENTS = ("ema", "trace", "scale", "sign", "mean", "total", "nesterov_ema", "look_ahead", "quasi_hyperbolic")
POWERS = ("square", "absolute", "variance")
STATISTICS = ("ema", "total", "mean", "running_max", "decayed_max", "two_rate_ema", "factored_ema", "bias_correction")
INVERSES = ("inverse_root", "reciprocal", "inverse_softplus_root")
LAST = ("rectify", "clip_by_bounds", "clip_step_size", "scale_by_learning_rate", "add_constant")
WRAPPERS = (
    "lookahead", "accumulate", "lazy", "layerwise", "delay", "restart_state", "interpolate_state", "in_turn",
    "local_sgd", "downpour", "sam", "adaptive_lookahead", "sparse_rows", "skip_nonfinite", "store",
)  # fmt: skip
OF_OPTAX = (
    "optax.apply_if_finite(INNER, 3)", "optax.partition({'matrix': INNER, 'rest': optax.set_to_zero()}, ranks)",
    "optax.chain(INNER, optax.identity())", "optax.with_extra_args_support(INNER)",
)  # fmt: skip
OUTERMOST = ("keep_master", "compensate", "round_stochastically")


class Recipe(NamedTuple):
    """A recipe, and the same one with a learning rate of 0."""

    text: str
    still: str

    def __str__(self) -> str:
        return self.text


class Writer(NamedTuple):
    """Draws the parts of a recipe. `random` has `choice` and `randint`; of everything the simple comes first."""

    random: Any

    def once_in(self, n: int) -> bool:
        return self.random.randint(1, n) == n

    def call(self, name: str, *first: str) -> str:
        """A call with legal arguments, about half of those that have defaults."""
        parameters = list(inspect.signature(SPACE[name]).parameters.values())[len(first) :]
        drawn = [(p.name, self.value(name, p)) for p in parameters if p.default is p.empty or self.once_in(2)]
        return f"{name}({', '.join([*first, *(f'{k}={v}' for k, v in drawn if v)])})"

    def value(self, maker: str, parameter: inspect.Parameter) -> str:
        name = parameter.name
        numbers, schedules = NUMBERS.get(name, ()), SCHEDULES.get(ALIKE.get(name, name), ())
        may_be = "Callable" in str(parameter.annotation) and f"{maker}.{name}" not in UNSCHEDULED
        scheduled = schedules and may_be and self.once_in(4)
        return self.random.choice(schedules if scheduled else numbers) if numbers else ""

    def calls(self, names: Sequence[str], most: int) -> list[str]:
        return [self.call(self.random.choice(names)) for _ in range(self.random.randint(0, most))]

    def one(self) -> str:
        """A piece, a whole optimizer, or a transformation of optax."""
        kind = self.random.randint(0, 9)
        if kind < 6:
            return self.call(self.random.choice(SERIES))
        return self.call(self.random.choice(OPTIMIZERS)) if kind < 8 else self.random.choice(FOREIGN)

    def item(self) -> str:
        kind = self.random.randint(0, 9)
        if kind < 6:
            return self.one()
        return self.adaptive() if kind < 8 else self.filled(self.random.choice(AROUND_ONE))

    def adaptive(self) -> str:
        """Direction times scale, as in the methods that divide by a root."""
        direction = self.calls(MOMENTS, 2)
        power = self.call(self.random.choice(POWERS))
        scale = [power, *self.calls(STATISTICS, 2), self.call(self.random.choice(INVERSES))]
        scale += [self.call(self.random.choice(LAST))] if self.once_in(3) else []
        return f"adaptive(direction=[{', '.join(direction)}], scale=[{', '.join(scale)}])"

    def filled(self, template: str) -> str:
        return re.sub("ONE", lambda _: self.one(), template)

    def wrapped(self, inner: str, outermost: bool) -> str:
        if outermost and self.once_in(5):
            return self.call(self.random.choice(OUTERMOST), inner)
        if self.once_in(5):
            return self.random.choice(OF_OPTAX).replace("INNER", inner)
        name = self.random.choice(WRAPPERS)
        return self.call(name, inner, *("RATE",) * (name == "downpour"))

    def recipe(self) -> Recipe:
        """Pieces and wrappers, 1 to 8 of them, the pieces with a learning rate after them."""
        depth = self.random.randint(1, 8)
        wrappers = self.random.randint(0, min(depth - 1, 3))
        items = [self.item() for _ in range(depth - wrappers)]
        rate = self.random.choice(SCHEDULES["learning_rate"] if self.once_in(4) else RATES)
        text = f"chain({', '.join(items)}, scale_by_learning_rate(RATE))"
        for i in range(wrappers):
            text = self.wrapped(text, outermost=i == wrappers - 1)
        return Recipe(text.replace("RATE", rate), text.replace("RATE", "0.0"))


def built(text: str) -> optax.GradientTransformation:
    """The transformation that a recipe makes."""
    return eval(text, dict(SPACE))


# What a recipe that has one of these words is not, or need not be.
NAMED = re.compile(r"\b(scale_by_path|excluding)\b")
BY_PLACE = re.compile(r"\b(add_gradient_noise|random_delay|hogwild|round_stochastically)\b")
COUPLED = re.compile(
    r"norm|clip\b|block|centralize|trust|local_rate|layerwise|lazy|rows|lar[sy]|lamb|store|matrices|ranks|matrix"
    r"|factor|parameter_rms|ranger|sam\b|grad_clip|backtracking|mean_of_all|stable_weight"
)
UNPRINTABLE = re.compile(
    r"excluding|optax\.|_decay\(|warm|noam|cycle|piecewise|schedule|(nadam|sutskever)_momentum\(|complement|ahead\("
)
