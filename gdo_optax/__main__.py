"""python -m gdo_optax: the family table. python -m gdo_optax show NAME: all there is to know about one method."""

import argparse
import inspect
import sys

import jax
import jax.numpy as jnp

from gdo_optax.family import Entry, family, get
from gdo_optax.recipe import show


HEADER = ("optimizer", "idea", "paper", "state")


def table() -> str:
    """The family as a Markdown table; its last column is words of state per parameter."""
    rows = [(f"`{e.name}`", e.idea, str(e.paper), f"{e.words:.3g}") for e in family()]
    return "\n".join(f"| {' | '.join(row)} |" for row in (HEADER, ("---",) * len(HEADER), *rows))


def listing() -> str:
    """The family as lines of a terminal."""
    rows = [HEADER, *((e.name, e.idea, str(e.paper), f"{e.words:.3g}") for e in family())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def details(entry: Entry) -> str:
    """Equation, recipe, defaults, state and reference of a method."""
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
    parser = argparse.ArgumentParser(prog="python -m gdo_optax", description="The optimizers of gdo_optax.")
    commands = parser.add_subparsers(dest="command")
    listed = commands.add_parser("list", help="the family table (the default)")
    listed.add_argument("--markdown", action="store_true", help="as a Markdown table")
    commands.add_parser("show", help="equation, recipe, defaults, state and reference").add_argument("name")
    args = parser.parse_args(argv)
    try:
        if args.command == "show":
            print(details(get(args.name)))
        else:
            print(table() if getattr(args, "markdown", False) else listing())
    except KeyError as error:
        print(error.args[0], file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
