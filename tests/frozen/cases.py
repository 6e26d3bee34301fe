"""The cases: names, and what builds a fresh transformation for each, through public names alone."""

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gdo_optax as g
from gdo_optax import like
from gdo_optax.engine.numerics import norm
from tests.catalogue import SETTINGS, falling, rising


def made(node: Any) -> Any:
    """A piece of one node."""
    return g.piece(lambda: node)()


def displaced(m: Any, x: Any) -> Any:
    total = m["eval_displacement"] + (0.5 * m["eval_displacement"] - 0.25 * x)
    return {"eval_displacement": total}, x - total


class Case(NamedTuple):
    """What builds the transformation, and what its updates are given."""

    name: str
    make: Callable[[], optax.GradientTransformation]
    dtypes: tuple[str, ...]
    data: str = "plain"
    loss: bool = False

    @property
    def differences(self) -> bool:
        """Whether updates are differences of weights, and rounded like these."""
        return bool(re.search(DIFFERENCES, self.name))


ALL = ("float64", "float32", "bfloat16", "float16", "bfloat16-float32", "float16-float32")
SOME = ("float64", "float32", "bfloat16")
HALVES = (*SOME, "float16")
DIFFERENCES = (
    "lookahead|ranger|nesterov_1983|adagrad_rda|adagrad_mirror|keep_master|compensate|round_stoch|slow_weights|extrapol"
    "|local_sgd|downpour|easgd|eamsgd|elastic|synchronize|server|proximal|project|backtracking|displacement|weights"
)


def falling_slowly(count: Any) -> Any:
    return 0.5 / (1 + count.astype(float) / 10)


def share(count: Any) -> Any:
    return 0.2 + 0.6 / (1 + count.astype(float))


# methods


def from_settings(name: str, settings: dict[str, Any]) -> optax.GradientTransformation:
    settings = dict(settings)
    if "inner" in settings:
        inner, own = settings["inner"]
        settings["inner"] = getattr(g, inner)(**own)
    return getattr(g, name)(**settings)


def methods() -> dict[str, tuple]:
    out: dict[str, tuple] = {
        f"method/{name}/{i}": (lambda n=name, s=s: from_settings(n, s), ALL)
        for name, settings in SETTINGS.items()
        for i, s in enumerate(settings)
    }
    evaluating: dict[str, Callable] = {
        "heun/0": lambda: g.heun(),
        "heun/1": lambda: g.heun(falling),
        "extragradient/0": lambda: g.extragradient(),
        "extragradient/1": lambda: g.extragradient(falling),
        "nesterov_1983_backtracking/0": lambda: g.nesterov_1983_backtracking(),
        "nesterov_1983_backtracking/1": lambda: g.nesterov_1983_backtracking(0.1, 1),
        "sam/0": lambda: g.sam(g.sgd(0.05)),
        "sam/1": lambda: g.sam(g.adam(falling), 0.5),
    }
    out |= {f"method/{k}": (make, ALL, "plain", True) for k, make in evaluating.items()}
    alone: dict[str, Callable] = {
        "adaptive_lookahead/0": lambda: g.adaptive_lookahead(g.adam()),
        "adaptive_lookahead/1": lambda: g.adaptive_lookahead(g.momentum(0.02), 3, 0.2, b2=0.9),
        "easgd/0": lambda: g.easgd(),
        "easgd/1": lambda: g.easgd(falling, 0.5, 3),
        "eamsgd/0": lambda: g.eamsgd(),
        "eamsgd/1": lambda: g.eamsgd(falling, 0.5, 3, 0.6),
        "adaptive_revision/0": lambda: g.adaptive_revision(),
        "adaptive_revision/1": lambda: g.adaptive_revision(falling, 3, 0.1),
        "hogwild/0": lambda: g.hogwild(),
        "hogwild/1": lambda: g.hogwild(falling, 2, seed=3),
    }
    return out | {f"method/{k}": (make, ALL) for k, make in alone.items()}


# around a whole optimizer

INNER: dict[str, Callable] = {
    "momentum": lambda: g.momentum(0.05, 0.8),
    "adamw": lambda: g.adamw(falling, weight_decay=0.1),
    "optax": lambda: optax.adamw(0.1, weight_decay=0.1),
}
MASK = {"bias": False, "conv": True, "gain": False, "kernel": True}
AROUND: dict[str, Callable] = {
    "accumulate-2": lambda inner: g.accumulate(inner, 2),
    "accumulate-3": lambda inner: g.accumulate(inner, 3),
    "skip_nonfinite": lambda inner: g.skip_nonfinite(inner),
    "lazy": lambda inner: g.lazy(inner),
    "lazy-dense": lambda inner: g.lazy(inner, "dense"),
    "lazy-mask": lambda inner: g.lazy(inner, mask=MASK),
    "store-int8": lambda inner: g.store(inner, block_size=4),
    "store-int8-where": lambda inner: g.store(inner, where=lambda path: "mu" in path, block_size=4),
    "store-bfloat16": lambda inner: g.store(inner, as_="bfloat16"),
    "layerwise": lambda inner: g.layerwise(inner),
    "layerwise-mask": lambda inner: g.layerwise(inner, falling, MASK),
    "restart_state-4": lambda inner: g.restart_state(inner, 4),
    "restart_state-7": lambda inner: g.restart_state(inner, 7),
    "interpolate_state-3": lambda inner: g.interpolate_state(inner, 3, 0.5),
    "interpolate_state-4": lambda inner: g.interpolate_state(inner, 4, share),
    "lookahead-reset": lambda inner: g.lookahead(inner, 3, 0.3, inner_state="reset"),
    "lookahead-interpolate": lambda inner: g.lookahead(inner, 4, 0.8, inner_state="interpolate"),
    "adaptive_lookahead": lambda inner: g.adaptive_lookahead(inner, 3),
    "local_sgd": lambda inner: g.local_sgd(inner, 3),
    "local_sgd-outer": lambda inner: g.local_sgd(inner, 2, g.nesterov(0.7)),
    "downpour": lambda inner: g.downpour(inner, 0.05),
    "downpour-2-3": lambda inner: g.downpour(inner, falling, 2, 3),
    "delay-1": lambda inner: g.delay(inner, 1),
    "delay-4": lambda inner: g.delay(inner, 4),
    "random_delay-2": lambda inner: g.chain(g.random_delay(2), inner),
    "random_delay-4": lambda inner: g.chain(g.random_delay(4, seed=5), inner),
    "in_turn-2": lambda inner: g.in_turn(inner),
    "in_turn-3": lambda inner: g.in_turn(inner, 3, 2),
    "adversarial": lambda inner: g.adversarial(inner, g.sgd(0.5), mask="^bias"),
    "adversarial-alternating": lambda inner: g.adversarial(inner, g.adam(0.1), "alternating", mask="^(bias|gain)"),
    "masked": lambda inner: g.masked(inner, MASK),
    "masked-path": lambda inner: g.masked(inner, g.excluding("bias", "gain")),
    "chain": lambda inner: g.chain(g.clip_by_global_norm(1.0), inner, g.scale(0.5)),
}
PRECISE: dict[str, Callable] = {
    "keep_master": lambda inner: g.keep_master(inner),
    "compensate": lambda inner: g.compensate(inner),
    "round_stochastically-0": lambda inner: g.round_stochastically(inner),
    "round_stochastically-7": lambda inner: g.round_stochastically(inner, seed=7),
}
NESTED: dict[str, Callable] = {
    "accumulate-lazy": lambda: g.accumulate(g.lazy(g.adam(falling)), 2),
    "accumulate-lookahead": lambda: g.accumulate(g.lookahead(g.momentum(0.03), 3, 0.3), 2),
    "lookahead-accumulate": lambda: g.lookahead(g.accumulate(g.momentum(0.03), 2), 6, 0.3),
    "lookahead-lookahead": lambda: g.lookahead(g.lookahead(g.momentum(0.03), 2, 0.8), 6, 0.3),
    "lazy-lazy": lambda: g.lazy(g.chain(g.add_decayed_weights(0.1), g.lazy(g.adam(0.1)))),
    "skip-lazy-store": lambda: g.skip_nonfinite(g.lazy(g.store(g.adam(0.1), block_size=4))),
    "store-lookahead": lambda: g.store(g.lookahead(g.adam(0.1), 3), block_size=4),
    "store-adafactor": lambda: g.store(g.adafactor(0.1, momentum=0.9), block_size=4),
    "master-accumulate": lambda: g.keep_master(g.accumulate(g.adamw(0.1), 2)),
    "master-lookahead": lambda: g.keep_master(g.lookahead(g.adam(0.1), 3)),
    "compensate-lookahead": lambda: g.compensate(g.lookahead(g.adam(0.1), 3)),
    "restart-lookahead": lambda: g.restart_state(g.lookahead(g.adam(0.1), 2), 6),
    "lazy-adafactor": lambda: g.lazy(g.adafactor(0.1)),
    "optax-chain": lambda: optax.chain(optax.clip_by_global_norm(1.0), g.adam(0.1), optax.scale(0.5)),
    "optax-masked": lambda: optax.masked(g.adamw(0.1, weight_decay=0.1), MASK),
    "optax-inject": lambda: optax.inject_hyperparams(g.adam)(learning_rate=falling, b1=0.8),
    "optax-multi": lambda: optax.partition(
        {"a": g.adam(0.1), "b": g.momentum(0.1)}, {"bias": "a", "conv": "b", "gain": "b", "kernel": "a"}
    ),
    "averaged-polyak": lambda: g.chain(g.adam(0.1), g.polyak_average()),
    "averaged-temporal": lambda: g.chain(g.lookahead(g.momentum(0.03), 3), g.temporal_average(0.9)),
}
LOSS_NESTED: dict[str, Callable] = {
    "accumulate-heun": lambda: g.accumulate(g.heun(0.1), 2),
    "lookahead-sam": lambda: g.lookahead(g.sam(g.momentum(0.05), 0.1), 3),
    "master-sam": lambda: g.keep_master(g.sam(g.adam(0.05), 0.1)),
    "nested": lambda: g.accumulate(g.lazy(g.lookahead(g.accumulate(g.heun(0.1), 2), 2, inner_state="reset")), 3),
}
ROWS: dict[str, Callable] = {
    "sgd": lambda: g.sgd(falling),
    "momentum": lambda: g.momentum(0.1, 0.8),
    "adagrad": lambda: g.adagrad(0.1, 0.1),
    "rmsprop": lambda: g.rmsprop(0.1),
    "adam": lambda: g.adam(0.1, b1=0.8),
    "adamw": lambda: g.adamw(falling, weight_decay=0.1),
    "radam": lambda: g.radam(0.1),
    "optax": lambda: optax.adam(0.1),
}
AXIS = "workers"
WORKING: dict[str, Callable] = {
    "worker_mean-adam": lambda: g.chain(g.worker_mean(AXIS), g.adam(falling)),
    "worker_mean-optax": lambda: g.chain(g.worker_mean(AXIS), optax.adamw(0.1)),
    "local_sgd": lambda: g.local_sgd(g.momentum(0.05), 3, axis_name=AXIS),
    "local_sgd-outer": lambda: g.local_sgd(g.adam(falling), 5, g.nesterov(0.7), AXIS),
    "local_sgd-optax": lambda: g.local_sgd(optax.adam(0.1), 2, optax.sgd(0.7, 0.9), AXIS),
    "easgd": lambda: g.easgd(0.05, axis_name=AXIS),
    "easgd-3": lambda: g.easgd(falling, 0.5, 3, AXIS),
    "eamsgd": lambda: g.eamsgd(0.05, axis_name=AXIS),
    "eamsgd-3": lambda: g.eamsgd(falling, 0.5, 3, 0.6, AXIS),
    "downpour": lambda: g.downpour(g.adagrad(0.1), 0.05, 3, 2, AXIS),
    "downpour-adamw": lambda: g.downpour(g.adamw(falling, weight_decay=0.2), falling, 1, 5, AXIS),
    "delay": lambda: g.delay(g.chain(g.worker_mean(AXIS), g.adam(0.1)), 3),
}


def wrapped() -> dict[str, tuple]:
    out: dict[str, tuple] = {}
    for table, dtypes in ((AROUND, SOME), (PRECISE, ALL)):
        for around, wrap in table.items():
            for inner, make in INNER.items():
                out[f"around/{around}/{inner}"] = (lambda w=wrap, m=make: w(m()), dtypes)
    for name in ("accumulate-3", "skip_nonfinite", "lazy"):
        for inner in ("momentum", "adamw", "optax"):
            out[f"broken/{name}/{inner}"] = (lambda w=AROUND[name], m=INNER[inner]: w(m()), SOME, "broken")
    out |= {f"nested/{k}": (make, HALVES) for k, make in NESTED.items()}
    out |= {f"nested/{k}": (make, HALVES, "plain", True) for k, make in LOSS_NESTED.items()}
    for inner, make in ROWS.items():
        for counts in ("global", "row"):
            out[f"rows/{inner}/{counts}"] = (lambda m=make, c=counts: g.sparse_rows(m(), c), SOME, "rows")
    out |= {f"workers/{k}": (make, SOME, "workers") for k, make in WORKING.items()}
    for name in ("adam", "momentum", "lamb", "lookahead", "adagrad_full_matrix", "ranger21"):
        out[f"holes/{name}"] = (lambda n=name: from_settings(n, SETTINGS[n][1]), SOME, "holes")
    return out


# other people's numbers

OTHER: dict[str, Any] = {
    "learning_rate": falling, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.8, "rho": 0.8,
    "decay": 0.8, "decay_rate": 0.5, "initial_accumulator_value": 0.25, "learning_rate_decay": 0.01,
    "final_learning_rate": 0.5, "gamma": 0.05, "clipping_threshold": 0.5, "min_parameter_scale": 0.1,
    "momentum_decay": 0.01, "trust_coefficient": 0.01, "min_dim_size_to_factor": 2, "sync_period": 3,
    "slow_step_size": 0.3, "eps_root": 1e-4, "mask": MASK, "schedule": falling_slowly,
}  # fmt: skip


def liked(library: str, name: str, other: bool) -> optax.GradientTransformation:
    make = getattr(getattr(like, library), name)
    settings = {k: OTHER[k] for k in inspect.signature(make).parameters if other and k in OTHER}
    if name == "lookahead":
        settings["inner"] = g.momentum(0.05)
    return make(**settings)


def likes() -> dict[str, tuple]:
    return {
        f"like/{library}.{name}/{i}": (lambda lib=library, n=name, i=i: liked(lib, n, i == 1), SOME)
        for library in like.__all__
        for name in getattr(like, library).__all__
        for i in (0, 1)
    }


# several losses

TASKS: dict[str, Callable] = {
    "gradnorm": lambda: g.gradnorm(3),
    "gradnorm-path": lambda: g.gradnorm(3, 0.12, 0.1, shared="^kernel"),
    "gradnorm-mask": lambda: g.gradnorm(3, 0.0, shared=MASK),
    "gradnorm-known": lambda: g.gradnorm(3, initial_losses=[2.0, 10.0, 1.0], min_weight=0.3),
    "gradnorm-sgd": lambda: g.gradnorm(3, 0.5, 0.01, optimizer=g.sgd),
    "dynamic_weight_average": lambda: g.dynamic_weight_average(3),
    "dynamic_weight_average-3": lambda: g.dynamic_weight_average(3, 0.5, every=3),
    "uncertainty_weights": lambda: g.uncertainty_weights(3),
    "uncertainty_weights-fast": lambda: g.uncertainty_weights(3, 0.1),
    "uncertainty_weights-sgd": lambda: g.uncertainty_weights(3, 0.02, optimizer=g.sgd),
    "equal_weights": lambda: g.equal_weights(3),
    "static_weights": lambda: g.static_weights([0.5, 3.0, 0.1]),
    "pcgrad": lambda: g.pcgrad(3),
    "pcgrad-shared": lambda: g.pcgrad(3, seed=7, shared="kernel|conv"),
    "weigh_tasks": lambda: g.weigh_tasks(
        3, lambda memory, losses, gradients: ((losses == losses.max()).astype(losses.dtype), memory)
    ),
}


def tasks() -> dict[str, tuple]:
    """Each before a descent that is slow, and before Adam."""
    out: dict[str, tuple] = {}
    for name, make in TASKS.items():
        out[f"tasks/{name}/sgd"] = (lambda m=make: g.chain(m(), g.sgd(1e-3)), SOME, "tasks")
        out[f"tasks/{name}/adam"] = (lambda m=make: g.chain(m(), g.adam(1e-2)), SOME, "tasks")
    return out


# words

POPULAR = np.arange(12) < 4


def gradient_of(f: Callable) -> optax.GradientTransformation:
    """A descent on f of the parameters, which also moves by the gradients that are data."""

    def update(x: Any, state: Any, params: Any = None) -> Any:
        slope = jax.grad(lambda p: f(p["e"]))(params)
        return jax.tree.map(lambda x, s: (x.astype(s.dtype) - s).astype(x.dtype) * 0.125, x, slope), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def judged(e: jax.Array) -> jax.Array:
    judge = g.discriminator(3, hidden=(4,))
    layers = [
        {"kernel": jnp.arange(12.0).reshape(3, 4) / 16 - 0.25, "bias": jnp.full(4, 0.125)},
        {"kernel": jnp.arange(4.0).reshape(4, 1) / 4 - 0.5, "bias": jnp.zeros(1)},
    ]
    return judge.apply(layers, e)


WORDS: dict[str, Callable] = {
    "frage_loss-both": lambda e: g.frage_loss(e, POPULAR, lambda e: jnp.sum(e, 1) / 2, 0.5),
    "frage_loss-rare": lambda e: g.frage_loss(e, POPULAR, lambda e: jnp.sum(e, 1) / 2, 2.0, "rare"),
    "frage_loss-layers": lambda e: g.frage_loss(e, POPULAR, judged, 0.5),
    "moment_loss": lambda e: g.moment_loss(e, POPULAR),
    "reverse_gradient": lambda e: jnp.sum(g.reverse_gradient(e, 0.25) ** 2),
}


def words() -> dict[str, tuple]:
    return {f"words/{k}": (lambda f=f: gradient_of(f), SOME, "table") for k, f in WORDS.items()}


# pieces

PIECES: dict[str, Callable] = {
    "absolute": lambda: g.absolute(),
    "adaptive": lambda: g.adaptive([g.ema(0.9)], [g.square(), g.ema(0.99), g.inverse_root(1e-3)]),
    "adaptive_grad_clip": lambda: g.adaptive_grad_clip(),
    "adaptive_grad_clip-0.3": lambda: g.adaptive_grad_clip(0.3, 0.5),
    "adaptive_slow_weights": lambda: g.parallel(
        lambda gradient, curvature, moved: moved,
        gradient=[],
        curvature=[g.square(), g.ema(0.9)],
        moved=[g.momentum(0.02), g.adaptive_slow_weights(3, 0.2)],
    ),
    "add_constant": lambda: g.add_constant(0.5),
    "add_decayed_weights": lambda: g.add_decayed_weights(0.1),
    "add_decayed_weights-mask": lambda: g.add_decayed_weights(falling, mask=MASK),
    "add_gradient_noise": lambda: g.add_gradient_noise(seed=1),
    "add_gradient_noise-0.3": lambda: g.add_gradient_noise(0.3, 0.7),
    "add_norm_loss": lambda: g.add_norm_loss(0.1),
    "add_norm_loss-falling": lambda: g.add_norm_loss(falling, 0.01),
    "bias_correction": lambda: g.chain(g.ema(0.9), g.bias_correction(0.9)),
    "bias_correction-ahead": lambda: g.chain(g.ema(rising), g.bias_correction(rising, power=2, ahead=1)),
    "centralize": lambda: g.centralize(),
    "centralize-0": lambda: g.centralize(0),
    "clip_by_block_rms": lambda: g.clip_by_block_rms(0.5),
    "clip_by_bounds": lambda: g.chain(g.square(), g.inverse_root(1e-3), g.clip_by_bounds()),
    "clip_by_bounds-fast": lambda: g.chain(g.square(), g.inverse_root(1e-3), g.clip_by_bounds(falling, 0.3)),
    "clip_by_global_norm": lambda: g.clip_by_global_norm(1.0),
    "clip_step_size": lambda: g.clip_step_size(0.01, 0.5),
    "decayed_max": lambda: g.chain(g.absolute(), g.decayed_max(0.9)),
    "decayed_max-bf16": lambda: g.chain(g.absolute(), g.decayed_max(0.99, residual_dtype="bfloat16")),
    "displacement": lambda: made(g.rule(displaced, init={"eval_displacement": 0.0})),
    "elastic": lambda: g.elastic(),
    "elastic-2": lambda: g.elastic(0.5, 2),
    "ema": lambda: g.ema(0.9),
    "ema-bf16": lambda: g.ema(0.99, dtype="bfloat16"),
    "ema-residual": lambda: g.ema(falling, residual_dtype="bfloat16"),
    "extrapolate": lambda: g.chain(g.scale(-0.01), g.extrapolate()),
    "extrapolate-residual": lambda: g.chain(g.scale(-0.01), g.extrapolate("float32")),
    "factored_ema": lambda: g.chain(g.square(), g.factored_ema()),
    "factored_ema-largest": lambda: g.chain(g.square(), g.factored_ema(g.corrected_decay_rate(0.9), "largest", 3)),
    "fetch": lambda: g.parallel(
        lambda server, x: x, server=[g.parameter_server(g.adagrad(0.1), 2)], x=[g.sgd(0.1), g.fetch("server", 3)]
    ),
    "first_parameters": lambda: g.parallel(
        lambda a, b, x: b - a - x / 16, a=[g.parameters()], b=[g.first_parameters()], x=[]
    ),
    "gradient_ahead": lambda: g.chain(g.scale(-0.01), g.gradient_ahead(), g.scale(-0.01)),
    "inverse_root": lambda: g.chain(g.square(), g.inverse_root()),
    "inverse_root-eps": lambda: g.chain(g.square(), g.inverse_root(1e-3, 1e-4)),
    "inverse_softplus_root": lambda: g.chain(g.square(), g.inverse_softplus_root(0.1)),
    "inverse_softplus_root-2": lambda: g.chain(g.square(), g.inverse_softplus_root(1e-3, 2.0)),
    "look_ahead": lambda: g.chain(g.trace(0.9), g.look_ahead(0.9)),
    "look_ahead-rising": lambda: g.chain(g.trace(rising), g.look_ahead(rising)),
    "mean": lambda: g.mean(),
    "mean-residual": lambda: g.mean(residual_dtype="bfloat16"),
    "mean_of": lambda: g.parallel(g.mean_of, a=[g.ema(0.9)], b=[g.trace(0.5)], c=[]),
    "mean_of_all": lambda: g.mean_of_all(),
    "nesterov_ema": lambda: g.nesterov_ema(0.9),
    "nesterov_ema-schedule": lambda: g.nesterov_ema(g.nadam_momentum(0.99)),
    "normalize": lambda: g.normalize(),
    "normalize-eps": lambda: g.normalize(1e-3),
    "normalize_by_update_norm": lambda: g.normalize_by_update_norm(),
    "parallel": lambda: g.parallel(jnp.add, one=[g.square(), g.ema(0.5)], two=[g.recall("one"), g.scale(3.0)]),
    "parameter_server": lambda: g.parameter_server(g.momentum(0.05), 3),
    "parameters": lambda: g.chain(g.parameters(), g.scale(-0.1)),
    "polyak_average": lambda: g.chain(g.sgd(0.01), g.polyak_average()),
    "positive_negative_momentum": lambda: g.positive_negative_momentum(),
    "positive_negative_momentum-0.7": lambda: g.positive_negative_momentum(0.8, 0.7),
    "project_to_box": lambda: g.chain(g.scale(-0.1), g.project_to_box(-0.5, 0.4)),
    "project_to_box-low": lambda: g.chain(g.scale(-0.1), g.project_to_box(low=-0.25)),
    "proximal": lambda: g.proximal(
        [g.mean()], [g.square(), g.total(), g.inverse_root(1e-3)], [g.first_parameters()], 0.01, 0.1
    ),
    "quasi_hyperbolic": lambda: g.quasi_hyperbolic(0.9, 0.7),
    "quasi_hyperbolic-falling": lambda: g.quasi_hyperbolic(rising, falling),
    "random_delay": lambda: g.random_delay(3),
    "reciprocal": lambda: g.reciprocal(),
    "rectify": lambda: g.chain(g.ema(0.9), g.rectify(0.999)),
    "rectify-0.9": lambda: g.chain(g.ema(0.9), g.rectify(0.9, 4.5, 0.0)),
    "running_max": lambda: g.chain(g.absolute(), g.running_max()),
    "scale": lambda: g.scale(1 / 3),
    "scale-falling": lambda: g.scale(falling),
    "scale_by_adadelta": lambda: g.scale_by_adadelta(),
    "scale_by_adadelta-0.9": lambda: g.scale_by_adadelta(0.9, 1e-3),
    "scale_by_adam": lambda: g.scale_by_adam(),
    "scale_by_adam-other": lambda: g.scale_by_adam(0.8, 0.95, 1e-3, 1e-4),
    "scale_by_backtracking": lambda: g.scale_by_backtracking(4.0),
    "scale_by_backtracking-1": lambda: g.scale_by_backtracking(0.1, 1),
    "scale_by_delta_bar_delta": lambda: g.scale_by_delta_bar_delta(),
    "scale_by_delta_bar_delta-other": lambda: g.scale_by_delta_bar_delta(0.5, 0.1, 0.5, 0.9),
    "scale_by_factored_rms": lambda: g.scale_by_factored_rms(),
    "scale_by_factored_rms-largest": lambda: g.scale_by_factored_rms(0.5, 1e-6, "largest", 3),
    "scale_by_full_matrix": lambda: g.scale_by_full_matrix(),
    "scale_by_full_matrix-eps": lambda: g.scale_by_full_matrix(0.1),
    "scale_by_gains": lambda: g.scale_by_gains(),
    "scale_by_gains-other": lambda: g.scale_by_gains(0.5, 0.5, 0.01, 2.0),
    "scale_by_learning_rate": lambda: g.scale_by_learning_rate(falling),
    "scale_by_local_rate": lambda: g.scale_by_local_rate(),
    "scale_by_local_rate-mask": lambda: g.scale_by_local_rate(0.01, 0.1, MASK, g.excluding("gain")),
    "scale_by_parameter_rms": lambda: g.scale_by_parameter_rms(),
    "scale_by_parameter_rms-0.5": lambda: g.scale_by_parameter_rms(0.5),
    "scale_by_parameters": lambda: g.chain(g.scale(-0.1), g.scale_by_parameters()),
    "scale_by_path": lambda: g.scale_by_path({"^ker": 0.5, "kernel": 7.0, "gain": 0}),
    "scale_by_path-several": lambda: g.scale_by_path({"bias|gain": 0.125, "conv": 3.0, "/": 2}),
    "scale_by_rms": lambda: g.scale_by_rms(),
    "scale_by_rms-other": lambda: g.scale_by_rms(0.99, 1e-3, 1e-4),
    "scale_by_rprop": lambda: g.scale_by_rprop(),
    "scale_by_rprop-plus": lambda: g.scale_by_rprop(0.5, 0.3, 1.5, 0.05, 2.0, "plus"),
    "scale_by_rprop-minus": lambda: g.scale_by_rprop(1.0, 0.9, 1.1, 0.0, variant="minus"),
    "scale_by_time": lambda: g.scale_by_time(),
    "scale_to_parameter_norm": lambda: g.scale_to_parameter_norm(0.01),
    "scale_to_parameter_norm-falling": lambda: g.scale_to_parameter_norm(falling),
    "sign": lambda: g.sign(),
    "slow_weights": lambda: g.chain(g.momentum(0.05), g.slow_weights()),
    "slow_weights-3": lambda: g.chain(g.adam(0.1), g.slow_weights(3, share)),
    "square": lambda: g.square(),
    "stable_weight_decay": lambda: g.chain(g.square(), g.stable_weight_decay(0.1)),
    "synchronize": lambda: g.chain(g.sgd(0.1), g.synchronize(2)),
    "synchronize-outer": lambda: g.chain(g.sgd(0.1), g.synchronize(3, g.nesterov(0.7))),
    "temporal_average": lambda: g.chain(g.sgd(0.01), g.temporal_average()),
    "temporal_average-0.5": lambda: g.chain(g.sgd(0.01), g.temporal_average(0.5)),
    "total": lambda: g.total(),
    "total-residual": lambda: g.chain(g.square(), g.total(0.5, residual_dtype="bfloat16")),
    "trace": lambda: g.trace(0.9),
    "trace-bf16": lambda: g.trace(rising, dtype="bfloat16"),
    "trust_ratio": lambda: g.trust_ratio(),
    "trust_ratio-mask": lambda: g.trust_ratio(0.02, 0.5, MASK),
    "two_rate_ema": lambda: g.two_rate_ema(0.9, 0.99),
    "variance": lambda: g.variance(0.9),
    "variance-falling": lambda: g.variance(falling_slowly),
    "with_second_gradient": lambda: g.chain(g.with_second_gradient([g.scale(-0.1)]), g.scale(-0.01)),
    "with_second_gradient-mean": lambda: g.chain(g.with_second_gradient([g.scale(-0.1)], g.mean_of), g.scale(-0.01)),
    "worker_mean": lambda: g.worker_mean(),
    # makers
    "maker-accumulated": lambda: made(g.accumulated(lambda m, x, c: c * x, 1.0, residual_dtype="bfloat16", c=falling)),
    "maker-located": lambda: made(g.rule(lambda x, path: x if path.endswith("l") else 3 * x)),
    "maker-measured": lambda: made(g.rule(lambda x, measured: x / (1 + measured), measure=norm)),
    "maker-memory": lambda: made(g.rule(lambda m, x, c: (jnp.maximum(c * m, x),) * 2, init=0.0, c=0.9)),
    "maker-paired": lambda: made(g.rule(lambda x, p, c: x + c * p, c=falling)),
    "maker-pointwise": lambda: made(g.rule(lambda x, factor: factor * x, factor=falling)),
    "maker-pooled": lambda: g.parallel(jnp.subtract, x=[], mean=[g.mean_of_all()]),
    "maker-randomized": lambda: made(g.rule(lambda x, key: x + jax.random.normal(key, x.shape, x.dtype), seed=3)),
    "maker-recurrent": lambda: made(g.rule(lambda m, x: (x, 2 * x - m), init=0.0)),
    "maker-running": lambda: made(
        g.rule(lambda x, y: x * y, y=g.per_step(lambda m, count: (m / 2 + count.astype(m.dtype),) * 2, init=3.0))
    ),
    "maker-timed": lambda: made(g.rule(lambda x, t: x / jnp.sqrt(t))),
    "maker-weights": lambda: made(g.weights(lambda w, x, p: (0.5 * (w + p), 0.1 * x))),
}
LOOKS_ROUND = ("gradient_ahead", "backtracking", "second_gradient")

# hyperparameters

RATES: dict[str, Callable] = {
    "linear_warmup": lambda: g.linear_warmup(10, 0.1),
    "noam": lambda: g.noam(64, 10),
    "one_cycle": lambda: g.one_cycle(30, 0.1).learning_rate,
    "one_cycle-linear": lambda: g.one_cycle(30, 0.1, anneal="linear").learning_rate,
    "one_cycle_three_phase": lambda: g.one_cycle_three_phase(30, 0.1).learning_rate,
    "piecewise_linear": lambda: g.piecewise_linear({0: 0.0, 10: 0.1, 25: 0.01}),
    "ranger21_schedule": lambda: g.ranger21_schedule(0.1, 30),
    "relative_step": lambda: g.relative_step,
    "untuned_exponential_warmup": lambda: g.untuned_exponential_warmup(0.9, 0.1),
    "untuned_linear_warmup": lambda: g.untuned_linear_warmup(0.9, 0.1),
    "warm_restarts": lambda: g.warm_restarts(7, 2.0, 0.001, 0.1),
    "inverse_sqrt_decay": lambda: g.inverse_sqrt_decay(0.1),
    "geometric_decay": lambda: g.geometric_decay(0.1, 0.9),
    "ahead": lambda: g.ahead(falling, 2),
    "optax": lambda: optax.warmup_cosine_decay_schedule(0.0, 0.1, 5, 30),
}
MOMENTA: dict[str, Callable] = {
    "rising": lambda: rising,
    "nadam_momentum": lambda: g.nadam_momentum(0.95),
    "nesterov_momentum": lambda: g.nesterov_momentum(),
    "sutskever_momentum": lambda: g.sutskever_momentum(0.95),
    "one_cycle": lambda: g.one_cycle(30, 0.1).momentum,
    "complement": lambda: g.complement(falling),
    "geometric_decay": lambda: g.geometric_decay(0.9, 0.99),
}
HYPER: dict[str, Callable] = {
    "adam-b2": lambda: g.adam(falling, b1=rising, b2=g.corrected_decay(0.99)),
    "adamw-decay": lambda: g.adamw(falling, weight_decay=g.restarting_weight_decay(0.1, 7, 2.0)),
    "adamw-normalized": lambda: g.adamw(falling, weight_decay=g.normalized_weight_decay(0.1, 8, 64, 4)),
    "adabound-final": lambda: g.adabound(0.01, final_learning_rate=falling),
    "nlamb-b2": lambda: g.nlamb(0.01, b1=rising, b2=share),
    "lookahead-share": lambda: g.lookahead(g.momentum(0.05), 3, share),
    "factored-rate": lambda: g.adafactor(0.1, decay_rate=g.corrected_decay_rate(0.9)),
}
ARRAYS: dict[str, Callable] = {
    "adam": lambda: g.adam(jnp.asarray(0.1), jnp.asarray(0.8), jnp.asarray(0.95)),
    "nadam": lambda: g.nadam(b1=jnp.asarray(0.9), b2=jnp.asarray(0.95)),
    "radam": lambda: g.radam(b1=jnp.asarray(0.8), b2=0.95),
    "amsgrad": lambda: g.amsgrad(b1=jnp.asarray(0.8), b2=jnp.asarray(0.95)),
    "bias_correction": lambda: g.chain(g.ema(jnp.asarray(0.9)), g.bias_correction(jnp.asarray(0.9))),
    "momentum": lambda: g.momentum(jnp.asarray(0.1), jnp.asarray(0.8)),
    "rmsprop": lambda: g.rmsprop(jnp.asarray(0.1), jnp.asarray(0.8)),
}
MASKS: dict[str, Callable] = {
    "adamw": lambda: g.adamw(0.1, weight_decay=0.1, mask=MASK),
    "adamw-path": lambda: g.adamw(0.1, weight_decay=0.1, mask=g.excluding("bias", "gain")),
    "adamw-function": lambda: g.adamw(
        0.1, weight_decay=0.1, mask=lambda tree: jax.tree.map(lambda p: len(p.shape) > 1, tree)
    ),
    "adamwr": lambda: g.adamwr(0.1, 7, mask=MASK),
    "sgdw": lambda: g.sgdw(0.1, weight_decay=0.1, mask=MASK),
    "sgdwr": lambda: g.sgdwr(0.1, 7, mask=MASK),
    "lion": lambda: g.lion(0.01, weight_decay=0.1, mask=MASK),
    "adabound": lambda: g.adabound(weight_decay=0.1, mask=MASK),
    "amsbound": lambda: g.amsbound(weight_decay=0.1, mask=MASK),
    "adaboundw": lambda: g.adaboundw(weight_decay=0.1, mask=MASK),
    "lamb": lambda: g.lamb(weight_decay=0.1, mask=MASK, trust_ratio_mask=g.excluding("gain")),
    "nlamb": lambda: g.nlamb(weight_decay=0.1, mask=MASK),
    "nnlamb": lambda: g.nnlamb(weight_decay=0.1, mask=MASK),
    "lars": lambda: g.lars(weight_decay=0.1, mask=MASK, trust_ratio_mask=g.excluding("gain")),
    "lars_2017": lambda: g.lars_2017(weight_decay=0.1, mask=MASK, trust_ratio_mask=g.excluding("gain")),
    "ranger": lambda: g.ranger(weight_decay=0.1, mask=MASK),
}


def pieces() -> dict[str, tuple]:
    out: dict[str, tuple] = {
        f"piece/{k}": (make, SOME, "plain", any(word in k for word in LOOKS_ROUND)) for k, make in PIECES.items()
    }
    for k, rate in RATES.items():
        out[f"rate/{k}"] = (lambda r=rate: g.momentum(r(), 0.5), SOME)
    for k, schedule in MOMENTA.items():
        out[f"momentum/{k}/momentum"] = (lambda s=schedule: g.momentum(0.1, s()), SOME)
        out[f"momentum/{k}/adam"] = (lambda s=schedule: g.adam(0.1, b1=s()), SOME)
    for group, table in (("hyper", HYPER), ("arrays", ARRAYS), ("mask", MASKS)):
        out |= {f"{group}/{k}": (make, SOME) for k, make in table.items()}
    return out


CASES: dict[str, Case] = {
    name: Case(name, *rest)
    for table in (methods(), wrapped(), likes(), tasks(), words(), pieces())
    for name, rest in table.items()
}


def keys() -> list[str]:
    """All there is to run, "case|dtype|jit": every dtype compiled, float32 op by op too."""
    return [
        f"{case.name}|{dtype}|{jit}"
        for case in CASES.values()
        for dtype, jit in (*((d, "jit") for d in case.dtypes), ("float32", "eager"))
    ]


EIGEN = "the roots of small eigenvalues are ill-conditioned"
SINGLE = "optax computes the schedule in float32, whose ulps these are"
MEANS = "means are summed up as wide as the processor is"
PRODUCT = "a weight near 1, whose contractions accumulate over 30 steps"
WEIGHTS = "the weights of the tasks accumulate contractions, and their sum cancels"
CANCEL = "a contraction within a difference of larger numbers"
STEPS = "contractions accumulate over the steps"
WORSE: dict[str, tuple[float, str]] = {
    "around/adversarial/optax|float32|jit": (4, STEPS),
    "around/adversarial/optax|float64|jit": (7, STEPS),
    "around/skip_nonfinite/adamw|float64|jit": (9, STEPS),
    "around/store-bfloat16/optax|float32|jit": (4, STEPS),
    "around/store-bfloat16/optax|float64|jit": (7, STEPS),
    "around/store-int8-where/optax|float64|jit": (7, STEPS),
    "around/store-int8/optax|float64|jit": (7, STEPS),
    "broken/skip_nonfinite/adamw|float64|jit": (3, STEPS),
    "broken/skip_nonfinite/momentum|float64|jit": (5, STEPS),
    "hyper/factored-rate|float64|jit": (3, MEANS),
    "like/authors.nadam/0|float64|jit": (3, CANCEL),
    "like/optax.adafactor/1|float32|jit": (4, MEANS),
    "like/optax.adafactor/1|float64|jit": (8, MEANS),
    "like/optax.rmsprop_nesterov/0|float32|jit": (3, CANCEL),
    "like/optax.rmsprop_nesterov/1|float32|jit": (7, CANCEL),
    "like/optax.rmsprop_nesterov/1|float64|jit": (3, CANCEL),
    "like/paper.adabound/0|float64|jit": (3, CANCEL),
    "like/paper.amsbound/0|float64|jit": (3, CANCEL),
    "like/torch.adam/1|float32|jit": (3, STEPS),
    "method/adafactor/1|float32|jit": (6, MEANS),
    "method/adafactor/1|float64|jit": (2.5, MEANS),
    "method/adagrad_full_matrix/0|float32|eager": (6, EIGEN),
    "method/adagrad_full_matrix/0|float32|jit": (6, EIGEN),
    "method/adagrad_full_matrix/2|float32|eager": (6, EIGEN),
    "method/adagrad_full_matrix/2|float32|jit": (6, EIGEN),
    "method/adaptive_revision/1|float32|jit": (5, STEPS),
    "method/adaptive_revision/1|float64|jit": (3.25, STEPS),
    "method/extragradient/1|float32|jit": (10.44, STEPS),
    "method/extragradient/1|float64|jit": (10, STEPS),
    "method/ranger_qh/1|float32|jit": (4, STEPS),
    "momentum/rising/momentum|float64|jit": (5, PRODUCT),
    "nested/lazy-adafactor|float64|jit": (3, MEANS),
    "nested/store-adafactor|float32|jit": (4, MEANS),
    "nested/store-adafactor|float64|jit": (10, MEANS),
    "piece/bias_correction-ahead|float32|jit": (41, PRODUCT),
    "piece/bias_correction-ahead|float64|jit": (13, PRODUCT),
    "piece/positive_negative_momentum-0.7|float32|jit": (9, CANCEL),
    "piece/positive_negative_momentum-0.7|float64|jit": (4, CANCEL),
    "piece/proximal|float32|jit": (4, CANCEL),
    "piece/proximal|float64|jit": (4, CANCEL),
    "piece/scale_by_factored_rms-largest|float32|jit": (3, MEANS),
    "piece/scale_by_full_matrix|float32|eager": (5, EIGEN),
    "piece/scale_by_full_matrix|float32|jit": (5, EIGEN),
    "piece/stable_weight_decay|float32|jit": (3, STEPS),
    "piece/synchronize-outer|float32|jit": (2.5, STEPS),
    "rate/optax|float64|jit": (1.075e09, SINGLE),
    "tasks/gradnorm-known/adam|float64|jit": (3, WEIGHTS),
    "tasks/gradnorm-known/sgd|float64|jit": (3, WEIGHTS),
    "tasks/gradnorm-mask/adam|float64|jit": (2.5, WEIGHTS),
    "tasks/gradnorm-sgd/adam|float64|jit": (2.63, WEIGHTS),
    "tasks/gradnorm/sgd|float64|jit": (3, WEIGHTS),
}
"""What needs more than 2 ulps on another processor than that of the recording, how many, and why."""
