"""Rows of tables: against the NumPy loop in float64, beside `lazy`, and what they cost."""

import functools
import re
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax
import pytest
from flax import nnx
from flax.errors import ScopeParamShapeError
from flax.training.train_state import TrainState

import gdo_optax as g
from gdo_optax.rows import Rows, summed, to_dense
from gdo_optax.wrappers.lookups import row_gradients
from gdo_optax.wrappers.sparse import sparse_rows
from tests.catalogue import cheap_jit
from tests.oracles import sparse


TABLES = {"cube": (5, 2, 2), "gain": (9,), "words": (11, 3)}
K = 6


def gradients(steps: int, dtype: Any = np.float64, seed: int = 0) -> dict[str, Rows]:
    """Rows of every table, stacked over steps: some twice, some beyond the table, some whose sum is exactly 0."""
    rng = np.random.default_rng(seed)
    rows = {}
    for name, (size, *rest) in TABLES.items():
        indices = rng.integers(0, size + 2, (steps, K))
        values = rng.standard_normal((steps, K, *rest))
        indices[:, 1] = indices[:, 0]  # twice
        indices[::3, 2] = indices[::3, 3] = size - 1  # and on every third step two that cancel
        values[::3, 2] = -values[::3, 3]
        values[::5, 4] = 0
        rows[name] = Rows(np.asarray(indices, np.int32), np.asarray(values, dtype))
    return rows


def tables(dtype: Any = np.float64) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: np.asarray(rng.standard_normal(shape), dtype) for name, shape in TABLES.items()}


def take(tree: Any, t: int) -> Any:
    return jax.tree.map(lambda x: x[t], tree)


# against the loops


RATES = {"learning_rate": [0.1, 0.5, 0.2], "slower": [0.0, 0.0, 0.05]}
SETTINGS: dict[str, tuple[Callable, dict[str, list[float]]]] = {
    "sgd": (g.sgd, {}),
    "momentum": (g.momentum, {"momentum": [0.9, 0.99, 0.0]}),
    "adagrad": (g.adagrad, {"initial_accumulator_value": [0.0, 0.1, 0.0], "eps": [1e-10, 1e-3, 0.0]}),
    "rmsprop": (g.rmsprop, {"decay": [0.9, 0.99, 0.0], "eps": [1e-8, 1e-3, 1e-6]}),
    "adam": (g.adam, {"b1": [0.9, 0.8, 0.0], "b2": [0.999, 0.95, 0.9999], "eps": [1e-8, 1e-3, 1e-6]}),
}


def schedule(learning_rate: Any, slower: Any) -> Callable:
    return lambda count: learning_rate / (1 + slower * (count if isinstance(count, int) else count.astype(float)))


@pytest.mark.parametrize("name", SETTINGS)
def test_equals_the_oracle(name: str) -> None:
    """200 steps of three tables, in three settings and both counts, compiled as one program."""
    method, settings = SETTINGS[name]
    params, rows = tables(), gradients(200)

    def run(counts: str, hyper: Any, params: Any, rows: Any) -> Any:
        rate = schedule(hyper.pop("learning_rate"), hyper.pop("slower"))
        tx = sparse_rows(method(learning_rate=rate, **hyper), counts)

        def step(carry: Any, grads: Any) -> Any:
            updates, state = tx.update(grads, carry[1], carry[0])
            dense = {k: to_dense(u, TABLES[k][0]) for k, u in updates.items()}
            return (optax.apply_updates(carry[0], updates), state), dense

        (params, _), updates = jax.lax.scan(step, (params, tx.init(params)), rows)
        return params, updates

    with jax.enable_x64(True):
        params, rows = jax.tree.map(jnp.asarray, (params, rows))
        hyper = {k: jnp.asarray(v) for k, v in (RATES | settings).items()}

        @cheap_jit
        def both(hyper: Any) -> Any:
            return [jax.vmap(lambda h, c=c: run(c, dict(h), params, rows))(hyper) for c in ("global", "row")]

        out = jax.tree.map(np.asarray, both(hyper))
    for counts, (after, updates) in zip(("global", "row"), out, strict=True):
        for i in range(3):
            own = {k: v[i] for k, v in settings.items()}
            if name == "rmsprop":
                own["b2"] = own.pop("decay")
            own["learning_rate"] = schedule(*(v[i] for v in RATES.values()))
            for k, x in tables().items():
                pairs = list(zip(np.asarray(rows[k].indices), np.asarray(rows[k].values), strict=True))
                expected = getattr(sparse, name)(x, pairs, counts=counts, **own)
                size = np.max(np.abs(expected), axis=tuple(range(1, expected.ndim)), keepdims=True)
                assert np.all(np.abs(updates[k][i] - expected) <= 1e-9 * size), (counts, i, k)
                np.testing.assert_allclose(after[k][i], x + expected.sum(0), rtol=1e-9, atol=1e-9)


# beside lazy


NAMES = ("sgd", "momentum", "adagrad", "rmsprop", "adam")
ROUNDED_AS_WRITTEN: dict[str, Any] = {"xla_backend_optimization_level": 0}
if jaxlib.__version__.startswith("0.10."):
    ROUNDED_AS_WRITTEN["xla_cpu_use_fusion_emitters"] = True  # without them a·b + c is contracted even so


def words(tree: dict[str, Any]) -> dict[str, Any]:
    """The table whose rows are those of `lazy` too, and a dense array."""
    return {"words": tree["words"]}


def densely(rows: Any) -> Any:
    return jax.tree.map(
        lambda r: to_dense(r, 11) if isinstance(r, Rows) else r, rows, is_leaf=lambda r: isinstance(r, Rows)
    )


def mixed(steps: int) -> tuple[Any, Any]:
    """A table, a dense array and holes: parameters, and gradients stacked over steps."""
    head = np.random.default_rng(2).standard_normal((steps, 4))
    params = words(tables(np.float32)) | {"head": np.ones(4, np.float32), "none": None, "masked": optax.MaskedNode()}
    grads = words(gradients(steps, np.float32)) | {
        "head": head.astype(np.float32),
        "none": None,
        "masked": optax.MaskedNode(),
    }
    return jax.tree.map(jnp.asarray, (params, grads))


def plus(params: Any, updates: Any) -> Any:
    """As optax.apply_updates, but for the masked leaf."""
    return {k: p if p is None or isinstance(p, optax.MaskedNode) else p + updates[k] for k, p in params.items()}


def test_is_lazy_to_the_bit() -> None:
    """The updates and the states of 50 steps, every rounding as written."""
    params, grads = mixed(50)

    def runs(wrap: Callable, grads: Any) -> Any:
        def run(tx: g.Piece) -> Any:
            def step(carry: Any, grad: Any) -> Any:
                updates, state = tx.update(grad, carry[1], carry[0])
                updates = jax.lax.optimization_barrier(densely(updates))  # what adds them may not look into them
                return (plus(carry[0], updates), state), updates

            return jax.lax.scan(step, (params, tx.init(params)), grads)

        return {name: run(wrap(getattr(g, name)(0.1))) for name in NAMES}

    jit = functools.partial(jax.jit, static_argnums=0, compiler_options=ROUNDED_AS_WRITTEN)
    lazy = jit(runs)(g.lazy, {**grads, "words": jax.vmap(lambda r: to_dense(r, 11))(grads["words"])})
    ours = jit(runs)(sparse_rows, grads)
    for name in NAMES:
        chex.assert_trees_all_equal(ours[name], lazy[name])


def test_rows_that_are_not_touched_are_not_changed() -> None:
    """Neither those whose sum is 0 nor those beyond the table, and nothing is said of them."""
    table = jnp.linspace(-1, 1, 12).reshape(6, 2)
    for counts in ("global", "row"):
        tx = sparse_rows(g.adamw(0.1, weight_decay=0.5), counts)
        first = tx.init(table)
        rows = Rows(
            jnp.array([4, 1, 6, 1, 2, -1, 9]), jnp.array([[1.0, 0], [2, 2], [3, 3], [-2, -2], [0, 0], [5, 5], [7, 7]])
        )
        updates, state = cheap_jit(tx.update)(rows, first, table)
        assert sorted(np.asarray(updates.indices)) == [4] + [6] * 6
        after, rest = table + updates, [0, 1, 2, 3, 5]
        assert np.array_equal(after[jnp.array(rest)], table[jnp.array(rest)])
        assert not np.any(after[4] == table[4])
        for old, new in zip(jax.tree.leaves(first), jax.tree.leaves(state), strict=True):
            assert np.ndim(old) == 0 or np.array_equal(old[np.array(rest)], new[np.array(rest)])


def test_a_late_row_starts_with_a_whole_step_where_rows_are_counted() -> None:
    table, early = jnp.zeros((4, 1)), Rows(jnp.array([0]), jnp.ones((1, 1)))
    late = Rows(jnp.array([3]), jnp.array([[0.01]]))
    for counts, expected in (("row", 0.1), ("global", 0.1 * 0.1 / np.sqrt(0.001))):
        tx = sparse_rows(g.adam(0.1), counts)
        update = cheap_jit(lambda r, s, tx=tx: tx.update(r, s, table))
        state = tx.init(table)
        for _ in range(2):
            _, state = update(early, state)
        if counts == "global":  # t, long after
            state = jax.tree.map(lambda s: s + 20_000 if s.dtype == jnp.int32 else s if s.ndim else jnp.ones(()), state)
        updates, state = update(late, state)
        np.testing.assert_allclose(updates.values, [[-expected]], rtol=1e-4)
        if counts == "row":
            (counted,) = [s for s in jax.tree.leaves(state["state"]) if s.dtype == jnp.int32]
            assert np.array_equal(counted, [2, 0, 0, 1])
            assert state["count"] == 3


def test_dense_arrays_beside_tables_are_updated_densely() -> None:
    params, grads = mixed(1)
    for counts in ("global", "row"):
        tx = sparse_rows(g.adam(0.1), counts)
        updates, _ = cheap_jit(tx.update)(take(grads, 0), tx.init(params), params)
        alone, _ = cheap_jit(g.adam(0.1).update)(take(grads, 0)["head"], g.adam(0.1).init(params["head"]))
        assert np.array_equal(updates["head"], alone)
        assert updates["none"] is None
        assert isinstance(updates["masked"], optax.MaskedNode)
        without, _ = cheap_jit(tx.update)(take(grads, 0) | {"words": None}, tx.init(params | {"words": None}))
        assert np.array_equal(without["head"], alone)


# what inner may be


def test_a_norm_is_one_of_the_touched_rows() -> None:
    """And so that of the dense gradient: what was not touched is 0."""
    table, rows = jnp.ones((8, 2)), Rows(jnp.array([1, 5, 1]), jnp.full((3, 2), 3.0))
    inner = g.chain(optax.clip_by_global_norm(1.0), g.sgd(0.5))
    state = inner.init(table)
    updates, _ = cheap_jit(sparse_rows(inner).update)(rows, state, table)
    dense, _ = cheap_jit(inner.update)(to_dense(rows, 8), state, table)
    np.testing.assert_allclose(to_dense(updates, 8), dense, rtol=1e-6)


def test_slow_weights_of_tables_are_read_by_eval_params() -> None:
    params = {"words": jnp.ones((4, 2)), "head": jnp.ones(3)}
    grads = {"words": Rows(jnp.array([2]), jnp.ones((1, 2))), "head": jnp.ones(3)}
    expected = {"words": jnp.ones((4, 2)).at[2].add(-0.5 * 0.3), "head": jnp.full(3, 1 - 0.5 * 0.3)}
    for counts in ("global", "row"):
        tx = sparse_rows(g.lookahead(g.sgd(0.1), 3, 0.5), counts)
        p, state = params, tx.init(params)
        update = cheap_jit(tx.update)
        for _ in range(4):
            updates, state = update(grads, state, p)
            p = optax.apply_updates(p, updates)
        chex.assert_trees_all_close(g.eval_params(state, p), expected, rtol=1e-6)


def test_adafactor_is_counted_by_rows() -> None:
    table, rows = jnp.ones((4, 3)), Rows(jnp.array([2]), jnp.ones((1, 3)))
    tx = sparse_rows(g.adafactor(0.1), "row")
    updates, _ = cheap_jit(tx.update)(rows, tx.init(table), table)
    one = jnp.ones(3)
    alone, _ = cheap_jit(g.adafactor(0.1).update)(one, g.adafactor(0.1).init(one), one)
    np.testing.assert_allclose(updates.values[0], alone, rtol=1e-6)


def test_masks_take_rows_for_arrays() -> None:
    params = {"words": jnp.ones((4, 2)), "bias": jnp.ones(2)}
    grads = {"words": Rows(jnp.array([2, 2]), jnp.ones((2, 2))), "bias": jnp.ones(2)}
    only_tables = g.masked(sparse_rows(g.sgd(0.1)), g.excluding("bias"))
    updates, _ = cheap_jit(only_tables.update)(grads, only_tables.init(params), params)
    np.testing.assert_allclose(to_dense(updates["words"], 4)[2], -0.2, rtol=1e-6)
    assert np.array_equal(updates["bias"], grads["bias"])
    apart = optax.partition({"t": sparse_rows(g.adam(0.1)), "d": g.sgd(0.1)}, {"words": "t", "bias": "d"})
    updates, _ = cheap_jit(apart.update)(grads, apart.init(params), params)
    np.testing.assert_allclose((params["words"] + updates["words"])[2], 0.9, rtol=1e-6)
    np.testing.assert_allclose(updates["bias"], -0.1, rtol=1e-6)


@pytest.mark.parametrize("inner_state", ["keep", "reset", "interpolate"])
def test_what_an_optimizer_in_it_does_to_its_memories_it_does_to_rows(inner_state: str) -> None:
    params, rows = {"words": jnp.linspace(1, 2, 22).reshape(11, 2)}, Rows(jnp.array([2, 7]), jnp.ones((2, 2)))
    inner, out = g.lookahead(g.skip_nonfinite(g.adam(schedule(0.1, 0.5))), 3, inner_state=inner_state), []
    for wrap in (g.lazy, sparse_rows):
        tx, p = wrap(inner), params
        state, update = tx.init(p), cheap_jit(tx.update)
        for t in range(8):
            now = {"words": Rows(rows.indices.at[1].add(t % 2), rows.values * (1 + t))}
            updates, state = update(densely(now) if wrap is g.lazy else now, state, p)
            p = optax.apply_updates(p, updates)
        out.append((p, state))
    chex.assert_trees_all_close(*out, rtol=1e-6)


@pytest.mark.parametrize(
    "inner",
    [
        lambda: g.skip_nonfinite(g.adam(0.1)),
        lambda: g.accumulate(g.adam(0.1), 2),
        lambda: g.lookahead(g.adam(0.1), 2, inner_state="reset"),
    ],
)
def test_numbers_of_an_optimizer_are_no_rows(inner: Callable) -> None:
    """Where the table is all there is, too."""
    table, rows = jnp.ones((4, 2)), Rows(jnp.array([2]), jnp.ones((1, 2)))
    tx, out = sparse_rows(inner()), []
    for tree in (lambda a: {"words": a}, lambda a: a):
        state = tx.init(tree(table))
        for _ in range(4):
            updates, state = cheap_jit(tx.update)(tree(rows), state, tree(table))
        out.append(jax.tree.leaves((updates, state)))
    chex.assert_trees_all_equal(*out)


def test_a_row_shares_its_scale_with_others() -> None:
    table, rows = jnp.ones((8, 4)), Rows(jnp.arange(8), jnp.ones((8, 4)))
    tx = sparse_rows(g.store(g.adam(0.1), block_size=16))
    with pytest.raises(ValueError, match=r"store.* remembers \(2,\) of a table \(8, 4\), not row by row"):
        tx.update(rows, tx.init(table), table)
    tx = sparse_rows(g.store(g.adam(0.1), as_="bfloat16", block_size=16))
    assert np.allclose(tx.update(rows, tx.init(table), table)[0].values, -0.1)


# dtypes and transformations


@pytest.mark.parametrize(("counts", "dtype"), [("global", jnp.bfloat16), ("row", jnp.float32)])
def test_nothing_changes_type_and_all_may_be_donated(counts: str, dtype: Any) -> None:
    """And scan and vmap are the loop; what is remembered of half precision is not."""
    params = {k: jnp.asarray(v, dtype) for k, v in words(tables()).items()}
    rows = jax.tree.map(lambda x: jnp.asarray(x, dtype if x.dtype == np.float64 else x.dtype), words(gradients(3)))
    tx = sparse_rows(g.adam(0.1), counts)
    state = tx.init(params)
    shapes = jax.eval_shape(tx.update, take(rows, 0), state, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, (take(rows, 0), state))
    assert {s.dtype for s in jax.tree.leaves(state)} == {jnp.dtype(jnp.float32), jnp.dtype(jnp.int32)}

    def step(carry: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), state), None

    donated = jax.jit(lambda c, r: step(c, r)[0], donate_argnums=0)
    carry = jax.tree.map(jnp.copy, (params, state))
    for t in range(3):
        carry = donated(carry, take(rows, t))

    def floats(tree: Any, dtype: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(dtype) if x.dtype in (jnp.bfloat16, jnp.float32) else x, tree)

    update = cheap_jit(tx.update)
    updates, new = update(take(rows, 2), carry[1], carry[0])
    wide_updates, wide_new = update(floats(take(rows, 2), jnp.float32), carry[1], floats(carry[0], jnp.float32))
    chex.assert_trees_all_equal((updates, new), (floats(wide_updates, dtype), wide_new))

    def scanned(params: Any, state: Any, rows: Any) -> Any:
        return jax.lax.scan(step, (params, state), rows)[0]

    two = jax.tree.map(lambda x: jnp.stack([x, x]), (params, state, rows))
    chex.assert_trees_all_close(
        jax.jit(jax.vmap(scanned))(*two), jax.tree.map(lambda x: jnp.stack([x, x]), carry), rtol=2e-5, atol=2e-5
    )


def test_empty() -> None:
    table = jnp.ones((4, 2))
    none = Rows(jnp.zeros(0, jnp.int32), jnp.zeros((0, 2)))
    for counts in ("global", "row"):
        tx = sparse_rows(g.adam(0.1), counts)
        assert tx.update({}, tx.init({}), {})[0] == {}
        updates, _ = cheap_jit(tx.update)(none, tx.init(table), table)
        assert np.array_equal(table + updates, table)


def test_rows_add_to_any_array() -> None:
    rows = Rows(jnp.array([1, 3, 1, 4, -1]), jnp.array([1.0, 2.0, 4.0, 8.0, 16.0]))
    expected = np.array([1.0, 6.0, 1.0, 3.0], np.float32)
    for table in (np.ones(4, np.float32), jnp.ones(4)):
        assert np.array_equal(table + rows, expected)
        assert np.array_equal(optax.apply_updates({"a": table}, {"a": rows})["a"], expected)
    half = jnp.ones(4, jnp.bfloat16) + rows
    assert half.dtype == jnp.bfloat16
    assert np.array_equal(to_dense(rows, 4), expected - 1)


def test_summed_rows_are_sorted_and_each_once() -> None:
    rows = Rows(jnp.array([7, 2, 9, 2, -3, 0, 7]), jnp.arange(14.0).reshape(7, 2))
    once = jax.jit(summed, static_argnums=1)(rows, 8)
    assert np.array_equal(once.indices, [0, 2, 7, 8, 8, 8, 8])
    assert np.array_equal(once.values, [[10, 11], [8, 10], [12, 14], [0, 0], [0, 0], [0, 0], [0, 0]])


# the gradients


def pair_loss(p: Any, ids: Any, y: Any) -> Any:
    x = p["words"]["embedding"][ids["words"]] * p["words"]["gain"][ids["words"]][..., None]
    return jnp.mean((x @ p["head"] - y) ** 2)


def test_row_gradients_are_those_of_the_table() -> None:
    rng = np.random.default_rng(3)
    params = {
        "words": {"embedding": jnp.asarray(rng.standard_normal((20, 3)), jnp.float32), "gain": jnp.linspace(1, 2, 20)},
        "head": jnp.array([1.0, 2.0, 3.0]),
    }
    ids = {"words": jnp.asarray(rng.integers(0, 20, (4, 2)), jnp.int32)}
    y = jnp.asarray(rng.standard_normal((4, 2)), jnp.float32)
    value, ours = cheap_jit(lambda p, i: row_gradients(pair_loss, p, i, y))(params, ids)
    expected, dense = cheap_jit(jax.value_and_grad(pair_loss))(params, ids, y)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(ours["head"], dense["head"], rtol=1e-5)
    for k in ("embedding", "gain"):
        rows = ours["words"][k]
        assert rows.values.shape == (8, *params["words"][k].shape[1:])
        kept = rows.indices[rows.indices < 20]
        assert np.array_equal(kept, np.unique(np.asarray(ids["words"])))
        np.testing.assert_allclose(to_dense(rows, 20), dense["words"][k], rtol=1e-5, atol=1e-6)


def test_row_gradients_hand_out_the_rest_and_pad() -> None:
    ids = {"x": jnp.array([2, 6, 0])}  # 6 is none of 5

    def loss(p: Any, ids: Any) -> Any:
        return jnp.sum(p["x"][ids["x"]] ** 2), p["x"][ids["x"]]

    (value, seen), grads = cheap_jit(lambda p: row_gradients(loss, p, ids, has_aux=True))({"x": jnp.arange(1.0, 6)})
    assert float(value) == 10
    assert np.array_equal(seen, [3, 0, 1])
    assert np.array_equal(to_dense(grads["x"], 5), [2, 0, 6, 0, 0])


class Bigram(nn.Module):
    """What follows a word: its table holds as many words as it is told."""

    size: int

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        return nn.Dense(7)(nn.Embed(self.size, 4, name="words")(ids))


def cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def test_flax_linen_with_a_train_state() -> None:
    """Twenty steps of a model with a table of 50, donated: the loss falls, the words that are not read stay."""
    x, y = jnp.array([3, 8, 3, 41]), jnp.array([0, 1, 0, 2])
    model = Bigram(50)
    params = cheap_jit(model.init)(jax.random.key(0), x)["params"]
    before = np.asarray(params["words"]["embedding"])

    def loss(p: Any, ids: Any) -> Any:
        return cross_entropy(model.clone(size=len(p["words"]["embedding"])).apply({"params": p}, ids["words"]), y)

    def unaware(p: Any, ids: Any) -> Any:
        return cross_entropy(model.apply({"params": p}, ids["words"]), y)

    with pytest.raises(ScopeParamShapeError):  # a model built for the whole table cannot be given its rows
        jax.eval_shape(lambda p: row_gradients(unaware, p, {"words": x}), params)
    dense = cheap_jit(jax.grad(unaware))(params, {"words": x})

    @functools.partial(cheap_jit, donate_argnums=0)
    def step(state: TrainState) -> tuple[TrainState, Any, Any]:
        value, grads = row_gradients(loss, state.params, {"words": x})
        return state.apply_gradients(grads=grads), value, grads["words"]["embedding"]

    state = TrainState.create(apply_fn=model.apply, params=params, tx=sparse_rows(g.adam(0.05)))
    state = state.replace(step=jnp.zeros((), jnp.int32))
    losses = []
    for _ in range(20):
        state, value, rows = step(state)
        losses.append(float(value))
        if len(losses) == 1:
            np.testing.assert_allclose(to_dense(rows, 50), dense["words"]["embedding"], atol=1e-7)
    assert losses[-1] < 0.3 * losses[0]
    moved = np.any(np.asarray(state.params["words"]["embedding"]) != before, axis=1)
    assert np.array_equal(np.flatnonzero(moved), [3, 8, 41])


def test_flax_nnx() -> None:
    graph, params = nnx.split(nnx.Embed(50, 4, rngs=nnx.Rngs(0)))
    x = jnp.array([3, 8, 3])

    def loss(p: Any, ids: Any) -> Any:
        return jnp.sum(nnx.merge(graph, p)(ids["embedding"]) ** 2)

    value, grads = cheap_jit(lambda p: row_gradients(loss, p, {"embedding": x}))(params)
    table = jax.tree.leaves(params)[0]
    np.testing.assert_allclose(value, jnp.sum(table[x] ** 2), rtol=1e-6)
    rows = next(r for r in jax.tree.leaves(grads, is_leaf=lambda r: isinstance(r, Rows)) if isinstance(r, Rows))
    np.testing.assert_allclose(to_dense(rows, 50)[3], 4 * table[3], rtol=1e-6)


# what it costs


def compiled(size: int, counts: str) -> Any:
    """A donated step of Adam on 64 rows of a table, by way of the gradients."""
    tx = sparse_rows(g.adam(0.1), counts)
    params = {"x": jax.ShapeDtypeStruct((size, 16), jnp.float32)}
    state = jax.eval_shape(tx.init, params)
    ids = {"x": jax.ShapeDtypeStruct((64,), jnp.int32)}

    def step(params: Any, state: Any, ids: Any) -> Any:
        _, grads = row_gradients(lambda p, i: jnp.sum(p["x"][i["x"]] ** 2), params, ids)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return cheap_jit(step, donate_argnums=(0, 1)).lower(params, state, ids).compile()


@pytest.mark.parametrize("counts", ["global", "row"])
def test_a_step_does_not_grow_with_the_table(counts: str) -> None:
    """Nothing is allocated, nor computed, for the rows that are not read; the tables are updated in place."""
    small, large = compiled(1000, counts), compiled(100_000, counts)
    assert small.memory_analysis().temp_size_in_bytes == large.memory_analysis().temp_size_in_bytes < 1e6
    assert small.cost_analysis()["flops"] == large.cost_analysis()["flops"]
    memory = large.memory_analysis()
    assert memory.output_size_in_bytes - memory.alias_size_in_bytes < 1000
    elementwise = re.findall(r"f32\[100000,16\]\S* (\w+)\(", large.as_text())
    assert set(elementwise) <= {
        "parameter",
        "scatter",
        "get-tuple-element",
        "bitcast",
        "fusion",
        "while",
        "call",
        "dynamic-update-slice",
        "copy",
        "tuple",
    }


# errors


def rows_of(indices: Any, values: Any) -> Rows:
    return Rows(jnp.asarray(indices), jnp.asarray(values))


def test_errors() -> None:
    tx, table = sparse_rows(g.adam(0.1)), {"x": jnp.ones((4, 3))}
    good = {"x": rows_of([1], np.ones((1, 3), np.float32))}
    state = tx.init(table)
    with pytest.raises(ValueError, match="counts='rows' is neither"):
        sparse_rows(g.adam(0.1), "rows")
    with pytest.raises(TypeError, match="is no gradient transformation"):
        sparse_rows(g.adam)
    with pytest.raises(ValueError, match="reads the rows of the parameters: call update"):
        tx.update(good, state)
    with pytest.raises(ValueError, match=r"'x' is a table \(4, 3\), .* give \(k,\) and \(k, 3\)"):
        tx.update({"x": rows_of([1], np.ones((1, 2), np.float32))}, state, table)
    with pytest.raises(ValueError, match=r"has indices \(1,\) and values \(2, 3\)"):
        tx.update({"x": rows_of([1], np.ones((2, 3), np.float32))}, state, table)
    with pytest.raises(TypeError, match="the indices of 'x' are float32: give integers"):
        tx.update({"x": rows_of([1.0], np.ones((1, 3), np.float32))}, state, table)
    factored = sparse_rows(g.adafactor(0.1))
    with pytest.raises(ValueError, match=r'adafactor\(0.1\) remembers \(3,\) of a table \(4, 3\).*counts="row"'):
        factored.update(good, factored.init(table), table)


@pytest.mark.parametrize("tx", [g.adam(0.1), g.sgd(0.1), g.lazy(g.adam(0.1)), g.accumulate(g.sgd(0.1), 2)], ids=str)
def test_dense_methods_say_what_to_wrap(tx: g.Piece) -> None:
    table = jnp.ones((4, 3))
    with pytest.raises(TypeError, match=r"wrap the whole optimizer, sparse_rows\(adam\(1e-3\)\)"):
        tx.update(rows_of([1], np.ones((1, 3), np.float32)), tx.init(table), table)


def test_errors_of_row_gradients() -> None:
    params, ids = {"a": jnp.ones((4, 2)), "b": jnp.ones((5, 2)), "c": jnp.ones(())}, jnp.array([1])
    with pytest.raises(ValueError, match=r"'d' matches arrays \[\], not tables of one length"):
        row_gradients(jnp.sum, params, {"d": ids})
    with pytest.raises(ValueError, match=r"'a|b' matches arrays .*, not tables of one length"):
        row_gradients(jnp.sum, params, {"a|b": ids})
    with pytest.raises(ValueError, match="'c' matches arrays"):
        row_gradients(jnp.sum, params, {"c": ids})
    with pytest.raises(ValueError, match=r"\['a', '\^a'\] all match 'a'"):
        row_gradients(jnp.sum, params, {"a": ids, "^a": ids})
    with pytest.raises(TypeError, match="the ids of 'a' are float32: give integers"):
        row_gradients(jnp.sum, params, {"a": jnp.array([1.0])})
