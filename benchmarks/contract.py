"""`python -m benchmarks.contract`: what holds of every method in every dtype, ours beside optax and PyTorch.

Boards, as tables and as JSON: how many ulps an update may be off, which faults break a method, which small updates are
lost, what a small state costs. `--full` adds long runs: ten million steps, a hundred thousand from Python, a thousand
with other numbers in each. `--quick` takes 1,000 steps in place of 20,000.
"""

import argparse
import functools
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxlib
import numpy as np
import optax
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import accuracy, faults, halves, peers, soak
from gdo_optax.entry import Entry
from gdo_optax.family import family, get
from tests.catalogue import SETTINGS, Case


BOUND = 16.0
HALF = ("bfloat16", "float16")


class Board(NamedTuple):
    """A table's title and columns, the rows that a method has of it, and how a cell is printed."""

    title: str
    columns: tuple[str, ...]
    rows: Callable[[], Iterable[tuple[str, dict[str, Any]]]]
    shown: Callable[[str, Any], str] = lambda column, value: f"{value:.3g}" if isinstance(value, float) else str(value)


def accuracies(name: str, steps: int) -> dict[str, Any]:
    """Ulps of a method and its peers, a key for every column."""
    normal, mixed = accuracy.normal(steps), accuracy.mixed(steps)
    case = Case(name, SETTINGS[name][0])
    found = {"float32": accuracy.accuracy(case, normal, "float32"), "mixed": accuracy.accuracy(case, mixed, "float32")}
    if max(a.ulps for a in found.values()) > BOUND:
        found |= {"memory": accuracy.memory(case, normal), "memory, mixed": accuracy.memory(case, mixed)}
        if "residual_dtype" in inspect.signature(get(name).maker).parameters:
            exact = Case(name, case.settings | {"residual_dtype": "bfloat16"})
            found |= {"residual": accuracy.accuracy(exact, normal, "float32")}
            found |= {"residual, mixed": accuracy.accuracy(exact, mixed, "float32")}
    found |= {dtype: accuracy.accuracy(case, normal, dtype) for dtype in HALF}
    if name in peers.PEERS:
        found |= {f"optax {dtype}": peers.of_optax(name, normal, dtype) for dtype in ("float32", *HALF)}
    if name in peers.TORCH:
        found["torch float32"] = peers.of_torch(name, normal[: min(steps, 5000)])
    return {k: v._asdict() for k, v in found.items()}


def _ulps(column: str, found: dict[str, Any]) -> str:
    text = f"{found['ulps']:.3g}" + ("*" if found["of"] == "point" else "")
    bound = 1.0 if column.split()[-1] in HALF else BOUND
    return text if found["ulps"] <= bound else f"[red]{text}[/red]"


def failures(entry: Entry) -> dict[str, Any]:
    """How many of the cells of a method fail, ours and optax's, and which."""
    found = {"ours": faults.ours(entry)}
    found |= {"optax": faults.of_optax(entry.name)} if entry.name in faults.OPTAX else {}
    out: dict[str, Any] = {}
    for library, method in found.items():
        cells = {(dtype, k): why for dtype in faults.DTYPES for k, why in faults.cells(method, dtype).items()}
        out[library] = {f"{k}, {dtype}": why for (dtype, k), why in cells.items() if why}
    return out


def _failed(column: str, found: dict[str, str]) -> str:
    return f"{len(found)} of {len(faults.DTYPES) * len(faults.NAMES)}"


def arrived(tx: optax.GradientTransformation) -> dict[str, Any]:
    """The mean and the largest distance from 0 in ulps of 1, in both half precisions."""
    out: dict[str, float] = {}
    for dtype in HALF:
        ulps = halves.arrivals(tx, dtype) / float(jax.numpy.finfo(dtype).eps)
        out |= {f"{dtype} mean": float(ulps.mean()), f"{dtype} largest": float(np.abs(ulps).max())}
    return out


def stored(name: str, exact: float) -> dict[str, Any]:
    """Bytes a parameter, and by how much the loss on digits is another than with float32."""
    tx = halves.STORED[name]()
    return {"bytes": halves.bytes_of_state(tx), "loss / float32's - 1": halves.digits_loss(tx) / exact - 1}


def long_runs(entry: Entry, steps: int, loops: int, traced: int) -> dict[str, Any]:
    """What a method is after a scan and a Python loop, and how often it is traced while its numbers change."""
    soaked, leaked = soak.soak(entry, steps), soak.leak(entry, loops)
    return {
        "finite": soaked.finite,
        "farthest": soaked.largest,
        "arrays more": leaked.arrays[1] - leaked.arrays[0],
        "MB more": (leaked.memory[1] - leaked.memory[0]) / 1e6,
        "traces": soak.traced_steps(entry, traced).traces,
    }


def boards(entries: list[Entry], steps: int, full: bool) -> dict[str, Board]:
    """The boards by name."""

    def of(f: Callable[[Entry], dict[str, Any]], what: str) -> Callable[[], Iterable[tuple[str, dict[str, Any]]]]:
        console = Console(stderr=True)
        return lambda: ((entry.name, f(entry)) for entry in track(entries, what, console=console))

    exact = functools.cache(lambda: halves.digits_loss(halves.STORED["adam"]()))
    ulps = ("float32", "mixed", "memory", "memory, mixed", "residual", "residual, mixed", *HALF)
    theirs = ("optax float32", "optax bfloat16", "optax float16", "torch float32")
    out = {
        "ulps": Board(
            f"largest error of an update in {steps:,} steps, in ulps of its dtype",
            (*ulps, *theirs), of(lambda e: accuracies(e.name, steps), "accuracy"), _ulps,
        ),
        "faults": Board(
            f"{len(faults.NAMES)} faults in {len(faults.DTYPES)} dtypes: cells that fail",
            ("ours", "optax"), of(failures, "faults"), _failed,
        ),
        "small updates": Board(
            "where 1,000 steps of 1e-3 from 1 end, in ulps of 1 (0 is right)",
            tuple(f"{dtype} {what}" for dtype in HALF for what in ("mean", "largest")),
            lambda: ((name, arrived(make())) for name, make in halves.SMALL.items()),
        ),
        "small states": Board(
            "bytes of state a parameter, and the loss on digits after 300 steps",
            ("bytes", "loss / float32's - 1"), lambda: ((name, stored(name, exact())) for name in halves.STORED),
        ),
    }  # fmt: skip
    if full:
        out["long runs"] = Board(
            "10,000,000 steps in a scan, 100,000 from Python, 1,000 whose numbers change as traced values",
            ("finite", "farthest", "arrays more", "MB more", "traces"),
            of(lambda e: long_runs(e, 10_000_000, 100_000, 1_000), "long runs"),
        )  # fmt: skip
    return out


def table(board: Board, rows: dict[str, dict[str, Any]]) -> Table:
    """A board as people read it."""
    out = Table("", *board.columns, title=board.title, title_justify="left")
    for name, row in rows.items():
        out.add_row(name, *(board.shown(c, row[c]) if c in row else "" for c in board.columns))
    return out


def page(result: dict[str, Any]) -> str:
    """The results as Markdown: all boards but that of long runs, which holds nothing but what is promised."""
    out = []
    for name, board in boards([], result["steps"], full=False).items():
        title = board.title[0].upper() + board.title[1:]
        if name == "faults":
            out += [f"{title}.", "", *(f"- {line}" for line in summary(result[name])), ""]
            continue
        out += [f"{title}:", "", f"| | {' | '.join(board.columns)} |", "| --- " * (len(board.columns) + 1) + "|"]
        for key, row in result[name].items():
            cells = (re.sub(r"\[/?red\]", "**", board.shown(c, row[c])) if c in row else "" for c in board.columns)
            out.append(f"| {key} | {' | '.join(cells)} |")
        out.append("")
    return "\n".join(out).strip()


def summary(rows: dict[str, dict[str, dict[str, str]]]) -> Iterable[str]:
    """How many cells fail, library by library, and every one of ours."""
    for library in ("ours", "optax"):
        found = [row[library] for row in rows.values() if library in row]
        cells = len(found) * len(faults.DTYPES) * len(faults.NAMES)
        yield f"{library}: {sum(map(len, found))} of {cells} cells fail"
    broken = {name: len(row["optax"]) for name, row in rows.items() if row.get("optax")}
    if broken:
        yield f"optax's, of 100 each: {', '.join(f'{name} {count}' for name, count in broken.items())}"
    yield from (f"{name}: {k}: {why}" for name, row in rows.items() for k, why in row["ours"].items())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contract", description=__doc__)
    methods = [entry for entry in family() if not entry.dense]
    names = [entry.name for entry in methods]
    parser.add_argument("--optimizer", nargs="+", choices=names, default=names, metavar="NAME", help="only these")
    parser.add_argument("--quick", action="store_true", help="1,000 steps")
    parser.add_argument("--full", action="store_true", help="the long runs, too")
    parser.add_argument("--page", type=Path, metavar="FILE", help="only print results of before as Markdown")
    parser.add_argument("--out", type=Path, default=Path("out/contract"), metavar="FOLDER")
    args = parser.parse_args(argv)
    if args.page:
        print(page(json.loads(args.page.read_text())))
        return 0
    console = Console(width=160)
    args.out.mkdir(parents=True, exist_ok=True)
    versions = {m.__name__: m.__version__ for m in (jax, jaxlib, optax, np)}
    steps = 1_000 if args.quick else 20_000
    result: dict[str, Any] = {"versions": versions, "steps": steps}
    entries = [entry for entry in methods if entry.name in args.optimizer]
    for name, board in boards(entries, steps, args.full).items():
        result[name] = dict(board.rows())
        console.print(table(board, result[name]))
        (args.out / "contract.json").write_text(json.dumps(result, indent=1) + "\n")
    console.print(*summary(result["faults"]), sep="\n", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
