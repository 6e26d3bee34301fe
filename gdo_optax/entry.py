"""What the registry says of a method: its maker, its paper, and what can be read off both."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from chex import Numeric

from gdo_optax.engine.piece import Hyperparameter, Piece
from gdo_optax.engine.ranges import RANGES


class Paper(NamedTuple):
    """Where a method comes from; `link` is an arXiv number, a DOI or the venue."""

    authors: str
    year: int
    link: str

    def __str__(self) -> str:
        return f"{self.authors} {self.year}, {self.link}"


class Entry(NamedTuple):
    """A method of the library. Calling an optimizer's entry makes one: `get("adam")(1e-3)`.

    `build` is the maker itself, or, where the maker needs more than a learning rate, the maker around a usual choice.
    `kind` is a heading of `python -m gdo_optax list`; `needs` the extra argument that an update asks
    for. What does not race is too costly for it, or no method of its own. Where it is not `elementwise`, the step of
    an element depends on the others of its array, or on its shape; where it is not `arraywise`, on the other arrays.
    """

    maker: Callable[..., Any]
    paper: Paper
    build: Callable[..., Any]
    kind: str = "optimizer"
    needs: str = ""
    races: bool = True
    elementwise: bool = True
    arraywise: bool = True

    def __call__(self, *args: Any, **settings: Any) -> Piece:
        """One with these settings."""
        return self.build(*args, **settings)

    @property
    def name(self) -> str:
        """The name of the maker."""
        return self.maker.__name__

    @property
    def idea(self) -> str:
        """One line: the first of the docstring, after the name where it begins with one."""
        first = self._doc()[0].rstrip(".")
        return first.partition(": ")[2] or first

    @property
    def equation(self) -> str:
        """The indented lines of the docstring."""
        doc = self._doc()
        lines = doc[: doc.index("Args:")]
        return "\n".join(line for line in lines if line.startswith("    "))

    @property
    def differs(self) -> str:
        """What the docstring says between the equation and the arguments, on one line."""
        doc = self._doc()
        text = [line for line in doc[1 : doc.index("Args:")] if not line.startswith("    ")]
        return " ".join(" ".join(text).split())

    @property
    def reference(self) -> str:
        """The reference of the docstring, on one line."""
        text = "\n".join(self._doc()).partition("Reference: ")[2].partition("\n\n")[0]
        return " ".join(text.split())

    @property
    def learning_rate(self) -> Hyperparameter:
        """The default learning rate, a number or a schedule."""
        return inspect.signature(self.build).parameters["learning_rate"].default

    @property
    def dense(self) -> bool:
        """Whether it keeps a matrix of all pairs of coordinates of an array: too large for large arrays."""
        return self.words > 100

    @property
    def schedulable(self) -> bool:
        """Whether the learning rate may be a schedule: not where it is only what the step sizes start from."""
        return inspect.signature(self.build).parameters["learning_rate"].annotation != Numeric

    @property
    def static_args(self) -> tuple[str, ...]:
        """The arguments that `optax.inject_hyperparams` must leave alone, as shapes depend on them."""
        return tuple(
            name for name in inspect.signature(self.build).parameters if name in RANGES and RANGES[name].static
        )

    @property
    def words(self) -> float:
        """Words of state per parameter, measured on a (1024, 1024) kernel."""
        kernel = jax.ShapeDtypeStruct((1024, 1024), jnp.float32)
        state = jax.eval_shape(self.build().init, kernel)["state"]  # without the clock
        return sum(leaf.size for leaf in jax.tree.leaves(state)) / kernel.size

    def _doc(self) -> list[str]:
        return (inspect.getdoc(self.maker) or "").splitlines()
