"""What can go wrong in a gradient, a tree or a count, and whether a method survives it: every one finite, and no step
where there is no gradient.

Weight decay and norm loss are off, so that nothing else acts. A NaN or an infinity is met by `skip_nonfinite(method)`
(`optax.apply_if_finite` around optax's methods), with which all faults of gradients and counts are run, in one compiled
program for each dtype. The faults of trees stand together in one tree.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import flax.core
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import Array, ArrayTree

from gdo_optax.engine.trees import absent, path_name
from gdo_optax.entry import Entry
from gdo_optax.wrappers.skipping import skip_nonfinite
from tests.catalogue import cheap_jit


DTYPES = ("float16", "bfloat16", "float32", "float64")
STEPS = 3


class Pair(NamedTuple):
    """A node that is a tuple with names."""

    one: Any
    other: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Data:
    """A node that is a dataclass."""

    inside: Any


def everything(draw: Callable[[tuple[int, ...], Any], Array], dtype: Any) -> ArrayTree:
    """One tree with all faults of trees, filled by draw(shape, dtype); the keys are the names of the faults."""
    return {
        "empty array": draw((0, 3), dtype),
        "number": draw((), dtype),
        "ones": draw((1, 1, 1), dtype),
        "single element": draw((1,), dtype),
        "rank 5": draw((1, 2, 1, 2, 1), dtype),
        "None": None,
        "masked": optax.MaskedNode(),
        "nested nodes": [Pair(draw((2,), dtype), {"deep": (draw((2,), dtype),)}), Data(draw((2,), dtype))],
        "Flax nodes": [flax.core.freeze({"frozen": draw((2,), dtype)}), nnx.State({"w": nnx.Param(draw((2,), dtype))})],
        "mixed dtypes": [draw((2,), d) for d in ("float16", "bfloat16", "float32", dtype)],
    }


class Fault(NamedTuple):
    """What the gradients of the steps are multiplied with, (STEPS,); what the first parameters are; the first count."""

    scale: np.ndarray
    parameters: float = 1.0
    counted: int = 0


def faults(dtype: str) -> dict[str, Fault]:
    """Those of gradients, parameters and counts."""
    limits, ones = jnp.finfo(dtype), np.ones(STEPS)
    tiny, largest = float(limits.tiny), float(limits.max)
    return {
        "zero gradient": Fault(0 * ones),
        "zero parameters": Fault(ones, parameters=0.0),
        "zero gradient and parameters": Fault(0 * ones, parameters=0.0),
        "negative zero": Fault(-0.0 * ones),
        "subnormal": Fault(tiny / 4 * ones),
        "square underflows": Fault(np.sqrt(tiny) / 8 * ones),
        "square overflows": Fault(np.sqrt(largest) * 1.25 * ones),
        "a quarter of the largest": Fault(largest / 4 * ones),
        "1e-30": Fault(max(1e-30, tiny) * ones),
        "1e30": Fault(min(1e30, largest / 8) * ones),
        "alternating": Fault(np.array([1.0, -1.0, 1.0])),
        "one NaN": Fault(np.array([1.0, np.nan, 1.0])),
        "one infinity": Fault(np.array([1.0, np.inf, 1.0])),
        "full counter": Fault(ones, counted=int(jnp.iinfo(jnp.int32).max)),
    }


STILL = ("zero gradient", "negative zero", "zero gradient and parameters")
FROZEN, FREEZING = "frozen, then live", 10_000
OF_TREES = tuple(everything(lambda shape, dtype: jnp.zeros(()), None))
NAMES = (*faults("float32"), FROZEN, *OF_TREES)


class Method(NamedTuple):
    """A method without decay, and around a method of its library what leaves out steps that are not finite."""

    tx: optax.GradientTransformation
    guarded: optax.GradientTransformation


def ours(entry: Entry) -> Method:
    named = inspect.signature(entry.build).parameters
    tx = entry(**{k: 0.0 for k in ("weight_decay", "norm_loss") if k in named})
    return Method(tx, skip_nonfinite(tx))


OPTAX: dict[str, Callable[[], optax.GradientTransformation]] = {
    "sgd": lambda: optax.sgd(1e-3),
    "momentum": lambda: optax.sgd(1e-3, momentum=0.9),
    "nesterov": lambda: optax.sgd(1e-3, momentum=0.9, nesterov=True),
    "adagrad": lambda: optax.adagrad(1e-3),
    "rmsprop": lambda: optax.rmsprop(1e-3),
    "rmsprop_centered": lambda: optax.rmsprop(1e-3, centered=True),
    "rmsprop_momentum": lambda: optax.rmsprop(1e-3, momentum=0.9),
    "rmsprop_nesterov": lambda: optax.rmsprop(1e-3, momentum=0.9, nesterov=True),
    "adadelta": lambda: optax.adadelta(1e-3),
    "adam": lambda: optax.adam(1e-3),
    "adamax": lambda: optax.adamax(1e-3),
    "nadam": lambda: optax.nadam(1e-3),
    "amsgrad": lambda: optax.amsgrad(1e-3),
    "adamw": lambda: optax.adamw(1e-3, weight_decay=0.0),
    "radam": lambda: optax.radam(1e-3),
    "adafactor": lambda: optax.adafactor(1e-3),
    "lamb": lambda: optax.lamb(1e-3, weight_decay=0.0),
    "lars": lambda: optax.lars(1e-3, weight_decay=0.0),
    "lion": lambda: optax.lion(1e-3, weight_decay=0.0),
    "rprop": lambda: optax.rprop(1e-3),
}
"""optax's methods under our names."""


def of_optax(name: str) -> Method:
    tx = OPTAX[name]()
    return Method(tx, optax.apply_if_finite(tx, max_consecutive_errors=10**6))


def drawn(seed: int, scale: Any) -> Callable:
    """Draws ± 0.5 … 1 times the scale, within what the dtype can hold."""
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...], dtype: Any) -> Array:
        x = scale * jnp.asarray(rng.uniform(0.5, 1, shape) * rng.choice([-1.0, 1.0], shape))
        most = float(jnp.finfo(dtype).max)
        return jnp.where(jnp.isfinite(x), jnp.clip(x, -most, most), x).astype(dtype)

    return draw


def broken(method: Method, dtype: str) -> dict[str, str]:
    """Of every fault of gradients, parameters and counts what is wrong, "" if nothing is."""
    tx, cases = method.guarded, faults(dtype)

    def run(scale: Array, parameters: Array, count: Array) -> tuple[Array, Array]:
        p, g = drawn(0, parameters)((3, 4), dtype), drawn(1, 1.0)((3, 4), dtype)
        state = jax.tree.map(lambda s: jnp.maximum(s, count) if s.dtype == jnp.int32 else s, tx.init(p))

        def step(carry: tuple[Array, Any], scale: Array) -> tuple[tuple[Array, Any], Array]:
            updates, state = tx.update((scale * g.astype(scale.dtype)).astype(dtype), carry[1], carry[0])
            return (carry[0] + updates, state), updates

        last, updates = jax.lax.scan(step, (p, state), scale)
        finite = [jnp.isfinite(x).all() for x in jax.tree.leaves((last, updates))]
        return jnp.all(jnp.stack(finite)), jnp.any(updates != 0)

    stacked = (np.stack(column) for column in zip(*cases.values(), strict=True))
    finite, moved = jax.tree.map(np.asarray, cheap_jit(jax.vmap(run))(*stacked))
    found = {name: "" if good else "not finite" for name, good in zip(cases, finite, strict=True)}
    return found | {name: "moves" for name, m in zip(cases, moved, strict=True) if m and name in STILL}


def broken_trees(method: Method, dtype: str) -> dict[str, str]:
    """Of every fault of trees what is wrong, "" if nothing is."""
    tx, params = method.tx, everything(drawn(0, 1.0), dtype)
    state = tx.init(params)
    found = dict.fromkeys(OF_TREES, "")
    for scale in (1.0, 0.5):
        updates, state = tx.update(everything(drawn(1, scale), dtype), state, params)
        chex.assert_trees_all_equal_structs(updates, params)
        for (path, u), p in zip(jax.tree.leaves_with_path(updates), jax.tree.leaves(params), strict=True):
            if u.shape != p.shape or u.dtype != p.dtype or not bool(jnp.isfinite(u).all()):
                found[path_name(path).partition("/")[0]] = f"{path_name(path)}: {u}"
        params = jax.tree.map(lambda p, u: p if absent(p) else p + u, params, updates, is_leaf=absent)
    return found


def broken_after_a_pause(method: Method, dtype: str) -> str:
    """What is wrong where 10,000 steps without a gradient come before the first."""
    tx, p = method.tx, drawn(0, 1.0)((3, 4), dtype)

    def step(carry: tuple[Array, Any], g: Array) -> tuple[tuple[Array, Any], Array]:
        updates, state = tx.update(g, carry[1], carry[0])
        return (carry[0] + updates, state), updates

    live = jnp.arange(FREEZING + STEPS) >= FREEZING
    (p, _), updates = cheap_jit(lambda c, g: jax.lax.scan(step, c, g))(
        (p, tx.init(p)), jnp.broadcast_to(live.astype(dtype)[:, None, None], (FREEZING + STEPS, *p.shape))
    )
    if (updates[:FREEZING] != 0).any():
        return "moves without a gradient"
    return "" if bool(jnp.isfinite(updates).all() & jnp.isfinite(p).all()) else "not finite"


def cells(method: Method, dtype: str) -> dict[str, str]:
    """Of every fault what is wrong, "" if nothing is; an exception is wrong wherever it may have come from."""
    found: dict[str, str] = {}
    parts: dict[Callable, tuple[str, ...]] = {
        broken: tuple(faults(dtype)), broken_after_a_pause: (FROZEN,), broken_trees: OF_TREES
    }  # fmt: skip
    with jax.enable_x64(dtype == "float64"), jax.numpy_dtype_promotion("standard"):
        for part, names in parts.items():
            try:
                what = part(method, dtype)
            except Exception as error:
                what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            found |= dict.fromkeys(names, what) if isinstance(what, str) else what
    return found
