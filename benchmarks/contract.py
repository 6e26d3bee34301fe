"""`python -m benchmarks.contract`: what holds of every method in every dtype, ours beside optax and PyTorch.

Two boards, as tables and as JSON: how many ulps an update may be off, and which faults break a method. `--quick` takes
1,000 steps in place of 20,000.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import jax
import optax
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import accuracy, faults, peers
from gdo_optax.family import family
from tests.catalogue import SETTINGS, Case


BOUND = 16.0
HALF = ("bfloat16", "float16")


def accuracies(name: str, steps: int) -> dict[str, Any]:
    """Ulps of a method and its peers, a key for every column."""
    normal, mixed = accuracy.normal(steps), accuracy.mixed(steps)
    case = Case(name, SETTINGS[name][0])
    found = {"float32": accuracy.accuracy(case, normal, "float32"), "mixed": accuracy.accuracy(case, mixed, "float32")}
    found |= {dtype: accuracy.accuracy(case, normal, dtype) for dtype in HALF}
    if name in peers.PEERS:
        found |= {f"optax {dtype}": peers.of_optax(name, normal, dtype) for dtype in ("float32", *HALF)}
    if name in peers.TORCH:
        found["torch float32"] = peers.of_torch(name, normal[: min(steps, 5000)])
    return {k: v._asdict() for k, v in found.items()}


def board(rows: dict[str, dict[str, Any]]) -> Table:
    """The accuracies as a table; what is beyond the bound is red."""
    columns = ("float32", "mixed", *HALF, "optax float32", "optax bfloat16", "optax float16", "torch float32")
    table = Table("method", *columns, title="largest error of an update, in ulps of its dtype", title_justify="left")
    for name, row in rows.items():
        cells = [_cell(row.get(column), 1.0 if column in HALF else BOUND) for column in columns]
        table.add_row(name, *cells)
    return table


def _cell(found: dict[str, Any] | None, bound: float) -> str:
    if found is None:
        return ""
    text = f"{found['ulps']:.3g}" + ("*" if found["of"] == "point" else "")
    return text if found["ulps"] <= bound else f"[red]{text}[/red]"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contract", description=__doc__)
    names = [entry.name for entry in family() if not entry.dense]
    parser.add_argument("--optimizer", nargs="+", choices=names, default=names, metavar="NAME", help="only these")
    parser.add_argument("--quick", action="store_true", help="1,000 steps")
    parser.add_argument("--out", type=Path, default=Path("out/contract"), metavar="FOLDER")
    args = parser.parse_args(argv)
    console = Console(width=160)
    steps = 1_000 if args.quick else 20_000
    entries = [entry for entry in family() if entry.name in args.optimizer]
    note = Console(stderr=True)
    ulps = {e.name: accuracies(e.name, steps) for e in track(entries, "accuracy", console=note)}
    console.print(board(ulps))
    found = {e.name: {d: faults.cells(e, d) for d in faults.DTYPES} for e in track(entries, "faults", console=note)}
    bad = [(m, d, f, why) for m, by in found.items() for d, cells in by.items() for f, why in cells.items() if why]
    count = sum(len(cells) for by in found.values() for cells in by.values())
    console.print(f"{len(bad)} of {count} cells fail: {len(entries)} methods x {len(faults.NAMES)} faults x 4 dtypes")
    for row in bad:
        console.print(*row)
    args.out.mkdir(parents=True, exist_ok=True)
    versions = {"jax": jax.__version__, "optax": optax.__version__}
    result = {"versions": versions, "steps": steps, "ulps": ulps, "faults": found}
    (args.out / "contract.json").write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
