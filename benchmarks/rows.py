"""`python -m benchmarks.rows`: a step of `sparse_rows` beside the dense one, on a table of which it touches few rows.

Both are compiled as a training loop does, with donated parameters and state, and take turns (A B A B …), so that what
else the machine does falls on both. Writes results/rows.json and results/rows.png; `--quick` writes nothing.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib import rc_context
from matplotlib.figure import Figure

import gdo_optax as g
from benchmarks.plots import BLUE, RED, STYLE
from gdo_optax.rows import Rows, to_dense
from gdo_optax.wrappers.sparse import sparse_rows


RESULTS = Path(__file__).parent / "results"
METHODS: dict[str, Callable[[], g.Piece]] = {
    "sgd": lambda: g.sgd(0.01),
    "momentum": lambda: g.momentum(0.01),
    "adagrad": lambda: g.adagrad(0.01),
    "rmsprop": lambda: g.rmsprop(0.001),
    "adam": lambda: g.adam(0.001),
}
FEATURES, TOUCHED = 64, 1000
SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (1000, 10_000)


class Cost(NamedTuple):
    """A step of a method on a table of V rows: medians of the pairs; what the compiler allocates beside the tables."""

    method: str
    rows: int
    dense_ms: float
    sparse_ms: float
    ratio: float
    ratios: list[float]
    dense_temp_bytes: int
    sparse_temp_bytes: int
    sparse_flops: float


def batches(size: int, count: int = 8) -> list[Rows]:
    """Gradients of random rows."""
    rng = np.random.default_rng(0)
    return [
        Rows(
            jnp.asarray(rng.integers(0, size, TOUCHED), jnp.int32),
            jnp.asarray(rng.standard_normal((TOUCHED, FEATURES)), jnp.float32),
        )
        for _ in range(count)
    ]


class Loop:
    """A compiled step and what it is run on, which it gives away and gets back."""

    def __init__(self, tx: optax.GradientTransformation, size: int, gradient: Callable[[Rows], Any]):
        def step(params: Any, state: Any, rows: Rows) -> tuple[Any, Any]:
            updates, state = tx.update(gradient(rows), state, params)
            return optax.apply_updates(params, updates), state

        params = jnp.zeros((size, FEATURES))
        self.now = params, tx.init(params)
        self.compiled = jax.jit(step, donate_argnums=(0, 1)).lower(*self.now, batches(size, 1)[0]).compile()

    def seconds(self, rows: Sequence[Rows]) -> float:
        """What a step takes."""
        start = time.perf_counter()
        for r in rows:
            self.now = self.compiled(*self.now, r)
        jax.block_until_ready(self.now)
        return (time.perf_counter() - start) / len(rows)


def measure(method: str, size: int, pairs: int) -> Cost:
    """A dense step, whose gradient is an array as large as the table, and a sparse one, in turns."""
    dense = Loop(METHODS[method](), size, lambda rows: to_dense(rows, size))
    sparse = Loop(sparse_rows(METHODS[method]()), size, lambda rows: rows)
    rows = batches(size)
    times = []
    for i in range(pairs + 1):
        a, b = dense.seconds(rows[:2]), sparse.seconds(rows)
        times += [(a, b)] if i else []  # the first turn warms up
    ratios = [a / b for a, b in times]
    memory: list[Any] = [loop.compiled.memory_analysis() for loop in (dense, sparse)]
    cost: Any = sparse.compiled.cost_analysis()
    return Cost(
        method,
        size,
        1e3 * statistics.median(a for a, _ in times),
        1e3 * statistics.median(b for _, b in times),
        statistics.median(ratios),
        [round(r, 1) for r in sorted(ratios)],
        memory[0].temp_size_in_bytes,
        memory[1].temp_size_in_bytes,
        cost["flops"],
    )


def table(costs: list[Cost]) -> str:
    """One line a measurement."""
    lines = [f"{'method':<10}{'rows':>10}{'dense ms':>12}{'sparse ms':>12}{'ratio':>9}{'temp MB':>12}{'sparse':>9}"]
    lines += [
        f"{c.method:<10}{c.rows:>10,}{c.dense_ms:>12.2f}{c.sparse_ms:>12.3f}{c.ratio:>9.1f}"
        f"{c.dense_temp_bytes / 1e6:>12.1f}{c.sparse_temp_bytes / 1e6:>9.1f}"
        for c in costs
    ]
    return "\n".join(lines)


def plot(path: Path, costs: list[Cost]) -> None:
    """Adam's step over the size of the table, and how many times faster the methods are on the largest."""
    adam = [c for c in costs if c.method == "adam"]
    largest = [c for c in costs if c.rows == max(c.rows for c in costs)]
    with rc_context(STYLE):
        figure = Figure(figsize=(12, 4.5), dpi=100, layout="constrained")
        left, right = figure.subplots(1, 2)
        left.loglog([c.rows for c in adam], [c.dense_ms for c in adam], "o-", color=RED, label="dense")
        left.loglog([c.rows for c in adam], [c.sparse_ms for c in adam], "o-", color=BLUE, label="sparse_rows")
        left.set(title=f"Adam, {TOUCHED:,} rows touched", xlabel="rows of the table", ylabel="ms per step")
        left.legend(frameon=False)
        bars = right.barh([c.method for c in largest], [c.ratio for c in largest], color=BLUE)
        right.bar_label(bars, fmt="%.0f", padding=4)
        right.set(title=f"{largest[0].rows:,} × {FEATURES}: dense / sparse time", xlabel="times faster")
        figure.savefig(path)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rows", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small tables, few turns, no files")
    args = parser.parse_args(argv)
    sizes, pairs = (QUICK_SIZES, 2) if args.quick else (SIZES, 7)
    costs = [measure("adam", size, pairs) for size in sizes]
    costs += [measure(method, sizes[-1], pairs) for method in METHODS if method != "adam"]
    print(table(costs))
    if not args.quick:
        text = json.dumps({"features": FEATURES, "touched": TOUCHED, "steps": [c._asdict() for c in costs]}, indent=1)
        (RESULTS / "rows.json").write_text(text + "\n")
        plot(RESULTS / "rows.png", costs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
