"""`gdo_optax.like`: other people's numbers, against their own libraries, their recordings and float64 loops."""

import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gdo_optax import like
from gdo_optax.family import get
from tests import oracles
from tests.catalogue import falling, gradients, parameters, rollout
from tests.trajectories import CASES, STEPS, load, recorded_leaves
from tests.trajectories.record import live


MODULES = {name: getattr(like, name) for name in like.__all__}
METHODS = [
    pytest.param(library, name, id=f"{library}-{name}")
    for library, module in MODULES.items()
    for name in module.__all__
]
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def updates_of(tx: optax.GradientTransformation, steps: int, leaves: tuple[str, ...]) -> tuple[Any, Any]:
    """The parameters to start with and all updates of a run, in float64."""
    params, grads = parameters(), gradients(steps=steps)
    tree = [{k: jnp.asarray(t[k], jnp.float64) for k in leaves} for t in (params, grads)]
    return params, jax.tree.map(np.asarray, rollout(tx, *tree))


def ours_of(case: dict[str, Any]) -> optax.GradientTransformation:
    """PyTorch's method in our pieces, with the settings of the case."""
    settings = dict(case["settings"])
    if settings.get("learning_rate") == "falling":
        settings["learning_rate"] = falling
    found = getattr(like.torch, case["name"], None) or get(case["name"]).maker
    return found(**settings)


def same_path(case: dict[str, Any], *paths: dict[str, np.ndarray]) -> None:
    """Ours within 1e-9 of theirs, or, of a parameter that crosses 0, within 1e-12 of the largest there is."""
    params, updates = updates_of(ours_of(case), STEPS, tuple(paths[0]))
    for path in paths:
        for leaf, theirs in path.items():
            ours = params[leaf] + np.cumsum(updates[leaf], 0)
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12 * np.max(np.abs(theirs)), err_msg=leaf)


@pytest.mark.torch
@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES])
def test_the_path_of_torch(case: dict[str, Any]) -> None:
    """As recorded, and, where PyTorch is installed, as it goes now; no parameter further off than 1e-9."""
    recorded = load("torch")[case["id"]]
    assert set(recorded) == set(recorded_leaves(case))
    same_path(case, live(case) if HAS_TORCH else recorded, recorded)


OPTAX = {
    "adagrad": lambda rate: optax.adagrad(rate),
    "rmsprop": lambda rate: optax.rmsprop(rate),
    "rmsprop_centered": lambda rate: optax.rmsprop(rate, centered=True),
    "rmsprop_momentum": lambda rate: optax.rmsprop(rate, momentum=0.9),
    "rmsprop_nesterov": lambda rate: optax.rmsprop(rate, momentum=0.9, nesterov=True),
    "adadelta": lambda rate: optax.adadelta(rate),
    "nadam": lambda rate: optax.nadam(rate),
    "amsgrad": lambda rate: optax.amsgrad(rate),
    "adafactor": lambda rate: optax.adafactor(rate),
    "lamb": lambda rate: optax.lamb(rate),
    "lars": lambda rate: optax.lars(rate),
    "lion": lambda rate: optax.lion(rate),
}


def test_every_method_of_optax_is_compared() -> None:
    assert set(like.optax.__all__) == set(OPTAX)


@pytest.mark.parametrize("rate", [0.1, falling], ids=["number", "schedule"])
@pytest.mark.parametrize("name", OPTAX)
def test_the_steps_of_optax(name: str, rate: Any) -> None:
    ours, theirs = getattr(like.optax, name)(rate), OPTAX[name](rate)
    # optax takes the decay of Adafactor's average in float32
    rtol = 1e-6 if name == "adafactor" else 1e-9
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        _, expected = updates_of(theirs, 100, ("kernel", "conv", "bias", "gain"))
        _, found = updates_of(ours, 100, ("kernel", "conv", "bias", "gain"))
    for leaf, u in expected.items():
        np.testing.assert_allclose(found[leaf], u, rtol=rtol, atol=1e-12 * np.max(np.abs(u)), err_msg=leaf)


def test_optax_with_two_large_axes() -> None:
    """Where optax factors: the two largest axes, both of 128 or more."""
    rng = np.random.default_rng(0)
    params, grads = rng.standard_normal((130, 2, 128)), rng.standard_normal((5, 130, 2, 128))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        ours, theirs = (
            rollout(tx, jnp.asarray(params), jnp.asarray(grads))
            for tx in (
                like.optax.adafactor(0.1, momentum=0.9, eps=1e-6),
                optax.adafactor(0.1, momentum=0.9, eps=1e-6),
            )
        )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.max(np.abs(theirs)))  # its decay is a float32


LOOPS = [
    pytest.param(library, name, settings, id=f"{library}-{name}-{i}")
    for library in ("paper", "authors", "ruder", "keras")
    for name in MODULES[library].__all__
    for i, settings in enumerate(({}, {"learning_rate": falling}))
    if not settings or name in ("momentum", "nesterov", "sgdw", "adabound", "adafactor", "radam")
]
"""With a schedule too where the rate is more than a factor at the end."""


@pytest.mark.parametrize(("library", "name", "settings"), LOOPS)
def test_the_loop_of_the_paper(library: str, name: str, settings: dict[str, Any]) -> None:
    loops: ModuleType = importlib.import_module(f"tests.oracles.{library}")
    params, grads = parameters(), gradients()
    if name == "lookahead":
        settings = {"inner": get("momentum")(0.01)}
        expected = {k: loops.lookahead(params[k], grads[k], oracles.momentum) for k in params}
    else:
        expected = {k: getattr(loops, name)(params[k], grads[k], **settings) for k in params}
    _, found = updates_of(getattr(MODULES[library], name)(**settings), 200, tuple(params))
    for leaf, u in expected.items():
        np.testing.assert_allclose(found[leaf], u, rtol=1e-9, atol=1e-9 * np.max(np.abs(u)), err_msg=leaf)


@pytest.mark.parametrize(
    ("tx", "size"),
    [
        (lambda: like.paper.nadam(1.0, b1=0.9), 1.3111),
        (lambda: like.torch.nadam(1.0), 1.0565),
        (lambda: like.keras.nadam(1.0), 1.0628),
        (lambda: like.optax.nadam(1.0), 1.4737),
        (lambda: like.authors.nadam(1.0), 1.4737),
        (lambda: like.ruder.nadam(1.0), 1.9),
    ],
    ids=["paper", "torch", "keras", "optax", "authors", "ruder"],
)
def test_six_nadams_and_their_first_steps(tx: Any, size: float) -> None:
    """With b1 = 0.9 and a gradient of 1, in multiples of the rate."""
    x = jnp.zeros(1)
    assert -float(tx().update(jnp.ones(1), tx().init(x), x)[0][0]) == pytest.approx(size, abs=5e-5)


@pytest.mark.parametrize(("library", "name"), METHODS)
def test_says_what_differs(library: str, name: str) -> None:
    made = getattr(MODULES[library], name)
    assert (inspect.getdoc(made) or "").splitlines()[0].endswith((".", ")"))
    assert next(iter(inspect.signature(made).parameters)) in ("learning_rate", "inner")
    tx = made(get("sgd")(0.1)) if name == "lookahead" else made(0.1)
    assert repr(tx).startswith(f"like.{library}.{name}(") or library == "ruder"


@pytest.mark.parametrize("library", MODULES)
def test_what_is_the_same_is_ours(library: str) -> None:
    module = MODULES[library]
    names = {made.__name__ for made in module.SAME}
    assert not names & set(module.__all__)
    assert all(get(made.__name__).maker is made for made in module.SAME)
