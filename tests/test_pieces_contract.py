"""What every piece and wrapper promises, wherever it is used, and what it says to a wrong call."""

import functools
import re
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from gdo_optax.engine.trees import absent
from gdo_optax.optimizers import evaluating, lookahead
from gdo_optax.optimizers.ranger21 import ranger21
from gdo_optax.pieces import gradients as on_gradients
from gdo_optax.pieces import paths, slow, units
from gdo_optax.wrappers import evaluations, layers, precision, skipping, storage
from tests.catalogue import avals, steps_of, tree


NAMES = ("kernel",)
"""One array, as what these tests cost is compiling; the formulas are tested on every rank."""


def loss(params: Any) -> jax.Array:
    return sum((jnp.sum((p.astype(jnp.float32) - 1) ** 2) for p in jax.tree.leaves(params)), jnp.zeros(()))


EXTRA = {"value_fn": loss, "value_and_grad_fn": jax.value_and_grad(loss)}
ALL: dict[str, str] = {
    name: f"{name}({arguments})"
    for name, arguments in {
        "accumulate": "momentum(0.1), every=2",
        "lazy": "momentum(0.1)",
        "layerwise": "momentum(0.1), 0.1",
        "lookahead": "momentum(0.1), 2",
        "adaptive_lookahead": "momentum(0.1), 2",
        "restart_state": "momentum(0.1), 2",
        "interpolate_state": "momentum(0.1), 2, 0.5",
        "ranger21": "0.1, 10, sync_period=2",
        "heun": "0.1",
        "sam": "momentum(0.1), 0.1",
        "extragradient": "0.1",
        "with_second_gradient": "[scale(-0.1)]",
        "normalize_by_update_norm": "",
        "gradient_ahead": "",
        "scale_by_backtracking": "4.0",
        "extrapolate": "",
        "temporal_average": "0.5",
        "polyak_average": "",
        "positive_negative_momentum": "",
        "adaptive_grad_clip": "",
        "add_norm_loss": "0.1",
        "normalize": "",
        "scale_by_path": "{'kernel': 0.5}",
        "add_gradient_noise": "seed=1",
        "keep_master": "momentum(0.1)",
        "compensate": "momentum(0.1)",
        "round_stochastically": "momentum(0.1), seed=1",
        "store": "momentum(0.1), block_size=4",
        "skip_nonfinite": "momentum(0.1)",
    }.items()
} | {
    "reset": "lookahead(momentum(0.1), 2, inner_state='reset')",
    "interpolate": "lookahead(momentum(0.1), 2, inner_state='interpolate')",
    "stable_weight_decay": "chain(square(), stable_weight_decay(0.1))",
    "inverse_softplus_root": "chain(square(), inverse_softplus_root(0.1))",
    "nested": "accumulate(lazy(lookahead(accumulate(heun(0.1), 2), 2, inner_state='reset')), 2)",
}
SPACE = {
    k: v
    for module in (
        slow,
        paths,
        units,
        on_gradients,
        evaluations,
        layers,
        lookahead,
        evaluating,
        precision,
        skipping,
        storage,
        g,
    )
    for k, v in vars(module).items()
} | {"ranger21": ranger21}


HOLES = {"z_masked": optax.MaskedNode(), "z_none": None, "z_still": None}
"""In a gradient; z_still is a parameter without one."""


def applied(params: Any, updates: Any) -> Any:
    """As optax.apply_updates, but for the holes."""
    return jax.tree.map(lambda u, p: p if absent(u) else p + u, updates, params, is_leaf=absent)


@functools.cache
def compiled(name: str) -> tuple[g.Piece, Callable]:
    """A piece, and its jitted update and apply, to which the parameters and the state are donated."""
    tx = eval(ALL[name], SPACE)

    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any, Any]:
        updates, state = tx.update(grads, state, params, **EXTRA)
        return applied(params, updates), state, updates

    return tx, jax.jit(step, donate_argnums=(0, 1))


def model(seed: int = 0, dtype: Any = jnp.float32) -> Any:
    """Parameters of their own, to be donated."""
    return {**HOLES, **jax.tree.map(jnp.copy, tree(dtype, NAMES, seed=seed)), "z_still": jnp.ones(2, dtype)}


def gradients(steps: int, dtype: Any = jnp.float32) -> list[Any]:
    return [x | HOLES for x in steps_of(dtype, steps, NAMES)]


every_one = pytest.mark.parametrize("name", ALL)


def close(ours: Any, theirs: Any, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    chex.assert_trees_all_close(ours, theirs, rtol=rtol, atol=atol)


@every_one
def test_nothing_changes_type_and_all_may_be_donated(name: str) -> None:
    tx, step = compiled(name)
    params, before = model(), step._cache_size()
    state = tx.init(params)
    first, of_parameters = avals(state), avals(params)
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
    assert jax.tree.map(jnp.shape, tx.init(shapes)) == jax.tree.map(jnp.shape, state)
    for x in gradients(5):
        given = params, state
        params, state, updates = step(*given, x)
        assert avals(state) == first
        assert avals(params) == of_parameters
        assert avals(updates) == avals(x)  # and the holes are where they were
        assert all(a.is_deleted() for a in jax.tree.leaves(given))
    assert step._cache_size() - before <= 1
    assert (params["z_still"] == 1).all()
    chex.assert_tree_all_finite((params, state))
    marked = optax.tree_map_params(tx, lambda a: a + 1, state)
    assert avals(marked) == first


@every_one
def test_a_scan_under_vmap_of_what_optax_wraps_equals_the_loop(name: str) -> None:
    tx, update = compiled(name)
    mask = {**dict.fromkeys(("z_none", "z_still", *NAMES), True), "z_masked": False}
    inside = optax.chain(optax.identity(), optax.masked(tx, mask))
    grads = gradients(4)
    given = jax.tree.map(lambda *xs: np.stack(xs), *({**x, "z_masked": jnp.ones(2)} for x in grads))

    @jax.jit
    @jax.vmap
    def scanned(params: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            updates, state = inside.update(x, carry[1], carry[0], **EXTRA)
            return (applied(carry[0], updates), state), updates

        return jax.lax.scan(step, (params, inside.init(params)), given)

    models = [{**model(seed), "z_masked": jnp.ones(2)} for seed in (0, 1)]
    (_, outer), updates = scanned(jax.tree.map(lambda *ps: np.stack(ps), *models))
    assert (updates["z_masked"] == 1).all()
    both = jax.tree.map(np.asarray, (updates["kernel"], outer[1].inner_state))
    for i in (0, 1):
        params, (ours, last) = model(i), jax.tree.map(lambda a, i=i: a[i], both)
        state = tx.init(params)
        for t, x in enumerate(grads):
            params, state, expected = update(params, state, x)
            close(ours[t], expected["kernel"], rtol=1e-4, atol=1e-4)
        close(last, state, rtol=1e-4, atol=1e-4)


OWN_DTYPES = {"keep_master", "compensate", "round_stochastically", "store"}
"""What itself decides how parameters are rounded, or what is stored how; it has tests of its own."""


@pytest.mark.parametrize("name", [name for name in ALL if name not in OWN_DTYPES])
def test_half_precision_is_rounded_once(name: str) -> None:
    tx, step = compiled(name)
    state, wide_state = (tx.init(model(dtype=jnp.bfloat16)) for _ in "ab")
    assert all(a.dtype in (jnp.float32, jnp.int32) for a in jax.tree.leaves(state))
    for x in gradients(3, jnp.bfloat16):
        half = model(dtype=jnp.bfloat16)
        wide, wide_x = (jax.tree.map(lambda a: a.astype(jnp.float32), t) for t in (half, x))
        _, state, updates = step(half, state, x)
        _, wide_state, expected = step(wide, wide_state, wide_x)
        assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}
        rounded = jax.tree.map(lambda u: u.astype(jnp.bfloat16).astype(jnp.float32), expected)
        close(jax.tree.map(lambda u: u.astype(jnp.float32), updates), rounded, rtol=float(jnp.finfo(jnp.bfloat16).eps))
    close(state, wide_state)


@every_one
def test_an_empty_tree_is_no_trouble(name: str) -> None:
    tx, _ = compiled(name)
    updates, state = jax.eval_shape(lambda s: tx.update({}, s, {}, **EXTRA), tx.init({}))
    assert updates == {}
    assert jax.tree.map(lambda a: (a.shape, a.dtype), state) == jax.tree.map(lambda a: (a.shape, a.dtype), tx.init({}))


@every_one
def test_a_recipe_is_python(name: str) -> None:
    tx, _ = compiled(name)
    assert str(eval(repr(tx), SPACE)) == str(tx)
    if name not in ("ranger21", "add_gradient_noise"):  # schedules are functions, and cannot be printed as code
        text = re.sub(r"  #.*", "", str(tx))
        assert re.sub(r"  #.*", "", str(eval(text, SPACE))) == text
    assert "piece(" not in str(tx)
    assert max(map(len, str(tx).splitlines())) <= 120


INJECTED = {
    "accumulate": ((g.momentum(0.1), 2), ()),
    "lazy": ((g.momentum(0.1),), ("state",)),
    "layerwise": ((g.momentum(0.1), 0.1), ()),
    "lookahead": ((g.momentum(0.1), 2), ()),
    "interpolate_state": ((g.momentum(0.1), 2, 0.5), ("where",)),
    "ranger21": ((0.1, 10), ("steps", "b2")),
    "scale_by_backtracking": ((4.0,), ()),
    "temporal_average": ((0.5,), ()),
    "add_gradient_noise": ((0.01, 0.55, 1), ()),
    "positive_negative_momentum": ((), ()),
    "round_stochastically": ((g.momentum(0.1), 1), ()),
    "store": ((g.momentum(0.1),), ("where", "as_", "block_size")),
    "skip_nonfinite": ((g.momentum(0.1),), ()),
}


@pytest.mark.parametrize("name", INJECTED)
def test_numbers_may_be_injected(name: str) -> None:
    args, static = INJECTED[name]
    plain, step = compiled(name)
    params, [x] = model(), gradients(1)
    tx = optax.inject_hyperparams(SPACE[name], static_args=static)(*args)
    updates, state = jax.jit(lambda x, s, p: tx.update(x, s, p, **EXTRA))(x, tx.init(params), params)
    assert avals(state) == avals(tx.init(params))
    close(updates, step(params, plain.init(params), x)[2], rtol=1e-4)


ONE = jnp.ones(1)


def of(tx: g.Piece, params: Any = None, **extra: Any) -> Any:
    """One update of a number."""
    return tx.update(ONE, tx.init(ONE), params, **extra)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: g.accumulate(g.sgd(), 0), ValueError, r"accumulate: every=0 is outside the integers of \[1, inf\)"),
        (lambda: g.accumulate(g.sgd(), 2.5), ValueError, "it counts updates"),
        (lambda: g.accumulate(g.sgd), TypeError, r"accumulate: missing a required argument: 'every'"),
        (lambda: g.accumulate(g.sgd, 2), TypeError, r"call it, sgd\(…\)"),
        (lambda: g.lazy(g.sgd(), state="cold"), ValueError, 'lazy: state=\'cold\' is neither "frozen" nor "dense"'),
        (lambda: g.lazy([g.sgd()]), TypeError, "is no gradient transformation: unpack it"),
        (lambda: SPACE["layerwise"](g.sgd(), -1.0), ValueError, "layerwise: learning_rate=-1.0 is outside"),
        (lambda: SPACE["layerwise"](0.1), TypeError, "0.1 is no gradient transformation"),
        (lambda: g.lookahead(g.sgd(), inner_state="pullback"), ValueError, '\'pullback\' is none of "keep", "reset"'),
        (lambda: g.lookahead(g.sgd(), slow_step_size=0.0), ValueError, "share of the way to the fast weights"),
        (
            lambda: g.adaptive_lookahead(g.sgd(), min_slow_step_size=1.5),
            ValueError,
            "min_slow_step_size=1.5 is outside",
        ),
        (lambda: g.restart_state(g.sgd(), 0), ValueError, "restart_state: every=0 is outside"),
        (lambda: g.interpolate_state(g.sgd(), 2, 1.5), ValueError, "interpolate_state: share=1.5 is outside"),
        (lambda: g.temporal_average(1.0), ValueError, "temporal_average: decay=1.0 is outside"),
        (lambda: g.temporal_average().update(ONE, g.temporal_average().init(ONE)), ValueError, "reads the parameters"),
        (lambda: of(g.adaptive_slow_weights(), ONE), ValueError, "no branch 'gradient' came before"),
        (lambda: of(g.gradient_ahead(), ONE), ValueError, r"gradient_ahead: call .* value_and_grad_fn=…"),
        (lambda: of(g.gradient_ahead()), ValueError, "gradient_ahead reads the parameters"),
        (lambda: of(g.heun(), ONE, value_and_grad_fn=3), ValueError, "a function of the parameters"),
        (lambda: of(g.scale_by_backtracking(), ONE), ValueError, r"scale_by_backtracking: .* value_fn=…"),
        (lambda: g.scale_by_backtracking(-1.0), ValueError, "learning_rate=-1.0 is outside"),
        (lambda: ranger21(0.1), TypeError, "ranger21: missing a required argument: 'steps'"),
        (lambda: ranger21(0.1, 0), ValueError, "steps=0 is outside"),
        (lambda: ranger21(0.1, 10, b1=lambda count: 0.9), TypeError, "ranger21: b1 cannot be a schedule"),
        (lambda: units.positive_negative_momentum(lambda count: 0.9), TypeError, "decay cannot be a schedule"),
        (lambda: units.adaptive_grad_clip(0.0), ValueError, "adaptive_grad_clip: clipping=0.0 is outside"),
        (lambda: of(units.add_norm_loss(0.1)), ValueError, "reads the parameters"),
        (lambda: units.inverse_softplus_root(sharpness=0), ValueError, "sharpness=0 is outside"),
        (lambda: on_gradients.add_gradient_noise(-1.0), ValueError, "eta=-1.0 is outside"),
        (lambda: paths.scale_by_path(0.5), TypeError, "scale_by_path: 0.5 is not a dict"),
        (lambda: paths.scale_by_path({"bias": "0.5"}), TypeError, "'bias': '0.5' is not a pattern and its factor"),
        (lambda: paths.scale_by_path({3: 0.5}), TypeError, "3: 0.5 is not a pattern and its factor"),
        (lambda: paths.scale_by_path({"(": 0.5}), re.error, "unterminated"),
        (
            lambda: of(g.parallel(jnp.add, there=[], b=[g.recall("here")])),
            ValueError,
            r"no branch 'here' .* are \['there'\]",
        ),
    ],
)
def test_the_message_says_what_to_write(call: Callable, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
