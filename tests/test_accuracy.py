"""Every update within 16 ulps of its paper, or one of half precision, whatever the fault: `benchmarks.contract`, short.

The command takes 20,000 steps. Its results are in benchmarks/results/contract.json.
"""

import json

import numpy as np
import pytest

from benchmarks import accuracy, faults
from benchmarks.contract import BOUND, HALF, page
from gdo_optax.family import Entry, family
from tests.catalogue import FAMILY, SETTINGS, Case
from tests.test_house import ROOT


STEPS = 500
BEYOND = ("adafactor", "adagrad", "adamax", "adamnc", "lars", "nesterov_1983")
MORE = 1.2
"""Methods beyond 16 ulps after 20,000 steps, which come to no more than so many times what their memory comes to."""
STEP = 6
"""Or to so many ulps more: those of the arithmetic of a step, in whatever order a processor sums."""
VECTORS = [param for param in FAMILY if not param.values[0].dense]
RESULTS = json.loads((ROOT / "benchmarks/results/contract.json").read_text())


@pytest.mark.parametrize("entry", VECTORS)
def test_an_update_is_exact_to_some_ulps(entry: Entry) -> None:
    """16, or what a memory of float32 makes of a computation in float64."""
    case = Case(entry.name, SETTINGS[entry.name][0])
    for grads in (accuracy.normal(STEPS), accuracy.mixed(STEPS)):
        found = accuracy.accuracy(case, grads, "float32").ulps
        memory = accuracy.memory(case, grads).ulps
        assert found <= BOUND or found <= max(MORE * memory, memory + STEP)


@pytest.mark.parametrize("name", BEYOND)
def test_a_residual_keeps_what_rounding_takes(name: str) -> None:
    grads = accuracy.mixed(2000)
    plain, exact = (
        accuracy.accuracy(Case(name, SETTINGS[name][0] | settings), grads, "float32").ulps
        for settings in ({}, {"residual_dtype": "bfloat16"})
    )
    assert exact <= min(BOUND, 0.6 * plain)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("entry", VECTORS)
def test_an_update_of_half_precision_is_rounded_once(entry: Entry, dtype: str) -> None:
    case = Case(entry.name, SETTINGS[entry.name][0])
    assert accuracy.accuracy(case, accuracy.normal(STEPS), dtype).ulps <= 1


@pytest.mark.parametrize("entry", VECTORS)
def test_no_fault_breaks_a_method(entry: Entry) -> None:
    """In the dtype that is hardest; the command tries four, and its results are held below."""
    found = faults.cells(faults.ours(entry), "float16")
    assert set(found) == set(faults.NAMES)
    assert {name: why for name, why in found.items() if why} == {}


def test_a_fault_is_found_where_there_is_one() -> None:
    """In half precision optax's Adam divides by an ε that is 0."""
    found = faults.cells(faults.of_optax("adam"), "float16")
    assert (found["square underflows"], found["zero gradient"]) == ("not finite", "moves")


def test_an_error_is_in_ulps_and_never_of_less_than_the_smallest_number() -> None:
    exact = np.array([[[1.0, -4.0]], [[2.0**-30, 0.0]]])
    found = accuracy.worst(exact + np.array([[[2.0**-20, 0.0]], [[0.0, 0.0]]]), exact, "float32")
    assert found == (2.0, 1, "update")
    assert accuracy.worst(exact + 2.0**-24, exact, "float16")[:2] == (1.0, 2)
    assert accuracy.worst(exact + np.inf, exact, "float32").ulps == np.inf


def test_the_results_are_of_all_methods_and_hold_what_is_promised() -> None:
    """Beyond 16 ulps are a few methods, which a memory of float32 alone takes there, and none with a residual."""
    names = {entry.name for entry in family() if not entry.dense}
    assert names == set(RESULTS["ulps"]) == set(RESULTS["faults"]) == set(RESULTS["long runs"])
    assert RESULTS["steps"] == 20_000
    for name, row in RESULTS["ulps"].items():
        found = {column: row[column]["ulps"] for column in ("float32", "mixed")}
        assert (max(found.values()) > BOUND) == (name in BEYOND), name
        for column, memory in (("float32", "memory"), ("mixed", "memory, mixed")):
            assert found[column] <= BOUND or found[column] <= MORE * row[memory]["ulps"], name
        if name in BEYOND:
            assert max(row[column]["ulps"] for column in ("residual", "residual, mixed")) <= BOUND, name
        assert max(row[dtype]["ulps"] for dtype in HALF) <= 1, name
    assert not any(row["ours"] for row in RESULTS["faults"].values())
    for name, row in RESULTS["long runs"].items():
        assert row["finite"], name
        assert (row["arrays more"], row["traces"]) == (0, 1), name


def test_the_page_is_that_of_the_results() -> None:
    """`python -m benchmarks.contract --page benchmarks/results/contract.json`."""
    assert page(RESULTS) in (ROOT / "benchmarks/README.md").read_text()
