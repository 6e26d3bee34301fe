"""Run many cases in a few processes, and say how far apart two results are."""

import concurrent.futures
import contextlib
import json
import math
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401 (NumPy knows bfloat16 by it)
import numpy as np


OUTPUTS = Path(__file__).with_name("outputs.npz")
CHEAPER = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
LIMIT = 2.0


def isa(key: str) -> str:
    """The instructions of the recording: without fused multiply-adds; float16, also of a residual, needs AVX."""
    name, dtype, _ = key.split("|")
    return "AVX" if dtype.startswith("float16") or name == "method/adamnc/1" else "SSE4_2"


# results: the arrays of a key are kept as one, (steps, numbers), in bits of their dtype


class Result(NamedTuple):
    """Arrays over the recorded steps and their dtype; or what was raised."""

    dtype: str = ""
    updates: tuple[np.ndarray, ...] = ()
    evaluated: tuple[np.ndarray, ...] = ()
    before: tuple[np.ndarray, ...] = ()
    error: str = ""

    def first(self, steps: int) -> "Result":
        """The first of the recorded steps."""
        return self._replace(
            updates=tuple(a[:steps] for a in self.updates), evaluated=tuple(a[:steps] for a in self.evaluated)
        )


def attempt(key: str) -> Result:
    """The result of one key, an exception among them."""
    from tests.frozen import cases, run

    name, dtype, jit = key.split("|")
    try:
        out = run.run(cases.CASES[name], dtype, jit == "jit")
        (kind,) = {str(u.dtype) for u in out["updates"]}
        return Result(kind, *(tuple(out.get(k, ())) for k in ("updates", "eval", "before")))
    except Exception as error:
        return Result(error=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}")


def attempts(keys: list[str]) -> list[tuple[str, Result]]:
    return [(key, attempt(key)) for key in keys]


@contextlib.contextmanager
def flags(value: str) -> Iterator[None]:
    """XLA_FLAGS for processes that start within."""
    before = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ["XLA_FLAGS"]
        else:
            os.environ["XLA_FLAGS"] = before


def results(keys: Iterable[str], here: bool = False, processes: int = 2) -> Iterator[tuple[str, Result]]:
    """The results of all keys; with `here` in the instructions of this processor, else in those of the recording."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault("" if here else f"--xla_cpu_max_isa={isa(key)} ", []).append(key)
    for flag, group in groups.items():
        size = max(1, min(16, math.ceil(len(group) / processes)))
        parts = [group[i : i + size] for i in range(0, len(group), size)]
        with flags(flag + CHEAPER):
            pool = concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
            with pool:
                for part in pool.map(attempts, parts):
                    yield from part


# the recording


def bits(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a).view(f"u{a.dtype.itemsize}")


def packed(arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    flat = np.concatenate([a.reshape(len(a), -1) for a in arrays], 1)
    return bits(flat) if flat.dtype.itemsize == 2 else flat


def write(found: dict[str, Result], versions: dict[str, str], path: Path = OUTPUTS) -> None:
    """All results as one file: the arrays, and beside them their dtypes and shapes, and what was raised."""
    arrays, about = {}, {}
    for key, result in sorted(found.items()):
        if result.error:
            about[key] = {"error": result.error}
            continue
        about[key] = {"dtype": result.dtype, "shapes": [a.shape[1:] for a in result.updates]}
        arrays[key] = packed(result.updates)
        if result.evaluated:
            about[key]["evaluated"] = str(result.evaluated[0].dtype)
            arrays[f"{key}|eval"] = packed(result.evaluated)
    text = json.dumps({"versions": versions, "keys": about}).encode()
    np.savez_compressed(path, about=np.frombuffer(text, np.uint8), **arrays)


class Recording:
    """The file, read key by key."""

    def __init__(self, path: Path = OUTPUTS) -> None:
        self._arrays = np.load(path)
        about = json.loads(self._arrays["about"].tobytes())
        self.versions: dict[str, str] = about["versions"]
        self._about: dict[str, Any] = about["keys"]
        self.keys = list(self._about)

    def __getitem__(self, key: str) -> Result:
        about = self._about[key]
        if "error" in about:
            return Result(error=about["error"])
        shapes = [tuple(s) for s in about["shapes"]]
        updates = self._unpacked(key, about["dtype"], shapes)
        second = self._unpacked(f"{key}|eval", about["evaluated"], shapes) if "evaluated" in about else ()
        return Result(about["dtype"], updates, second)

    def _unpacked(self, name: str, dtype: str, shapes: list[tuple[int, ...]]) -> tuple[np.ndarray, ...]:
        flat = self._arrays[name]
        flat = flat.view(np.dtype(dtype)) if flat.dtype.kind == "u" else flat
        parts = np.split(flat, np.cumsum([math.prod(s) for s in shapes])[:-1], 1)
        return tuple(p.reshape(len(p), *s) for p, s in zip(parts, shapes, strict=True))


# how far apart


class Distance(NamedTuple):
    """Whether all bits are the same, and else how many ulps apart, in which of the recorded steps."""

    same: bool
    ulps: float = 0.0
    step: int = 0
    what: str = ""


def apart(key: str, ours: Result, theirs: Result, steps: tuple[int, ...], differences: bool) -> Distance:
    """Ours beside the recording: in ulps of the largest number of an array in that step.

    Where updates are differences of weights, an ulp is one of the weights where they are larger. A second set of
    weights is compared with the weights, of which they are the ulps.
    """
    from tests.frozen.changes import allowed_dtypes
    from tests.frozen.run import dtypes_of

    if ours.error or theirs.error:
        if ours.error.partition(":")[0] == theirs.error.partition(":")[0]:
            return Distance(True)
        return Distance(False, math.inf, 0, ours.error or f"no longer raises {theirs.error}")
    gradient, parameter = dtypes_of(key.split("|")[1])
    if ours.dtype not in allowed_dtypes(theirs.dtype, gradient, parameter):
        return Distance(False, math.inf, 0, f"dtype {ours.dtype}, not {theirs.dtype}")
    same, worst = True, Distance(False, 0.0)
    for what in ("updates", "evaluated"):
        mine, old = getattr(ours, what), getattr(theirs, what)
        if [a.shape for a in mine] != [a.shape for a in old]:
            return Distance(False, math.inf, 0, f"{what}: {[a.shape for a in mine]}, not {[a.shape for a in old]}")
        for i, (a, b) in enumerate(zip(mine, old, strict=True)):
            a = a if what == "evaluated" else a.astype(b.dtype)
            if a.dtype != b.dtype:
                return Distance(False, math.inf, 0, f"{what}: dtype {a.dtype}, not {b.dtype}")
            if a.tobytes() == b.tobytes():
                continue
            same = False
            weights = ours.before[i] if differences and what == "updates" else None
            for t, step in enumerate(steps[: len(b)]):
                distance = ulps(a[t], b[t], None if weights is None else weights[t])
                if distance > worst.ulps:
                    worst = Distance(False, distance, step, what)
    return Distance(True) if same else worst


def ulps(a: np.ndarray, b: np.ndarray, weights: np.ndarray | None = None) -> float:
    """How many ulps of the largest number a is from b at most."""
    if np.array_equal(a, b, equal_nan=True):
        return 0.0
    wide_a, wide_b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    finite = np.isfinite(wide_b)
    if not np.array_equal(wide_a[~finite], wide_b[~finite], equal_nan=True) or not np.isfinite(wide_a[finite]).all():
        return math.inf
    largest = np.max(np.abs(wide_b[finite]))
    if weights is not None:
        largest = np.maximum(largest, np.max(np.abs(np.asarray(weights, np.float64))))
    about = ml_dtypes.finfo(b.dtype)
    largest = max(float(largest), float(about.smallest_normal))
    ulp = float(about.eps) * 2.0 ** math.floor(math.log2(largest))
    return float(np.max(np.abs(wide_a[finite] - wide_b[finite]))) / ulp
