"""`python -m benchmarks.step`: how long a step takes, or with `--words` how many words it moves and allocates.

Words are counted by the compiler, and the same on every run: update and apply_updates are compiled together, parameters
and state donated, as a training loop does. Times are ratios in one process, as `benchmarks.timing` says.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from rich.console import Console
from rich.progress import track

from benchmarks import timing
from gdo_optax.family import family, library


Maker = Callable[[], optax.GradientTransformation]
RIVALS: dict[str, Maker] = {
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
    "lars": lambda: optax.lars(0.001, weight_decay=1e-4),
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


def measured() -> dict[str, tuple[Maker, Maker | None]]:
    """All methods, all wrappers around Adam, and what is composed, by name: ours, and optax's where it has one."""
    methods: dict[str, tuple[Maker, Maker | None]] = {  # a matrix squared has no room
        e.name: (e.build, RIVALS.get(e.name)) for e in family() if not e.dense
    }
    wrappers: dict[str, tuple[Maker, Maker | None]] = {  # SAM asks for a gradient
        f"{e.name}(adam)": (e.build, None) for e in library() if e.kind == "wrapper" and e.name != "sam"
    }
    composed = {name: case[:2] for name, case in timing.CASES.items() if name not in methods}
    return {**methods, **composed, **wrappers}


def words(names: Sequence[str]) -> str:
    """The table: ours and optax's, for both lists of shapes."""
    lines = [f"{'optimizer':<28}{'parameters':<20}{'words':>8}{'temp':>8}{'optax words':>14}{'temp':>8}"]
    for name in names:
        ours, theirs = measured()[name]
        for label, shapes in SHAPES.items():
            found = cost(ours(), shapes)
            line = f"{name:<28}{label:<20}{found.words:>8.2f}{found.temp:>8.2f}"
            if theirs:
                found = cost(theirs(), shapes)
                line += f"{found.words:>14.2f}{found.temp:>8.2f}"
            lines.append(line)
    return "\n".join(lines)


def times(names: Sequence[str], sizes: Sequence[int], arrays: Sequence[int], turns: int, out: Path) -> str:
    """The table of times; after every cell all of them are written to `out`, and a plot at the end."""
    columns = ("optax", "twin", "torch")
    head = f"{'optimizer':<24}{'parameters':>12}{'arrays':>8}{'ms':>9}{'words':>8}"
    lines, found = [head + "".join(f"{c + '/ours':>13}" for c in columns)], []
    out.mkdir(parents=True, exist_ok=True)
    cells = [(n, p, k) for n in names for p in sizes for k in arrays if k <= p]
    for name, size, count in track(cells, "steps", console=Console(stderr=True)):
        t = timing.measure(name, size, count, turns)
        found.append(t)
        row = f"{t.method:<24}{t.parameters:>12,}{t.arrays:>8}{t.ms:>9.3f}{t.words:>8.2f}"
        lines.append(row + "".join(f"{t.ratios[c]:>13.2f}" if c in t.ratios else "" for c in columns))
        versions = {"jax": jax.__version__, "optax": optax.__version__}
        result = {"versions": versions, "device": str(jax.devices()[0]), "steps": [t._asdict() for t in found]}
        (out / "step.json").write_text(json.dumps(result, indent=1) + "\n")
    timing.plot(out / "step.png", found)
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--words", action="store_true", help="words moved and allocated per parameter, and no times")
    parser.add_argument("--optimizer", nargs="+", choices=[*timing.BY_NAME, *measured()], metavar="NAME")
    parser.add_argument("--parameters", nargs="+", type=int, default=(10_000, 1_000_000, 30_000_000))
    parser.add_argument("--arrays", nargs="+", type=int, default=(1, 10, 100, 500))
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("out/step"), metavar="FOLDER")
    parser.add_argument("--page", type=Path, metavar="FILE", help="only print times of before as Markdown")
    args = parser.parse_args(argv)
    if args.page:
        print(timing.page(json.loads(args.page.read_text())))
    elif args.words:
        print(words(args.optimizer or tuple(measured())))
    else:
        print(times(args.optimizer or tuple(timing.CASES), args.parameters, args.arrays, args.turns, args.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
