"""`python -m tests.devices`: the same workers under vmap and on eight virtual devices, by shard_map and by pmap.

Prints one line of JSON: how far the others are from vmap, and where what is sent stands in the compiled step.
"""

import json
import os
import re
import sys
from typing import Any


os.environ["XLA_FLAGS"] = " ".join((os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8"))

import jax  # noqa: E402 (it reads the flags)
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from jax.sharding import AxisType  # noqa: E402
from jax.sharding import PartitionSpec as P  # noqa: E402

from gdo_optax.engine.combinators import chain  # noqa: E402
from gdo_optax.engine.states import eval_params  # noqa: E402
from gdo_optax.optimizers.adagrad import adagrad  # noqa: E402
from gdo_optax.optimizers.adam import adam  # noqa: E402
from gdo_optax.optimizers.momentum import momentum, nesterov  # noqa: E402
from gdo_optax.optimizers.parallel import adaptive_revision, eamsgd, easgd, hogwild  # noqa: E402
from gdo_optax.pieces.workers import synchronize, worker_mean  # noqa: E402
from gdo_optax.wrappers.workers import delay, downpour, local_sgd  # noqa: E402


N, STEPS, AXIS = 8, 12, "workers"
METHODS = {
    "worker_mean": chain(worker_mean(AXIS), adam(0.1)),
    "local_sgd": local_sgd(adam(0.1), 4, axis_name=AXIS),
    "local_sgd_outer": local_sgd(momentum(0.1), 4, nesterov(0.7, 0.9), axis_name=AXIS),
    "easgd": easgd(0.1, 0.9, 3, axis_name=AXIS),
    "eamsgd": eamsgd(0.1, 0.9, 3, 0.8, axis_name=AXIS),
    "downpour": downpour(adagrad(0.1), 0.05, push_period=2, fetch_period=3, axis_name=AXIS),
    "late": chain(delay(adaptive_revision(0.1, 2), 1), synchronize(4, axis_name=AXIS)),
    "hogwild": chain(hogwild(0.05, 2, seed=1), synchronize(4, axis_name=AXIS)),
}
BY_PMAP = ("worker_mean", "local_sgd_outer", "downpour")
rng = np.random.default_rng(0)
PARAMS = {"kernel": jnp.asarray(rng.standard_normal((3, 2)), jnp.float32), "gain": jnp.float32(0.5)}
GOALS = {k: jnp.asarray(rng.standard_normal((N, *v.shape)), jnp.float32) for k, v in PARAMS.items()}


def step_of(tx: Any) -> Any:
    def step(params: Any, state: Any, goals: Any) -> Any:
        updates, state = tx.update(jax.tree.map(jnp.subtract, params, goals), state, params)
        return optax.apply_updates(params, updates), state

    return step


def run_of(tx: Any) -> Any:
    """What one worker does, from its first weights to its last, and to those that it evaluates."""

    def run(params: Any, goals: Any) -> Any:
        carry, _ = jax.lax.scan(lambda c, _: (step_of(tx)(*c, goals), None), (params, tx.init(params)), length=STEPS)
        return carry[0], eval_params(carry[1], carry[0])

    return run


def on_devices(f: Any) -> Any:
    """f of one worker's arrays, on stacked ones, by shard_map with all its checks."""
    mesh = jax.make_mesh((N,), (AXIS,), axis_types=(AxisType.Auto,))

    def one(*stacked: Any) -> Any:
        out = f(*jax.tree.map(lambda x: x[0], stacked))
        return jax.tree.map(lambda x: x[None], out)

    return jax.jit(jax.shard_map(one, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)))


def replicated() -> Any:
    """Data parallelism as it is usually written: one copy of weights and state in the program, which JAX can check."""
    mesh = jax.make_mesh((N,), (AXIS,), axis_types=(AxisType.Auto,))
    tx = METHODS["worker_mean"]

    def run(params: Any, goals: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            params, state = carry
            own = jax.lax.pcast(params, AXIS, to="varying")
            grads = jax.tree.map(lambda p, goal: p - goal[0], own, goals)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=STEPS)[0][0]

    return jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P()))(PARAMS, GOALS)


def distance(a: Any, b: Any) -> float:
    return max(float(np.max(np.abs(np.subtract(x, y)))) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def sends(text: str) -> dict[str, bool]:
    """Whether a compiled program sends at all, and whether it does so only within a branch of a conditional."""
    bodies = re.split(r"\n\n", text)
    sending = [b for b in bodies if re.search(r" = .*\ball-reduce(-start)?\(", b)]
    branches = " ".join(re.findall(r"(?:branch_computations=\{[^}]*\}|(?:true|false)_computation=%?[\w.-]+)", text))
    names = [re.match(r"\s*(?:ENTRY )?%?([\w.-]+)", b).group(1) for b in sending]  # type: ignore[union-attr]
    inside = all(
        not b.lstrip().startswith("ENTRY") and name in branches for b, name in zip(sending, names, strict=True)
    )
    return {"sends": bool(sending), "only_when_due": bool(sending) and inside}


def main() -> int:
    stacked = jax.tree.map(lambda p: jnp.stack([p] * N), PARAMS)
    result: dict[str, dict[str, Any]] = {}
    for name, tx in METHODS.items():
        run = run_of(tx)
        expected = jax.jit(jax.vmap(run, axis_name=AXIS))(stacked, GOALS)
        program = on_devices(run).lower(stacked, GOALS).compile()
        result[name] = {
            "moved": distance(expected[0], stacked),
            "shard_map": distance(program(stacked, GOALS), expected),
            "pmap": distance(jax.pmap(run, axis_name=AXIS)(stacked, GOALS), expected) if name in BY_PMAP else 0.0,
            **sends(program.as_text()),
        }
        if name == "worker_mean":
            one = jax.tree.map(lambda x: x[0], expected[0])
            result[name]["replicated"] = distance(replicated(), one)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
