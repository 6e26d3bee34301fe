"""Which examples a batch consists of: pure functions count ↦ indices, for `jax.jit` and scans as for Python loops."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from chex import Array, Numeric

from gdo_optax.counting import Schedule, check_numbers


Sampler: TypeAlias = Callable[[Numeric], Array]


def shuffled(examples: int, batch_size: int, seed: Numeric = 0) -> Sampler:
    """Shuffling: batches of an order that is drawn anew in every epoch.

        indices = πₑ[i·b : (i+1)·b]    of update count = e·⌊N/b⌋ + i, πₑ a random permutation of 0 … N−1

    No example comes twice in an epoch; the N mod b that are left over are others in every epoch. The order depends on
    `seed` and the count alone, so that a run can go on anywhere. One permutation is drawn a call, which costs N log N;
    where that is too much, draw it once an epoch by `jax.random.permutation`.

    Args:
        examples: N ≥ 1.
        batch_size: b, an integer of [1, N].
        seed: of the orders, an integer.

    Returns:
        A function of the count, from 0, that returns int32 indices (b,).

    Raises:
        ValueError: a value outside its range.

    Reference: L. Bottou (2009), "Curiously fast convergence of some stochastic gradient descent algorithms",
    https://leon.bottou.org/papers/bottou-slds-open-problem-2009.

    >>> batches = shuffled(examples=6, batch_size=2)
    >>> sorted(int(i) for count in range(3) for i in batches(count))
    [0, 1, 2, 3, 4, 5]
    """
    _check("shuffled", examples, batch_size)

    def indices(count: Numeric) -> Array:
        epoch, i = jnp.divmod(jnp.asarray(count, jnp.int32), jnp.int32(examples // batch_size))
        order = jax.random.permutation(_key(seed, epoch), jnp.arange(examples, dtype=jnp.int32))
        return jax.lax.dynamic_slice_in_dim(order, i * batch_size, batch_size)

    return indices


def curriculum(difficulty: Array, batch_size: int, pace: Schedule, seed: Numeric = 0) -> Sampler:
    """Curriculum learning: batches of the easiest examples first, of all in the end.

        indices = b different ones of the n easiest examples,   n = max(b, ⌈pace(count)·N⌉)

    Args:
        difficulty: (N,), a number for every example, such as its length or the loss of another model; of equal ones
            those that come first are easier.
        batch_size: b, an integer of [1, N].
        pace: a schedule, count from 0 ↦ the share of the examples to draw from; what is above 1 is 1.
        seed: of the draws, an integer.

    Returns:
        A function of the count, from 0, that returns int32 indices (b,).

    Raises:
        ValueError: a value outside its range, a difficulty that is not (N,) or holds a NaN.
        TypeError: a pace that is no function.

    Reference: Y. Bengio, J. Louradour, R. Collobert, J. Weston (2009), "Curriculum learning",
    doi:10.1145/1553374.1553380.

    >>> import jax.numpy as jnp
    >>> lengths = jnp.array([9.0, 1.0, 5.0, 2.0])
    >>> batches = curriculum(lengths, batch_size=2, pace=lambda count: 0.5 + count / 100)
    >>> sorted(batches(0).tolist()), sorted(curriculum(lengths, 4, pace=lambda count: 1.0)(0).tolist())
    ([1, 3], [0, 1, 2, 3])
    """
    easy_first = np.asarray(difficulty)
    if easy_first.ndim != 1 or np.isnan(easy_first).any():
        raise ValueError(f"curriculum: difficulty, {easy_first.shape}, must be (N,), one number for every example")
    if not callable(pace):
        raise TypeError(f"curriculum: pace={pace!r} is no function of the count: lambda count: {pace!r}")
    examples = len(easy_first)
    _check("curriculum", examples, batch_size)
    order = np.argsort(easy_first, kind="stable").astype(np.int32)

    def indices(count: Numeric) -> Array:
        count = jnp.asarray(count, jnp.int32)
        n = jnp.ceil(jnp.clip(jnp.asarray(pace(count), float), 0, 1) * examples)
        lots = jax.random.uniform(_key(seed, count), (examples,))
        lots = jnp.where(jnp.arange(examples) < n.astype(jnp.int32), lots, 2)  # the others follow in their order
        return jnp.asarray(order)[jnp.argsort(lots)[:batch_size]]

    return indices


def _check(name: str, examples: int, batch_size: int) -> None:
    check_numbers(name, examples=examples, batch_size=batch_size)
    if batch_size > examples:
        raise ValueError(f"{name}: batch_size={batch_size!r} is more than there are examples, {examples!r}")


def _key(seed: Numeric, count: Array) -> Array:
    return jax.random.fold_in(jax.random.key(seed), count)
