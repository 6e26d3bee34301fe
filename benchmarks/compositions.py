"""Random optimizers: chains of 1 to 8 pieces, whole optimizers, wrappers and optax's own transformations.

`composition` writes a recipe, which `built` evaluates: what is printed is how to have it again. `check` says which of
thirteen invariants it breaks; the last three compile, and are tried where `jitted` asks for it.
"""

import argparse
import contextlib
import functools
import inspect
import io
import pickle
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import serialization
from rich.progress import track

import gdo_optax
from gdo_optax.family import family
from gdo_optax.trees import absent, path_name


STEPS = 4


def matrices(tree: Any) -> Any:
    """A mask that does not depend on names."""
    return jax.tree.map(lambda x: jnp.ndim(x) > 1, tree)


def ranks(tree: Any) -> Any:
    return jax.tree.map(lambda x: "matrix" if jnp.ndim(x) > 1 else "rest", tree)


MODULES = ("wrappers.precision", "wrappers.skipping", "wrappers.storage")
SPACE: dict[str, Any] = {k: v for m in MODULES for k, v in vars(import_module(f"gdo_optax.{m}")).items()}
SPACE |= vars(gdo_optax) | {"optax": optax, "jnp": jnp, "matrices": matrices, "ranks": ranks, "add": jnp.add}

# What an argument of that name may be; all others keep their defaults. Schedules only where they are allowed.
RATES = ["0.1", "0.01", "1.0"]
PASTS = ["0.9", "0.5", "0.0", "0.99"]
NUMBERS: dict[str, Sequence[str]] = {
    **dict.fromkeys(("learning_rate", "rate"), RATES),
    **dict.fromkeys(("b1", "b2", "decay", "momentum", "rho"), PASTS),
    **dict.fromkeys(("eps", "eps_root", "initial_accumulator_value"), ("1e-3", "1e-8", "0.1")),
    **dict.fromkeys(("weight_decay", "norm_loss", "l1", "l2"), ("0.1", "0.0", "1e-3")),
    **dict.fromkeys(("sync_period", "every", "push_period", "fetch_period"), ("2", "1", "3")),
    **dict.fromkeys(("nu", "nu1", "nu2", "share"), ("0.7", "0.0", "1.0")),
    **dict.fromkeys(("slow_step_size", "min_slow_step_size", "moving_rate"), ("0.5", "0.8", "1.0")),
    **dict.fromkeys(("delay", "max_delay"), ("1", "0", "2")),
    **dict.fromkeys(("mask", "trust_ratio_mask"), ("matrices", "excluding('bias')")),
    **dict.fromkeys(("clipping", "clipping_threshold", "radius", "eta"), ("0.1", "1.0")),
    **{"decay_rate": ("0.8", "1.0"), "threshold": ("5.0", "4.5"), "step_size": ("0.5", "-1.0", "2")},
    **{"final_learning_rate": ("0.1", "1.0"), "gamma": ("1e-3", "0.5"), "b1_decay": ("0.9", "1.0")},
    **{"lower_bound": ("0.01", "0.0"), "upper_bound": ("1.0", "float('inf')"), "min_norm": ("0.0", "0.1")},
    **{"max_norm": ("10.0", "1.0"), "trust_coefficient": ("0.1", "1e-3"), "min_parameter_scale": ("0.1", "1e-3")},
    **{"low": ("-0.5", "-2.0"), "high": ("0.5", "3.0"), "momenta": ("(0.0, 0.9)", "(0.5, 0.9, 0.99)")},
    **{"factored_dims": ("'last'", "'largest'"), "min_dim_size_to_factor": ("2", "3"), "kappa": ("0.1", "0.0")},
    **{"phi": ("0.1", "0.5"), "eta_minus": ("0.5", "0.9"), "eta_plus": ("1.2", "1.0"), "increase": ("0.05", "0.5")},
    **{"decrease": ("0.95", "0.5"), "min_gain": ("0.1", "0.5"), "max_gain": ("10.0", "2.0"), "seed": ("0", "7")},
    **{"variant": ("'iminus'", "'plus'", "'minus'"), "momentum_position": ("'after'", "'before'")},
    **{"period": ("2", "3"), "t_mult": ("2", "1"), "steps": ("6", "20"), "positive_negative_factor": ("1.0", "0.5")},
    **{"ahead": ("0", "1"), "power": ("1", "0.5"), "sharpness": ("50.0", "5.0"), "max_backtracking_steps": ("2",)},
    **{"state": ("'frozen'", "'dense'"), "inner_state": ("'keep'", "'reset'", "'interpolate'")},
    **{"counts": ("'global'", "'row'"), "as_": ("'int8'", "'bfloat16'"), "block_size": ("2", "3"), "out_axis": ("-1",)},
    **{"constant": ("0.1",), "factors": ("{'bias': 0.5}",), "to": ("[scale(-0.1)]", "[normalize()]")},
    **{"merge": ("second", "mean_of"), "outer": ("None", "momentum(0.5)", "sgd(1.0)"), "otherwise": ("1.0", "0.0")},
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
    "scale_by_past_updates", "scale_by_delta_bar_delta", "scale_by_gains", "scale_by_rprop", "scale_by_full_matrix",
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
    "optax.chain(INNER, optax.identity())", "optax.flatten(INNER)", "optax.with_extra_args_support(INNER)",
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


def composition(seed: int) -> tuple[optax.GradientTransformation, str]:
    """A random optimizer, and the recipe that makes it again."""
    text = Writer(random.Random(seed)).recipe().text
    return built(text), text


def built(text: str) -> optax.GradientTransformation:
    return eval(text, dict(SPACE))


# What a recipe that has one of these words is not, or need not be.
NAMED = re.compile(r"\b(scale_by_path|excluding)\b")
BY_PLACE = re.compile(r"\b(add_gradient_noise|random_delay|hogwild|round_stochastically)\b")
COUPLED = re.compile(
    NAMED.pattern
    + "|"
    + BY_PLACE.pattern
    + r"|norm|clip\b|block|centralize|trust|local_rate|layerwise|lazy|rows|lar[sy]|lamb|store|matrices|ranks|matrix"
    r"|factor|parameter_rms|ranger|sam\b|flatten|grad_clip|backtracking|mean_of_all|stable_weight"
)
UNPRINTABLE = re.compile(
    r"excluding|optax\.|_decay\(|warm|noam|cycle|piecewise|momentum\(|schedule|complement|ahead\(|relative"
)

MODELS: tuple[Callable[[Callable], Any], ...] = (
    lambda a: {"bias": a(3), "kernel": a(2, 3)},
    lambda a: [a(2, 3), {"bias": a(3)}, None],
    lambda a: {"bias": a(3).astype(jnp.bfloat16), "kernel": a(2, 3), "masked": optax.MaskedNode()},
    lambda a: {"gain": a(), "layer": {"kernel": a(2, 3)}, "none": a(0, 3)},
    lambda a: a(2, 3),
)


class Run(NamedTuple):
    """Parameters and gradients to try an optimizer on, a tree each and one for every step."""

    params: Any
    grads: list[Any]

    def map(self, f: Callable[[Any], Any]) -> "Run":
        return Run(f(self.params), [f(g) for g in self.grads])


def data(seed: int, model: int) -> Run:
    """Ordinary numbers; among the gradients zeros, in places and, once in four, in all of a step."""
    rng = np.random.default_rng(seed)

    def array(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    def gradient(*shape: int) -> jax.Array:
        g = rng.standard_normal(shape) * 10 ** rng.uniform(-2, 0.5) * (rng.random(shape) > 0.1)
        return jnp.asarray(g * (rng.random() > 0.05), jnp.float32)

    return Run(MODELS[model](array), [MODELS[model](gradient) for _ in range(STEPS)])


def loss(params: Any) -> jax.Array:
    return sum((jnp.sum((p.astype(jnp.float32) - 1) ** 2) / 2 for p in jax.tree.leaves(params)), jnp.zeros(()))


EXTRA = {"value_fn": loss, "value_and_grad_fn": jax.value_and_grad(loss)}


def step(tx: Any, params: Any, state: Any, g: Any) -> tuple[Any, Any, Any]:
    updates, state = optax.with_extra_args_support(tx).update(g, state, params, **EXTRA)
    moved = jax.tree.map(lambda u, p: p if absent(u) else p + u, updates, params, is_leaf=absent)
    return updates, state, moved


BRANCHES = re.compile(
    r"accumulate|delay|in_turn|finite|local_sgd|downpour|synchronize|elastic|easgd|eamsgd|backtracking|revision|hogwild"
)


@contextlib.contextmanager
def eager(text: str) -> Iterator[None]:
    """Not compiled: where there are branches each would be compiled anew in every step; elsewhere what JAX compiles of
    its own is faster. No implicit promotion, unless optax has a part in it.
    """
    promotion = "standard" if "optax." in text else "strict"
    with jax.disable_jit(bool(BRANCHES.search(text))), jax.numpy_dtype_promotion(promotion):
        yield


def steps(tx: Any, run: Run, state: Any = None) -> list[tuple[Any, Any, Any]]:
    """Updates, state and parameters after every step, not compiled."""
    params, state, out = run.params, tx.init(run.params) if state is None else state, []
    for g in run.grads:
        out.append(step(tx, params, state, g))
        _, state, params = out[-1]
    return out


def avals(tree: Any) -> Any:
    """Structure, shapes, dtypes and weak types."""
    return jax.tree.map(lambda a: (a.shape, str(a.dtype), getattr(a, "weak_type", False)), tree), jax.tree.structure(
        tree
    )


def same(a: Any, b: Any) -> bool:
    """To the bit."""
    if avals(a) != avals(b):
        return False
    return all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )


def finite(tree: Any) -> bool:
    return all(np.isfinite(np.asarray(x, np.float64)).all() for x in jax.tree.leaves(tree))


def gaps(ours: list[Any], theirs: list[Any]) -> np.ndarray:
    """The largest difference of every step and array, in ulps of the largest element so far."""
    out, size = [], [0.0] * len(jax.tree.leaves(ours[0]))
    for a, b in zip(ours, theirs, strict=True):
        pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
        size = [max(s, float(np.max(np.abs(_wide(y)), initial=0.0))) for s, (_, y) in zip(size, pairs, strict=True)]
        out.append(
            [
                float(np.max(np.abs(_wide(x) - _wide(y)), initial=0.0)) / max(s * float(jnp.finfo(y.dtype).eps), 1e-45)
                for s, (x, y) in zip(size, pairs, strict=True)
            ]
        )
    return np.asarray(out)


def _wide(x: Any) -> np.ndarray:
    return np.asarray(x, np.float64)


def nearby(run: Run, seed: int) -> Run:
    """The same run, all numbers half an ulp or so away."""
    rng = np.random.default_rng(seed)

    def moved(x: jax.Array) -> jax.Array:
        eps = float(jnp.finfo(x.dtype).eps)
        return jnp.asarray(_wide(x) * (1 + eps * rng.choice([-1, 1], x.shape)), x.dtype)

    return run.map(lambda tree: jax.tree.map(moved, tree))


def close(ours: list[Any], theirs: list[Any], tx: Any, run: Run, sizes: Callable[[Any], Any] = lambda t: t) -> bool:
    """Within 4 ulps, or within 16 times what the optimizer makes of numbers that are an ulp off.

    A composition may well magnify roundings: where a difference cancels, or a sign or a root is taken of next to
    nothing. What it does to roundings of its input, it may do to its own.
    """
    if not finite((ours, theirs)):
        return finite(ours) == finite(theirs)
    found = gaps(ours, theirs)
    if (found <= 4).all():
        return True
    there = [[sizes(u) for u, _, _ in steps(tx, nearby(run, seed))] for seed in range(4)]
    allowed = np.maximum.accumulate(np.max([gaps(t, theirs) for t in there], 0), 0)
    return bool((found <= 4 + 16 * allowed.max(1, keepdims=True)).all())


def resumed(state: Any) -> dict[str, Any]:
    """The state after a round trip through each format."""
    arrays = io.BytesIO()
    leaves, structure = jax.tree.flatten(state)
    paths = [path_name(path) for path, _ in jax.tree.leaves_with_path(state)]
    np.savez(arrays, **{f"{i}:{name}": _bytes(x) for i, (name, x) in enumerate(zip(paths, leaves, strict=True))})
    arrays.seek(0)
    read = np.load(arrays)
    again = [
        jnp.asarray(a.view(x.dtype).reshape(x.shape)) for a, x in zip(map(read.get, read.files), leaves, strict=True)
    ]
    return {
        "msgpack": jax.tree.map(jnp.asarray, serialization.from_bytes(state, serialization.to_bytes(state))),
        "npz": structure.unflatten(again),
        "pickle": pickle.loads(pickle.dumps(state)),
    }


def _bytes(x: Any) -> np.ndarray:
    """npz knows no bfloat16."""
    return np.frombuffer(np.asarray(x).tobytes(), np.uint8)


def check(seed: int, jitted: bool = False) -> list[str]:
    """The invariants that the composition of this seed breaks."""
    return broken(Writer(random.Random(seed)).recipe(), seed, jitted)


def broken(recipe: Recipe, seed: int = 0, jitted: bool = False) -> list[str]:
    """The invariants that a recipe breaks, each with a word on how, on data of a seed."""
    text = recipe.text
    run = data(seed, seed % len(MODELS))
    with eager(text):
        tx = built(text)
        out = steps(tx, run)
        found = list(_stable(tx, run, out)) + list(_reproduced(text, run, out)) + list(_alike(recipe, tx, run, out))
        with jax.disable_jit(False):
            return found + (list(_compiled(text, tx, run, out)) if jitted else [])


def _stable(tx: Any, run: Run, out: list[Any]) -> Any:
    first = tx.init(run.params)
    for t, ((updates, state, _), g) in enumerate(zip(out, run.grads, strict=True)):
        if avals(updates) != avals(g):
            yield f"updates: {avals(updates)[0]} for {avals(g)[0]} at step {t}"
        if avals(state) != avals(first):
            yield f"state: {avals(state)[0]} was {avals(first)[0]} at step {t}"
    if not finite(out) and not _overflows(tx, run):
        yield "finite: not finite, though in float64 it is and fits float32"
    with jax.disable_jit(False):
        shapes = jax.eval_shape(
            functools.partial(step, tx), run.params, jax.eval_shape(tx.init, run.params), run.grads[0]
        )
    if avals(shapes) != avals(out[0]):
        yield f"abstract: {avals(shapes)[0]} was to be {avals(out[0])[0]}"


def _overflows(tx: Any, run: Run) -> bool:
    """Whether the numbers are too large for float32 in truth."""
    with jax.enable_x64(True):
        wide = run.map(lambda tree: jax.tree.map(lambda x: jnp.asarray(_wide(x)), tree))
        largest = max(
            (float(np.max(np.abs(_wide(x)), initial=0.0)) for x in jax.tree.leaves(steps(tx, wide))), default=0
        )
    return not largest < 1e30


def _reproduced(text: str, run: Run, out: list[Any]) -> Any:
    again = built(text)
    if not same(step(again, run.params, again.init(run.params), run.grads[0]), out[0]):
        yield "determinism: built again, another first step"
    _, state, params = out[-2]
    for name, loaded in resumed(state).items():
        if not same(loaded, state):
            yield f"resume: {name} gives another state"
    if not same(step(again, params, loaded, run.grads[-1]), out[-1]):
        yield "resume: another step from the loaded state"
    if not UNPRINTABLE.search(text):
        printed = [str(again), str(built(repr(again)))]
        if printed[0] != printed[1]:
            yield f"recipe: {again!r} is not what it prints"


def _alike(recipe: Recipe, tx: Any, run: Run, out: list[Any]) -> Any:
    still = steps(built(recipe.still), run._replace(grads=run.grads[:2]))
    if any(np.any(_wide(u) != 0) for u in jax.tree.leaves([u for u, _, _ in still])) and finite(out):
        yield "zero rate: it moves with a learning rate of 0"
    if NAMED.search(recipe.text) or BY_PLACE.search(recipe.text):
        return
    single = not any(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(run.params))
    flat = single and not COUPLED.search(recipe.text)
    name, turned = ("flatten: as one vector", _flat) if flat else ("permutation: arrays in another order", _turned)
    theirs = [turned(u) for u, _, _ in out]
    if not close([u for u, _, _ in steps(tx, run.map(turned))], theirs, tx, run, turned):
        yield f"{name}, another step"


def _turned(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=absent)[::-1]


def _flat(tree: Any) -> Any:
    return jnp.concatenate([x.reshape(-1) for x in jax.tree.leaves(tree)[::-1]])


def _compiled(text: str, tx: Any, run: Run, out: list[Any]) -> Any:
    """vmap of a scan, compiled; where it is off, which of the three is."""
    updates = [u for u, _, _ in out]
    stacked = jax.tree.map(lambda *g: jnp.stack(g), *run.grads)

    def scanned(params: Any, grads: Any) -> Any:
        def body(carry: Any, g: Any) -> Any:
            u, state, p = step(tx, *carry, g)
            return (p, state), u

        return jax.lax.scan(body, (params, tx.init(params)), grads)[1]

    def of(tree: Any) -> list[Any]:
        return [jax.tree.map(lambda u, t=t: u[t], tree) for t in range(STEPS)]

    def right(found: list[Any]) -> bool:
        with eager(text):
            return close(found, updates, tx, run)

    twice = jax.tree.map(lambda x: jnp.stack([x, x * 0 + 1]), (run.params, stacked))
    if right(of(jax.tree.map(lambda x: x[0], jax.jit(jax.vmap(scanned))(*twice)))):
        return
    if not right(of(jax.jit(scanned)(run.params, stacked))):
        jitted, params, state, found = jax.jit(functools.partial(step, tx)), run.params, tx.init(run.params), []
        for g in run.grads:
            u, state, params = jitted(params, state, g)
            found.append(u)
        yield "scan: another step than in a loop" if right(found) else "jit: another step than eagerly"
    else:
        yield "vmap: another step than alone"


def reported(seed: int, jitted: bool) -> tuple[int, str, list[str], float]:
    """A seed, its recipe, what it breaks, and the seconds that took; an exception is a broken invariant, too."""
    start, text = time.perf_counter(), ""
    try:
        text = Writer(random.Random(seed)).recipe().text
        found = check(seed, jitted)
    except Exception as error:
        found = [f"raises: {type(error).__name__}: {str(error).partition(chr(10))[0]}"]
    return seed, text, found, time.perf_counter() - start


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2000, help="how many compositions")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jitted", type=int, default=100, help="how many of them, the first, are compiled too")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    seeds, failed, spent = range(given.start, given.start + given.seeds), 0, 0.0
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        results = pool.map(reported, seeds, [i < given.jitted for i in range(given.seeds)], chunksize=10)
        for seed, text, found, seconds in track(results, "compositions", given.seeds, disable=not sys.stderr.isatty()):
            failed, spent = failed + bool(found), spent + seconds
            if found:
                again = f"python -m benchmarks.compositions --start {seed} --seeds 1"
                print(f"seed {seed}: {'; '.join(found)}\n    {text}\n    {again}", flush=True)
    compiled = min(given.jitted, given.seeds)
    print(f"{given.seeds} compositions, {compiled} of them compiled: {failed} failed; {spent / given.seeds:.2f} s each")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
