"""What differs between a method's paper, its authors' code, other libraries and our default, as one table.

It is read off the docstrings: of our method the text between the equation and the arguments, of another's the first
line of the function in `gdo_optax.like`.
"""

import inspect

from gdo_optax import like
from gdo_optax.family import Entry, library


COLUMNS = ("paper", "authors", "torch", "keras", "optax", "ruder")
HEADER = ("method", "ours", "paper", "authors' code", "PyTorch", "Keras", "optax", "Ruder's survey")


def differences() -> str:
    """The table in Markdown. "=" is ours, an empty cell is a library that has no such method.

    >>> print(differences().splitlines()[0])
    | method | ours | paper | authors' code | PyTorch | Keras | optax | Ruder's survey |
    """
    methods = [entry for entry in library() if entry.kind in ("optimizer", "wrapper")]
    rows = [(f"`{e.name}`", e.differs, *(_cell(library, e) for library in COLUMNS)) for e in methods]
    return "\n".join(f"| {' | '.join(row)} |" for row in (HEADER, ("---",) * len(HEADER), *rows))


def _cell(name: str, entry: Entry) -> str:
    other = getattr(like, name)
    if entry.name in other.__all__:
        return (inspect.getdoc(getattr(other, entry.name)) or "").splitlines()[0]
    return "=" if entry.maker in other.SAME else ""
