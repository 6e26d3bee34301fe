"""The defaults: a training that names none of them depends on each."""

from tests.golden import defaults, recorded


def test_the_defaults_are_a_contract() -> None:
    """A change here changes what others compute: run `python -m tests.golden`, and add a line to the changelog."""
    assert defaults() == recorded("defaults.txt")
