"""Which method learns best? `python -m benchmarks.race`: every optimizer, 7 learning rates and 3 seeds, on small data.

It prints a table and writes two plots and `race.json`, which holds every curve. The same numbers on every run, but for
the times.
"""

import argparse
import functools
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import jax

from gdo_optax.family import Entry, family, get


try:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    from benchmarks import plots, standings
    from benchmarks.problems import MODELS, SETS, Problem, batches, problem
    from benchmarks.training import FACTORS, UNOPTIMIZED, Runs, evaluations, train
except ModuleNotFoundError as error:
    package = (error.name or "").partition(".")[0]
    if package not in ("flax", "matplotlib", "rich", "sklearn"):
        raise
    print(f'the race needs {package}, which is not installed: pip install -e ".[race]"', file=sys.stderr)
    raise SystemExit(2) from None


class Parser(argparse.ArgumentParser):
    """A parser that complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def optimizer(name: str) -> Entry:
    """The method of that name."""
    try:
        entry = get(name)
    except KeyError as error:
        raise argparse.ArgumentTypeError(error.args[0]) from None
    if entry not in family():
        raise argparse.ArgumentTypeError(f"{name} is no optimizer of gradients and parameters alone")
    return entry


def parser() -> Parser:
    """The options; those left out depend on others, see `arguments`."""
    made = Parser(prog="python -m benchmarks.race", description=__doc__)
    made.add_argument("--data", choices=SETS, default="digits", help="the data set (default: digits)")
    made.add_argument("--model", choices=MODELS, help="the network (default: conv for digits, else mlp)")
    made.add_argument("--optimizer", nargs="+", type=optimizer, metavar="NAME", help="only these (default: all)")
    made.add_argument("--steps", type=positive, metavar="N", help="steps of a training (default: 300)")
    made.add_argument("--batch-size", type=positive, default=64, metavar="N", help="examples in a step (default: 64)")
    made.add_argument("--seeds", type=positive, default=3, metavar="N", help="trainings at every rate (default: 3)")
    made.add_argument("--quick", action="store_true", help="under a minute: the mlp, 60 steps, not optimized")
    made.add_argument("--out", type=Path, default=Path("out/race"), metavar="FOLDER", help="default: out/race")
    return made


def arguments(argv: list[str] | None) -> tuple[argparse.Namespace, Problem]:
    """What to run. What cannot be run ends here, before any training, with one line and exit code 2."""
    command = parser()
    args = command.parse_args(argv)
    args.model = args.model or ("conv" if args.data == "digits" and not args.quick else "mlp")
    args.steps = args.steps or (60 if args.quick else 300)
    args.optimizer = list(dict.fromkeys(args.optimizer or (entry for entry in family() if entry.races)))
    if args.model == "conv" and args.data != "digits":
        command.error(f"conv needs images and {args.data} has none: --model mlp")
    made = problem(args.data, args.model, args.seeds)
    n = len(made.data.train_x)
    if args.batch_size > n:
        command.error(f"a batch of {args.batch_size} is more than the {n} training examples of {args.data}")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()
    except OSError as error:
        command.error(f"cannot write to {args.out}: {error.strerror}")
    return args, made


def compete(args: argparse.Namespace, made: Problem, results: dict[str, Runs], caught: list[int]) -> None:
    """Runs one method after the other under a progress bar, until all are in `results` or an interrupt is caught."""
    left = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    options = UNOPTIMIZED if args.quick else None
    drawn = batches(len(made.data.train_x), args.steps, args.batch_size, args.seeds)
    with Progress(
        SpinnerColumn(), *columns, TextColumn("{task.fields[left]}", table_column=left), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task("", total=len(args.optimizer), left="")

        def say(name: str, doing: str) -> None:
            bar.update(task, description=f"[bold]{name}[/] {doing}")

        for i, entry in enumerate(args.optimizer):
            if caught:
                return
            names = ", ".join(other.name for other in args.optimizer[i + 1 :])
            bar.update(task, left=f"left: {names}" if names else "")
            results[entry.name] = train(entry, made, drawn, functools.partial(say, entry.name), options)
            bar.advance(task)
        bar.update(task, description="done")


def document(args: argparse.Namespace, made: Problem, rows: list[standings.Row], results: dict[str, Runs]) -> dict:
    """Everything but the times: the same on every run."""
    return {
        "settings": {
            "data": args.data,
            "model": args.model,
            "parameters": made.size,
            "training_examples": len(made.data.train_x),
            "test_examples": len(made.data.test_x),
            "optimizers": [entry.name for entry in args.optimizer],
            "learning_rate_factors": FACTORS,
            "seeds": args.seeds,
            "steps": args.steps,
            "batch_size": args.batch_size,
            "evaluated_after": evaluations(args.steps).tolist(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("jax", "optax", "flax", "gdo_optax")},
            "backend": jax.default_backend(),
        },
        "rows": [row._asdict() for row in rows],
        "curves": {name: standings.curves(runs) for name, runs in results.items()},
    }


def timing(results: dict[str, Runs], total: float) -> dict[str, Any]:
    """What differs from run to run."""
    seconds = {name: {"compile": runs.compile_seconds, "run": runs.run_seconds} for name, runs in results.items()}
    return {"total_seconds": total, "seconds": seconds}


def write(args: argparse.Namespace, made: Problem, rows: list[standings.Row], results: dict, start: float) -> None:
    """The file first, then the pictures."""
    whole = document(args, made, rows, results)
    standings.save(args.out / "race.json", {**whole, "timing": timing(results, time.perf_counter() - start)})
    subject = f"{args.data}, {args.model}, {args.seeds} seeds, {args.steps} steps of batch {args.batch_size}"
    plots.learning_curves(args.out / "curves.png", rows, results, evaluations(args.steps), subject)
    plots.sensitivity(args.out / "sensitivity.png", rows, results, subject)


def show(args: argparse.Namespace, made: Problem, rows: list[standings.Row], results: dict[str, Runs]) -> None:
    """The table on stdout, whole even where the terminal is narrow or there is none."""
    n, test, trainings = len(made.data.train_x), len(made.data.test_x), len(FACTORS) * args.seeds
    console = Console(width=max(160, Console().width) if sys.stdout.isatty() else 160)
    console.print(
        f"{args.data}: {n} examples to train with, {test} to test, each {1 / test:.2%} of the accuracy; "
        f"{args.model} of {made.size} parameters; {args.steps} steps of batch {args.batch_size}\n"
        f"{len(FACTORS)} learning rates x {args.seeds} seeds: a method's {trainings} trainings run together, in one "
        f"compiled scan{', not optimized' if args.quick else ''};\n"
        f"the time per step is that scan's time / ({args.steps} x {trainings}), on this machine: "
        f"{jax.default_backend()}, {os.cpu_count()} cores\n",
        highlight=False,
        soft_wrap=True,
    )
    console.print(standings.table(rows, results, args.steps))


@contextmanager
def postponed() -> Iterator[list[int]]:
    """Collects the first Ctrl-C instead of raising it: JAX may crash, or carry on, where one is raised within it."""
    caught: list[int] = []

    def first(number: int, frame: Any) -> None:
        caught.append(number)
        signal.signal(number, before)
        os.write(2, b"\nstopping after this method; Ctrl-C again stops at once\n")

    before = signal.signal(signal.SIGINT, first)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)


def race(argv: list[str] | None, caught: list[int]) -> int:
    """The exit code. What has finished before an interrupt is written and shown."""
    start = time.perf_counter()
    args, made = arguments(argv)
    results: dict[str, Runs] = {}
    with suppress(KeyboardInterrupt):
        compete(args, made, results, caught)
    if caught or len(results) < len(args.optimizer):
        print(f"interrupted: {len(results)} of {len(args.optimizer)} methods had finished", file=sys.stderr)
    if not results:
        return 130
    rows = standings.standings(args.optimizer, results, evaluations(args.steps))
    complaint = None
    try:
        write(args, made, rows, results, start)
    except OSError as error:
        complaint = f"cannot write to {args.out}: {error.strerror}"
    show(args, made, rows, results)
    seconds = time.perf_counter() - start
    if complaint:
        print(complaint, file=sys.stderr)
    else:
        print(f"\nrace.json, curves.png and sensitivity.png in {args.out}, {seconds:.0f} s in all")
    return 130 if caught or len(results) < len(args.optimizer) else 2 if complaint else 0


def main(argv: list[str] | None = None) -> int:
    with postponed() as caught:
        return race(argv, caught)


if __name__ == "__main__":
    sys.exit(main())
