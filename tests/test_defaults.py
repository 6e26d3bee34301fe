"""The defaults: a training that names none of them depends on each."""

import ast
from pathlib import Path

import gdo_optax


PACKAGE = Path(gdo_optax.__file__).parent
GOLDEN = Path(__file__).parent / "golden" / "defaults.txt"


def defaults() -> str:
    """Those of public functions, one function a line; switches apart, which the tests of what they switch hold."""
    lines = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for f in ast.parse(path.read_bytes()).body:
            if isinstance(f, ast.FunctionDef) and not f.name.startswith("_"):
                given = f.args.posonlyargs + f.args.args
                pairs = [*zip(given[::-1], f.args.defaults[::-1], strict=False)][::-1]
                pairs += zip(f.args.kwonlyargs, f.args.kw_defaults, strict=True)
                written = [(a.arg, ast.unparse(value)) for a, value in pairs if value]
                values = ", ".join(f"{a}={v}" for a, v in written if v not in ("None", "True", "False"))
                lines += [f"{path.relative_to(PACKAGE).as_posix()} {f.name}({values})"] if values else []
    return "\n".join(lines) + "\n"


def test_the_defaults_are_a_contract() -> None:
    """A change here changes what others compute: edit the golden file by hand, with a line in the changelog."""
    assert defaults() == GOLDEN.read_text()
