"""`python -m benchmarks.tricks`: what each trick of `gdo_optax.engine.xla` saves on this processor's XLA.

For the method that a trick is meant for: float32 words moved and allocated per parameter by one donated step with one
(4096, 4096) array, and kernels with 64 small ones, with all tricks and without this one.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax

import gdo_optax as g
from benchmarks.step import cost
from gdo_optax.engine import xla


TRICKS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "recomputation, apart": (g.lamb, {"LARGE": 2**62}),
    "unlike": (g.qhadam, {"unlike": lambda x: x}),
    "after": (g.rprop, {"after": lambda x, other: x}),
    "total, in blocks": (lambda: g.chain(g.clip_by_global_norm(1.0), g.adamw()), {"_in_blocks": jnp.sum}),
    "run_if, in place": (lambda: g.accumulate(g.adamw(), 4), {"on_cpu": lambda trick, plain, *args: plain(*args)}),
}


@contextlib.contextmanager
def without(names: dict[str, Any]) -> Iterator[None]:
    """Without a trick: nothing that was traced before is used again."""
    jax.clear_caches()
    before = {name: getattr(xla, name) for name in names}
    vars(xla).update(names)
    try:
        yield
    finally:
        vars(xla).update(before)
        jax.clear_caches()


def kernels(tx: Any) -> int:
    """Fusions of a step with 64 arrays of 1,024 numbers."""
    params = [jax.ShapeDtypeStruct((32, 32), jnp.float32)] * 64
    state = jax.eval_shape(tx.init, params)

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params).compile()
    return str(compiled.as_text()).count(" fusion(")


def row(make: Callable[[], Any]) -> str:
    found = cost(make(), [(4096, 4096)])
    return f"{found.words:>8.2f}{found.temp:>8.2f}{kernels(make()):>9}"


def main() -> int:
    print(f"{'':<24}{'words':>8}{'temp':>8}{'kernels':>9}{'without':>16}{'temp':>8}{'kernels':>9}")
    for name, (make, replaced) in TRICKS.items():
        jax.clear_caches()
        with_it = row(make)
        with without(replaced):
            print(f"{name:<24}{with_it}        {row(make)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
