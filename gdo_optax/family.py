"""The one registry: every method, its paper and what it keeps. Tests, tables and benchmarks are products over it."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from chex import Numeric

from gdo_optax.core import Hyperparameter, Piece
from gdo_optax.optimizers.adagrad import adadelta, adagrad, adagrad_full_matrix
from gdo_optax.optimizers.adam import adam, adamax, qhadam
from gdo_optax.optimizers.bounded import adabound, adaboundw, amsbound
from gdo_optax.optimizers.convergent import adamnc, amsgrad
from gdo_optax.optimizers.decoupled import adamw, adamwr, sgdw, sgdwr
from gdo_optax.optimizers.factored import adafactor
from gdo_optax.optimizers.lars import lars, lars_2017
from gdo_optax.optimizers.layerwise import lamb, nlamb, nnlamb
from gdo_optax.optimizers.lookahead import lookahead
from gdo_optax.optimizers.momentum import aggmo, momentum, nesterov, nesterov_1983, sgd
from gdo_optax.optimizers.nadam import nadam
from gdo_optax.optimizers.penalized import adagrad_mirror, adagrad_rda
from gdo_optax.optimizers.rectified import radam, ranger
from gdo_optax.optimizers.rmsprop import rmsprop, rmsprop_centered, rmsprop_momentum, rmsprop_nesterov
from gdo_optax.optimizers.sgdbound import sgdbound
from gdo_optax.optimizers.signs import delta_bar_delta, hinton_gains, lion, rprop
from gdo_optax.ranges import RANGES


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
    `kind` is optimizer, wrapper, piece, schedule, problem or diagnostic; `needs` the extra argument that an update asks
    for. What does not race is too costly for it, or no method of its own. Where it is not `elementwise`, the step of
    an element depends on the others of its array, or on its shape.
    """

    maker: Callable[..., Any]
    paper: Paper
    build: Callable[..., Any]
    kind: str = "optimizer"
    needs: str = ""
    races: bool = True
    elementwise: bool = True

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
        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(self.build().init, kernel))) / kernel.size

    def _doc(self) -> list[str]:
        return (inspect.getdoc(self.maker) or "").splitlines()


def _entry(
    maker: Callable, authors: str, year: int, link: str, build: Callable | None = None, **settings: Any
) -> Entry:
    return Entry(maker, Paper(authors, year, link), build or maker, **settings)


def _lookahead_adam(
    learning_rate: Hyperparameter = 1e-3, sync_period: Numeric = 5, slow_step_size: Hyperparameter = 0.5
) -> Piece:
    return lookahead(adam(learning_rate), sync_period, slow_step_size)


_LIBRARY = (
    _entry(sgd, "Robbins, Monro", 1951, "doi:10.1214/aoms/1177729586"),
    _entry(momentum, "Qian", 1999, "doi:10.1016/S0893-6080(98)00116-6"),
    _entry(nesterov, "Nesterov", 1983, "Soviet Math. Dokl. 27:372-376"),
    _entry(nesterov_1983, "Nesterov", 1983, "Soviet Math. Dokl. 27:372-376"),
    _entry(aggmo, "Lucas, Sun, Zemel, Grosse", 2019, "arXiv:1804.00325"),
    _entry(delta_bar_delta, "Jacobs", 1988, "Neural Networks 1:295-307"),
    _entry(rprop, "Riedmiller, Braun", 1993, "doi:10.1109/ICNN.1993.298623"),
    _entry(hinton_gains, "Hinton, Srivastava, Swersky", 2012, "Coursera"),
    _entry(lion, "Chen et al.", 2023, "arXiv:2302.06675"),
    _entry(adagrad, "Duchi, Hazan, Singer", 2011, "JMLR 12:2121-2159"),
    _entry(adagrad_full_matrix, "Duchi, Hazan, Singer", 2011, "JMLR 12:2121-2159", races=False, elementwise=False),
    _entry(adagrad_rda, "Duchi, Hazan, Singer", 2011, "JMLR 12:2121-2159"),
    _entry(adagrad_mirror, "Duchi, Hazan, Singer", 2011, "JMLR 12:2121-2159"),
    _entry(rmsprop, "Tieleman, Hinton", 2012, "Coursera"),
    _entry(rmsprop_centered, "Graves", 2013, "arXiv:1308.0850"),
    _entry(rmsprop_momentum, "Tieleman, Hinton", 2012, "Coursera"),
    _entry(rmsprop_nesterov, "Tieleman, Hinton", 2012, "Coursera"),
    _entry(adadelta, "Zeiler", 2012, "arXiv:1212.5701"),
    _entry(adam, "Kingma, Ba", 2015, "arXiv:1412.6980"),
    _entry(adamax, "Kingma, Ba", 2015, "arXiv:1412.6980"),
    _entry(nadam, "Dozat", 2016, "https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ"),
    _entry(amsgrad, "Reddi, Kale, Kumar", 2018, "arXiv:1904.09237"),
    _entry(adamnc, "Reddi, Kale, Kumar", 2018, "arXiv:1904.09237"),
    _entry(adamw, "Loshchilov, Hutter", 2019, "arXiv:1711.05101"),
    _entry(qhadam, "Ma, Yarats", 2019, "arXiv:1810.06801"),
    _entry(adamwr, "Loshchilov, Hutter", 2019, "arXiv:1711.05101"),
    _entry(sgdw, "Loshchilov, Hutter", 2019, "arXiv:1711.05101"),
    _entry(sgdwr, "Loshchilov, Hutter", 2019, "arXiv:1711.05101"),
    _entry(adafactor, "Shazeer, Stern", 2018, "arXiv:1804.04235", elementwise=False),
    _entry(adabound, "Luo, Xiong, Liu, Sun", 2019, "arXiv:1902.09843"),
    _entry(amsbound, "Luo, Xiong, Liu, Sun", 2019, "arXiv:1902.09843"),
    _entry(adaboundw, "Luo, Xiong, Liu, Sun", 2019, "arXiv:1902.09843"),
    _entry(sgdbound, "Luo, Xiong, Liu, Sun", 2019, "arXiv:1902.09843"),
    _entry(lars_2017, "You, Gitman, Ginsburg", 2017, "arXiv:1708.03888", elementwise=False),
    _entry(lars, "You et al.", 2020, "arXiv:1904.00962", elementwise=False),
    _entry(lamb, "You et al.", 2020, "arXiv:1904.00962", elementwise=False),
    _entry(nlamb, "You et al.", 2020, "arXiv:1904.00962", elementwise=False),
    _entry(nnlamb, "You et al.", 2020, "arXiv:1904.00962", elementwise=False),
    _entry(radam, "Liu et al.", 2020, "arXiv:1908.03265"),
    _entry(lookahead, "Zhang, Lucas, Hinton, Ba", 2019, "arXiv:1907.08610", build=_lookahead_adam),
    _entry(
        ranger,
        "Wright",
        2019,
        "https://github.com/lessw2020/Ranger-Deep-Learning-Optimizer",
        elementwise=False,
    ),
)


def library() -> tuple[Entry, ...]:
    """Everything that has a paper: optimizers, wrappers, pieces, schedules, problems and diagnostics.

    >>> sorted({entry.kind for entry in library()})
    ['optimizer']
    """
    return _LIBRARY


def family() -> tuple[Entry, ...]:
    """Every optimizer and wrapper that asks for gradients and parameters alone, older before newer.

    >>> [entry.name for entry in family() if entry.words == 0]
    ['sgd']
    """
    return tuple(e for e in library() if e.kind in ("optimizer", "wrapper") and not e.needs)


def get(name: str) -> Entry:
    """The entry of that name; KeyError, with the nearest name, where there is none.

    >>> get("adamw").paper.year
    2019
    >>> get("radm")
    Traceback (most recent call last):
        ...
    KeyError: "nothing is called 'radm'; did you mean radam?"
    """
    entries = {entry.name: entry for entry in library()}
    if name not in entries:
        near = difflib.get_close_matches(str(name).lower(), entries, 1)
        raise KeyError(f"nothing is called {name!r}; did you mean {near[0] if near else ', '.join(entries)}?")
    return entries[name]
