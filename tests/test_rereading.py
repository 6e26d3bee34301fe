"""What has two readers, a norm and a step, is computed twice: the same steps, and no array more."""

from collections.abc import Callable, Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from benchmarks.compile import lowered
from gdo_optax.engine import xla
from gdo_optax.family import get


RNG = np.random.default_rng(0)
SHAPES = {"kernel": (6, 4), "bias": (5,), "nothing": (3,)}
MAKERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    **{
        name: get(name)
        for name in ("lamb", "nlamb", "nnlamb", "layerwise", "lars", "adafactor", "rmsprop_nesterov", "ranger")
    },
    "lamb, clipped norms": lambda: g.lamb(0.1, max_norm=0.5),
    "schedules": lambda: g.lamb(
        optax.linear_schedule(0.1, 0.0, 9), b1=lambda count: 0.9 - 0.5 / (1.0 + count.astype(float))
    ),
    "skip_nonfinite": lambda: g.skip_nonfinite(g.lamb(0.1)),
    "accumulate": lambda: g.accumulate(g.lamb(0.1), 2),
    "lookahead": lambda: g.lookahead(g.lamb(0.1), 2),
    "masks": lambda: g.lamb(0.1, mask=g.excluding("bias"), trust_ratio_mask=g.excluding("bias")),
    "within": lambda: g.chain(g.clip_by_global_norm(1.0), g.lamb(0.1), g.trust_ratio(), g.scale(0.1)),
    "twice": lambda: g.chain(g.ema(0.9), g.scale(2.0), g.trust_ratio(), g.ema(0.5), g.sign(), g.trust_ratio()),
    "of a branch": lambda: g.adaptive([g.sign(), g.scale(3.0)], [g.ema(0.9), g.absolute(), g.trust_ratio()]),
    "one branch not": lambda: g.chain(
        g.adaptive([g.two_rate_ema(0.9, 0.99)], [g.ema(0.9), g.absolute()]), g.trust_ratio()
    ),
    "not to be had again": lambda: g.chain(g.two_rate_ema(0.9, 0.99), g.scale(2.0), g.trust_ratio()),
    "decay, then Nesterov": lambda: g.chain(g.add_decayed_weights(0.1), g.look_ahead(0.9), g.scale(-0.1)),
    "centralized": lambda: g.chain(g.centralize(), g.scale_by_rms(0.9), g.look_ahead(0.9), g.scale(-0.1)),
    "in turn": lambda: g.chain(g.adaptive_grad_clip(), g.centralize(), g.normalize(), g.ema(0.9), g.scale(-0.1)),
    "stored in less": lambda: g.chain(g.ema(0.9, dtype=jnp.bfloat16), g.scale(2.0), g.trust_ratio()),
}


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Makes every update a large one; what was traced before or is traced here is not used again."""

    def every() -> None:
        monkeypatch.setattr(xla, "LARGE", 0)
        monkeypatch.setattr(xla, "SMALL", 0)
        jax.clear_caches()

    yield every
    jax.clear_caches()


def tree(dtype: Any = jnp.float32) -> Any:
    made = {k: jnp.asarray(RNG.standard_normal(shape), dtype) for k, shape in SHAPES.items()}
    return made | {"nothing": made["nothing"] * 0}


def steps(tx: optax.GradientTransformation, params: Any, grads: list[Any]) -> Any:
    """Parameters and state after all steps, in one program."""

    def all_of_them(params: Any, grads: list[Any]) -> Any:
        state = tx.init(params)
        for slope in grads:
            updates, state = tx.update(slope, state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    return jax.jit(all_of_them)(params, grads)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *[(name, jnp.float32) for name in MAKERS],
        *[(name, dtype) for name in ("lamb", "adafactor", "within") for dtype in (jnp.bfloat16, jnp.complex64)],
    ],
)
def test_the_same_steps(name: str, dtype: Any, large: Callable) -> None:
    params, grads = tree(dtype), [tree(dtype) for _ in range(3)]
    plain = steps(MAKERS[name](), params, grads)
    large()
    tolerance = 1e-2 if dtype == jnp.bfloat16 else 1e-5
    chex.assert_trees_all_close(steps(MAKERS[name](), params, grads), plain, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("lamb", 3),
        ("layerwise", 3),
        ("lars", 0),
        ("rmsprop_nesterov", 0),
        ("centralized", 0),
        ("in turn", 4),
        ("adafactor", 3),
        ("twice", 6),
        ("of a branch", 3),
        ("one branch not", 0),
        ("not to be had again", 0),
        ("stored in less", 0),
        ("masks", 2),
    ],
)
def test_where_it_is_computed_twice(name: str, calls: int, large: Callable) -> None:
    """Not what is a memory itself, nor what a memory does not tell."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree())
    assert " call(" not in lowered(MAKERS[name](), shapes).compile().as_text()
    large()
    assert lowered(MAKERS[name](), shapes).compile().as_text().count(" call(") == calls


WORDS = {
    "lamb": 14, "nlamb": 16, "nnlamb": 16, "layerwise": 13, "adafactor": 7, "masks": 14, "rmsprop_nesterov": 12,
    "decay, then Nesterov": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words", "arrays"),
    [*((name, words, n) for name, words in WORDS.items() for n in (1, 4)), ("centralized", 13, 1), ("ranger", 15, 1)],
)
def test_nothing_is_written_out(name: str, words: int, arrays: int) -> None:
    side = 2048 // arrays
    shapes = [jax.ShapeDtypeStruct((side, 2048), jnp.float32)] * arrays
    step = lowered(MAKERS[name](), shapes).compile()
    moved: Any = step.cost_analysis()
    allocated: Any = step.memory_analysis()
    assert moved["bytes accessed"] / 2**24 <= words + 0.05
    assert allocated.temp_size_in_bytes < 2**24 / 50


def test_small_arrays_and_small_updates_are_read_twice() -> None:
    of = lambda *sizes: lowered(g.lamb(0.1), [jax.ShapeDtypeStruct((n,), jnp.float32) for n in sizes])  # noqa: E731
    assert [of(*sizes).compile().as_text().count(" call(") for sizes in ((2**20, 2**20), (2**22, 768))] == [0, 1]


def test_under_vmap_and_grad(large: Callable) -> None:
    params, grads = tree(), [tree() for _ in range(2)]

    def end(rate: jax.Array) -> jax.Array:
        moved, _ = steps(g.lamb(rate), params, grads)
        return jnp.sum(moved["kernel"])

    of_all = jax.vmap(jax.value_and_grad(end))
    plain = of_all(jnp.array([0.1, 0.2]))
    large()
    chex.assert_trees_all_close(of_all(jnp.array([0.1, 0.2])), plain, rtol=1e-5)


def test_zero_gradients_have_a_derivative(large: Callable) -> None:
    large()
    params = {"a": jnp.ones(4), "b": jnp.ones(4)}
    tx = g.lamb(0.1, weight_decay=0.0)
    moved = jax.jit(lambda scale: steps(tx, params, [jax.tree.map(lambda p: scale * p, params)])[0]["a"].sum())
    assert jnp.isfinite(jax.grad(moved)(0.0))


def test_for_several_platforms_at_once(large: Callable) -> None:
    large()
    tx, params = g.lamb(0.1), tree()
    step = jax.jit(lambda grads, state, params: tx.update(grads, state, params)[0])
    grads, state = tree(), tx.init(params)
    for_all = jax.export.export(step, platforms=["cpu", "cuda", "tpu"])(grads, state, params)
    chex.assert_trees_all_close(for_all.call(grads, state, params), tx.update(grads, state, params)[0], rtol=1e-5)


def test_un_jitted_is_the_same_program(large: Callable) -> None:
    large()
    tx, params, grads = g.lamb(0.1), tree(), tree()
    state = tx.init(params)
    chex.assert_trees_all_equal(tx.update(grads, state, params), jax.jit(tx.update)(grads, state, params))
