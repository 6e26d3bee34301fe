"""What makes XLA faster on a CPU: each function is one trick, and changes no number by more than rounding.

`python -m benchmarks.tricks` measures what each saves. On other platforms none is active, and `off()` turns all of them
off, so that a program can be read as it is written.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from chex import Array


try:
    from jax.experimental.xla_metadata import set_xla_metadata
except ImportError:  # without it a call may be inlined, and the array is materialized
    set_xla_metadata = None  # type: ignore[assignment]

LARGE, SMALL = 2**22, 2**12
"""In an update of LARGE elements or more, recomputing an array of SMALL or more is faster than materializing it."""

_on = True


@contextlib.contextmanager
def off() -> Iterator[None]:
    """Traces without any trick. It does not reach what has been traced before."""
    global _on
    before, _on = _on, False
    try:
        yield
    finally:
        _on = before


def on_cpu(trick: Callable, plain: Callable, *args: Any) -> Any:
    """The trick's result on a CPU, the plain one on other platforms; decided when the program is lowered."""
    return jax.lax.platform_dependent(*args, cpu=trick, default=plain) if _on else plain(*args)


def is_large(arrays: list[Any]) -> bool:
    """Whether an update of these arrays gains from recomputation."""
    return _on and sum(a.size for a in arrays) >= LARGE


@dataclasses.dataclass(frozen=True)
class Value:
    """An array on its way through the rules and, in a large update, how to compute it once more.

    XLA on a CPU materializes an intermediate that has two consumers, such as a norm and the step. `again(how)` computes
    it anew from arrays that are `stored`: the gradient and the memories. Without `again` it is one of these itself, or
    cannot be recomputed.
    """

    array: Array
    again: Callable[[Callable[[Array], Array]], Array] | None = None
    stored: bool = False

    @property
    def recomputable(self) -> bool:
        """Whether one more consumer costs no new array."""
        return self.stored or self.again is not None

    def reread(self, how: Callable[[Array], Array] = lambda x: x) -> Array:
        """The array for one more consumer, which sees each stored array through `how`."""
        return self.again(how) if self.again else how(self.array)

    def then(self, f: Callable[[Array], Array]) -> "Value":
        """f of the value."""
        return Value(f(self.array), (lambda how: f(self.reread(how))) if self.recomputable else None)

    def for_another(self) -> "Value":
        """The same for a second elementwise consumer."""
        return Value(self.reread(unlike), self.again) if self.again else self

    def measured(self, measure: Callable[[Array], Any]) -> Any:
        """measure(array), where a measure is a few numbers, such as a norm."""
        return apart(measure, self.array, self.reread) if self.again else measure(self.array)


def joined(merge: Callable[..., Array], values: list[Value]) -> Value:
    """The merge of several values."""
    array = merge(*(v.array for v in values))
    if not all(v.recomputable for v in values):
        return Value(array)
    return Value(array, lambda how: merge(*(v.reread(how) for v in values)))


def apart(measure: Callable[[Array], Any], x: Array, again: Callable[[], Array]) -> Any:
    """measure(x), on a CPU computed from `again()` in a call that is not inlined.

    XLA removes common subexpressions before fusion and then materializes x for its two consumers. It does not merge
    across a call that is not inlined.
    """
    if set_xla_metadata is None:
        return measure(x)

    def inside() -> Any:
        with set_xla_metadata(inlineable=None):  # calls inside of the call may be inlined
            return measure(again())

    def called() -> Any:
        with set_xla_metadata(inlineable="false"):
            return jax.jit(inside)()

    return on_cpu(called, lambda: measure(x))


def run_if(go: Array, run: Callable[..., tuple[Any, Any]], x: Any, state: Any) -> tuple[Any, Any, Any]:
    """If `go` the output and next state of `run(x, state, keep=…)`, else zeros and the state; in between, x to be kept.

    On a CPU a conditional whose output takes the place of its input allocates and copies nothing, and a step that is
    left out costs nothing. Elsewhere selecting number by number is one kernel with the step.
    """

    def alike(y: Any) -> Any:
        return jax.tree.map(lambda a, b: b.astype(a.dtype), x, y)

    def or_zeros(y: Any) -> Any:
        return jax.tree.map(lambda a: jnp.where(go, a, 0.0), y)

    def in_place(x: Any, state: Any) -> tuple[Any, Any, Any]:
        def step(x: Any, state: Any) -> tuple[Any, Any]:
            y, kept = run(x, state, keep=None)
            return alike(y), kept

        x, kept = jax.lax.cond(go, step, lambda *same: same, x, state)
        return or_zeros(x), x, kept

    def selected(x: Any, state: Any) -> tuple[Any, Any, Any]:
        y, kept = run(x, state, keep=go)
        return or_zeros(alike(y)), x, kept

    return on_cpu(in_place, selected, x, state)


def unlike(x: Array) -> Array:
    """x, which XLA on a CPU does not know to be x, so that it merges no expression of it with the same one of x."""
    return on_cpu(lambda x: jnp.where(jax.lax.optimization_barrier(jnp.array(True)), x, 0), lambda x: x, x)


def after(x: Array, other: Array) -> Array:
    """x, for which XLA on a CPU has to have computed `other`, so that x may overwrite an input of `other`.

    XLA would copy an old memory that two new ones depend on. Where `other` is NaN so is x.
    """
    return on_cpu(lambda x, other: jnp.where(jnp.isnan(other), other, x), lambda x, other: x, x, other)


def total(x: Array, axis: int | None = None) -> Array:
    """The sum over all axes or one; of a small array on a CPU, it is compiled as one loop.

    XLA makes a loop of every 32 of fewer than 4,096 numbers, and each is compiled. A no-op `reduce_precision` between
    two sums stops XLA from merging them and keeps both in one loop.
    """
    small = x.size < 4096 and jnp.issubdtype(x.dtype, jnp.floating) and not any(jax.typeof(x).sharding.spec)
    return on_cpu(lambda x: _in_blocks(x, axis), lambda x: jnp.sum(x, axis), x) if small else jnp.sum(x, axis)


def _in_blocks(x: Array, axis: int | None) -> Array:
    x, axis = (x.ravel(), 0) if axis is None else (x, axis % x.ndim)
    length = x.shape[axis]
    most = 32 if length <= 256 else 256  # at most three sums, or they are not one loop; short sums round less
    block = next((k for k in range(4, 33) if length % k == 0 and length // k <= most), 1)
    if length <= 32 or block == 1:
        return jnp.sum(x, axis)
    parts = jnp.sum(x.reshape(*x.shape[:axis], length // block, block, *x.shape[axis + 1 :]), axis + 1)
    info = jnp.finfo(x.dtype)
    return _in_blocks(jax.lax.reduce_precision(parts, info.nexp, info.nmant), axis)
