"""Long runs: what grows, drifts or is compiled anew. The tests take them short, `benchmarks.contract --full` long."""

import functools
import inspect
import resource
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdo_optax.engine.ranges import RANGES
from gdo_optax.family import Entry


class Traced(NamedTuple):
    """A run in which every number changes in every step, and the step that made it, with a mark for each trace."""

    params: Any
    state: Any
    step: Any
    marks: list[int]
    changed: frozenset[str]

    @property
    def traces(self) -> int:
        """How often the step was traced."""
        return len(self.marks)


class Soaked(NamedTuple):
    """A long run on one number: whether all stayed finite, the largest distance from 0, and the last state."""

    finite: bool
    largest: float
    state: Any


class Leaked(NamedTuple):
    """Live arrays and resident memory (bytes) after the first steps of a Python loop and after all of them."""

    arrays: tuple[int, int]
    memory: tuple[int, int]


def moving_hyperparameters(entry: Entry, steps: int) -> Iterator[dict[str, np.float32]]:
    """The numbers of a method, all of them other ones in every step, up to a tenth below their defaults."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(entry.build).parameters.items()
        if name in RANGES and not RANGES[name].static and not RANGES[name].integer
    }
    numbers = {name: v for name, v in defaults.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    if "learning_rate" in defaults:
        numbers.setdefault("learning_rate", 0.01)  # in place of a schedule
    for t in range(steps):
        yield {name: np.float32(v * (1 - 0.1 * (t % 97) / 97)) for name, v in numbers.items()}


def traced_steps(entry: Entry, steps: int, jit: Any = jax.jit) -> Traced:
    """A run of `optax.inject_hyperparams` over the method, all its numbers changing as traced values."""
    moving = moving_hyperparameters(entry, steps)
    first = {name: value.item() for name, value in next(moving).items()}
    tx = optax.inject_hyperparams(entry.build, static_args=entry.static_args)(**first)
    params = jnp.ones((2, 3))
    state, marks = tx.init(params), list[int]()

    @jit
    def step(params: Any, state: Any, numbers: Any, slope: Any) -> Any:
        marks.append(1)
        state = state._replace(hyperparams=state.hyperparams | numbers)
        updates, state = tx.update(params - slope, state, params)
        return optax.apply_updates(params, updates), state

    for t, numbers in enumerate(moving):
        params, state = step(params, state, numbers, np.float32(t % 3))
    return Traced(params, state, step, marks, frozenset(first))


def soak(entry: Entry, steps: int, jit: Any = jax.jit) -> Soaked:
    """A run in one scan on (x − 1)²/2 with noise that never repeats, of one number; a NaN stays in its sum."""
    tx, x = entry(), jnp.zeros(())

    def step(carry: Any, t: Any) -> Any:
        x, state, largest = carry
        noise = jnp.sin(t.astype(jnp.float32) * 12.9898) * 3
        update, state = tx.update(x - 1 + noise, state, x)
        return (x + update, state, jnp.maximum(largest, jnp.abs(x + update))), None  # a NaN stays

    start = x, tx.init(x), jnp.zeros(())
    x, state, largest = jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(steps))[0])(start)
    leaves = [a for a in jax.tree.leaves((x, state, largest)) if jnp.issubdtype(a.dtype, jnp.inexact)]
    return Soaked(all(bool(jnp.isfinite(a).all()) for a in leaves), float(largest), state)


def leak(entry: Entry, steps: int, jit: Any = jax.jit) -> Leaked:
    """A Python loop over a jitted step, parameters and state donated."""
    tx = entry()
    params = {"x": jnp.ones(3), "y": jnp.ones((2, 2))}
    state = tx.init(params)

    @functools.partial(jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any) -> Any:
        updates, state = tx.update(params, state, params)
        return optax.apply_updates(params, updates), state

    seen = []
    for t in range(steps + 1):
        params, state = step(params, state)
        if t in (100, steps):
            jax.block_until_ready((params, state))
            seen.append((len(jax.live_arrays()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    return Leaked(*zip(*seen, strict=True))
