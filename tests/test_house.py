"""The house rules that can be checked: imports one way, every public name documented, tables that tell the truth."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gdo_optax
from benchmarks import claims
from gdo_optax.__main__ import KINDS, details, main, tables
from gdo_optax.differences import differences
from gdo_optax.entry import Entry
from gdo_optax.family import family, library
from tests.catalogue import FAMILY


ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gdo_optax"
PUBLIC = {name: getattr(gdo_optax, name) for name in gdo_optax.__all__}
BESIDE = [pytest.param(e, id=e.name) for e in library() if e.kind not in ("optimizer", "wrapper")]
LAYERS = [
    ["rows"],
    ["engine.nodes", "engine.printing", "engine.ranges", "engine.xla"],
    ["engine.numerics"],
    ["engine.trees"],
    ["engine.reductions", "engine.states", "engine.interpreter"],
    ["engine.piece"],
    ["engine.combinators"],
    ["counting", "problems", "damping", "diagnostics", "frage"],
    ["schedules", "warmups", "restarts", "cycles", "stopping", "sampling"],
    ["pieces"],
    ["wrappers"],
    ["optimizers"],
    ["like", "tuning", "entry"],
    ["tasks"],
    ["family"],
    ["differences"],
    ["__init__", "__main__"],
]


def layer(module: str) -> int:
    """The layer of a module: that of its folder, but in the engine its own."""
    parts = module.split(".")
    name = ".".join(parts[: 2 if parts[0] == "engine" else 1])
    return next(i for i, names in enumerate(LAYERS) if name in names)


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "engine" / "__init__.py")


def test_the_engine_itself_imports_nothing() -> None:
    assert len(ast.parse((PACKAGE / "engine" / "__init__.py").read_text()).body) == 1  # its docstring


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    own = layer(str(path.relative_to(PACKAGE).with_suffix("")).replace("/", "."))
    imported = {
        f"{node.module}.{alias.name}" if node.module in ("gdo_optax", "gdo_optax.engine") else node.module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gdo_optax")
        for alias in node.names
    }
    for module in imported:
        other = layer(module.removeprefix("gdo_optax."))
        same_folder = own == other and path.parent != PACKAGE
        assert other < own or same_folder, f"{path.name} imports {module}"


def test_contributing_names_the_layers_in_this_order() -> None:
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    engine = " ← ".join(", ".join(names) for names in LAYERS if names[0].startswith("engine.")).replace("engine.", "")
    whole = [["engine"] if names[0] == "engine.nodes" else names for names in LAYERS[:-1]]
    order = [", ".join(names) for names in whole if not names[0].startswith("engine.")]
    assert f"`{' ← '.join(order)}`" in text
    assert f"`{engine}`" in text


def test_runtime_imports_are_the_declared_ones() -> None:
    """And matplotlib where something is drawn, within the function that draws it."""
    allowed = {"jax", "optax", "chex", "numpy", "gdo_optax"} | set(sys.stdlib_module_names)
    for path in PACKAGE.rglob("*.py"):
        module = ast.parse(path.read_text())
        for node in ast.walk(module):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            extra = set() if node in module.body else {"matplotlib"}
            assert {n.split(".")[0] for n in names} <= allowed | extra, path


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name: str) -> None:
    doc = inspect.getdoc(PUBLIC[name]) or ""
    assert doc
    result = isinstance(PUBLIC[name], type) and issubclass(PUBLIC[name], tuple)  # shown where it is returned
    if callable(PUBLIC[name]) and not result:
        assert ">>> " in doc, "a doctest of a few numbers"


@pytest.mark.parametrize("entry", FAMILY)
def test_an_entry_tells_all(entry: Entry) -> None:
    doc = inspect.getdoc(entry.maker) or ""
    assert entry.idea
    assert entry.equation
    assert "Args:" in doc
    assert "Raises:" in doc
    assert str(entry.paper.year) in entry.reference
    assert entry.paper.link in entry.reference or entry.paper.link in ("Coursera",)
    for name in inspect.signature(entry.maker).parameters:
        assert re.search(rf"\b{name}\b.*: ", doc.partition("Args:")[2]), f"{name} is not described"
    assert next(iter(inspect.signature(entry.maker).parameters)) in ("learning_rate", "inner")
    assert len(inspect.signature(entry.maker).parameters) <= 10


@pytest.mark.parametrize("entry", BESIDE)
def test_what_is_no_optimizer_names_its_source_too(entry: Entry) -> None:
    doc = inspect.getdoc(entry.maker) or ""
    assert entry.idea
    assert str(entry.paper.year) in doc
    assert entry.paper.link in " ".join(doc.split())
    assert "\n" in details(entry)


def test_all_that_is_imported_is_public() -> None:
    imported = {k for k, v in vars(gdo_optax).items() if not k.startswith("_") and not inspect.ismodule(v)}
    assert imported | {"like"} == set(gdo_optax.__all__)


def test_names_are_unique_and_public() -> None:
    names = [entry.name for entry in family()]
    assert len({entry.name for entry in library()}) == len(library())
    assert len(set(names)) == len(names) == 44
    assert all(getattr(gdo_optax, entry.name) is entry.maker for entry in library())


def test_the_readme_holds_the_family_table() -> None:
    assert tables() in (ROOT / "README.md").read_text()


def test_the_table_of_claims_is_that_of_the_notebooks() -> None:
    assert claims.table() in (ROOT / "benchmarks/README.md").read_text()


def test_the_table_of_differences_is_todays() -> None:
    """`python -m gdo_optax differences > docs/differences.md`."""
    assert (ROOT / "docs/differences.md").read_text().endswith(differences() + "\n")


def test_the_readme_prints_what_is_printed() -> None:
    """The recipe below "compose your own" is checked by the README's doctest; its links lead somewhere."""
    readme = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\((?!https?://|#)([^)]+)\)", readme):
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("name", [entry.name for entry in family()])
def test_show(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", name]) == 0
    out = capsys.readouterr().out
    entry = gdo_optax.get(name)
    for part in (entry.idea, entry.equation, "recipe", "defaults", "state", "reference", entry.reference):
        assert part in out
    assert str(entry()).splitlines()[0] in out


def test_listing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines if line]
    assert [name for name in names if name not in KINDS] == [entry.name for entry in library()]


def test_an_unknown_name_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "radm"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "nothing is called 'radm'; did you mean radam?\n"
    assert captured.out == ""


def test_the_command_line_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gdo_optax", "show", "adam"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "scale_by_learning_rate(0.001)" in done.stdout


def test_the_version_is_one() -> None:
    assert f'version = "{gdo_optax.__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert gdo_optax.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_every_module_imports() -> None:
    modules: list[Any] = [
        importlib.import_module(".".join(p.relative_to(ROOT).with_suffix("").parts))
        for p in PACKAGE.rglob("*.py")
        if p.name != "__main__.py"
    ]
    assert all(m.__doc__ for m in modules)
