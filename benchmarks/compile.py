"""`python -m benchmarks.compile`: what tracing and compiling a step costs with many arrays, ours beside optax's.

The arrays are those of real models, again and again until there are 400 or 1,000 of them. Update and apply_updates are
compiled together, parameters and state donated. Ratios are medians of pairs, one after the other in one process, of
seconds of the processor (on a busy machine the clock on the wall says more of the neighbours); lines of StableHLO and
instructions that were compiled are exact.
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.step import RIVALS
from gdo_optax.family import get


Shape = tuple[int, ...]
METHODS = ("adam", "adamw", "lamb", "adafactor", "ranger")


def transformer(width: int = 768, inner: int = 3072, layers: int = 12, words: int = 50_257) -> list[Shape]:
    """GPT-2's, 196 arrays: embeddings, and in every layer two norms, four projections and two dense layers."""
    norm, square = [(width,), (width,)], [(width, width), (width,)]
    dense = [(width, inner), (inner,), (inner, width), (width,)]
    return [(words, width), (1024, width), *(norm + 4 * square + norm + dense) * layers, *norm]


def resnet50() -> list[Shape]:
    """161 arrays: 53 convolutions, a norm of two arrays after each, and a dense layer."""

    def conv(size: int, into: int, out: int) -> list[Shape]:
        return [(size, size, into, out), (out,), (out,)]

    shapes, into = conv(7, 3, 64), 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += conv(1, into, width) + conv(3, width, width) + conv(1, width, 4 * width)
            shapes += conv(1, into, 4 * width) if block == 0 else []
            into = 4 * width
    return [*shapes, (2048, 1000), (1000,)]


MODELS: dict[str, Callable[[], list[Shape]]] = {"transformer": transformer, "resnet50": resnet50}


def ranger_of_optax() -> optax.GradientTransformation:
    return optax.lookahead(optax.radam(1e-3), sync_period=6, slow_step_size=0.5)


def lowered(tx: optax.GradientTransformation, params: Any) -> Any:
    """The step, traced and lowered."""

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    grads = params.fast if isinstance(params, optax.LookaheadParams) else params
    state = jax.eval_shape(tx.init, params)
    return jax.jit(step, donate_argnums=(0, 1)).lower(params, state, grads)


def measured(tx: optax.GradientTransformation, params: Any) -> dict[str, float]:
    """Seconds of the processor to trace and to compile, lines of StableHLO and instructions an array."""
    count = len(jax.tree.leaves(params)) / (2 if isinstance(params, optax.LookaheadParams) else 1)
    start = time.process_time()
    step = lowered(tx, params)
    traced = time.process_time()
    compiled = step.compile()
    done = time.process_time()
    return {
        "trace": traced - start,
        "compile": done - traced,
        "total": done - start,
        "lines": step.as_text().count("\n") / count,
        "fusions": compiled.as_text().count(" fusion(") / count,
    }


def pair(name: str, shapes: list[Shape], repetitions: int) -> dict[str, Any]:
    """Ours and optax's of a method, in turns; medians, and the median of the ratios."""
    plain = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    both: Any = optax.LookaheadParams(plain, plain) if name == "ranger" else plain
    theirs = ranger_of_optax if name == "ranger" else RIVALS[name]
    runs = [(measured(get(name)(), plain), measured(theirs(), both)) for _ in range(repetitions)]
    out: dict[str, Any] = {
        library: {k: statistics.median(run[i][k] for run in runs) for k in runs[0][i]}
        for i, library in enumerate(("ours", "optax"))
    }
    return out | {"ratio": {k: statistics.median(a[k] / max(b[k], 1e-9) for a, b in runs) for k in runs[0][0]}}


def table(rows: dict[str, dict[str, Any]]) -> Table:
    """The results as people read them."""
    columns = ("trace", "compile", "total", "lines", "fusions")
    out = Table("step", *columns, title="ours / optax's (optax: seconds, an array)", title_justify="left")
    for name, row in rows.items():
        out.add_row(name, *(f"{row['ratio'][c]:.2f} ({row['optax'][c]:.3g})" for c in columns))
    return out


def page(rows: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    columns = ("trace", "compile", "total", "lines", "fusions")
    out = [f"| | {' | '.join(columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = (f"{row['ratio'][c]:.2f} ({row['optax'][c]:.3g})" for c in columns)
        out.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(out)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compile", description=__doc__)
    parser.add_argument("--optimizer", nargs="+", choices=METHODS, default=METHODS, metavar="NAME")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=tuple(MODELS))
    parser.add_argument("--arrays", nargs="+", type=int, default=(400, 1000))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("out/compile"), metavar="FOLDER")
    parser.add_argument("--page", type=Path, metavar="FILE", help="only print results of before as Markdown")
    args = parser.parse_args(argv)
    if args.page:
        print(page(json.loads(args.page.read_text())["steps"]))
        return 0
    cells = list(itertools.product(args.optimizer, args.model, args.arrays))
    rows = {}
    for name, model, count in track(cells, "compile", console=Console(stderr=True)):
        shapes = list(itertools.islice(itertools.cycle(MODELS[model]()), count))
        rows[f"{name}, {model}, {count} arrays"] = pair(name, shapes, args.repetitions)
        args.out.mkdir(parents=True, exist_ok=True)
        result = {"versions": {"jax": jax.__version__, "optax": optax.__version__}, "steps": rows}
        (args.out / "compile.json").write_text(json.dumps(result, indent=1) + "\n")
    Console(width=120).print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
