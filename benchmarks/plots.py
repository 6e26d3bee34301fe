"""The two pictures of a race: how every method learns at its best rate, and what every rate comes to."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from benchmarks.standings import SLACK, Row, scores, width
from benchmarks.training import FACTORS, Runs


STYLE: Any = {
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.5",
    "xtick.color": "0.3",
    "ytick.color": "0.3",
}
BLUE, GREEN, RED, GREY = "#1f5fa8", "#d5eedb", "#c8352b", "0.8"


def learning_curves(path: Path, rows: list[Row], results: dict[str, Runs], ends: np.ndarray, subject: str) -> None:
    """Test accuracy over the steps, a panel for each method at its best rate, all others in grey behind."""
    accuracy = {r.optimizer: 100 * results[r.optimizer].accuracy[FACTORS.index(r.factor)] for r in rows if r.factor}
    with rc_context(STYLE):
        figure = _figure(rows)
        for axes, row in _panels(figure, rows):
            for other in accuracy.values():
                axes.plot(ends, np.median(other, axis=0), color=GREY, linewidth=0.7, label="the other methods, medians")
            axes.set_xlim(0, 1.05 * ends[-1])
            axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10], integer=True))
            if row.optimizer in accuracy:
                _curve(axes, row, ends, accuracy[row.optimizer])
            else:
                _title(axes, row, "diverged")
        _finish(figure, f"Learning curves at the best learning rate: {subject}", "step", path)


def sensitivity(path: Path, rows: list[Row], results: dict[str, Runs], subject: str) -> None:
    """Test accuracy in the end over the learning rate, a panel for each method."""
    with rc_context(STYLE):
        figure = _figure(rows)
        for axes, row in _panels(figure, rows):
            _rates(axes)
            axes.axvline(1, color="0.4", linewidth=1, linestyle="--", label="the paper's default")
            if row.low is not None and row.high is not None:
                axes.axvspan(row.low, row.high, color=GREEN, linewidth=0, label=f"within {SLACK:.0%} of the best")
            _ends(axes, 100 * scores(results[row.optimizer]))
            _title(axes, row, width(row).replace(">=", "≥") + (" decades" if row.factor else ""))
        _finish(figure, f"Test accuracy at the end by learning rate: {subject}", "learning rate / default", path)


def _curve(axes: Axes, row: Row, ends: np.ndarray, accuracy: np.ndarray) -> None:
    """A method's own curve, its rate and what it comes to."""
    low, high, median = accuracy.min(0), accuracy.max(0), np.median(accuracy, axis=0)
    label = "all seeds, from the least accurate to the most"
    axes.fill_between(ends, low, high, color=BLUE, alpha=0.25, linewidth=0, label=label)
    axes.plot(ends, median, color=BLUE, linewidth=2, label="median of the seeds")
    _title(axes, row, f"{median[-1]:.1f} %")
    rate = "its schedule" if row.learning_rate is None else f"rate {row.learning_rate:.3g}"
    axes.text(0.97, 0.05, f"{rate} (× {row.factor:.3g})", transform=axes.transAxes, ha="right", color="0.3")


def _ends(axes: Axes, score: np.ndarray) -> None:
    """What every training comes to, and the median of the seeds; how many diverged stands at the bottom."""
    failed, median = np.isinf(score), np.median(score, axis=1)
    x = np.broadcast_to(np.array(FACTORS)[:, None], score.shape)
    axes.plot(FACTORS, np.where(np.isinf(median), np.nan, median), color=BLUE, linewidth=2, label="median")
    axes.plot(x[~failed], score[~failed], "o", color=BLUE, markersize=4, alpha=0.6, label="one training")
    for at, count in zip(FACTORS, failed.sum(1), strict=True):
        if count:
            label = "diverged, how many"
            axes.plot(at, 20, "x", color=RED, markersize=7, markeredgewidth=2, label=label)
            axes.annotate(str(count), (at, 20), (0, 7), textcoords="offset points", ha="center", color=RED)


def _shape(rows: list[Row]) -> tuple[int, int]:
    """Rows and columns of panels: six side by side still have room for their titles."""
    columns = min(len(rows), 6)
    return math.ceil(len(rows) / columns), columns


def _figure(rows: list[Row]) -> Figure:
    return Figure(figsize=(16, 2 + 2.1 * _shape(rows)[0]), dpi=100, layout="constrained")


def _panels(figure: Figure, rows: list[Row]) -> Iterator[tuple[Axes, Row]]:
    """A panel for each row, with an axis of accuracy that stretches towards 100 %."""
    grid = figure.subplots(*_shape(rows), sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[len(rows) :]:
        axes.set_axis_off()
    for axes, row in zip(grid, rows, strict=False):
        axes.set_yscale("function", functions=(lambda a: -np.log10(101 - a), lambda y: 101 - 10.0**-y))
        axes.set_ylim(0, 100)
        axes.yaxis.set_major_locator(FixedLocator([0, 50, 80, 90, 95, 98, 100]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(axis="y", color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
        yield axes, row


def _rates(axes: Axes) -> None:
    """The horizontal axis of learning rates."""
    axes.set_xscale("log")
    axes.set_xlim(FACTORS[0] / 1.4, FACTORS[-1] * 1.4)
    axes.xaxis.set_major_locator(FixedLocator([0.1, 1, 10, 100]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _title(axes: Axes, row: Row, detail: str) -> None:
    axes.set_title(row.optimizer, loc="left", fontweight="bold", fontsize=10)
    axes.set_title(detail, loc="right", color="0.3", fontsize=9)


def _finish(figure: Figure, title: str, xlabel: str, path: Path) -> None:
    """Labels that all panels share, each legend entry once, and the file."""
    figure.suptitle(title, fontsize=17)
    figure.supylabel("test accuracy, %", fontsize=13)
    for axes in figure.axes:
        axes.set_xlabel(xlabel)
        axes.label_outer()
    entries = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=len(entries), frameon=False)
    figure.savefig(path)
