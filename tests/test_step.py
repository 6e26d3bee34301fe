"""What the compiler counts: no method moves or allocates more than optax's."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

import gdo_optax as g
from benchmarks import compile as compiling
from benchmarks import timing
from benchmarks.compile import lowered
from benchmarks.step import RIVALS, cost, main, measured, words
from gdo_optax.family import get
from tests.test_house import ROOT


@pytest.fixture(autouse=True)
def _standard_promotion() -> Iterator[None]:
    """optax itself does not run in strict mode."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


SHAPES = [(256, 256)] * 3
FLOORS = {
    "sgd": 3, "momentum": 6, "nesterov": 7, "nesterov_1983": 7, "aggmo": 14, "sgdw": 6, "sgdwr": 6, "sgdbound": 10,
    "delta_bar_delta": 12, "rprop": 12, "hinton_gains": 11, "lion": 7,
    "adagrad": 7, "adagrad_rda": 11, "adagrad_mirror": 7, "adadelta": 12,
    "rmsprop": 7, "rmsprop_centered": 11, "rmsprop_momentum": 10,
    "adam": 10, "adamax": 10, "nadam": 11, "amsgrad": 13, "adamnc": 10, "adamw": 10, "adamwr": 10, "qhadam": 11,
    "adabound": 10, "amsbound": 13, "adaboundw": 10, "radam": 10, "lars": 9, "lars_2017": 9,
    "lookahead": 14, "ranger_va": 17, "ranger_qh": 15.1,
    "clip + adamw": 11, "skip_nonfinite(adamw)": 11, "accumulate(adamw, 4)": 17,
    "skip_nonfinite(adam)": 11, "accumulate(adam)": 16, "lazy(adam)": 11, "sparse_rows(adam)": 10,
    "keep_master(adam)": 10, "compensate(adam)": 10, "round_stochastically(adam)": 10,
}  # fmt: skip
"""Words as measured, nothing beside them: a form that moves more, or that writes an expression out, is a step back."""
BESIDE = {
    "adafactor": (9.1, 1.01), "ranger": (16.4, 0.34), "ranger21": (35.1, 2.68), "rmsprop_nesterov": (13, 1),
    "lamb": (15, 1), "nlamb": (16, 1), "nnlamb": (16, 1), "layerwise(adam)": (15.4, 1.34),
    "adaptive_lookahead(adam)": (34, 4), "store(adam)": (19.1, 4.01),
}  # fmt: skip
"""Words and temporaries: what two readers share in a small update, what means have in common, what is decoded."""


def test_every_method_and_wrapper_is_held() -> None:
    assert {*FLOORS, *BESIDE} == set(measured())


@pytest.mark.parametrize("name", RIVALS)
def test_not_a_word_more_than_optax(name: str) -> None:
    ours, theirs = cost(get(name)(), SHAPES), cost(RIVALS[name](), SHAPES)
    assert ours.words <= theirs.words + 0.02
    assert ours.temp <= theirs.temp + 0.02


@pytest.mark.parametrize("name", FLOORS)
def test_no_more_words_than_measured(name: str) -> None:
    ours = cost(measured()[name][0](), SHAPES)
    assert ours.words <= FLOORS[name] + 0.05
    assert ours.temp < 0.05


@pytest.mark.parametrize("inner", [get("adamw"), get("lookahead"), get("adadelta"), lambda: optax.adamw(0.001)])
@pytest.mark.parametrize("wrap", [lambda tx: tx, g.skip_nonfinite, lambda tx: g.accumulate(tx, 4)])
def test_where_the_gradient_is_computed_nothing_else_is_allocated(inner: Callable, wrap: Callable) -> None:
    tx, params = wrap(inner()), jax.ShapeDtypeStruct((256, 256), jnp.float32)

    def step(params: Any, state: Any, x: Any) -> Any:
        gradient = jax.grad(lambda w: jnp.sum((x @ w) ** 2))(params)
        updates, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    lower = jax.jit(step, donate_argnums=(0, 1)).lower
    allocated: Any = lower(params, jax.eval_shape(tx.init, params), jnp.ones((8, 256))).compile().memory_analysis()
    assert allocated.temp_size_in_bytes < 1.2 * 4 * params.size


@pytest.mark.parametrize("name", BESIDE)
def test_no_more_is_allocated_than_measured(name: str) -> None:
    ours, (words, temp) = cost(measured()[name][0](), SHAPES), BESIDE[name]
    assert ours.words <= words + 0.05
    assert ours.temp <= temp + 0.01


@pytest.mark.parametrize("name", ["clip + adamw", "skip_nonfinite(adamw)", "accumulate(adamw, 4)", "adafactor"])
def test_a_program_grows_with_the_arrays_and_not_with_their_square(name: str) -> None:
    few, many = (
        len(lowered(measured()[name][0](), [jax.ShapeDtypeStruct((16, 16), jnp.float32)] * n).compile().as_text())
        for n in (8, 32)
    )
    assert many < 4.4 * few


@pytest.mark.parametrize(
    ("name", "matrix", "vector"), [("lamb", 7, 5), ("lars", 5, 3), ("layerwise(adam)", 7, 5), ("adafactor", 13, 5)]
)
@pytest.mark.parametrize("shape", [(256, 256), (768,)])
def test_no_more_kernels_an_array_than_measured(name: str, matrix: int, vector: int, shape: tuple[int, ...]) -> None:
    """What ends in a division or a root is computed once, in a kernel of its own: so ratios end in theirs."""
    most = matrix if len(shape) == 2 else vector
    few, many = (
        lowered(measured()[name][0](), [jax.ShapeDtypeStruct(shape, jnp.float32)] * n).compile().as_text()
        for n in (2, 6)
    )
    assert (many.count(" fusion(") - few.count(" fusion(")) / 4 <= most


def test_adafactor_looks_for_zeros_once_in_its_rows_and_once_in_its_columns() -> None:
    """And not in the loops over the matrix, which would look again for every number."""
    text = lowered(get("adafactor")(), [jax.ShapeDtypeStruct((256, 256), jnp.float32)]).compile().as_text()
    assert text.count(" select(") <= 6  # of the others two are of counts and two of the mean of the rows


def test_a_number_compiles_to_the_same_program_as_any_other() -> None:
    assert cost(get("adam")(0.1), SHAPES) == cost(get("adam")(0.2), SHAPES)


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert words(["sgd"]).splitlines()[1].split() == [
        "sgd",
        "1",
        "x",
        "(4096,",
        "4096)",
        "3.00",
        "0.00",
        "3.00",
        "0.00",
    ]
    assert main(["--words", "--optimizer", "sgd"]) == 0
    assert "sgd" in capsys.readouterr().out


def test_a_state_as_a_list_changes_no_step() -> None:
    plain, listed, x = get("adam")(), timing.listed(get("adam")()), [jnp.ones(3), jnp.zeros(2)]
    state, arrays = plain.init(x), listed.init(x)
    for _ in range(2):
        (ours, state), (theirs, arrays) = plain.update(x, state, x), listed.update(x, arrays, x)
        chex.assert_trees_all_equal((ours, jax.tree.leaves(state)), (theirs, arrays))


@pytest.mark.parametrize("name", ["step", "compile"])
def test_the_pages_are_those_of_the_results(name: str) -> None:
    """`python -m benchmarks.step --page benchmarks/results/step.json`, and of compile."""
    result = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())
    page = timing.page(result) if name == "step" else compiling.page(result["steps"])
    assert page in (ROOT / "benchmarks/README.md").read_text()
