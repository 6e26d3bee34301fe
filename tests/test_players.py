"""Players that share a tree of parameters: what each sees, when it moves, and what is left alone."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gdo_optax.engine.combinators import chain, masked
from gdo_optax.engine.states import eval_params
from gdo_optax.engine.trees import excluding, path_name
from gdo_optax.optimizers.adam import adam
from gdo_optax.optimizers.lookahead import lookahead
from gdo_optax.optimizers.momentum import momentum, sgd
from gdo_optax.wrappers.players import adversarial, in_turn
from tests import oracles
from tests.catalogue import avals, cheap_jit, falling, gradients, parameters, steps_of, tree


STEPS = 200
NAMES = ("kernel", "gain")
PARAMS = {k: parameters()[k] for k in NAMES}
GRADS = {k: gradients()[k] for k in NAMES}
ADAM = {"learning_rate": falling, "b1": 0.8, "b2": 0.95}


def trajectory(tx: optax.GradientTransformation, dtype: Any, params: Any = PARAMS, grads: Any = GRADS) -> Any:
    """The updates of all steps of a compiled scan."""

    def step(carry: Any, grad: Any) -> Any:
        params, state = carry
        updates, state = tx.update(grad, state, params)
        return (optax.apply_updates(params, updates), state), updates

    params, grads = (jax.tree.map(lambda a: jnp.asarray(a, dtype), t) for t in (params, grads))
    return cheap_jit(lambda p, s, gs: jax.lax.scan(step, (p, s), gs)[1])(params, tx.init(params), grads)


def taking_turns(x: np.ndarray, grads: np.ndarray, every: int, turn: int, inner: Any, **settings: Any) -> np.ndarray:
    """The oracle: a step of the inner loop where it is its turn, nothing else."""
    step, out, own = inner.start(**settings), np.zeros_like(grads), 0
    for t, grad in enumerate(grads):
        if t % every == turn:
            own += 1
            out[t] = step(own, grad, x)
            x = x + out[t]
    return out


def equal(ours: Any, expected: np.ndarray, tolerance: float = 1e-9) -> None:
    largest = np.max(np.abs(expected), axis=tuple(range(1, expected.ndim)), keepdims=True)
    assert np.all(np.abs(np.asarray(ours, np.float64) - expected) <= tolerance * largest)


TURNS: list[tuple[int, int, Any, Any, dict[str, Any]]] = [
    (2, 0, adam, oracles.adam, ADAM),
    (3, 1, momentum, oracles.momentum, {"learning_rate": falling, "momentum": 0.8}),
    (5, 4, adam, oracles.adam, {"learning_rate": 0.1}),
]


@pytest.mark.parametrize(("every", "turn", "maker", "oracle", "settings"), TURNS)
def test_in_turn_equals_the_oracle(every: int, turn: int, maker: Any, oracle: Any, settings: dict[str, Any]) -> None:
    tx = in_turn(maker(**settings), every=every, turn=turn)
    for x64, tolerance in ((True, 1e-9), (False, 2e-5)):
        with jax.enable_x64(x64):
            ours = trajectory(tx, float)
        for k in NAMES:
            equal(ours[k], taking_turns(PARAMS[k], GRADS[k], every, turn, oracle, **settings), tolerance)


def test_every_update_is_the_optimizer_itself() -> None:
    plain, turned = (trajectory(tx, jnp.float32) for tx in (adam(), in_turn(adam(), every=1)))
    chex.assert_trees_all_equal(turned, plain)


def test_waiting_keeps_the_state_and_reads_no_gradient() -> None:
    tx = in_turn(adam(), every=3, turn=1)
    params = {**tree(names=NAMES), "none": None, "masked": optax.MaskedNode()}
    grads = [{**g, "none": None, "masked": optax.MaskedNode()} for g in steps_of(steps=6, names=NAMES)]
    update, state = cheap_jit(tx.update), tx.init(params)
    for t, grad in enumerate(grads):
        mine = t % 3 == 1
        broken = grad if mine else jax.tree.map(lambda g: g * jnp.nan, grad)
        updates, new = update(broken, state, params)
        assert avals(updates) == avals(params)
        assert avals(new) == avals(state)
        assert int(new["count"]) == t + 1
        assert all(bool(np.any(u)) == mine for u in jax.tree.leaves(updates))
        if not mine:
            chex.assert_trees_all_equal(new["state"], state["state"])
        state = new
    assert {int(a) for a in jax.tree.leaves(state["state"]) if a.dtype == jnp.int32} == {2}


def test_dtypes_empty_trees_and_extra_arguments() -> None:
    params = tree(jnp.bfloat16, NAMES)
    tx = in_turn(adam(), 2, 1)
    _, state = tx.update(params, tx.init(params), params)
    for updates in (tx.update(params, tx.init(params), params)[0], tx.update(params, state, params)[0]):
        assert avals(updates) == avals(params)
    for empty in ({}, None, {"a": None}):
        assert tx.update(empty, tx.init(empty), empty)[0] == empty
    reads = optax.GradientTransformationExtraArgs(
        optax.init_empty_state, lambda g, s, p=None, *, factor, **_: (jax.tree.map(lambda g: factor * g, g), s)
    )
    tx = in_turn(reads)
    assert tx.update(jnp.ones(2), tx.init(jnp.ones(2)), factor=3.0)[0].tolist() == [3.0, 3.0]


def test_several_runs_and_traced_turns_at_once() -> None:
    """Each run of a vmap has a turn of its own."""
    x, gs = jnp.ones(3), jnp.stack([jnp.full(3, float(t + 1)) for t in range(6)])

    def run(every: Any, turn: Any) -> Any:
        tx = in_turn(sgd(1.0), every, turn)
        return jax.lax.scan(lambda s, g: tx.update(g, s)[::-1], tx.init(x), gs)[1]

    out = jax.jit(jax.vmap(run))(jnp.array([2.0, 3.0, 1.0]), jnp.array([1, 0, 0]))
    moved = [[t % n == k for t in range(6)] for n, k in ((2, 1), (3, 0), (1, 0))]
    assert np.array_equal(out, np.where(np.array(moved)[:, :, None], -np.asarray(gs)[None], 0))


GAME = {"encoder": {"kernel": PARAMS["kernel"], "discriminator": PARAMS["gain"]}, "discriminator": PARAMS["kernel"] / 2}
GAMES = {"encoder": {"kernel": GRADS["kernel"], "discriminator": GRADS["gain"]}, "discriminator": GRADS["kernel"][::-1]}
FALLING = {"learning_rate": falling, "momentum": 0.8}


@pytest.mark.parametrize("turns", ["simultaneous", "alternating"])
def test_a_game_equals_the_oracle(turns: str) -> None:
    """Only the entry at the top is the discriminator, which moves first."""
    tx = adversarial(model=adam(**ADAM), discriminator=momentum(**FALLING), turns=turns)
    n = 1 + (turns == "alternating")
    inner: dict[str, tuple] = {"model": (n, n - 1, oracles.adam), "discriminator": (n, 0, oracles.momentum)}
    for x64, tolerance in ((True, 1e-9), (False, 2e-5)):
        with jax.enable_x64(x64):
            ours = trajectory(tx, float, GAME, GAMES)
        equal(
            ours["discriminator"],
            taking_turns(GAME["discriminator"], GAMES["discriminator"], *inner["discriminator"], **FALLING),
            tolerance,
        )
        for k in ("kernel", "discriminator"):
            expected = taking_turns(GAME["encoder"][k], GAMES["encoder"][k], *inner["model"], **ADAM)
            equal(ours["encoder"][k], expected, tolerance)


def test_a_game_is_a_list_of_pieces() -> None:
    mine = excluding("^discriminator")
    params, grads = tree(names=NAMES), steps_of(steps=1, names=NAMES)[0]
    params, grads = ({"discriminator": t["kernel"], "gain": t["gain"]} for t in (params, grads))
    by_hand = chain(
        masked(in_turn(sgd(0.5), 2, 0), {"discriminator": True, "gain": False}), masked(in_turn(adam(), 2, 1), mine)
    )
    ours = adversarial(adam(), sgd(0.5), "alternating")

    def unnamed(state: Any) -> Any:
        return {**state, "state": {"masked": state["state"]["discriminator"], "masked#2": state["state"]["model"]}}

    chex.assert_trees_all_equal(unnamed(ours.init(params)), by_hand.init(params))
    updates, state = ours.update(grads, ours.init(params), params)
    expected = by_hand.update(grads, by_hand.init(params), params)
    chex.assert_trees_all_equal((updates, unnamed(state)), expected)
    first, second = (str(ours).index(f"turn={turn}") for turn in (0, 1))
    assert str(ours).index("# sgd(0.5)") < first < str(ours).index("# adam()") < second
    assert repr(adversarial(sgd(), sgd(0.5))) == "adversarial(sgd(), sgd(0.5))"


@pytest.mark.parametrize(
    "mask",
    ["(^|/)judge/", {"net": {"judge": True, "body": False}}, lambda tree: {"net": {"judge": True, "body": False}}],
)
def test_the_discriminator_may_be_elsewhere(mask: Any) -> None:
    params = {"net": {"judge": {"w": jnp.ones(2)}, "body": jnp.ones(2)}}
    tx = adversarial(model=sgd(0.1), discriminator=sgd(1.0), mask=mask)
    updates, _ = tx.update(params, tx.init(params), params)
    assert updates["net"]["judge"]["w"].tolist() == [-1.0, -1.0]
    assert np.allclose(updates["net"]["body"], -0.1)


def test_what_a_game_may_hold() -> None:
    tx = adversarial(model=lookahead(adam(), 1), discriminator=optax.sgd(0.1), turns="alternating")
    params = {"discriminator": {"w": jnp.ones(2, jnp.bfloat16)}, "a": jnp.ones(2), "b": None, "c": optax.MaskedNode()}
    state = tx.init(params)
    for _ in range(2):
        updates, new = cheap_jit(tx.update)(params, state, params)
        assert avals(updates) == avals(params)
        assert avals(new) == avals(state)
        state = new
    evaluated = eval_params(state, optax.apply_updates(params, updates))
    assert np.array_equal(evaluated["discriminator"]["w"], params["discriminator"]["w"])
    assert np.all(evaluated["a"] < 1)
    assert not any("discriminator" in path_name(p) for p, _ in jax.tree.leaves_with_path(state["state"]["model"]))
    for empty in ({}, {"a": None}):
        assert tx.update(empty, tx.init(empty), empty)[0] == empty


def test_a_saddle_is_found_in_turns_and_at_once() -> None:
    """x·y + x²/2 − y²/2: x descends, y ascends by its reversed gradient."""
    for turns, steps in (("simultaneous", 100), ("alternating", 200)):
        tx = adversarial(model=sgd(0.3), discriminator=sgd(0.3), turns=turns)

        def step(carry: Any, _: None, tx: Any = tx) -> Any:
            p, state = carry
            x, y = p["x"], p["discriminator"]
            updates, state = tx.update({"x": x + y, "discriminator": y - x}, state, p)
            return (optax.apply_updates(p, updates), state), None

        start = {"x": jnp.float32(2.0), "discriminator": jnp.float32(-1.0)}
        (p, _), _ = cheap_jit(lambda c, n=steps, step=step: jax.lax.scan(step, c, length=n))((start, tx.init(start)))
        assert max(abs(float(a)) for a in p.values()) < 1e-3


def test_donated_states() -> None:
    tx = adversarial(adam(), adam(), "alternating")
    params = {"discriminator": jnp.ones(3), "a": jnp.ones(3)}
    step = jax.jit(tx.update, donate_argnums=(0, 1))
    state = tx.init(params)
    for _ in range(3):
        _, state = step(jax.tree.map(jnp.copy, params), state, params)
    counts = {name: player["in_turn"]["inner"]["inner_count"] for name, player in state["state"].items()}
    assert {name: int(count) for name, count in counts.items()} == {"discriminator": 2, "model": 1}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: in_turn(adam(), every=2, turn=2), ValueError, "turn=2 never comes: with every=2 turns are 0 to 1"),
        (lambda: in_turn(adam(), every=0), ValueError, "every=0 is outside the integers of"),
        (lambda: in_turn(adam(), turn=-1), ValueError, "turn=-1 is outside the integers of"),
        (lambda: in_turn(adam), TypeError, "adam.* is no gradient transformation: call it"),
        (lambda: adversarial(adam(), adam), TypeError, "adam.* is no gradient transformation: call it"),
        (lambda: adversarial(adam(), adam(), turns="both"), ValueError, "turns='both' is neither"),
        (
            lambda: adversarial(adam(), adam()).init({"kernel": jnp.ones(2), "judge": {"discriminator": jnp.ones(1)}}),
            ValueError,
            r"mask='\^discriminator\(/\|\$\)' selects no parameters",
        ),
    ],
)
def test_errors_say_what_to_write_instead(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
