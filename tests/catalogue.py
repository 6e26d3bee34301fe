"""FAMILY × settings × problems: what the products of the tests run over."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gdo_optax.engine.piece import Piece
from gdo_optax.family import family, get
from tests import oracles


# All tests of a method run in one process, where they share what they compile.
FAMILY = [pytest.param(entry, id=entry.name, marks=pytest.mark.xdist_group(entry.name)) for entry in family()]
STEPS = 200
SHAPES = {"kernel": (4, 3), "conv": (2, 3, 4), "bias": (5,), "gain": ()}


def falling(count: Any) -> Any:
    """A learning-rate schedule that both JAX and NumPy can evaluate."""
    return 0.1 / (1 + (count if isinstance(count, int) else count.astype(float)) / 20)


def rising(count: Any) -> Any:
    """A momentum schedule that both JAX and NumPy can evaluate."""
    return 0.99 - 4.9 * falling(count)


# Three per method: the defaults, everything else than the defaults, and an extreme with a schedule.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "sgd": [{}, {"learning_rate": 0.5}, {"learning_rate": falling}],
    "momentum": [{}, {"learning_rate": 0.5, "momentum": 0.99}, {"learning_rate": falling, "momentum": 0.0}],
    "nesterov": [{}, {"learning_rate": 0.5, "momentum": rising}, {"learning_rate": falling, "momentum": 0.0}],
    "nesterov_1983": [{}, {"learning_rate": 0.001, "residual_dtype": "float32"}, {"learning_rate": falling}],
    "aggmo": [
        {},
        {"learning_rate": 0.5, "momenta": (0.5, 0.999)},
        {"learning_rate": falling, "momenta": (0.0, 0.9, 0.99, 0.999, 0.9999)},
    ],
    "delta_bar_delta": [
        {},
        {"learning_rate": 0.5, "kappa": 0.1, "phi": 0.5, "decay": 0.9},
        {"learning_rate": 1e-4, "kappa": 0.0, "phi": 0.0, "decay": 0.0},
    ],
    "rprop": [
        {},
        {
            "learning_rate": 0.5, "eta_minus": 0.3, "eta_plus": 1.5,
            "min_step_size": 0.05, "max_step_size": 2.0, "variant": "plus",
        },
        {"learning_rate": 1.0, "eta_minus": 0.9, "eta_plus": 1.0, "min_step_size": 0.0, "variant": "minus"},
    ],
    "hinton_gains": [
        {},
        {"learning_rate": 0.5, "increase": 0.5, "decrease": 0.5, "min_gain": 0.01, "max_gain": 2.0},
        {"learning_rate": falling, "increase": 0.0, "decrease": 1.0},
    ],
    "lion": [
        {},
        {"learning_rate": 0.01, "b1": 0.95, "b2": 0.8, "weight_decay": 0.1},
        {"learning_rate": falling, "b1": 0.0, "b2": 0.9999},
    ],
    "adagrad": [
        {},
        {"learning_rate": 0.5, "initial_accumulator_value": 0.1, "eps": 1e-3, "residual_dtype": "bfloat16"},
        {"learning_rate": falling, "eps": 0.0},
    ],
    "adagrad_full_matrix": [{}, {"learning_rate": 0.5, "eps": 0.1}, {"learning_rate": falling, "eps": 0.0}],
    "adagrad_rda": [
        {},
        {"learning_rate": 0.5, "eps": 1e-3, "l1": 0.01, "l2": 0.1, "low": -0.5, "high": 0.4},
        {"learning_rate": falling, "eps": 0.0, "l1": 0.1, "low": -0.1},
    ],
    "adagrad_mirror": [
        {},
        {"learning_rate": 0.5, "eps": 1e-3, "l1": 0.01, "l2": 0.1, "low": -0.5, "high": 0.4},
        {"learning_rate": falling, "eps": 0.0, "l1": 0.1, "low": -0.1},
    ],
    "rmsprop": [{}, {"learning_rate": 0.5, "decay": 0.99, "eps": 1e-3}, {"learning_rate": falling, "decay": 0.0}],
    "rmsprop_centered": [
        {},
        {"learning_rate": 0.5, "decay": 0.99, "eps": 1e-3},
        {"learning_rate": falling, "decay": 0.5, "eps": 0.0},
    ],
    "rmsprop_momentum": [
        {},
        {"learning_rate": 0.5, "decay": 0.99, "eps": 1e-3, "momentum": 0.99},
        {"learning_rate": falling, "decay": 0.0, "momentum": 0.0},
    ],
    "rmsprop_nesterov": [
        {},
        {"learning_rate": 0.5, "decay": 0.99, "eps": 1e-3, "momentum": 0.99},
        {"learning_rate": falling, "decay": 0.0, "momentum": 0.0},
    ],
    "adadelta": [{}, {"learning_rate": 0.5, "rho": 0.9, "eps": 1e-3}, {"learning_rate": falling, "rho": 0.999}],
    "adam": [
        {},
        {"learning_rate": 0.5, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "eps_root": 1e-4},
        {"learning_rate": falling, "b1": 0.0, "b2": 0.9999},
    ],
    "adamax": [
        {},
        {"learning_rate": 0.5, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "residual_dtype": "bfloat16"},
        {"learning_rate": falling, "b1": 0.0, "b2": 0.9999},
    ],
    "nadam": [
        {},
        {"learning_rate": 0.5, "b1": 0.8, "b2": 0.95, "eps": 1e-3},
        {"learning_rate": falling, "b1": 0.975, "b2": 0.9999},
    ],
    "adamw": [
        {},
        {"learning_rate": 0.5, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.1},
        {"learning_rate": falling, "b1": 0.0, "b2": 0.9999, "weight_decay": 0.0},
    ],
    "amsgrad": [
        {},
        {"learning_rate": 0.5, "b1": 0.8, "b2": 0.95, "eps": 1e-3},
        {"learning_rate": falling, "b1": 0.0, "b2": 0.9},
    ],
    "adamnc": [
        {},
        {"learning_rate": 0.5, "b1": 0.8, "b1_decay": 0.9, "eps": 1e-3, "residual_dtype": "float16"},
        {"learning_rate": falling, "b1": 0.5, "b1_decay": 1.0, "eps": 0.0},
    ],
    "qhadam": [
        {},
        {"learning_rate": 0.5, "b1": 0.8, "b2": 0.95, "nu1": 0.9, "nu2": 0.6, "eps": 1e-3},
        {"learning_rate": falling, "b1": 0.0, "b2": 0.9999, "nu1": 1.0, "nu2": 0.0},
    ],
    "sgdw": [
        {},
        {"learning_rate": 0.5, "momentum": 0.99, "weight_decay": 0.1},
        {"learning_rate": falling, "momentum": 0.0, "weight_decay": 0.0},
    ],
    "adamwr": [
        {},
        {
            "learning_rate": 0.5, "period": 7, "t_mult": 3, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.1,
        },
        {"learning_rate": falling, "period": 30, "t_mult": 1, "b1": 0.0, "b2": 0.9999, "weight_decay": 0.0},
    ],
    "sgdwr": [
        {},
        {"learning_rate": 0.5, "period": 7, "t_mult": 3, "momentum": 0.99, "weight_decay": 0.1},
        {"learning_rate": falling, "period": 30, "t_mult": 1, "momentum": 0.0, "weight_decay": 0.0},
    ],
    "adabound": [
        {},
        {
            "learning_rate": 0.01, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "final_learning_rate": 0.5, "gamma": 0.05,
            "weight_decay": 0.1,
        },
        {"learning_rate": falling, "b1": 0.0, "b2": 0.99, "gamma": 0.3},
    ],
    "amsbound": [
        {},
        {
            "learning_rate": 0.01, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "final_learning_rate": 0.5, "gamma": 0.05,
            "weight_decay": 0.1,
        },
        {"learning_rate": falling, "b1": 0.0, "b2": 0.99, "gamma": 0.3},
    ],
    "adaboundw": [
        {},
        {
            "learning_rate": 0.01, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "final_learning_rate": 0.5, "gamma": 0.05,
            "weight_decay": 0.1,
        },
        {"learning_rate": falling, "b1": 0.0, "b2": 0.99, "gamma": 0.3, "weight_decay": 0.0},
    ],
    "sgdbound": [
        {},
        {"learning_rate": 0.01, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "lower_bound": 0.1, "upper_bound": 0.1},
        {"learning_rate": falling, "b1": 0.0, "b2": 0.99, "lower_bound": 0.01, "upper_bound": 0.5},
    ],
    "radam": [
        {},
        {"learning_rate": 0.5, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "threshold": 4.5},
        {"learning_rate": falling, "b1": 0.0, "b2": 0.5},
    ],
    "lookahead": [
        {"inner": ("adam", {})},
        {"inner": ("momentum", {"learning_rate": 0.001}), "sync_period": 7, "slow_step_size": 0.8},
        {"inner": ("adamw", {"learning_rate": falling}), "sync_period": 1, "slow_step_size": 0.3},
    ],
    "ranger": [
        {},
        {
            "learning_rate": 0.5, "b1": 0.8, "b2": 0.95, "eps": 1e-3,
            "weight_decay": 0.1, "sync_period": 4, "slow_step_size": 0.8,
        },
        {"learning_rate": falling, "b1": 0.0, "b2": 0.99, "threshold": 6.0},
    ],
    "ranger_qh": [
        {},
        {
            "learning_rate": 0.5, "b1": 0.8, "b2": 0.95, "nu1": 0.4, "nu2": 0.9, "eps": 1e-3,
            "weight_decay": 0.1, "sync_period": 4, "slow_step_size": 0.8,
        },
        {"learning_rate": falling, "b1": 0.0, "nu1": 1.0, "sync_period": 1},
    ],
    "ranger_va": [
        {},
        {
            "learning_rate": 0.5, "b1": 0.8, "b2": 0.95, "eps": 1e-3,
            "weight_decay": 0.1, "sync_period": 4, "slow_step_size": 0.8,
        },
        {"learning_rate": falling, "b1": 0.0, "b2": 0.99, "threshold": 6.0},
    ],
    "ranger21": [
        {"learning_rate": 1e-3, "steps": 1000},
        {
            "learning_rate": 0.01, "steps": 150, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "weight_decay": 1e-3,
            "positive_negative_factor": 0.9, "sync_period": 4,
        },
        {"learning_rate": falling, "steps": 200, "b1": 0.0, "b2": 0.99, "weight_decay": 0.0},
    ],
    "lamb": [
        {},
        {
            "learning_rate": 0.01, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.1,
            "min_norm": 0.02, "max_norm": 0.03,
        },
        {"learning_rate": falling, "b1": 0.0, "b2": 0.9999, "weight_decay": 0.0},
    ],
    "nlamb": [
        {},
        {"learning_rate": 0.01, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.1},
        {"learning_rate": falling, "b1": 0.0, "b2": 0.9999, "weight_decay": 0.0},
    ],
    "nnlamb": [
        {},
        {"learning_rate": 0.01, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.1},
        {"learning_rate": falling, "b1": 0.0, "b2": 0.9999, "weight_decay": 0.0},
    ],
    "lars": [
        {},
        {"learning_rate": 0.01, "momentum": 0.8, "weight_decay": 0.1, "residual_dtype": "bfloat16"},
        {"learning_rate": falling, "momentum": 0.0, "weight_decay": 0.0},
    ],
    "lars_2017": [
        {},
        {"learning_rate": 0.5, "momentum": 0.8, "weight_decay": 0.1, "trust_coefficient": 0.01},
        {"learning_rate": falling, "momentum": 0.5, "weight_decay": 0.0},
    ],
    "adafactor": [
        {},
        {
            "learning_rate": 0.1, "decay_rate": 0.5, "eps": 1e-6, "clipping_threshold": 0.5, "min_parameter_scale": 0.1,
            "momentum": 0.8, "momentum_position": "before", "factored_dims": "largest", "min_dim_size_to_factor": 4,
        },
        {
            "learning_rate": falling, "decay_rate": 1.0, "clipping_threshold": 10.0, "min_parameter_scale": None,
            "momentum": 0.5, "residual_dtype": "float32",
        },
    ],
}  # fmt: skip


class Case(NamedTuple):
    """A method with settings, ours and its oracle's."""

    name: str
    settings: dict[str, Any]

    def tx(self) -> Piece:
        settings = dict(self.settings)
        if "inner" in settings:
            name, inner = settings["inner"]
            settings["inner"] = get(name)(**inner)
        return get(self.name).maker(**settings)

    def oracle(self, x: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        return getattr(oracles, self.name)(x, gradients, **self._of_oracle())

    def start(self) -> Any:
        """The oracle's step(t, g, x)."""
        return getattr(oracles, self.name).start(**self._of_oracle())

    def _of_oracle(self) -> dict[str, Any]:
        settings = {k: v for k, v in self.settings.items() if k != "residual_dtype"}  # no mathematics
        if "inner" in settings:
            name, inner = settings.pop("inner")
            settings |= {"inner": getattr(oracles, name), "inner_settings": inner}
        return settings


def updates_of(case: Case, params: Any, grads: Any) -> Any:
    """All updates of a run; array by array where the method has a mean over all of them, while its oracle sees one."""
    if not get(case.name).arraywise:
        return {k: rollout(case.tx(), params[k], grads[k]) for k in params}
    return rollout(case.tx(), params, grads)


CASES = [
    pytest.param(Case(name, settings), id=f"{name}-{i}")
    for name in SETTINGS
    for i, settings in enumerate(SETTINGS[name])
]


def parameters(seed: int = 0, scale: float = 1.0) -> dict[str, np.ndarray]:
    """A tree of every rank from 0 to 3, exact in float32."""
    rng = np.random.default_rng(seed)
    return {k: np.float64(np.float32(scale * rng.standard_normal(s))) for k, s in SHAPES.items()}


def gradients(seed: int = 1, steps: int = STEPS) -> dict[str, np.ndarray]:
    """Gradients of mixed scale (1e-4 … 1e2 by coordinate), with steps, rows and coordinates of zeros."""
    rng = np.random.default_rng(seed)

    def of(shape: tuple[int, ...]) -> np.ndarray:
        g = rng.standard_normal((steps, *shape)) * 10.0 ** rng.uniform(-4, 2, shape)
        g[3:5] = 0  # two early steps without any gradient
        g[40:60] = 0
        if shape:
            g[:, 0] = 0  # a row that never has one
            g[:30, -1] = 0  # a row that has none at first
        return np.float64(np.float32(g))

    return {k: of(s) for k, s in SHAPES.items()}


def orthogonal_gradients(seed: int = 1, steps: int = STEPS) -> dict[str, np.ndarray]:
    """Gradients of which as many as there are coordinates are orthogonal, with steps of zeros.

    For what inverts sums of their outer products: of any others float32 would lose as many digits as the sums have in
    their condition.
    """
    rng = np.random.default_rng(seed)

    def of(shape: tuple[int, ...]) -> np.ndarray:
        n, moving = math.prod(shape), [t for t in range(steps) if t not in (3, 4, *range(40, 60))]
        frames = [np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(0, steps, n)]
        g = np.zeros((steps, n))
        g[moving] = np.concatenate(frames)[: len(moving)] * rng.uniform(0.5, 2.0, (len(moving), 1))
        return np.float64(np.float32(g)).reshape(steps, *shape)

    return {k: of(s) for k, s in SHAPES.items()}


def quadratic(params: Any) -> jax.Array:
    """A loss whose minimum is at 1."""
    return sum(jnp.sum((p.astype(jnp.float32) - 1) ** 2) for p in jax.tree.leaves(params))


cheap_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""XLA as always, LLVM unoptimized: half the price, for what cannot tell a fused multiply and add from two roundings."""


def jit_for(params: Any) -> Any:
    """In double precision the roundings that LLVM saves are far below any tolerance."""
    double = all(x.dtype == jnp.float64 for x in jax.tree.leaves(params))
    return cheap_jit if double else jax.jit


def rollout(tx: optax.GradientTransformation, params: Any, grads: Any, jit: Any = None) -> Any:
    """All updates of a run over the leading axis of `grads`, in one compiled scan."""

    def step(carry: tuple[Any, Any], g: Any) -> tuple[tuple[Any, Any], Any]:
        params, state = carry
        updates, state = tx.update(g, state, params)
        return (optax.apply_updates(params, updates), state), updates

    jit = jit or jit_for(params)
    return jit(lambda p, s, g: jax.lax.scan(step, (p, s), g)[1])(params, tx.init(params), grads)


def stacked(grads: list[Any]) -> Any:
    """A list of trees as one tree, over whose leading axis `rollout` and scans go."""
    return jax.tree.map(lambda *g: jnp.stack(g), *grads)


def program(f: Any, *args: Any) -> str:
    """What f consists of, before compiling, for such arguments: where the texts are the same, the numbers are."""
    return str(jax.make_jaxpr(f)(*args))


ALL = tuple(SHAPES)
FEW = ("conv", "gain")
"""Enough where the ranks do not matter: what a test costs is compiling, array by array."""


def tree(dtype: Any = jnp.float32, names: tuple[str, ...] = ALL, **kwargs: Any) -> dict[str, jax.Array]:
    whole = parameters(**kwargs)
    return {k: jnp.asarray(whole[k], dtype) for k in names}


def steps_of(dtype: Any = jnp.float32, steps: int = 8, names: tuple[str, ...] = ALL) -> list[dict[str, jax.Array]]:
    """The first gradients as a list of trees."""
    stacked = gradients(steps=steps)
    return [{k: jnp.asarray(stacked[k][t], dtype) for k in names} for t in range(steps)]


@functools.cache
def step_of(name: str, jit: Any = jax.jit, **settings: Any) -> tuple[Piece, Any]:
    """A method, with its defaults but for the settings, and its jitted update and apply, compiled once in a process."""
    tx = get(name)(**settings)

    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any, Any]:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, updates

    return tx, jit(step)


@functools.cache
def plain(name: str, steps: int = 6, names: tuple[str, ...] = ALL) -> Any:
    """The parameters after the first steps of a method with its defaults."""
    tx, step = step_of(name, cheap_jit)
    params = tree(names=names)
    state = tx.init(params)
    for g in steps_of(steps=steps, names=names):
        params, state, _ = step(params, state, g)
    return params


def run(tx: optax.GradientTransformation, params: Any, grads: list[Any]) -> tuple[Any, Any]:
    """Parameters and state after a few steps, one jitted call each."""
    state = tx.init(params)

    @cheap_jit
    def step(params: Any, state: Any, g: Any) -> tuple[Any, Any]:
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    for g in grads:
        params, state = step(params, state, g)
    return params, state


def avals(tree: Any) -> Any:
    """Structure, shapes, dtypes and weak types of a tree of arrays."""
    return jax.tree.map(lambda a: (a.shape, a.dtype, a.weak_type), tree)
