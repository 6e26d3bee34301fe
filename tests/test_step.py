"""What the compiler counts: no method moves or allocates more than optax's."""

from collections.abc import Iterator

import jax
import pytest

from benchmarks.step import RIVALS, cost, main, measured, words
from gdo_optax.family import get


@pytest.fixture(autouse=True)
def _standard_promotion() -> Iterator[None]:
    """optax itself does not run in strict mode."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


SHAPES = [(256, 256)] * 3
FLOORS = {
    "sgd": 3, "momentum": 6, "adam": 10, "adamw": 10, "radam": 10, "amsgrad": 13, "rmsprop": 7, "adagrad": 7,
    "lion": 7, "adadelta": 12, "lars": 9, "lars_2017": 9, "nesterov_1983": 7, "lookahead": 14,
    "ranger_qh": 15.1, "adabound": 10, "amsbound": 13, "clip + adamw": 11,
    "skip_nonfinite(adamw)": 11, "accumulate(adamw, 4)": 14,
}  # fmt: skip
"""Words as measured, nothing beside them: a form that moves more, or that writes an expression out, is a step back."""
BESIDE = {"adafactor": (7.4, 0.14), "ranger": (16.4, 0.34), "lamb": (15, 1)}
"""Words and temporaries: sums of sixteen numbers; a constant that three means have in common; LAMB's direction."""


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


@pytest.mark.parametrize("name", BESIDE)
def test_no_more_is_allocated_than_measured(name: str) -> None:
    ours, (words, temp) = cost(measured()[name][0](), SHAPES), BESIDE[name]
    assert ours.words <= words + 0.05
    assert ours.temp <= temp + 0.01


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
