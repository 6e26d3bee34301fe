"""Who did how well: the rows of the table, the table itself, and the file that holds everything."""

import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.training import FACTORS, Runs
from gdo_optax.family import Entry


GOAL = 0.95
"""The test accuracy that a method is timed to."""

SLACK = 0.01
"""How far below the best a learning rate may end and still be called good."""


class Row(NamedTuple):
    """A method at its best learning rate; where all its trainings diverged, it has none."""

    optimizer: str
    diverged: int
    """How many of its trainings."""
    trainings: int
    words: float
    """Words of state per parameter."""
    factor: float | None = None
    """The best rate as a multiple of the paper's default."""
    learning_rate: float | None = None
    """The best rate; None also where the default is a schedule."""
    median: float | None = None
    """Test accuracy in the end, over the seeds; a training that diverged is below all others, and None."""
    least: float | None = None
    most: float | None = None
    training_loss: float | None = None
    """Median over the seeds, since the evaluation before the last."""
    steps_to_goal: int | None = None
    """The first evaluation at which the median accuracy is 95 %."""
    low: float | None = None
    """All factors from low to high end within 1 % of the best accuracy."""
    high: float | None = None
    decades: float | None = None
    """How wide that is."""


def scores(runs: Runs) -> np.ndarray:
    """The test accuracy in the end, (rates, seeds); −inf where the training diverged."""
    return np.where(runs.diverged, -np.inf, runs.accuracy[..., -1])


def row(entry: Entry, runs: Runs, ends: np.ndarray) -> Row:
    """A method's row: the best rate has the best median accuracy, then the lowest training loss."""
    score = scores(runs)
    median = np.median(score, axis=1)
    loss = np.median(np.where(runs.diverged, np.inf, runs.loss[..., -1]), axis=1)
    top = max(range(len(FACTORS)), key=lambda i: (median[i], -loss[i]))
    made = Row(entry.name, int(runs.diverged.sum()), score.size, round(entry.words, 4))
    if np.isinf(median[top]):
        return made
    reached = np.flatnonzero(np.median(runs.accuracy[top], axis=0) >= GOAL)
    low, high = _good(median, top)
    return made._replace(
        factor=FACTORS[top],
        learning_rate=None if callable(entry.learning_rate) else FACTORS[top] * entry.learning_rate,
        median=float(median[top]),
        least=float(score[top].min()) if np.isfinite(score[top].min()) else None,
        most=float(score[top].max()),
        training_loss=float(loss[top]),
        steps_to_goal=int(ends[reached[0]]) if reached.size else None,
        low=low,
        high=high,
        decades=math.log10(high / low),
    )


def _good(median: np.ndarray, top: int) -> tuple[float, float]:
    """From which to which factor the rates around the best are about as good, interpolated between those tried."""
    enough = median[top] - SLACK

    def reach(step: int) -> float:
        at = top
        while 0 <= at + step < len(FACTORS):
            if median[at + step] < enough:
                share = (median[at] - enough) / (median[at] - median[at + step])
                return FACTORS[at] * (FACTORS[at + step] / FACTORS[at]) ** float(share)
            at += step
        return FACTORS[at]

    return reach(-1), reach(1)


def standings(entries: list[Entry], results: dict[str, Runs], ends: np.ndarray) -> list[Row]:
    """The rows of all methods that have run: by accuracy, then by training loss, those that diverged at the end."""

    def rank(made: Row) -> tuple[float, float]:
        if made.median is None or made.training_loss is None:
            return math.inf, math.inf
        return -made.median, made.training_loss

    return sorted((row(entry, results[entry.name], ends) for entry in entries if entry.name in results), key=rank)


def table(rows: list[Row], results: dict[str, Runs], steps: int) -> Table:
    """The rows as a table, with the times."""
    shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    shown.add_column("optimizer", no_wrap=True)
    for heading in (
        "best rate (x default)",
        "test accuracy %\nmedian \\[min, max]",
        f"steps to\n{GOAL:.0%}",
        f"decades within\n{SLACK:.0%} of best",
        "diverged",
        "words of state\nper parameter",
        "time per\nstep, us",
        "compile\ntime, s",
    ):
        shown.add_column(heading, justify="right", no_wrap=True)
    for made in rows:
        runs = results[made.optimizer]
        step = runs.run_seconds / steps / made.trainings * 1e6
        shown.add_row(made.optimizer, *_cells(made), f"{step:.1f}", f"{runs.compile_seconds:.1f}")
    return shown


def _cells(made: Row) -> tuple[str, ...]:
    """A row in words; what a diverged method has not is a dash."""
    failed, words = f"{made.diverged} of {made.trainings}", f"{made.words:.3g}"
    if made.factor is None or made.median is None:
        return "-", "diverged", "-", "-", failed, words
    rate = "schedule" if made.learning_rate is None else f"{made.learning_rate:.3g}"
    median, least, most = (
        "diverged" if value is None else f"{value:.2%}"[:-1] for value in (made.median, made.least, made.most)
    )
    return (
        f"{rate} (x {made.factor:.3g})",
        f"{median} \\[{least}, {most}]",
        "-" if made.steps_to_goal is None else str(made.steps_to_goal),
        width(made),
        failed,
        words,
    )


def width(made: Row) -> str:
    """The width in decades, a lower bound where the good rates go on to the end of the grid."""
    if made.decades is None:
        return "diverged"
    return f"{'>= ' if made.low == FACTORS[0] or made.high == FACTORS[-1] else ''}{made.decades:.1f}"


def curves(runs: Runs) -> dict[str, Any]:
    """What a method's trainings recorded, (rates, seeds, evaluations), as JSON has it: null for what is not finite."""
    return {
        "training_loss": _rounded(runs.loss.tolist()),
        "test_accuracy": _rounded(runs.accuracy.tolist()),
        "diverged": runs.diverged.tolist(),
    }


def _rounded(values: Any) -> Any:
    if isinstance(values, list):
        return [_rounded(value) for value in values]
    return float(f"{values:.6g}") if math.isfinite(values) else None


def save(path: Path, document: dict[str, Any]) -> None:
    """Writes the document whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps(document, allow_nan=False) + "\n")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
