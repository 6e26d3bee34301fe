"""Breaks the mathematics in one place at a time, and asks the tests whether they see it.

    python -m benchmarks.mutation --mutants 300 --seed 0 --out out/mutation

A mutant is a change of one expression: a sign, an operator, a constant, two names, a piece left out or two in another
order. It runs in a copy of the repository. What has been found is written after every mutant, and not done again; in
the end there is `mutation.json`.
"""

import argparse
import ast
import copy
import io
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

from gdo_optax.family import family


ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gdo_optax"

# Where the mathematics is, and which tests concern it, the cheapest first; those of the oracles are found by name.
TESTS: dict[str, tuple[str, ...]] = {
    "engine/numerics.py": ("numerics", "properties", "pieces"),
    "engine/reductions.py": ("segments", "skipping", "pieces"),
    "engine/xla.py": ("rereading", "numerics"),
    "engine/states.py": ("state", "engine", "wrappers"),
    "engine/interpreter.py": ("properties", "pieces", "numerics", "pieces_contract", "segments", "engine"),
    "engine/combinators.py": ("properties", "pieces", "variants", "evaluations"),
    "rows.py": ("rows",),
    "schedules.py": ("schedules", "variants"),
    "warmups.py": ("schedules",),
    "cycles.py": ("schedules",),
    "restarts.py": ("schedules",),
    "counting.py": ("schedules", "players"),
    "stopping.py": ("strategies",),
    "sampling.py": ("strategies",),
    "damping.py": ("problems",),
    "frage.py": ("frage",),
    "tasks": ("tasks",),
    "pieces/matrices.py": ("matrices",),
    "pieces/workers.py": ("workers",),
    "pieces/slow.py": ("pieces", "wrappers", "algebra"),
    "pieces": ("pieces", "variants", "numerics", "wrappers"),
    "wrappers/evaluations.py": ("evaluations", "pieces"),
    "wrappers/lookups.py": ("rows",),
    "wrappers/players.py": ("players",),
    "wrappers/precision.py": ("precision",),
    "wrappers/rows.py": ("wrappers", "rows"),
    "wrappers/skipping.py": ("skipping",),
    "wrappers/sparse.py": ("rows",),
    "wrappers/storage.py": ("storage",),
    "wrappers/workers.py": ("workers",),
    "wrappers": ("wrappers",),
    "optimizers/evaluating.py": ("evaluations", "pieces"),
    "optimizers/lookahead.py": ("wrappers",),
    "optimizers/parallel.py": ("workers",),
    "optimizers/ranger21.py": ("wrappers",),
    "optimizers": ("variants", "numerics", "wrappers"),
}
COPIED = ("gdo_optax", "tests", "benchmarks", "docs", "README.md", "CHANGELOG.md", "pyproject.toml")

OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {
    "b1": "b2", "nu1": "nu2", "eps": "eps_root", "low": "high", "lower_bound": "upper_bound", "lower": "upper",
    "maximum": "minimum", "max": "min", "any": "all", "min_norm": "max_norm", "of_p": "of_x", "period": "t_mult",
    "cos": "sin", "floor": "ceil", "zeros_like": "ones_like", "argmax": "argmin", "cummax": "cummin",
}  # fmt: skip
NAMES |= {b: a for a, b in NAMES.items()} | {"expm1": "exp", "log1p": "log", "sum": "max"}
DROPPED = (
    "sqrt",
    "square",
    "abs",
    "root",
    "expm1",
    "exp",
    "sign",
    "safe_increment",
    "capped",
    "reciprocal",
    "stop_gradient",
)
BRANCHING = ("where", "cond")


class Mutant(NamedTuple):
    """One change: bytes `start` to `end` of a file of the package become `after`."""

    path: str
    line: int
    start: int
    end: int
    before: str
    after: str
    function: str

    @property
    def key(self) -> str:
        return f"{self.path}:{self.line}:{self.start} {self.before} -> {self.after}"

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"

    def of(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode() + source[self.end :]


def mutants_of(source: bytes, path: str = "") -> list[Mutant]:
    """All changes of a module, each once, and none that leaves its syntax tree as it is."""
    tree = ast.parse(source)
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    seen, out, known = set(), [], _known(tree)
    for node, new, function in _changes(tree, ""):
        if isinstance(new, ast.Name) and isinstance(node, ast.Name) and new.id not in known[function]:
            continue
        start, end = (starts[n - 1] + c for n, c in _place(node))
        closed = isinstance(new, ast.Constant | ast.Name | ast.List | ast.Call)
        text = ast.unparse(new) if closed else f"({ast.unparse(new)})"
        if ast.dump(ast.parse(text, mode="eval").body) != ast.dump(node) and (start, end, text) not in seen:
            seen.add((start, end, text))
            out.append(Mutant(path, node.lineno, start, end, source[start:end].decode(), text, function))
    return out


def _known(tree: ast.Module) -> dict[str, set[str]]:
    """The names that occur within each function or method, and in the whole module."""
    inside = [part for node in tree.body for part in (node.body if isinstance(node, ast.ClassDef) else [node])]
    functions: dict[str, ast.AST] = {f.name: f for f in inside if isinstance(f, ast.FunctionDef)} | {"": tree}
    return {
        name: {getattr(n, "id", getattr(n, "arg", None)) or "" for n in ast.walk(f)} for name, f in functions.items()
    }


def _place(node: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _changes(node: ast.AST, function: str) -> Iterator[tuple[Any, Any, str]]:
    """Expressions, what each may become, and the outermost function that it is in."""
    if _is_no_mathematics(node):
        return
    if isinstance(node, ast.FunctionDef):
        function = function or node.name
    yield from ((node, new, function) for new in _instead(node))
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _changes(child, function)


def _is_no_mathematics(node: ast.AST) -> bool:
    """Texts, messages and what leads to them, types."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.If):
        return all(isinstance(s, ast.Raise) for s in node.body)
    if isinstance(node, ast.Call):
        return _called(node) in ("isinstance", "check_order", "Range", "TypeVar", "show", "_needed")
    return isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.AnnAssign)


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _instead(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in OPERATORS and not _of_dicts(node):
        yield _with(node, op=OPERATORS[type(node.op)]())
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
        yield _with(node, ops=[OPERATORS[type(node.ops[0])]()])
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.UAdd):
        yield node.operand
    if isinstance(node, ast.IfExp):
        yield _with(node, body=node.orelse, orelse=node.body)
    if isinstance(node, ast.Constant):
        yield from _numbers(node.value)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in NAMES:
        yield _with(node, id=NAMES[node.id])
    if isinstance(node, ast.List):
        yield from (_with(node, elts=elements) for elements in _others(node.elts))
    if isinstance(node, ast.Call):
        yield from _calls(node)


def _of_dicts(node: ast.AST) -> bool:
    return any(isinstance(n, ast.Dict | ast.DictComp) for n in ast.iter_child_nodes(node))


def _with(node: Any, **fields: Any) -> Any:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _numbers(value: Any) -> Iterator[ast.Constant]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield from map(ast.Constant, (value + 1, value - 1) if value else (1,))
    elif isinstance(value, float):
        yield ast.Constant(value / 2 if value else 1.0)


def _others(pieces: list[Any]) -> Iterator[list[Any]]:
    """Without one of the pieces, and with two neighbours in another order."""
    if not pieces or not all(isinstance(p, ast.Call | ast.Name | ast.Starred) for p in pieces):
        return
    for i in range(len(pieces)):
        yield pieces[:i] + pieces[i + 1 :]
    for i in range(len(pieces) - 1):
        yield [*pieces[:i], pieces[i + 1], pieces[i], *pieces[i + 2 :]]


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    name, args = _called(node), node.args
    if name == "chain":
        yield from (_with(node, args=pieces) for pieces in _others(args) if pieces)
    if name in BRANCHING and len(args) >= 3:
        yield _with(node, args=[args[0], args[2], args[1], *args[3:]])
    if name in DROPPED and args:
        yield args[0]
    if name in NAMES and isinstance(node.func, ast.Attribute):
        yield _with(node, func=_with(node.func, attr=NAMES[name]))


def modules() -> list[Path]:
    """Those of the mathematics."""
    files = [p for p in sorted(PACKAGE.rglob("*.py")) if p.name != "__init__.py"]
    return [p for p in files if _row(str(p.relative_to(PACKAGE)))]


def _row(path: str) -> str:
    """The row of the table that a module belongs to: its own, or that of its folder."""
    return next((name for name in (path, path.partition("/")[0]) if name in TESTS), "")


def sample(number: int, seed: int) -> list[Mutant]:
    """So many mutants of the whole package, in an order drawn from the seed: of another number, the same first ones."""
    mutants = [m for p in modules() for m in mutants_of(p.read_bytes(), str(p.relative_to(PACKAGE)))]
    random.Random(seed).shuffle(mutants)
    return mutants[:number]


def readers() -> dict[str, set[str]]:
    """Each function of the package, and those that name it."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for f in ast.parse(path.read_bytes()).body:
            if isinstance(f, ast.FunctionDef) and path.name not in ("family.py", "__init__.py"):
                for node in ast.walk(f):
                    name = getattr(node, "id", getattr(node, "attr", ""))
                    if name != f.name:
                        found.setdefault(name, set()).add(f.name)
    return found


def methods(function: str, graph: dict[str, set[str]], most: int = 2) -> list[str]:
    """The methods that come nearest to using a function."""
    names, near, seen = [e.name for e in family()], [function], {function}
    out: list[str] = []
    while near and len(out) < most:
        out += [name for name in near if name in names]
        near = sorted({r for f in near for r in graph.get(f, ())} - seen)
        seen |= set(near)
    return out[:most]


def stages(mutant: Mutant, graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """What pytest is called with, until it fails: the module's examples, the oracles, the tests of its theme."""
    yield [f"gdo_optax/{mutant.path}", "tests/test_defaults.py"]
    near = methods(mutant.function, graph)
    if near:
        yield [f"tests/test_oracles.py::test_equals_the_oracle[{name}-{i}]" for name in near for i in (1, 0, 2)]
    for name in TESTS[_row(mutant.path)]:
        yield [f"tests/test_{name}.py"]
    if near:
        yield ["tests/test_contract.py", "-k", f"[{near[0]}] or -{near[0]}]"]


class Lab:
    """Copies of the repository, one for every job."""

    def __init__(self, folder: Path, jobs: int, timeout: float) -> None:
        self.timeout, self.graph, self.free = timeout, readers(), queue.Queue[Path]()
        self.environment = os.environ | {
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": "",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        for i in range(jobs):
            place = folder / f"copy{i}"
            for name in COPIED:
                _copied(ROOT / name, place / name)
            self.free.put(place)

    def pytest(self, place: Path, args: list[str]) -> str:
        """Killed, survived or timeout; an error of pytest itself is raised."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", "--no-header", *args]
        try:
            done = subprocess.run(
                command, cwd=place, env=self.environment, capture_output=True, text=True, timeout=self.timeout,
                start_new_session=True,  # Ctrl-C is not for them
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "timeout"
        if done.returncode == 3:
            raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
        return "survived" if done.returncode in (0, 5) else "killed"  # 5: no tests; 2 and 4: it cannot be imported

    def judge(self, mutant: Mutant) -> dict[str, Any]:
        """What becomes of a mutant, through which tests, in how many seconds."""
        place, start = self.free.get(), time.perf_counter()
        path = place / "gdo_optax" / mutant.path
        source = path.read_bytes()
        try:
            path.write_bytes(mutant.of(source))
            for args in stages(mutant, self.graph):
                status = self.pytest(place, args)
                if status != "survived":
                    break
        finally:
            path.write_bytes(source)
            self.free.put(place)
        seconds = round(time.perf_counter() - start, 1)
        by = " ".join(args) if status != "survived" else ""
        return {**mutant._asdict(), "status": status, "by": by, "seconds": seconds}

    def passes(self) -> bool:
        """Whether the tests pass without a mutant: else they kill everything."""
        themes = {name for row in TESTS.values() for name in row} | {"contract", "defaults", "oracles"}
        calls = ["gdo_optax", *(f"tests/test_{name}.py" for name in sorted(themes))]
        place = self.free.get()
        try:
            return all(self.pytest(place, [call]) == "survived" for call in calls)
        finally:
            self.free.put(place)


def _copied(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def report(results: list[dict[str, Any]]) -> str:
    """How many of the mutants were killed, row by row, and which were not."""
    counts: dict[str, list[int]] = {}
    for r in results:
        row = counts.setdefault(_row(r["path"]), [0, 0, 0])
        row[("killed", "survived", "timeout").index(r["status"])] += 1
    table = Table("module", "mutants", "killed", "survived", "timeout")
    for name in sorted(counts):
        table.add_row(name, *map(str, (sum(counts[name]), *counts[name])))
    killed = sum(c[0] + c[2] for c in counts.values())
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table)
    for r in results:
        if r["status"] == "survived":
            console.print(
                f"survived  {r['path']}:{r['line']}  {r['before']}  ->  {r['after']}", markup=False, soft_wrap=True
            )
    share = 100 * killed / max(len(results), 1)
    seconds = sum(r["seconds"] for r in results) / max(len(results), 1)
    console.print(f"{len(results)} mutants, {killed} killed ({share:.1f} %), {seconds:.1f} s each")
    return console.export_text()


def record(results: list[dict[str, Any]]) -> str:
    """What is kept of a run: each mutant in a line, and the first of the tests that were asked when it was killed."""
    names = ("path", "line", "function", "before", "after", "status", "by")
    kept = [{name: r[name] for name in names} | {"by": r["by"].partition(" ")[0]} for r in results]
    return "[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in kept) + "\n]\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=300, help="seconds of one call of pytest")
    parser.add_argument("--out", type=Path, default=Path("out/mutation"))
    parser.add_argument("--unchecked", action="store_true", help="do not run the tests without a mutant first")
    return parser.parse_args()


def run(lab: Lab, left: list[Mutant], jobs: int, done: dict[str, Any], file: Path) -> None:
    """Judges what is left, and writes what is known after each."""
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = {pool.submit(lab.judge, m): m.key for m in left}
        for future in track(as_completed(futures), "mutants", len(left), disable=not sys.stderr.isatty()):
            key = futures[future]
            done[key] = {"key": key, **future.result()}
            file.write_text(json.dumps(list(done.values()), indent=1) + "\n")
    finally:
        pool.shutdown(cancel_futures=True)


def main() -> int:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "mutants.json"
    done = {r["key"]: r for r in json.loads(file.read_text())} if file.exists() else {}
    wanted = sample(given.mutants, given.seed)
    left = [m for m in wanted if m.key not in done]
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), given.jobs, given.timeout)
        if left and not given.unchecked and not lab.passes():
            print("the tests fail without a mutant")
            return 2
        run(lab, left, given.jobs, done, file)
    results = [done[m.key] for m in wanted]
    (given.out / "mutation.json").write_text(record(results))
    print(report(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
