"""What a step costs. `python -m benchmarks.step --words`: words moved and allocated per parameter, beside optax's.

The compiler counts them, so they are the same on every run: update and apply_updates are compiled together, parameters
and state donated, as a training loop does.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gdo_optax.family import family


RIVALS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "sgd": lambda: optax.sgd(0.01),
    "momentum": lambda: optax.sgd(0.01, momentum=0.9),
    "nesterov": lambda: optax.sgd(0.01, momentum=0.9, nesterov=True),
    "adagrad": lambda: optax.adagrad(0.01),
    "rmsprop": lambda: optax.rmsprop(0.001),
    "adadelta": lambda: optax.adadelta(1.0),
    "adam": lambda: optax.adam(0.001),
    "adamax": lambda: optax.adamax(0.002),
    "nadam": lambda: optax.nadam(0.002),
    "adamw": lambda: optax.adamw(0.001),
    "amsgrad": lambda: optax.amsgrad(0.001),
    "radam": lambda: optax.radam(0.001),
    "lion": lambda: optax.lion(0.0001, weight_decay=0.0),
    "rprop": lambda: optax.rprop(0.01),
    "rmsprop_centered": lambda: optax.rmsprop(0.001, centered=True),
    "rmsprop_momentum": lambda: optax.rmsprop(0.001, momentum=0.9),
    "rmsprop_nesterov": lambda: optax.rmsprop(0.001, momentum=0.9, nesterov=True),
    "lamb": lambda: optax.lamb(0.001, weight_decay=0.01),
    "adafactor": lambda: optax.adafactor(0.01),
}
"""optax's version of a method, where it has one that works on plain parameters."""

SHAPES = {"1 x (4096, 4096)": [(4096, 4096)], "64 x (512, 512)": [(512, 512)] * 64}


class Cost(NamedTuple):
    """Float32 words per parameter: moved by a step, and allocated beside its inputs and outputs."""

    words: float
    temp: float


def cost(tx: optax.GradientTransformation, shapes: Sequence[tuple[int, ...]]) -> Cost:
    """What the compiler says of one donated step."""
    params = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    state = jax.eval_shape(tx.init, params)

    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params).compile()
    moved: Any = compiled.cost_analysis()
    allocated: Any = compiled.memory_analysis()
    n = 4 * sum(p.size for p in params)
    return Cost(moved["bytes accessed"] / n, allocated.temp_size_in_bytes / n)


def words(names: list[str]) -> str:
    """The table: every method, ours and optax's, for both lists of shapes."""
    lines = [f"{'optimizer':<12}{'parameters':<20}{'words':>8}{'temp':>8}{'optax words':>14}{'temp':>8}"]
    for entry in (e for e in family() if e.name in names):
        for label, shapes in SHAPES.items():
            ours = cost(entry(), shapes)
            line = f"{entry.name:<12}{label:<20}{ours.words:>8.2f}{ours.temp:>8.2f}"
            if entry.name in RIVALS:
                theirs = cost(RIVALS[entry.name](), shapes)
                line += f"{theirs.words:>14.2f}{theirs.temp:>8.2f}"
            lines.append(line)
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    names = [entry.name for entry in family() if not entry.dense]  # a matrix of these sizes squared has no room
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--words", action="store_true", required=True, help="words moved and allocated per parameter")
    parser.add_argument("--optimizer", nargs="+", choices=names, default=names, metavar="NAME", help="only these")
    args = parser.parse_args(argv)
    print(words(args.optimizer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
