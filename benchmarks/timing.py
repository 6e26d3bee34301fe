"""How long a step takes: ours, optax's, a twin that only moves memory and PyTorch's fused one, in turns in one process.

A turn is four steps of each, or forty of a small one, in an order of its own, so that what else the machine does, and
what one leaves behind, falls on all of them, and the figures are medians of ratios. PyTorch's threads are told not to
spin while the others run. The twin is compiled as the step is, on as many donated arrays, to each of which it adds the
gradient.
"""

import importlib.util
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from matplotlib import rc_context
from matplotlib.figure import Figure

import gdo_optax as g
from benchmarks.plots import BLUE, RED, STYLE
from gdo_optax.wrappers.skipping import skip_nonfinite


Maker = Callable[[], optax.GradientTransformation]
CASES: dict[str, tuple[Maker, Maker, int]] = {
    "sgd": (lambda: g.sgd(1e-3), lambda: optax.sgd(1e-3), 1),
    "momentum": (lambda: g.momentum(1e-3), lambda: optax.sgd(1e-3, momentum=0.9), 2),
    "rmsprop": (lambda: g.rmsprop(1e-3), lambda: optax.rmsprop(1e-3), 2),
    "adagrad": (lambda: g.adagrad(1e-3), lambda: optax.adagrad(1e-3), 2),
    "adam": (lambda: g.adam(1e-3), lambda: optax.adam(1e-3), 3),
    "adamw": (lambda: g.adamw(1e-3), lambda: optax.adamw(1e-3), 3),
    "radam": (lambda: g.radam(1e-3), lambda: optax.radam(1e-3), 3),
    "lion": (lambda: g.lion(1e-4), lambda: optax.lion(1e-4), 2),
    "clip + adamw": (
        lambda: g.chain(g.clip_by_global_norm(1.0), g.adamw(1e-3)),
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)),
        3,
    ),
    "adadelta": (lambda: g.adadelta(), lambda: optax.adadelta(1.0), 3),
    "lamb": (lambda: g.lamb(1e-3), lambda: optax.lamb(1e-3, weight_decay=0.01), 3),
    "lars": (lambda: g.lars(1e-3), lambda: optax.lars(1e-3, weight_decay=1e-4), 2),
    "adafactor": (lambda: g.adafactor(), lambda: optax.adafactor(1e-2), 1),
    "skip_nonfinite(adamw)": (
        lambda: skip_nonfinite(g.adamw(1e-3)),
        lambda: optax.apply_if_finite(optax.adamw(1e-3), 5),
        3,
    ),
    "accumulate(adamw, 4)": (
        lambda: g.accumulate(g.adamw(1e-3), 4),
        lambda: optax.MultiSteps(optax.adamw(1e-3), 4).gradient_transformation(),
        4,
    ),
}
"""Ours, optax's, and how many arrays a parameter is stored in: itself and its memories."""


def listed(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same, with a list of arrays for a state: what a tree costs to take apart and to put together is left out."""

    def init(params: Any) -> Any:
        return jax.tree.leaves(tx.init(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        tree = jax.tree.unflatten(jax.tree.structure(jax.eval_shape(tx.init, params)), state)
        updates, tree = tx.update(updates, tree, params)
        return updates, jax.tree.leaves(tree)

    return optax.GradientTransformation(init, update)


BY_NAME: dict[str, tuple[Maker, Maker, int]] = {
    "flatten(adam)": (lambda: optax.flatten(g.adam(1e-3)), lambda: optax.adam(1e-3), 3),
    "listed(adam)": (lambda: listed(g.adam(1e-3)), lambda: listed(optax.adam(1e-3)), 3),
    "accumulate against adamw": (lambda: g.accumulate(g.adamw(1e-3), 4), lambda: g.adamw(1e-3), 4),
    "lookahead against adam": (lambda: g.lookahead(g.adam(1e-3)), lambda: g.adam(1e-3), 4),
    **CASES,
}
"""With those that are not measured unless they are asked for; of the wrappers the rival is what they wrap, ours."""
SLOWER = 1.05
TORCH = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "adagrad": "Adagrad"}


class Timing(NamedTuple):
    """Medians: milliseconds of our step, and how many times as long the others take."""

    method: str
    parameters: int
    arrays: int
    ms: float
    words: float
    ratios: dict[str, float]


class Loop:
    """A compiled step, and what it is run on, which it gives away and gets back."""

    def __init__(self, step: Callable, *donated: Any, grads: Any) -> None:
        self.now, self.grads = donated, grads
        self.compiled = jax.jit(step, donate_argnums=(0, 1)).lower(*self.now, grads).compile()

    def __call__(self, steps: int) -> None:
        for _ in range(steps):
            self.now = self.compiled(*self.now, self.grads)
        jax.block_until_ready(self.now)


def shapes(parameters: int, arrays: int) -> list[tuple[int, ...]]:
    """So many equal arrays, matrices where they are large enough, one side a multiple of 16, as in models."""
    size = max(parameters // arrays, 1)
    side = int(size**0.5) // 16 * 16
    return [(size // side, side) if side else (size,)] * arrays


def filled(sizes: Sequence[tuple[int, ...]], value: float = 1.0) -> list[jax.Array]:
    return [jnp.full(shape, value) for shape in sizes]


def of(tx: optax.GradientTransformation, sizes: Sequence[tuple[int, ...]], grads: Any) -> Loop:
    """The loop of an optimizer."""

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params = filled(sizes)
    return Loop(step, params, tx.init(params), grads=grads)


def twin(stored: int, sizes: Sequence[tuple[int, ...]], grads: Any) -> Loop:
    """Adds the gradient to everything that is stored."""

    def step(params: Any, state: Any, grads: Any) -> Any:
        return jax.tree.map(jnp.add, params, grads), [jax.tree.map(jnp.add, s, grads) for s in state]

    return Loop(step, filled(sizes), [filled(sizes) for _ in range(stored - 1)], grads=grads)


def of_torch(name: str, sizes: Sequence[tuple[int, ...]]) -> Callable[[int], None]:
    """PyTorch's fused optimizer."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    params = [torch.ones(shape, requires_grad=True) for shape in sizes]
    for p in params:
        p.grad = torch.full_like(p, 1e-3)
    optimizer = getattr(torch.optim, TORCH[name])(params, lr=1e-3, fused=True)

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.step()

    return run


def timed(run: Callable[[int], None], steps: int) -> float:
    start = time.perf_counter()
    run(steps)
    return (time.perf_counter() - start) / steps


def measure(name: str, parameters: int, arrays: int, turns: int) -> Timing:
    """One cell: all rivals in turns, after two that warm up."""
    ours, theirs, stored = BY_NAME[name]
    sizes = shapes(parameters, arrays)
    grads = filled(sizes, 1e-3)
    mine = of(ours(), sizes, grads)
    runs: dict[str, Callable[[int], None]] = {"ours": mine, "optax": of(theirs(), sizes, grads)}
    runs["twin"] = twin(stored, sizes, grads)
    if name in TORCH and importlib.util.find_spec("torch"):
        runs["torch"] = of_torch(name, sizes)
    steps, draw = 4 if parameters > 100_000 else 40, random.Random(0)
    times = [{k: timed(runs[k], steps) for k in draw.sample(list(runs), len(runs))} for _ in range(turns + 2)][2:]
    ratios = {k: statistics.median(t[k] / t["ours"] for t in times) for k in runs if k != "ours"}
    moved: Any = mine.compiled.cost_analysis()
    words = moved["bytes accessed"] / 4 / sum(a.size for a in grads)
    return Timing(name, parameters, arrays, 1e3 * statistics.median(t["ours"] for t in times), words, ratios)


def page(result: dict[str, Any]) -> str:
    """The results as Markdown: how many times as long optax takes, and the larger cells beside a twin and PyTorch."""
    cells = {(t["method"], t["parameters"], t["arrays"]): t for t in result["steps"]}
    methods, grid = list(dict.fromkeys(k[0] for k in cells)), list(dict.fromkeys(k[1:] for k in cells))
    out = ["optax's time / ours (bold: optax is faster by more than 5 %), by parameters and arrays:", ""]
    out += [f"| | {' | '.join(f'{size:.0e}, {arrays}' for size, arrays in grid)} |", "| --- " * (len(grid) + 1) + "|"]
    for name in methods:
        ratios = [cells[name, *cell]["ratios"]["optax"] for cell in grid]
        out.append(f"| {name} | {' | '.join(f'{r:.2f}' if r * SLOWER >= 1 else f'**{r:.2f}**' for r in ratios)} |")
    largest = max(size for size, _ in grid)
    out += ["", f"{largest:.0e} parameters in one array:", "", "| | ms | words | GB/s | twin / ours | PyTorch / ours |"]
    out += ["| --- | --- | --- | --- | --- | --- |"]
    for name in methods:
        t = cells[name, largest, 1]
        speed, torch = bandwidth(Timing(**t)), t["ratios"].get("torch")
        row = [f"{t['ms']:.1f}", f"{t['words']:.1f}", f"{speed:.1f}", f"{t['ratios']['twin']:.2f}"]
        out.append(f"| {name} | {' | '.join(row)} | {'' if torch is None else f'{torch:.2f}'} |")
    return "\n".join(out)


def bandwidth(t: Timing) -> float:
    """Gigabytes a second that words and time come to."""
    return 4e-6 * t.words * t.parameters / t.ms


def plot(path: Path, timings: Sequence[Timing]) -> None:
    """Time against arrays, and the bandwidth that words and time come to beside that of a twin, the larger cells."""
    largest = max(t.parameters for t in timings)
    with rc_context(STYLE):
        figure = Figure(figsize=(12, 4.5), dpi=100, layout="constrained")
        left, right = figure.subplots(1, 2)
        for name, color in (("adam", BLUE), ("lamb", RED)):
            for size in sorted({t.parameters for t in timings}):
                cells = sorted((t for t in timings if (t.method, t.parameters) == (name, size)), key=lambda t: t.arrays)
                for rival, style in (("ours", "o-"), ("optax", "--"), ("torch", ":")):
                    row = [(t.arrays, t.ms * t.ratios.get(rival, 1)) for t in cells if rival in {"ours", *t.ratios}]
                    label = f"{name}, {rival}" if row and size == largest else None
                    left.loglog(*zip(*row, strict=True), style, color=color, label=label, ms=3) if row else None
        left.set(title=f"{', '.join(f'{n:,}' for n in sorted({t.parameters for t in timings}))} parameters")
        left.set(xlabel="arrays", ylabel="ms per step", ylim=(None, 4 * left.get_ylim()[1]))
        left.legend(frameon=False, fontsize=8, ncols=2, loc="upper left") if left.lines else None
        cells = [t for t in timings if t.parameters == largest and t.arrays == 1]
        right.scatter([t.words for t in cells], [bandwidth(t) for t in cells], color=BLUE)
        for t in cells:
            right.annotate(t.method, (t.words, bandwidth(t)), fontsize=7, xytext=(3, 3), textcoords="offset points")
        twins = {
            3 * BY_NAME[t.method][2]: 12e-6 * BY_NAME[t.method][2] * t.parameters / t.ms / t.ratios["twin"]
            for t in cells
        }
        right.plot(*zip(*sorted(twins.items()), strict=True), "--", color=RED, label="twin, its words in its time")
        right.legend(frameon=False, fontsize=8) if cells else None
        right.set(
            title=f"{largest:,} parameters in one array", xlabel="words per parameter", ylabel="GB/s", ylim=(0, None)
        )
        figure.savefig(path)
