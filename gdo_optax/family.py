"""The one registry: every optimizer, its paper and what it keeps. Tests, tables and benchmarks are products over it."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from chex import Numeric

from gdo_optax.core import Hyperparameter, Piece
from gdo_optax.optimizers.adagrad import adadelta, adagrad, rmsprop
from gdo_optax.optimizers.adam import adam, adamax, adamw, amsgrad
from gdo_optax.optimizers.bounded import adabound, amsbound
from gdo_optax.optimizers.factored import adafactor
from gdo_optax.optimizers.layerwise import lamb
from gdo_optax.optimizers.lookahead import lookahead
from gdo_optax.optimizers.momentum import momentum, nesterov, sgd
from gdo_optax.optimizers.nadam import nadam
from gdo_optax.optimizers.rectified import radam, ranger


class Paper(NamedTuple):
    """Where a method comes from; `link` is an arXiv number, a DOI or the venue."""

    authors: str
    year: int
    link: str

    def __str__(self) -> str:
        return f"{self.authors} {self.year}, {self.link}"


class Entry(NamedTuple):
    """An optimizer of the family. Calling it makes one: `get("adam")(1e-3)`.

    `build` is the maker itself, or, where the maker needs more than a learning rate, the maker around a usual choice.
    """

    maker: Callable[..., Piece]
    paper: Paper
    build: Callable[..., Piece]

    def __call__(self, *args: Any, **settings: Any) -> Piece:
        """One with these settings."""
        return self.build(*args, **settings)

    @property
    def name(self) -> str:
        """The name of the maker."""
        return self.maker.__name__

    @property
    def idea(self) -> str:
        """One line: the first of the docstring, after the name."""
        return self._doc()[0].partition(": ")[2].rstrip(".")

    @property
    def equation(self) -> str:
        """The indented lines of the docstring."""
        doc = self._doc()
        lines = doc[: doc.index("Args:")]
        return "\n".join(line for line in lines if line.startswith("    "))

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
    def words(self) -> float:
        """Words of state per parameter, measured on a (1024, 1024) kernel."""
        kernel = jax.ShapeDtypeStruct((1024, 1024), jnp.float32)
        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(self.build().init, kernel))) / kernel.size

    def _doc(self) -> list[str]:
        return (inspect.getdoc(self.maker) or "").splitlines()


def _entry(maker: Callable, authors: str, year: int, link: str, build: Callable | None = None) -> Entry:
    return Entry(maker, Paper(authors, year, link), build or maker)


def _lookahead_adam(
    learning_rate: Hyperparameter = 1e-3, sync_period: Numeric = 5, slow_step_size: Hyperparameter = 0.5
) -> Piece:
    return lookahead(adam(learning_rate), sync_period, slow_step_size)


_FAMILY = (
    _entry(sgd, "Robbins, Monro", 1951, "doi:10.1214/aoms/1177729586"),
    _entry(momentum, "Qian", 1999, "doi:10.1016/S0893-6080(98)00116-6"),
    _entry(nesterov, "Nesterov", 1983, "Soviet Math. Dokl. 27:372-376"),
    _entry(adagrad, "Duchi, Hazan, Singer", 2011, "JMLR 12:2121-2159"),
    _entry(rmsprop, "Tieleman, Hinton", 2012, "Coursera"),
    _entry(adadelta, "Zeiler", 2012, "arXiv:1212.5701"),
    _entry(adam, "Kingma, Ba", 2015, "arXiv:1412.6980"),
    _entry(adamax, "Kingma, Ba", 2015, "arXiv:1412.6980"),
    _entry(nadam, "Dozat", 2016, "https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ"),
    _entry(amsgrad, "Reddi, Kale, Kumar", 2018, "arXiv:1904.09237"),
    _entry(adamw, "Loshchilov, Hutter", 2019, "arXiv:1711.05101"),
    _entry(adafactor, "Shazeer, Stern", 2018, "arXiv:1804.04235"),
    _entry(adabound, "Luo, Xiong, Liu, Sun", 2019, "arXiv:1902.09843"),
    _entry(amsbound, "Luo, Xiong, Liu, Sun", 2019, "arXiv:1902.09843"),
    _entry(lamb, "You et al.", 2020, "arXiv:1904.00962"),
    _entry(radam, "Liu et al.", 2020, "arXiv:1908.03265"),
    _entry(lookahead, "Zhang, Lucas, Hinton, Ba", 2019, "arXiv:1907.08610", build=_lookahead_adam),
    _entry(ranger, "Wright", 2019, "https://github.com/lessw2020/Ranger-Deep-Learning-Optimizer"),
)


def family() -> tuple[Entry, ...]:
    """Every optimizer of the library, older before newer, relatives together.

    >>> [entry.name for entry in family() if entry.words == 0]
    ['sgd']
    """
    return _FAMILY


def get(name: str) -> Entry:
    """The entry of that name; KeyError, with the nearest name, where there is none.

    >>> get("adamw").paper.year
    2019
    >>> get("radm")
    Traceback (most recent call last):
        ...
    KeyError: "no optimizer 'radm'; did you mean radam?"
    """
    entries = {entry.name: entry for entry in family()}
    if name not in entries:
        near = difflib.get_close_matches(str(name).lower(), entries, 1)
        raise KeyError(f"no optimizer {name!r}; did you mean {near[0] if near else ', '.join(entries)}?")
    return entries[name]
