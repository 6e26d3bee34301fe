"""Steps that are left out leave no trace, whatever is around them or in them."""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from gdo_optax.wrappers.skipping import skip_nonfinite
from tests.catalogue import avals, falling, steps_of, tree


NAMES = ("kernel", "gain")
INNER: dict[str, Callable] = {
    "adamw": lambda: g.adamw(falling, weight_decay=0.1),
    "sgd": lambda: g.sgd(0.1),
    "lookahead": lambda: g.lookahead(g.momentum(0.1), 2, 0.5),
    "accumulate": lambda: g.accumulate(g.adam(0.1), 3),
    "averaged": lambda: g.chain(g.adam(0.1), g.temporal_average(0.9)),
    "optax": lambda: optax.adamw(0.1, weight_decay=0.1),
}


@functools.cache
def compiled(name: str) -> tuple[optax.GradientTransformation, Callable]:
    tx = skip_nonfinite(INNER[name]())

    @jax.jit
    def step(params: Any, state: Any, x: Any) -> tuple[Any, Any, Any]:
        updates, state = tx.update(x, state, params)
        return optax.apply_updates(params, updates), state, updates

    return tx, step


def broken(x: Any, value: float) -> Any:
    return {**x, "kernel": x["kernel"].at[1, 2].set(value)}


def inner(state: Any) -> Any:
    return state["state"]["inner"]


def skipped(state: Any) -> int:
    return int(state["state"]["skipped"])


every_one = pytest.mark.parametrize("name", INNER)


@every_one
def test_a_skipped_step_is_as_if_it_had_not_been(name: str) -> None:
    tx, step = compiled(name)
    good = steps_of(steps=7, names=NAMES)
    bad = [broken(good[0], v) for v in (np.nan, np.inf, -np.inf)] + [{**good[0], "gain": jnp.float32(jnp.nan)}]
    with jax.numpy_dtype_promotion("standard" if name == "optax" else "strict"):
        params = theirs = tree(names=NAMES)
        state = other = tx.init(params)
        kept = avals(state)
        for t, x in enumerate(good):
            for b in bad[: t % 5]:
                same, after, updates = step(params, state, b)
                chex.assert_trees_all_equal((same, inner(after)), (params, inner(state)))
                assert skipped(after) == skipped(state) + 1
                assert all(np.signbit(u).all() and not np.any(u) for u in jax.tree.leaves(updates))
                assert avals(after) == kept
                state = after
            params, state, _ = step(params, state, x)
            theirs, other, _ = step(theirs, other, x)
    chex.assert_trees_all_equal((params, inner(state)), (theirs, inner(other)))
    chex.assert_trees_all_equal(g.eval_params(state, params), g.eval_params(other, theirs))
    assert (skipped(state), skipped(other)) == (0 + 1 + 2 + 3 + 4 + 0 + 1, 0)
    assert step._cache_size() == 1


@every_one
def test_good_steps_are_the_inner_optimizers(name: str) -> None:
    _, step = compiled(name)
    plain = INNER[name]()
    params, x = tree(names=NAMES), steps_of(steps=1, names=NAMES)[0]
    with jax.numpy_dtype_promotion("standard" if name == "optax" else "strict"):
        _, state, updates = step(params, skip_nonfinite(plain).init(params), x)
        expected, kept = jax.jit(plain.update)(x, plain.init(params), params)
    kept = {"count": 1, "state": kept} if name == "optax" else kept
    wanted = {"inner_count": kept["count"], "state": kept["state"]}
    chex.assert_trees_all_close((updates, inner(state)), (expected, wanted), rtol=1e-6)


def test_no_bit_of_a_parameter_changes() -> None:
    tx, zeros = skip_nonfinite(g.sgd(0.1)), jnp.array([-0.0, 0.0])
    updates, _ = tx.update(jnp.array([jnp.nan, 1.0]), tx.init(zeros))
    assert list(np.signbit(optax.apply_updates(zeros, updates))) == [True, False]


def test_inside_a_chain_under_vmap_scan_and_donation() -> None:
    tx = g.chain(skip_nonfinite(g.momentum(0.1, 0.5)), g.scale(2.0))
    grads = jnp.array([1.0, jnp.nan, 1.0])

    @functools.partial(jax.jit, donate_argnums=0)
    def run(params: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            updates, state = tx.update({"a": x, "b": None, "c": optax.MaskedNode()}, carry[1], carry[0])
            return (carry[0] | {"a": carry[0]["a"] + updates["a"]}, state), updates["a"]

        return jax.lax.scan(step, (params, tx.init(params)), grads)

    (params, state), updates = jax.jit(jax.vmap(run))({"a": jnp.array([1.0, 2.0]), "b": None, "c": optax.MaskedNode()})
    np.testing.assert_allclose(updates, [[-0.2, 0, -0.3]] * 2, rtol=1e-6)
    np.testing.assert_allclose(params["a"], [0.5, 1.5], rtol=1e-6)
    assert list(state["state"]["skip_nonfinite"]["skipped"]) == [1, 1]


def test_half_precision_and_empty_trees() -> None:
    tx, x = skip_nonfinite(g.adam(0.1)), jnp.ones(3, jnp.bfloat16)
    for grad in (x, x.at[0].set(jnp.inf)):
        updates, state = tx.update(grad, tx.init(x), x)
        assert updates.dtype == jnp.bfloat16
        assert avals(state) == avals(tx.init(x))
    assert skipped(state) == 1
    assert tx.update({}, tx.init({}), {})[0] == {}


def test_extra_arguments_reach_the_inner_optimizer() -> None:
    def update(x: Any, state: Any, params: Any = None, *, value: Any, **_: Any) -> Any:
        return x * value, state

    tx = skip_nonfinite(optax.GradientTransformationExtraArgs(lambda p: (), update))
    assert tx.update(jnp.ones(1), tx.init(jnp.ones(1)), value=jnp.float32(3.0))[0] == 3


def test_the_message_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"call it, sgd\(…\)"):
        skip_nonfinite(g.sgd)
    assert repr(skip_nonfinite(g.sgd(0.1))) == "skip_nonfinite(sgd(0.1))"
