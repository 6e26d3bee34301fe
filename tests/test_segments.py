"""Leafwise neighbours are one function of one array, which is traced once for arrays that are alike."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from benchmarks import compile as compiling
from benchmarks.step import RIVALS
from gdo_optax.family import get
from tests.catalogue import avals


RNG = np.random.default_rng(0)
SHAPES = {"a": (3, 4), "b": (5,), "c": (3, 4), "d": None, "e": (), "f": {"g": (5,), "h": (2, 3, 4)}}
METHODS = {
    **{name: get(name) for name in ("nadam", "lamb", "adafactor", "ranger", "adagrad_rda")},
    "masks": lambda: g.lamb(0.1, mask=g.excluding("a", "b"), trust_ratio_mask=g.excluding("b", "e")),
    "a schedule": lambda: g.adamw(0.1, weight_decay=lambda count: count.astype(float), mask=g.excluding("a")),
    "a memory": lambda: g.masked(g.adam(0.1), g.excluding("a")),
    "within": lambda: g.masked(g.chain(g.masked(g.ema(0.9), g.excluding("c")), g.sign()), g.excluding("a")),
    "a prefix": lambda: g.masked(g.ema(0.9), {**dict.fromkeys("abcde", True), "d": None, "f": False}),
}


def tree(dtype: str = "float32") -> Any:
    return jax.tree.map(
        lambda s: jnp.asarray(RNG.standard_normal(s), dtype), SHAPES, is_leaf=lambda s: isinstance(s, tuple)
    )


def steps(tx: optax.GradientTransformation, params: Any, grads: list[Any]) -> Any:
    """Parameters and state after all steps, each compiled."""
    state = tx.init(params)

    @jax.jit
    def step(params: Any, state: Any, slope: Any) -> Any:
        updates, state = tx.update(slope, state, params)
        return optax.apply_updates(params, updates), state

    for slope in grads:
        params, state = step(params, state, slope)
    return params, state


def doubled(seen: list[Any]) -> g.Piece:
    """A piece that notes what its function is traced with."""

    note = seen.append

    def of_one(x: jax.Array) -> jax.Array:
        note((x.shape, x.dtype))
        return 2 * x

    @g.piece
    def doubled() -> g.Rule:
        return g.rule(of_one)

    return doubled()


def only(tree: Any, i: int) -> Any:
    """The tree with None in place of every array but the i-th."""
    leaves, structure = jax.tree.flatten(tree)
    return structure.unflatten([x if j == i else None for j, x in enumerate(leaves)])


@pytest.mark.parametrize("name", METHODS)
def test_together_is_one_by_one_to_the_bit(name: str) -> None:
    params, grads = tree(), [tree() for _ in range(3)]
    together = dict(jax.tree.leaves_with_path(steps(METHODS[name](), params, grads)))
    seen = set()
    for i in range(len(jax.tree.leaves(params))):
        alone = steps(METHODS[name](), only(params, i), [only(slope, i) for slope in grads])
        for path, x in jax.tree.leaves_with_path(alone):
            chex.assert_trees_all_equal(x, together[path])
            seen.add(path)
    assert seen == set(together)


def test_a_function_is_traced_once_for_each_shape_and_dtype() -> None:
    seen: list[tuple] = []
    tx, params = doubled(seen), [*jax.tree.leaves(tree()), *jax.tree.leaves(tree("float16"))]
    state = tx.init(params)
    jax.jit(tx.update)(params, state)
    assert len(seen) == len(set(seen)) == 4  # half precision is computed on in float32
    jax.jit(lambda p: tx.update(p, state))(params)
    tx.update(params, state)
    jax.jit(tx.update)(params[:3], state)
    assert len(seen) == 4  # nor once more in another program, un-jitted, or for fewer arrays
    jax.vmap(lambda p: tx.update([p, p], state)[0])(params[0])
    assert len(seen) == 5


def test_an_equal_optimizer_traces_nothing_anew() -> None:
    seen: list[tuple] = []
    note = seen.append

    def of_one(x: jax.Array, factor: Any) -> jax.Array:
        note(x.shape)
        return factor * x

    @g.piece
    def scaled(factor: Any) -> g.Rule:
        return g.rule(of_one, factor=factor)

    params = tree()
    first = scaled(2.0)
    jax.jit(first.update)(params, first.init(params))
    count = len(seen)
    for _ in range(2):
        tx = scaled(2.0)
        jax.jit(tx.update)(params, tx.init(params))
        tx.update(params, tx.init(params))
    assert len(seen) == count == 4
    operands = (jnp.float32(2.0), jnp.float32(3.0), lambda count: 2.0 + count.astype(float))
    for factor in operands:
        tx = scaled(factor)
        jax.jit(tx.update)(params, tx.init(params))
    assert len(seen) == 2 * count


LEAFWISE = {
    **{name: get(name) for name in ("adam", "lamb", "ranger", "adafactor")},
    "a mask": lambda: g.masked(g.adam(0.1), lambda tree: [True] * len(tree)),
    "a wrapper": lambda: g.keep_master(g.adam(0.1)),
}


@pytest.mark.parametrize("name", LEAFWISE)
def test_the_program_grows_by_a_line_an_array(name: str) -> None:
    tx = LEAFWISE[name]()

    def lines(count: int) -> int:
        shapes = [jax.ShapeDtypeStruct((8, 4), jnp.float32)] * count
        return jax.jit(tx.update).lower(shapes, jax.eval_shape(tx.init, shapes), shapes).as_text().count("\n")

    assert [lines(n + 10) - lines(n) for n in (10, 20, 30)] == [10, 10, 10]


def test_once_more_where_a_mask_leaves_it_out() -> None:
    seen: list[tuple] = []
    mask = {"a": True, "b": False, "c": True, "d": False}
    tx = g.chain(g.masked(doubled(seen), mask), g.masked(g.scale(3.0), g.excluding("a")))
    params = jax.tree.map(lambda _: jnp.ones(2), mask)
    moved = {"a": 2.0, "b": 3.0, "c": 6.0, "d": 3.0}
    updates, _ = jax.jit(tx.update)(params, tx.init(params))
    chex.assert_trees_all_equal(updates, jax.tree.map(lambda v: jnp.full(2, v), moved))
    assert len(seen) == 2  # of a and of c, whose choices differ


def test_once_for_each_shape_where_rows_are_lazy() -> None:
    seen: list[tuple] = []
    tx, params = (
        g.lazy(doubled(seen), mask=lambda tree: [True] * 4),
        [jnp.ones(shape) for shape in ((2, 3), (2, 3), 4, 4)],
    )
    updates, _ = jax.jit(tx.update)(params, tx.init(params))
    chex.assert_trees_all_equal(updates, jax.tree.map(lambda p: 2 * p, params))
    assert [shape for shape, _ in seen] == [(2, 3), (4,)]


def test_a_mask_that_chooses_otherwise_inside_of_another() -> None:
    first = g.masked(g.scale(2.0), lambda tree: {k: x is jax.tree.leaves(tree)[0] for k, x in tree.items()})
    tx, params = g.chain(g.masked(first, {"a": False, "b": True}), first), {"a": jnp.ones(1), "b": jnp.ones(1)}
    updates, _ = jax.jit(tx.update)(params, tx.init(params))
    chex.assert_trees_all_equal(updates, {"a": jnp.full(1, 2.0), "b": jnp.full(1, 2.0)})


def test_schedules_are_evaluated_once_for_all_arrays() -> None:
    seen: list[Any] = []

    def rate(count: jax.Array) -> jax.Array:
        seen.append(count)
        return 0.1 / (1 + count.astype(float))

    tx, params = g.sgd(rate), tree()
    jax.jit(tx.update)(params, tx.init(params))
    assert len(seen) == 1


def test_each_array_keeps_its_sharding() -> None:
    """Arrays of one shape and two shardings are two traces, and every memory and update lies as its parameter does."""
    mesh = jax.make_mesh((1, 1), ("x", "y"), axis_types=(jax.sharding.AxisType.Explicit,) * 2)
    with jax.set_mesh(mesh), jax.numpy_rank_promotion("allow"):
        specs = {"a": ("x", "y"), "b": ("y", "x"), "c": ("x", "y"), "d": (None, "x")}
        params = {k: jax.device_put(jnp.ones((8, 4)), jax.sharding.PartitionSpec(*s)) for k, s in specs.items()}
        for name in ("adam", "lamb", "ranger"):
            tx = get(name)()
            state = tx.init(params)
            updates, after = jax.jit(tx.update)(params, state, params)
            assert jax.tree.map(jax.typeof, updates) == jax.tree.map(jax.typeof, params)
            assert jax.tree.map(jax.typeof, after) == jax.tree.map(jax.typeof, state)
        seen: list[tuple] = []
        tx = doubled(seen)
        jax.jit(tx.update)(params, tx.init(params))
        assert len(seen) == 3


def test_what_is_none_stays_none_and_keeps_its_memory() -> None:
    tx, params = g.adam(0.1), {"a": jnp.ones(2), "b": jnp.ones(2), "c": None}
    state = tx.init(params)
    updates, after = jax.jit(tx.update)({"a": jnp.ones(2), "b": None, "c": None}, state, params)
    assert updates["b"] is updates["c"] is None
    moments = after["state"]["scale_by_adam"]["direction"]["ema"]["memory"]
    assert (moments["b"] == 0).all()
    assert (moments["a"] != 0).all()
    assert moments["c"] is None


def test_what_couples_arrays_is_left_whole() -> None:
    params = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    tx = g.chain(g.clip_by_global_norm(1.0), g.adam(0.1), g.scale_by_path({"a": 2.0}))
    state = tx.init(params)
    ours = jax.jit(tx.update)(params, state, params)
    chex.assert_trees_all_close(ours, tx.update(params, state, params), rtol=1e-6)
    theirs = optax.chain(optax.clip_by_global_norm(1.0), optax.scale(-1.0))
    ours = g.chain(g.clip_by_global_norm(1.0), g.scale(-1.0))
    clipped, _ = ours.update(params, ours.init(params))
    chex.assert_trees_all_close(clipped, theirs.update(params, theirs.init(params))[0])


@pytest.mark.parametrize("max_norm", [0.5, 5.0, float("inf"), jnp.float32(0.5)])
def test_the_global_norm_is_clipped_as_in_optax(max_norm: Any) -> None:
    x = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])}
    ours, theirs = g.clip_by_global_norm(max_norm), optax.clip_by_global_norm(float(max_norm))
    chex.assert_trees_all_close(ours.update(x, ours.init(x))[0], theirs.update(x, theirs.init(x))[0], rtol=1e-6)
    zeros = jax.tree.map(jnp.zeros_like, x)
    chex.assert_trees_all_equal(ours.update(zeros, ours.init(zeros))[0], zeros)


def test_errors_name_the_array_under_jit_too() -> None:
    tx, params = g.adam(0.1), {"a": jnp.ones(2), "b": jnp.ones(3)}
    state = tx.init(params)
    with pytest.raises(ValueError, match="the gradient of 'b' has the shape"):
        jax.jit(tx.update)({"a": jnp.ones(2), "b": jnp.ones(4)}, state, params)
    with pytest.raises(ValueError, match="'b' has no gradient"):
        jax.jit(tx.update)({"a": jnp.ones(2), "c": jnp.ones(3)}, state, params)


def test_masked_arrays_and_states_of_several_arrays() -> None:
    params = {"a": jnp.ones((4, 3)), "b": jnp.ones(3), "c": jnp.ones((4, 3)), "d": optax.MaskedNode()}
    for tx in (g.adafactor(), g.masked(g.adam(0.1), g.excluding("a")), g.chain(g.variance(0.9), g.scale(-0.1))):
        state = tx.init(params)
        updates, new = jax.jit(tx.update)(params, state, params)
        eager, kept = tx.update(params, state, params)
        assert avals((updates, new)) == avals((eager, kept))
        chex.assert_trees_all_close((updates, new), (eager, kept), rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "lamb", "adafactor"])
def test_a_third_of_the_lines_of_optax(name: str) -> None:
    params = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in compiling.transformer()[:60]]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        ours, theirs = (compiling.lowered(tx, params).as_text().count("\n") for tx in (get(name)(), RIVALS[name]()))
    assert ours < theirs / 3


def test_the_models_are_the_real_ones() -> None:
    """GPT-2 has 124 million parameters, ResNet-50 25.6."""
    for shapes, count, arrays in ((compiling.transformer(), 124_439_808, 196), (compiling.resnet50(), 25_557_032, 161)):
        assert sum(int(np.prod(s)) for s in shapes) == count
        assert len(shapes) == arrays
