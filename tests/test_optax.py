"""Against optax, where both mean the same; in float64, where rounding does not hide a difference."""

from collections.abc import Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from tests.catalogue import rollout, steps_of, tree


def decays(params: Any) -> Any:
    return jax.tree.map(lambda p: jnp.ndim(p) > 1, params)


@pytest.fixture(autouse=True)
def _standard_promotion() -> Iterator[None]:
    """optax itself does not run in strict mode."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


PAIRS = {
    "sgd": (lambda: g.sgd(0.1), lambda: optax.sgd(0.1)),
    "momentum": (lambda: g.momentum(0.1), lambda: optax.sgd(0.1, momentum=0.9)),
    "nesterov": (lambda: g.nesterov(0.1), lambda: optax.sgd(0.1, momentum=0.9, nesterov=True)),
    "adagrad": (
        lambda: g.adagrad(0.1, initial_accumulator_value=0.1, eps=0),
        lambda: optax.adagrad(0.1, initial_accumulator_value=0.1, eps=0.0),
    ),
    "rmsprop": (lambda: g.rmsprop(0.1), lambda: optax.rmsprop(0.1, decay=0.9, eps_in_sqrt=False)),
    "adadelta": (lambda: g.adadelta(0.5, rho=0.9), lambda: optax.adadelta(0.5, rho=0.9)),
    "adam": (lambda: g.adam(0.1, eps_root=1e-9), lambda: optax.adam(0.1, eps_root=1e-9)),
    "adamax": (lambda: g.adamax(0.1), lambda: optax.adamax(0.1)),
    "adamw": (lambda: g.adamw(0.1), lambda: optax.adamw(0.1)),
    "adamw-mask": (
        lambda: g.adamw(0.1, weight_decay=0.1, mask=decays),
        lambda: optax.adamw(0.1, weight_decay=0.1, mask=decays),
    ),
    "radam": (lambda: g.radam(0.1), lambda: optax.radam(0.1)),
    "lamb": (lambda: g.lamb(0.1), lambda: optax.lamb(0.1, weight_decay=0.01)),
    "lamb-mask": (
        lambda: g.lamb(0.1, mask={"kernel": True, "conv": False, "bias": True, "gain": False}),
        lambda: optax.lamb(0.1, weight_decay=0.01, mask={"kernel": True, "conv": False, "bias": True, "gain": False}),
    ),
    "scheduled": (
        lambda: g.adam(lambda count: 0.1 / (1 + count.astype(float))),
        lambda: optax.adam(lambda count: 0.1 / (1 + count.astype(float))),
    ),
}


def stacked(steps: int) -> Any:
    return jax.tree.map(lambda *g: jnp.stack(g), *steps_of(jnp.float64, steps=steps))


@pytest.mark.parametrize("name", PAIRS)
def test_the_same_steps(name: str) -> None:
    ours, theirs = PAIRS[name]
    with jax.enable_x64(True):
        params, grads = tree(jnp.float64), stacked(30)
        chex.assert_trees_all_close(
            rollout(ours(), params, grads), rollout(theirs(), params, grads), rtol=1e-10, atol=1e-16
        )


def test_adafactor_of_a_matrix_with_a_rate() -> None:
    with jax.enable_x64(True):
        params, grads = {"kernel": tree(jnp.float64)["kernel"]}, {"kernel": stacked(30)["kernel"]}
        theirs = optax.adafactor(0.1, min_dim_size_to_factor=1)
        # optax takes the decay of its average in float32
        chex.assert_trees_all_close(rollout(g.adafactor(0.1), params, grads), rollout(theirs, params, grads), rtol=1e-6)


def test_lookahead_without_its_pair_of_parameters() -> None:
    with jax.enable_x64(True):
        params, grads = tree(jnp.float64), steps_of(jnp.float64, steps=12)
        theirs = optax.lookahead(optax.adam(0.1), sync_period=5, slow_step_size=0.5)
        ours = g.lookahead(g.adam(0.1))
        pair = optax.LookaheadParams.init_synced(params)
        state, their_state = ours.init(params), theirs.init(pair)
        for grad in grads:
            updates, state = ours.update(grad, state, params)
            params = optax.apply_updates(params, updates)
            updates, their_state = theirs.update(grad, their_state, pair)
            pair = optax.apply_updates(pair, updates)
            chex.assert_trees_all_close(params, pair.fast, rtol=1e-12)
            chex.assert_trees_all_close(g.eval_params(state, params), pair.slow, rtol=1e-12)


def test_an_outlier_is_not_remembered_forever() -> None:
    """optax corrects before the maximum: the first squared gradient stays, and steps end up many times too small."""
    grads = {"x": jnp.concatenate([jnp.full((1, 4), 100.0), jnp.full((500, 4), 0.1)])}
    params = {"x": jnp.zeros(4)}
    ours, theirs = (np.abs(rollout(tx, params, grads)["x"][-1]) for tx in (g.amsgrad(1.0), optax.amsgrad(1.0)))
    assert (ours > 5 * theirs).all()


def test_the_beta_of_today_does_not_correct_the_past() -> None:
    """A constant gradient of 1 has the average 1 whatever its decays were; optax gives 0.79 here."""
    falling = optax.linear_schedule(0.95, 0.85, 10)
    params, grads = {"x": jnp.zeros(1)}, {"x": jnp.ones((10, 1))}
    average = rollout(g.chain(g.ema(falling), g.bias_correction(falling)), params, grads)["x"]
    np.testing.assert_allclose(average, 1, rtol=1e-6)


def test_pieces_and_optax_mix_both_ways() -> None:
    with jax.enable_x64(True):
        params, grads = tree(jnp.float64), stacked(12)
        plain = rollout(g.adamw(0.1, weight_decay=0.1), params, grads)
        for mixed in (
            optax.chain(
                g.scale_by_adam(), optax.add_decayed_weights(0.1), g.scale_by_learning_rate(0.1)
            ),
            g.chain(optax.scale_by_adam(), g.add_decayed_weights(0.1), optax.scale(-0.1)),
            g.chain(
                g.adaptive(
                    direction=[optax.ema(0.9)],
                    scale=[g.square(), optax.ema(0.999), g.inverse_root(1e-8)],
                ),
                g.add_decayed_weights(0.1),
                optax.scale_by_learning_rate(0.1),
            ),
        ):  # fmt: skip
            chex.assert_trees_all_close(rollout(mixed, params, grads), plain, rtol=1e-9)


def test_foreign_pieces_see_a_float32_model() -> None:
    params = tree(jnp.bfloat16)
    tx = g.chain(optax.scale_by_adam(), g.scale(-0.1))
    state = tx.init(params)
    assert {a.dtype for a in jax.tree.leaves(state)} == {jnp.dtype(jnp.float32), jnp.dtype(jnp.int32)}
    updates, after = tx.update(params, state, params)
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}
    assert jax.tree.map(lambda a: a.dtype, after) == jax.tree.map(lambda a: a.dtype, state)


def test_a_piece_alone_keeps_the_dtype_of_the_gradient() -> None:
    params = tree(jnp.bfloat16)
    tx = optax.chain(g.scale_by_rms(0.9), g.bias_correction(0.9), optax.scale(-1e-3))
    updates, _ = tx.update(params, tx.init(params), params)
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}
