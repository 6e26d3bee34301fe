"""What there is: `python -m gdo_optax [list | show NAME | differences]`."""

import argparse
import inspect
import sys

import jax
import jax.numpy as jnp

from gdo_optax.differences import differences
from gdo_optax.engine.printing import show
from gdo_optax.family import Entry, get, library


KINDS = {
    "optimizer": "Optimizers",
    "wrapper": "Around any optimizer",
    "piece": "Pieces with a paper of their own",
    "balancer": "Several losses",
    "adversary": "Adversaries and frequency-agnostic embeddings",
    "parallel": "Several workers",
    "schedule": "Schedules",
    "strategy": "Additional strategies",
    "diagnostic": "Diagnostics and closed forms",
    "problem": "Problems",
}


WORDS = ("optimizer", "wrapper", "parallel")
"""Kinds whose state grows with the parameters."""


def _header(kind: str) -> tuple[str, ...]:
    return (kind, "idea", "paper", *(["state"] if kind in WORDS else []))


def _cells(entry: Entry) -> tuple[str, ...]:
    words = [f"{entry.words:.3g}"] if entry.kind in WORDS else []
    return (entry.name, entry.idea, str(entry.paper), *words)


def _of(kind: str) -> list[tuple[str, ...]]:
    return [_cells(entry) for entry in library() if entry.kind == kind]


def table(kind: str = "optimizer") -> str:
    """All of a kind as a Markdown table; the last column of optimizers is words of state per parameter."""
    header = _header(kind)
    rows = [header, ("---",) * len(header), *((f"`{name}`", *rest) for name, *rest in _of(kind))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def tables() -> str:
    """The library as Markdown, a heading and a table for every kind."""
    return "\n\n".join(f"### {title}\n\n{table(kind)}" for kind, title in KINDS.items())


def listing() -> str:
    """The library as lines of a terminal, a block for every kind."""
    blocks = []
    for kind in KINDS:
        rows = [_header(kind), *_of(kind)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        blocks.append("\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows))
    return "\n\n".join(blocks)


def details(entry: Entry) -> str:
    """Equation, recipe, defaults, state and reference of an optimizer; of anything else its documentation."""
    if entry.kind not in WORDS:
        return f"{entry.name}{inspect.signature(entry.maker)}\n\n{inspect.getdoc(entry.maker)}"
    tx = entry()
    params = {"kernel": jax.ShapeDtypeStruct((3, 4), jnp.float32), "bias": jax.ShapeDtypeStruct((4,), jnp.float32)}
    state, _ = jax.tree_util.tree_flatten_with_path(jax.eval_shape(tx.init, params))
    defaults = inspect.signature(entry.maker).parameters.values()
    parts = {
        f"{entry.name}: {entry.idea}": entry.equation,
        "recipe": _indented(str(tx)),
        "defaults": _indented("\n".join(f"{p.name} = {_default(p)}" for p in defaults)),
        f"state, {entry.words:.3g} words per parameter; of a (3, 4) kernel and a (4,) bias": _indented(
            "\n".join(f"{jax.tree_util.keystr(path)}: {leaf.dtype}{list(leaf.shape)}" for path, leaf in state) or "none"
        ),
        "reference": _indented(entry.reference),
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in parts.items())


def _default(parameter: inspect.Parameter) -> str:
    return "(required)" if parameter.default is parameter.empty else show(parameter.default)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def main(argv: list[str] | None = None) -> int:
    """Prints what was asked for; 2 for an unknown name."""
    parser = argparse.ArgumentParser(prog="python -m gdo_optax", description="What gdo_optax has.")
    commands = parser.add_subparsers(dest="command")
    listed = commands.add_parser("list", help="everything with its paper (the default)")
    listed.add_argument("--markdown", action="store_true", help="as Markdown tables")
    commands.add_parser("show", help="equation, recipe, defaults, state and reference").add_argument("name")
    commands.add_parser("differences", help="from papers, authors' code, PyTorch, Keras and optax, in Markdown")
    args = parser.parse_args(argv)
    try:
        if args.command == "show":
            print(details(get(args.name)))
        elif args.command == "differences":
            print(differences())
        else:
            print(tables() if getattr(args, "markdown", False) else listing())
    except KeyError as error:
        print(error.args[0], file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
