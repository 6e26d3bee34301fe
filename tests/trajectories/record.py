"""Record the trajectories of PyTorch's optimizers: `python -m tests.trajectories.record`. Needs torch 2.13."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.catalogue import falling, gradients, parameters
from tests.trajectories import CASES, FOLDER, STEPS, recorded_leaves


@contextlib.contextmanager
def float64_scalars() -> Iterator[Any]:
    """Torch whose scalar states are float64: NAdam's product of μ would be float32 beside float64 parameters."""
    import torch  # not at the top: this module must import where there is none

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield torch
    finally:
        torch.set_default_dtype(before)


def live(case: dict[str, Any], steps: int = STEPS) -> dict[str, np.ndarray]:
    """The parameters after every step of a case, all leaves, by the torch that is installed."""
    kind, arguments = case["torch"]
    grads = gradients(steps=steps)
    with float64_scalars() as torch:
        params = {k: torch.tensor(v, requires_grad=True) for k, v in parameters().items()}
        optimizer = getattr(torch.optim, kind)(list(params.values()), foreach=False, **arguments)
        path: dict[str, list[np.ndarray]] = {k: [] for k in params}
        for count in range(steps):
            if case["settings"]["learning_rate"] == "falling":
                optimizer.param_groups[0]["lr"] = falling(count)
            for k, p in params.items():
                p.grad = torch.tensor(grads[k][count])
            optimizer.step()
            for k, p in params.items():
                path[k].append(p.detach().numpy().copy())
    return {k: np.stack(v) for k, v in path.items()}


def main() -> None:
    """Write torch.npz."""
    import torch

    paths = {case["id"]: live(case) for case in CASES}
    kept = {f"{c['id']}/{k}": paths[c["id"]][k] for c in CASES for k in recorded_leaves(c)}
    note = f"torch {torch.__version__}, CPU, foreach=False, float64, {STEPS} steps"
    np.savez_compressed(FOLDER / "torch.npz", note=np.array(note), **kept)


if __name__ == "__main__":
    main()
