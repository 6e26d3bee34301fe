"""Random optimizers, and thirteen invariants that each of them keeps.

    python -m benchmarks.compositions --seeds 2000 --jitted 100

`check` says which are broken: what updates and the state consist of, shapes told without computing, finite numbers,
the same again to the bit, also from a saved state, no step at a rate of 0, the order and the shape of arrays. The last
three, jit, scan and vmap, compile, and are tried where `jitted` asks for it. A seed below 2,000 is tried for all
else; one above for what four steps tell, and for one of the `PARTS`, which take a trace or further steps.
"""

import argparse
import contextlib
import functools
import io
import pickle
import random
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import serialization

from benchmarks.recipes import BY_PLACE, COUPLED, NAMED, UNPRINTABLE, Recipe, Writer, built
from gdo_optax.engine.trees import absent


STEPS = 4
THOROUGH = 2000
"""Seeds below it are tried for everything."""
MODELS: tuple[Callable[[Callable], Any], ...] = (  # of few shapes, as everything is compiled for each of them
    lambda a: {"bias": a(6), "kernel": a(2, 3)},
    lambda a: [a(2, 3), {"bias": a(6)}, None],
    lambda a: {"bias": a(6).astype(jnp.bfloat16), "kernel": a(2, 3), "gain": a(), "masked": optax.MaskedNode()},
    lambda a: {"layer": {"bias": a(6), "kernel": a(2, 3)}, "none": a(0, 3)},
    lambda a: a(2, 3),
)


class Run(NamedTuple):
    """Parameters and gradients to try an optimizer on, a tree each and one for every step, and noise for the loss."""

    params: Any
    grads: list[Any]
    noise: float = 0.0

    def map(self, f: Callable[[Any], Any]) -> "Run":
        return self._replace(params=f(self.params), grads=[f(g) for g in self.grads])


def data(seed: int, model: int) -> Run:
    """Ordinary numbers; among the gradients zeros, in places and, once in four, in all of a step."""
    rng = np.random.default_rng(seed)

    def array(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    def gradient(*shape: int) -> jax.Array:
        g = rng.standard_normal(shape) * 10 ** rng.uniform(-2, 0.5) * (rng.random(shape) > 0.1)
        return jnp.asarray(g * (rng.random() > 0.05), jnp.float32)

    return Run(MODELS[model](array), [MODELS[model](gradient) for _ in range(STEPS)])


def loss(params: Any, noise: float = 0.0) -> jax.Array:
    """A sum of squares, whose roundings go one way or the other as noise: so many ulps, and nothing to its slope."""
    leaves = [p.astype(jnp.float32) for p in jax.tree.leaves(params)]
    total = sum((jnp.sum((p - 1) ** 2) / 2 for p in leaves), jnp.zeros(()))
    place = sum((jnp.sum(p) for p in leaves), jnp.zeros(()))
    return total * jax.lax.stop_gradient(1 + noise * 2.0**-23 * jnp.sin(1e6 * place))


VALUE, SLOPE = jax.jit(loss), jax.jit(jax.value_and_grad(loss))


def step(tx: Any, params: Any, state: Any, g: Any, noise: float = 0.0) -> tuple[Any, Any, Any]:
    """Updates, state and parameters of a step, in which a search or a second gradient may ask for a loss."""
    value, slope = functools.partial(VALUE, noise=noise), functools.partial(SLOPE, noise=noise)
    tx = optax.with_extra_args_support(tx)
    updates, state = tx.update(g, state, params, value_fn=value, value_and_grad_fn=slope)
    moved = jax.tree.map(lambda u, p: p if absent(u) else p + u, updates, params, is_leaf=absent)
    return updates, state, moved


def promotion(text: str) -> Any:
    """No implicit promotion, unless optax has a part in it."""
    return jax.numpy_dtype_promotion("standard" if "optax." in text else "strict")


def traced(tree: Any) -> bool:
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))


def cond(pred: Any, true_fun: Callable, false_fun: Callable, *operands: Any, **operand: Any) -> Any:
    if traced(pred):
        return COND(pred, true_fun, false_fun, *operands, **operand)
    return (true_fun if pred else false_fun)(*operands, *operand.values())


def scan(f: Callable, init: Any, xs: Any, length: int | None = None) -> Any:
    if traced((init, xs)):
        return SCAN(f, init, xs, length)
    structure: Any = jax.tree.structure(xs)
    out = []
    for row in zip(*jax.tree.leaves(xs), strict=True):
        init, y = f(init, structure.unflatten(row))
        out.append(y)
    return init, jax.tree.map(lambda *y: jnp.stack(y), *out)


def while_loop(cond_fun: Callable, body_fun: Callable, init: Any) -> Any:
    if traced(init):
        return WHILE(cond_fun, body_fun, init)
    while cond_fun(init):
        init = body_fun(init)
    return init


COND, SCAN, WHILE = jax.lax.cond, jax.lax.scan, jax.lax.while_loop
PYTHON = (
    (jax.lax, "cond", cond),
    (jax.lax, "scan", scan),
    (jax.lax, "while_loop", while_loop),
    (jax, "jit", lambda f, **_: f),
    (optax, "safe_increment", jax.jit(optax.safe_increment)),  # in every piece that counts
)


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Array by array, with Python's control flow: JAX would compile a function anew for every optimizer.

    Not by `jax.disable_jit`, under which every operation of jax.numpy takes ten times as long.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        with contextlib.ExitStack() as stack, jax.numpy_dtype_promotion("standard"):
            for function in PYTHON:
                stack.enter_context(mock.patch.object(*function))
            yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


@eager()
def steps(tx: Any, run: Run, first: Any = None) -> list[tuple[Any, Any, Any]]:
    """Updates, state and parameters after every step, not compiled, from a first state."""
    params, state, out = run.params, tx.init(run.params) if first is None else first, []
    for g in run.grads:
        out.append(step(tx, params, state, g, run.noise))
        _, state, params = out[-1]
    return out


def avals(tree: Any) -> Any:
    """Structure, shapes, dtypes and weak types."""
    kinds = jax.tree.map(lambda a: (a.shape, str(a.dtype), getattr(a, "weak_type", False)), tree)
    return kinds, jax.tree.structure(tree)


def same(a: Any, b: Any) -> bool:
    """To the bit."""
    if avals(a) != avals(b):
        return False
    pairs = zip(*map(jax.tree.leaves, (a, b)), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def finite(tree: Any) -> bool:
    return all(np.isfinite(np.asarray(x, np.float64)).all() for x in jax.tree.leaves(tree))


def gaps(ours: list[Any], theirs: list[Any]) -> np.ndarray:
    """The largest difference of every step and array, in ulps of the largest element so far."""
    out, size = [], [0.0] * len(jax.tree.leaves(ours[0]))
    for a, b in zip(ours, theirs, strict=True):
        pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
        size = [max(s, float(np.max(np.abs(_wide(y)), initial=0.0))) for s, (_, y) in zip(size, pairs, strict=True)]
        out.append(
            [
                float(np.max(np.abs(_wide(x) - _wide(y)), initial=0.0)) / max(s * float(jnp.finfo(y.dtype).eps), 1e-45)
                for s, (x, y) in zip(size, pairs, strict=True)
            ]
        )
    return np.asarray(out)


def _wide(x: Any) -> np.ndarray:
    return np.asarray(x, np.float64)


def nearby(run: Run, seed: int) -> Run:
    """The same run, all numbers an ulp or so away, the losses a few."""
    rng = np.random.default_rng(seed)

    def moved(x: jax.Array) -> jax.Array:
        eps = float(jnp.finfo(x.dtype).eps)
        return jnp.asarray(_wide(x) * (1 + eps * rng.choice([-1, 1], x.shape)), x.dtype)

    return run.map(lambda tree: jax.tree.map(moved, tree))._replace(noise=2.0 * seed)


def close(ours: list[Any], theirs: list[Any], tx: Any, run: Run, turned: Callable[[Any], Any], ulps: int = 4) -> bool:
    """Within so many ulps, or within 16 times what the optimizer makes of numbers that are an ulp off.

    A composition may well magnify roundings: where a difference cancels, or a sign or a root is taken of next to
    nothing. What it does to roundings of its input, it may do to its own.
    """
    if not finite((ours, theirs)):
        return finite(ours) == finite(theirs)
    found = gaps(ours, theirs)
    if (found <= ulps).all():
        return True
    there = [[turned(u) for u, _, _ in steps(tx, nearby(run, seed))] for seed in range(1, 5)]
    allowed = np.maximum.accumulate(np.max([gaps(t, theirs) for t in there], 0), 0)
    return bool((found <= ulps + 16 * allowed.max(1, keepdims=True)).all())


def precision(text: str) -> int:
    """Ulps: optax takes 1 - b2 and 1 - b2ᵗ in float32 of a rounded b2, which loses two digits."""
    return 256 if "optax." in text else 4


def room(text: str) -> float:
    """For the largest number in truth: the norms of this part of optax's overflow above 1.8e19."""
    return 1e18 if "optax.scale_by_trust_ratio" in text else 1e30


def resumed(state: Any) -> dict[str, Any]:
    """The state after a round trip through each format."""
    structure: Any
    leaves, structure = jax.tree.flatten(state)
    file = io.BytesIO()
    np.savez(file, *map(_bytes, leaves))
    file.seek(0)
    arrays = [a.view(x.dtype).reshape(x.shape) for a, x in zip(np.load(file).values(), leaves, strict=True)]
    return {
        "msgpack": jax.tree.map(jnp.asarray, serialization.from_bytes(state, serialization.to_bytes(state))),
        "npz": structure.unflatten(map(jnp.asarray, arrays)),
        "pickle": pickle.loads(pickle.dumps(state)),
    }


def _bytes(x: Any) -> np.ndarray:
    """npz knows no bfloat16."""
    return np.frombuffer(np.asarray(x).tobytes(), np.uint8)


def composition(seed: int) -> tuple[optax.GradientTransformation, str]:
    """A random optimizer, and the recipe that makes it again."""
    text = drawn(seed).text
    return built(text), text


def drawn(seed: int) -> Recipe:
    return Writer(random.Random(seed)).recipe()


def check(seed: int, jitted: bool = False) -> list[str]:
    """The invariants that the composition of this seed breaks."""
    return broken(drawn(seed), seed, jitted)


def broken(recipe: Recipe, seed: int = 0, jitted: bool = False) -> list[str]:
    """The invariants that a recipe breaks, each with a word on how, on data of a seed."""
    text = recipe.text
    run = data(seed, seed % len(MODELS))
    with eager():
        tx = built(text)
        first = tx.init(run.params)
    out = steps(tx, run, first)
    found = list(_stable(tx, run, first, out, room(text)))
    for place, part in enumerate(PARTS):
        if seed < THOROUGH or seed % len(PARTS) == place:
            found += part(recipe, tx, run, out)
    with promotion(text):
        return found + (list(_compiled(recipe, tx, run, out)) if jitted else [])


def _stable(tx: Any, run: Run, first: Any, out: list[Any], most: float) -> Any:
    for t, ((updates, state, _), g) in enumerate(zip(out, run.grads, strict=True)):
        if avals(updates) != avals(g):
            yield f"updates: {avals(updates)[0]} for {avals(g)[0]} at step {t}"
        if avals(state) != avals(first):
            yield f"state: {avals(state)[0]} was {avals(first)[0]} at step {t}"
    if not finite(out) and not _overflows(tx, run, most):
        yield "finite: not finite, though in float64 it is and fits float32"


def _overflows(tx: Any, run: Run, most: float) -> bool:
    """Whether the numbers are in truth larger than most that float32 has room for."""
    with jax.enable_x64(True):
        wide = run.map(lambda tree: jax.tree.map(lambda x: jnp.asarray(_wide(x)), tree))
        largest = max(
            (float(np.max(np.abs(_wide(x)), initial=0.0)) for x in jax.tree.leaves(steps(tx, wide))), default=0
        )
    return not largest < most


def _abstract(recipe: Recipe, tx: Any, run: Run, out: list[Any]) -> Any:
    """Traced, without any implicit promotion, unless optax has a part in it."""
    with promotion(recipe.text):
        state = jax.eval_shape(tx.init, run.params)
        shapes = jax.eval_shape(functools.partial(step, tx), run.params, state, run.grads[0])
    if avals(shapes) != avals(out[0]):
        yield f"abstract: {avals(shapes)[0]} was to be {avals(out[0])[0]}"


def _reproduced(recipe: Recipe, tx: Any, run: Run, out: list[Any]) -> Any:
    _, state, params = out[-2]
    with eager():
        again, loaded = built(recipe.text), resumed(state)
        first = step(again, run.params, again.init(run.params), run.grads[0])
        last = step(again, params, loaded["npz"], run.grads[-1])
    if not same(first, out[0]):
        yield "determinism: built again, another first step"
    for name, read in loaded.items():
        if not same(read, state):
            yield f"resume: {name} gives another state"
    if not same(last, out[-1]):
        yield "resume: another step from the loaded state"
    if not UNPRINTABLE.search(recipe.text):
        printed = [str(again), str(built(repr(again)))]
        if printed[0] != printed[1]:
            yield f"recipe: {again!r} is not what it prints"


def _still(recipe: Recipe, tx: Any, run: Run, out: list[Any]) -> Any:
    with eager():
        still = steps(built(recipe.still), run._replace(grads=run.grads[:2]))
    if any(np.any(_wide(u) != 0) for u in jax.tree.leaves([u for u, _, _ in still])) and finite(out):
        yield "zero rate: it moves with a learning rate of 0"


def _alike(recipe: Recipe, tx: Any, run: Run, out: list[Any]) -> Any:
    if NAMED.search(recipe.text) or BY_PLACE.search(recipe.text):
        return
    single = not any(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(run.params))
    flat = single and not COUPLED.search(recipe.text)
    name, turned = ("flatten: as one vector", _flat) if flat else ("permutation: arrays in another order", _turned)
    theirs = [turned(u) for u, _, _ in out]
    if not close([u for u, _, _ in steps(tx, run.map(turned))], theirs, tx, run, turned, precision(recipe.text)):
        yield f"{name}, another step"


def _turned(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=absent)[::-1]


def _flat(tree: Any) -> Any:
    return jnp.concatenate([x.reshape(-1) for x in jax.tree.leaves(tree)[::-1]])


PARTS = (_abstract, _reproduced, _still, _alike)


def _compiled(recipe: Recipe, tx: Any, run: Run, out: list[Any]) -> Any:
    """vmap of a scan, compiled; where it is off, which of the three is."""
    updates = [u for u, _, _ in out]
    stacked = jax.tree.map(lambda *g: jnp.stack(g), *run.grads)

    def scanned(params: Any, grads: Any) -> Any:
        def body(carry: Any, g: Any) -> Any:
            params, state = carry
            u, state, params = step(tx, params, state, g)
            return (params, state), u

        return jax.lax.scan(body, (params, tx.init(params)), grads)[1]

    def of(tree: Any) -> list[Any]:
        return [jax.tree.map(lambda u, t=t: u[t], tree) for t in range(STEPS)]

    def right(found: list[Any]) -> bool:
        return close(found, updates, tx, run, lambda u: u, precision(recipe.text))

    twice = jax.tree.map(lambda x: jnp.stack([x, x * 0 + 1]), (run.params, stacked))
    if right(of(jax.tree.map(lambda x: x[0], jax.jit(jax.vmap(scanned))(*twice)))):
        return
    if not right(of(jax.jit(scanned)(run.params, stacked))):
        jitted, params, state, found = jax.jit(functools.partial(step, tx)), run.params, tx.init(run.params), []
        for g in run.grads:
            u, state, params = jitted(params, state, g)
            found.append(u)
        yield "scan: another step than in a loop" if right(found) else "jit: another step than eagerly"
    else:
        yield "vmap: another step than alone"


def reported(seed: int, compiled: int = 0) -> tuple[int, str, list[str], float]:
    """A seed, its recipe, what it breaks, and the seconds that took; an exception is a broken invariant, too.

    Seeds below `compiled` are compiled.
    """
    start, text = time.perf_counter(), ""
    try:
        text = drawn(seed).text
        found = check(seed, seed < compiled)
    except Exception as error:
        found = [f"raises: {type(error).__name__}: {str(error).partition(chr(10))[0]}"]
    return seed, text, found, time.perf_counter() - start


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2000, help="how many compositions")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jitted", type=int, default=100, help="how many of them, the first, are compiled too")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    return parser.parse_args()


def main() -> int:
    """Processes of 2,000 compositions each, as what JAX has compiled stays in memory."""
    given = arguments()
    seeds, failed, spent = range(given.start, given.start + given.seeds), 0, 0.0
    work = functools.partial(reported, compiled=given.start + given.jitted)
    with get_context("spawn").Pool(given.jobs, maxtasksperchild=200) as pool:
        for done, (seed, text, found, seconds) in enumerate(pool.imap(work, seeds, chunksize=10), 1):
            failed, spent = failed + bool(found), spent + seconds
            if found:
                again = f"python -m benchmarks.compositions --start {seed} --seeds 1"
                print(f"seed {seed}: {'; '.join(found)}\n    {text}\n    {again}", flush=True)
            if done % 500 == 0:
                print(f"{done} compositions, to seed {seed}: {failed} failed", flush=True)
        pool.close()
        pool.join()
    compiled = min(given.jitted, given.seeds)
    print(f"{given.seeds} compositions, {compiled} of them compiled: {failed} failed; {spent / given.seeds:.2f} s each")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
