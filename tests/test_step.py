"""What the compiler counts: no method moves or allocates more than optax's."""

from collections.abc import Iterator

import jax
import pytest

from benchmarks.step import RIVALS, cost, main, words
from gdo_optax.family import get


@pytest.fixture(autouse=True)
def _standard_promotion() -> Iterator[None]:
    """optax itself does not run in strict mode."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


SHAPES = [(256, 256)] * 3
FLOORS = {"lookahead": 14.0, "ranger": 15.1, "adabound": 10.0, "amsbound": 13.0, "lars": 9.0, "lars_2017": 9.0}
"""Words of the methods that optax does not have, as measured: a form that moves more is a step back."""


@pytest.mark.parametrize("name", RIVALS)
def test_not_a_word_more_than_optax(name: str) -> None:
    ours, theirs = cost(get(name)(), SHAPES), cost(RIVALS[name](), SHAPES)
    assert ours.words <= theirs.words + 0.02
    assert ours.temp <= theirs.temp + 0.02


@pytest.mark.parametrize("name", FLOORS)
def test_no_more_words_than_measured(name: str) -> None:
    ours = cost(get(name)(), SHAPES)
    assert ours.words <= FLOORS[name] + 0.02
    assert ours.temp < 0.02


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
