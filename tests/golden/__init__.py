"""What others rely on, as text: where the state keeps its arrays, and the default of every argument.

`python -m tests.golden` writes `state_paths.txt` and `defaults.txt` as they are today. The tests compare today's text
with these files, so that every change appears in a diff.
"""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp

import gdo_optax
from gdo_optax.__main__ import WORDS
from gdo_optax.family import library


FOLDER = Path(__file__).parent
PACKAGE = Path(gdo_optax.__file__).parent


def state_paths() -> str:
    """The paths, dtypes and shapes of the state of everything that has one, for one kernel and one bias."""
    params = {"kernel": jax.ShapeDtypeStruct((3, 4), jnp.bfloat16), "bias": jax.ShapeDtypeStruct((4,), jnp.float32)}
    lines = []
    for entry in (e for e in library() if e.kind in (*WORDS, "balancer")):
        lines.append(entry.name)
        for path, a in jax.tree.leaves_with_path(jax.eval_shape(entry().init, params)):
            lines.append(f"    {jax.tree_util.keystr(path)}: {a.dtype}{list(a.shape)}")
    return "\n".join(lines) + "\n"


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


FILES = {"state_paths.txt": state_paths, "defaults.txt": defaults}
"""Each file with the function that makes its text."""


def recorded(name: str) -> str:
    """The text of a file as it was written last."""
    return (FOLDER / name).read_text()
