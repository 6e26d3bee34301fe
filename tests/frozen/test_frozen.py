"""What is computed is what 0.3.0 computed: a representative subset always, all of it in the long run."""

import platform
import subprocess
import sys
from pathlib import Path

import jaxlib
import numpy as np
import pytest

from gdo_optax.family import family
from tests.frozen import work
from tests.frozen.cases import CASES, WORSE, keys
from tests.frozen.compare import distance_of, limit_of


RECORDING = work.Recording()
FEW = [f"method/{entry.name}/0|float32|jit" for entry in family()]
SAME_COMPILER = RECORDING.versions["jaxlib"] == jaxlib.__version__ and platform.machine() in ("x86_64", "AMD64")
rounded_alike = pytest.mark.skipif(not SAME_COMPILER, reason="another compiler rounds elsewhere")


def compare(*arguments: str) -> None:
    """The command line, in processes of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.frozen.compare", *arguments],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    if "--here" not in arguments:  # what 0.3.0 ran operation by operation is one program now
        others = [line for line in done.stdout.splitlines() if "ulps, step" in line and "|eager" not in line]
        assert not others, others


@pytest.mark.parametrize("key", FEW)
def test_a_method_is_within_two_ulps(key: str) -> None:
    distance = distance_of(key, work.attempt(key), RECORDING)
    assert distance.ulps <= limit_of(key), distance


@rounded_alike
def test_some_are_the_same_to_the_last_bit() -> None:
    compare("-k", "method/ada", "-k", "/0|float32|jit")


@pytest.mark.long
@rounded_alike
def test_all_are_the_same_to_the_last_bit() -> None:
    compare()


@pytest.mark.long
def test_all_are_within_two_ulps() -> None:
    compare("--here")


def test_what_is_recorded_is_what_is_run() -> None:
    assert set(RECORDING.keys) == set(keys())
    assert {k.split("|")[0] for k in WORSE} <= set(CASES)


def test_a_distance_is_in_ulps_of_the_largest() -> None:
    b = np.array([1.0, 1e-9], np.float32)
    off = b + np.array([0, 2.0**-23], np.float32)
    assert work.ulps(off, b) == pytest.approx(1)
    assert work.ulps(off, b, np.array([4.0, 0.0], np.float32)) == pytest.approx(0.25)
    assert work.ulps(b * np.float32(np.nan), b) == np.inf
    assert work.ulps(-0 * b, 0 * b) == 0
