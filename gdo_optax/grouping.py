"""One function for all arrays of a shape: traced once, called for each."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from chex import Array, ArrayTree

from gdo_optax.arithmetic import unlike
from gdo_optax.trees import absent, memories_of


Choices: TypeAlias = dict[Any, list[bool]]
LARGE, SMALL = 2**22, 2**12
"""In an update of so many numbers what has two readers, if it is not small itself, takes less time computed twice than
written to new memory."""


@dataclasses.dataclass(frozen=True)
class Recomputable:
    """An array of a large update, and how to compute it `again`, unless it is in memory anyway."""

    array: Array
    again: Callable[[Callable[[Array], Array]], Array] | None = None

    def reread(self, how: Callable[[Array], Array] = lambda x: x) -> Array:
        """The array, as a reader has it who does not share it with others: what is in memory it reads like this."""
        return self.again(how) if self.again else how(self.array)

    def apart(self) -> "Recomputable":
        """The same for another reader that is no sum."""
        return Recomputable(self.reread(unlike), self.again) if self.again else self


def array_of(x: Any) -> Any:
    """The array of what can be recomputed, and anything else as it is."""
    return x.array if isinstance(x, Recomputable) else x


def recomputable(source: Recomputable, y: Array, kept: list[Any], read: Callable[[Array], Array] | None) -> Any:
    """y, what is made of `source`: to be had again if it is `kept`, or by what is to `read` it."""
    if read:
        return Recomputable(y, lambda how: read(source.reread(how)))
    return Recomputable(y) if any(y is m for m in kept) else y


def grouped(
    init: Callable | None, update: Callable, common: Callable[[Any], Any], choices: Callable[[Any], Choices]
) -> Callable:
    """The update of a tree by that of its arrays one by one, a function traced once for all that are alike.

    For updates in which an array depends on its own gradient, parameter and memory, and on what `common` computes of
    the state, as it does once for all; `init`, if there is a state, tells where in it the memories are. Arrays are
    alike in shape, dtype, sharding and `choices`, and are never joined: the compiler sees a call for each, and inlines
    it. What runs at once is not grouped.
    """

    def by_array(x: ArrayTree, state: Any, params: Any = None, **extra: Any) -> tuple[ArrayTree, Any]:
        if {"common", "touched"} & set(extra) or not jax.tree.leaves(x) or not _recorded():
            return update(x, state, params, **extra)
        try:
            return one_by_one(x, state if init else (), params, extra)
        except ValueError:
            return update(x, state, params, **extra)  # which says of which array something does not fit

    def one_by_one(x: ArrayTree, state: Any, params: Any, extra: dict[str, Any]) -> tuple[ArrayTree, Any]:
        own, outer = memories_of(init or (lambda _: ()))
        structure: Any = jax.tree.structure(x, is_leaf=absent)
        parts, shared, once = outer.flatten_up_to(state), [not here for here in own], common(state)
        large = sum(a.size for a in jax.tree.leaves(x)) >= LARGE
        columns = [structure.flatten_up_to(tree) for tree in (x, *_at(own, parts))]
        beside = [None] * len(columns[0]) if params is None else structure.flatten_up_to(params)

        chosen = choices(x)
        which = list(zip(*chosen.values(), strict=True)) or [()] * len(beside)

        @functools.partial(jax.jit, static_argnums=0)
        def one(which: tuple[bool, ...], x: Any, p: Any, memories: list[Any]) -> tuple[Any, list[Any], list[Any]]:
            memory = iter(memories)
            alone = outer.unflatten([next(memory) if here else part for here, part in zip(own, parts, strict=True)])
            x = Recomputable(x) if large and x.size >= SMALL else x
            y, new = update(x, alone, p, common=once, choices=dict(zip(chosen, which, strict=True)), **extra)
            new_parts = outer.flatten_up_to(new) if init else []
            return array_of(y), _at(own, new_parts), _at(shared, new_parts)

        rows = [(w, x, p, list(kept)) for w, x, *kept, p in zip(which, *columns, beside, strict=True)]
        out = [(x, kept, []) if absent(x) else one(w, x, p, kept) for w, x, p, kept in rows]
        counts = iter(next(counts for y, _, counts in out if not absent(y)))
        memories = (structure.unflatten(column) for column in zip(*(kept for _, kept, _ in out), strict=True))
        kept = [next(memories) if here else next(counts) for here in own]
        return structure.unflatten([y for y, _, _ in out]), outer.unflatten(kept)

    return by_array


def _recorded() -> bool:
    """Whether operations are recorded, to be compiled: under vmap or grad alone they run at once."""
    return isinstance(jnp.zeros(()), jax.core.Tracer)


def _at(places: list[bool], parts: list[Any]) -> list[Any]:
    return [part for here, part in zip(places, parts, strict=True) if here]
