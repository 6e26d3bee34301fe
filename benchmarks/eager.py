"""`python -m benchmarks.eager`: an update without jit, on ten (64, 64) arrays, and lines of StableHLO with 400 arrays.

The first figure is optax's time divided by ours, the best of five turns of thirty updates each, in one process.
"""

import argparse
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import optax

import gdo_optax as g
from benchmarks.step import RIVALS, Maker
from gdo_optax.family import get


CASES: dict[str, tuple[Maker, Maker]] = {
    **{name: (get(name).build, rival) for name, rival in RIVALS.items()},
    "clip + adamw": (
        lambda: g.chain(g.clip_by_global_norm(1.0), g.adamw(1e-3)),
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)),
    ),
    "accumulate(adamw, 4)": (lambda: g.accumulate(g.adamw(), 4), lambda: optax.MultiSteps(optax.adamw(1e-3), 4)),
    "skip_nonfinite(adamw)": (lambda: g.skip_nonfinite(g.adamw()), lambda: optax.apply_if_finite(optax.adamw(1e-3), 5)),
}


def seconds(tx: Any, turns: int = 5, updates: int = 30) -> float:
    """The time of one un-jitted update."""
    params = {str(i): jnp.ones((64, 64)) for i in range(10)}
    state, best = tx.init(params), float("inf")
    for turn in range(turns + 1):
        start = time.perf_counter()
        for _ in range(updates if turn else 3):  # the first turn compiles
            out, state = tx.update(params, state, params)
        jax.block_until_ready(out)
        best = min(best, (time.perf_counter() - start) / updates) if turn else best
    return best


def lines(tx: Any, arrays: int = 400) -> int:
    """Lines of StableHLO of a jitted update."""
    params = [jax.ShapeDtypeStruct((8, 8), jnp.float32)] * arrays
    state = jax.eval_shape(tx.init, params)
    return len(jax.jit(lambda g, s, p: tx.update(g, s, p)).lower(params, state, params).as_text().splitlines())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eager", description=__doc__)
    parser.add_argument("--optimizer", nargs="+", choices=CASES, default=tuple(CASES), metavar="NAME")
    print(f"{'un-jitted':<24}{'ms':>9}{'optax/ours':>12}{'lines':>8}")
    for name in parser.parse_args(argv).optimizer:
        ours, theirs = CASES[name]
        mine = seconds(ours())
        print(f"{name:<24}{1e3 * mine:>9.3f}{seconds(theirs()) / mine:>12.2f}{lines(ours()):>8}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
