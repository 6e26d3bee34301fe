"""How far from the papers, PyTorch and optax? `python -m benchmarks.deviation`: every method over 200 steps of float64.

The largest deviation of an update, relative to the largest element of all updates of its array: from the float64 NumPy
loop of the paper, from PyTorch (where it is installed; else, over 100 steps, from its recording) and from optax. The
gradients are of mixed scale, with steps, rows and coordinates of zeros.
"""

import argparse
import importlib.util
import sys
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdo_optax import like
from gdo_optax.family import get
from tests.catalogue import SETTINGS, STEPS, Case, gradients, orthogonal_gradients, parameters, rollout, updates_of
from tests.test_like import OPTAX, ours_of
from tests.test_optax import PAIRS
from tests.trajectories import CASES, load
from tests.trajectories import STEPS as RECORDED
from tests.trajectories.record import live


Paths = dict[str, np.ndarray]


def run(tx: optax.GradientTransformation, steps: int, leaves: Iterable[str]) -> Paths:
    """All updates, in float64."""
    params, grads = parameters(), gradients(steps=steps)
    tree = [{k: jnp.asarray(t[k], jnp.float64) for k in leaves} for t in (params, grads)]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return jax.tree.map(np.asarray, rollout(tx, *tree))


def deviation(ours: Paths, theirs: Paths) -> float:
    """The largest difference, relative to the largest element of the array's path."""
    return max(float(np.max(np.abs(ours[k] - theirs[k])) / max(np.max(np.abs(theirs[k])), 1e-300)) for k in theirs)


def from_oracle(name: str) -> float:
    """Over all settings that the tests try."""
    params, grads = parameters(scale=0.01), orthogonal_gradients() if get(name).dense else gradients()
    trees = [{k: jnp.asarray(v) for k, v in t.items()} for t in (params, grads)]
    worst = 0.0
    for case in (Case(name, settings) for settings in SETTINGS[name]):
        ours = jax.tree.map(np.asarray, updates_of(case, *trees))
        worst = max(worst, deviation(ours, {k: case.oracle(params[k], grads[k]) for k in params}))
    return worst


def from_torch(name: str) -> float | None:
    """Over all cases of the recording, of the parameters after every step."""
    cases = [case for case in CASES if case["name"] == name]
    if not cases:
        return None
    installed = importlib.util.find_spec("torch") is not None
    steps = STEPS if installed else RECORDED
    start, worst = parameters(), 0.0
    for case in cases:
        path = live(case, steps) if installed else load("torch")[case["id"]]
        updates = run(ours_of(case), steps, path)
        worst = max(worst, deviation({k: start[k] + np.cumsum(updates[k], 0) for k in path}, path))
    return worst


def from_optax(name: str) -> float | None:
    """Of ours, where it is optax's too, else of the one in `gdo_optax.like.optax`."""
    if name in OPTAX:
        pair = getattr(like.optax, name)(0.1), OPTAX[name](0.1)
    elif name in PAIRS:
        pair = PAIRS[name][0](), PAIRS[name][1]()
    else:
        return None
    ours, theirs = (run(tx, STEPS, parameters()) for tx in pair)
    return deviation(ours, theirs)


def table(names: list[str]) -> str:
    """A line for each method."""
    lines = [f"{'method':<28}{'oracle':>12}{'PyTorch':>12}{'optax':>12}"]
    for name in names:
        found = (from_oracle(name) if name in SETTINGS else None, from_torch(name), from_optax(name))
        lines.append(f"{name:<28}" + "".join(f"{'' if d is None else f'{d:.1e}':>12}" for d in found))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    names = [*SETTINGS, *sorted({case["name"] for case in CASES} - set(SETTINGS))]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deviation", description=__doc__)
    parser.add_argument("--optimizer", nargs="+", choices=names, default=names, metavar="NAME", help="only these")
    args = parser.parse_args(argv)
    with jax.enable_x64(True):
        print(table(args.optimizer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
