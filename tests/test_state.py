"""The state: where things lie, that the layout is a contract, and what a combinator makes of names."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

import gdo_optax as g
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Whole
from tests.catalogue import FAMILY, steps_of, tree
from tests.golden import recorded, state_paths


def test_the_layout_is_a_contract() -> None:
    """A change here breaks checkpoints: run `python -m tests.golden`, and add a line to the changelog."""
    assert state_paths() == recorded("state_paths.txt")


@pytest.mark.parametrize("entry", FAMILY)
def test_state_holds_no_more_than_it_says(entry: Any) -> None:
    state = jax.eval_shape(entry().init, {"kernel": jax.ShapeDtypeStruct((1024, 1024), jnp.float32)})
    assert set(state) == {"count", "state"}
    assert state["count"] == jax.ShapeDtypeStruct((), jnp.int32)
    assert sum(a.size for a in jax.tree.leaves(state["state"])) / 2**20 == pytest.approx(entry.words)


def test_a_piece_that_remembers_nothing_changes_no_checkpoint() -> None:
    params = tree()
    plain = g.chain(g.ema(0.9), g.scale_by_learning_rate(0.1)).init(params)
    more = g.chain(
        g.centralize(), optax.clip(1.0), g.ema(0.9), g.chain(g.scale(2.0)), g.trust_ratio(),
        g.add_decayed_weights(0.1, mask={"kernel": True, "conv": True, "bias": False, "gain": False}),
        g.scale_by_learning_rate(0.1),
    ).init(params)  # fmt: skip
    chex.assert_trees_all_equal(plain, more)


def test_names_in_a_chain() -> None:
    tx = g.chain(g.ema(0.9), g.ema(0.8), optax.ema(0.9), g.chain(g.ema(0.7)), optax.scale_by_adam())
    assert sorted(tx.init(tree())["state"]) == ["chain", "ema", "ema#2", "ema#3", "scale_by_adam"]


def test_another_optimizers_state_is_refused() -> None:
    params = tree()
    with pytest.raises(ValueError, match=r"another optimizer's: it holds \['scale_by_adam'\], not \['trace'\]"):
        g.momentum(0.1).update(params, g.adam(0.1).init(params), params)
    with pytest.raises(ValueError, match="another optimizer's: it holds tuple"):
        g.momentum(0.1).update(params, optax.adam(0.1).init(params), params)


def test_parallel_hands_outputs_to_later_branches() -> None:
    seen = {}

    def update(x: Any, state: Any, params: Any, now: Now) -> tuple[Any, Any]:
        seen.update(branches=now.branches, value=now.extra["value"])
        return x, state

    @g.piece
    def spy() -> Whole:
        return Whole(update=update, reads=("value",))

    tx = g.parallel(jnp.add, first=[g.scale(2.0)], second=[spy()])
    out, _ = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), value=3.0)
    assert (out == 3).all()
    assert set(seen["branches"]) == {"first"}
    assert (seen["branches"]["first"] == 2).all()
    assert seen["value"] == 3.0


def test_foreign_pieces_see_the_extra_arguments_alone() -> None:
    seen = {}

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        seen.update(extra)
        return updates, state

    spy = optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
    tx = g.parallel(jnp.add, first=[g.scale(2.0)], second=[spy])
    out, _ = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), value=3.0)
    assert (out == 3).all()
    assert seen == {"value": 3.0}


def test_masked_reaches_the_memory_too() -> None:
    params = tree()
    mask = {"kernel": True, "conv": False, "bias": True, "gain": False}
    tx = g.masked(g.adam(0.1), mask)
    assert sum(a.ndim > 0 for a in jax.tree.leaves(tx.init(params))) == 4
    updates, _ = tx.update(params, tx.init(params), params)
    assert (updates["conv"] == params["conv"]).all()
    assert (updates["kernel"] != params["kernel"]).any()
    by_function = g.masked(g.adam(0.1), lambda t: jax.tree.map(lambda p: p.ndim < 2, t))
    numbers = {"count", "weight"}  # the clock, and those of the two bias corrections
    kept = jax.tree.leaves_with_path(by_function.init(params))
    assert sum(a.size for path, a in kept if path[-1].key not in numbers) == 2 * (5 + 1)
    prefix = g.masked(g.adam(0.1), {"a": True, "b": False})
    updates, _ = prefix.update({"a": params, "b": params}, prefix.init({"a": params, "b": params}))
    chex.assert_trees_all_equal(updates["b"], params)


def test_eval_params_reads_the_slow_weights_of_any_nesting() -> None:
    params, grads = tree(), steps_of(steps=3)

    def after(tx: optax.GradientTransformation) -> tuple[Any, Any]:
        p, state = params, tx.init(params)
        for grad in grads:
            updates, state = tx.update(grad, state, p)
            p = optax.apply_updates(p, updates)
        return state, p

    state, p = after(g.adam(0.1))
    chex.assert_trees_all_equal(g.eval_params(state, p), p)
    for tx in (
        g.lookahead(g.adam(0.1)),
        optax.chain(optax.clip(1e6), g.lookahead(g.adam(0.1))),
        optax.apply_if_finite(g.lookahead(g.adam(0.1)), 2),
        optax.inject_hyperparams(g.ranger)(),
    ):
        state, p = after(tx)
        chex.assert_trees_all_equal(g.eval_params(state, p), params)  # three steps are before the first sync
        assert any((a != b).any() for a, b in zip(jax.tree.leaves(p), jax.tree.leaves(params), strict=True))
    # of two sets of slow weights the outer one counts
    state, p = after(g.lookahead(g.lookahead(g.adam(0.1), sync_period=1), sync_period=3))
    chex.assert_trees_all_close(g.eval_params(state, p), p)
    # where only some parameters have slow weights, the others are their own
    mask = {"kernel": True, "conv": False, "bias": True, "gain": False}
    state, p = after(optax.masked(g.lookahead(g.adam(0.1)), mask))
    chex.assert_trees_all_equal(g.eval_params(state, p), {k: params[k] if m else p[k] for k, m in mask.items()})


def test_eval_params_come_in_the_parameters_dtype() -> None:
    params = tree(jnp.bfloat16)
    state = g.lookahead(g.adam(0.1)).init(params)
    assert state["state"]["slow_weights"]["eval_weights"]["kernel"].dtype == jnp.float32
    chex.assert_trees_all_equal(g.eval_params(state, params), params)


def test_foreign_pieces_see_float32_inside_masked_too() -> None:
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2, jnp.bfloat16)}
    tx = g.masked(optax.scale_by_adam(), {"a": True, "b": False})
    state = tx.init(params)
    with jax.numpy_dtype_promotion("standard"):  # optax itself does not run in strict mode
        _, after = tx.update(params, state, params)
    assert jax.tree.map(lambda a: a.dtype, after) == jax.tree.map(lambda a: a.dtype, state)


def test_a_piece_is_one_static_thing() -> None:
    tx = g.ranger(1e-3)
    assert jax.tree.map(lambda x: x, tx) is tx
    assert jax.tree.leaves(tx) == []


def test_slow_weights_own_their_buffer() -> None:
    params = tree()
    state = g.slow_weights().init(params)
    jax.jit(lambda p: p, donate_argnums=0)(params)
    assert not any(a.is_deleted() for a in jax.tree.leaves(state))


def test_a_memory_may_be_stored_in_less() -> None:
    tx = g.ema(0.9, dtype=jnp.bfloat16)
    state = tx.init(jnp.zeros(2))
    updates, state = tx.update(jnp.ones(2), state)
    assert state["state"]["memory"].dtype == jnp.bfloat16
    assert (updates == jnp.float32(0.1)).all()
