"""A wrong input is answered where it is made, with what is legal and the likely slip."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from gdo_optax.family import family
from gdo_optax.ranges import RANGES, optional


def outside(parameter: inspect.Parameter) -> list[Any]:
    legal = RANGES[parameter.name]
    values: list[Any] = [float("nan"), "0.1", [0.1], True, 1j, jnp.ones(3)]
    values += [] if optional(parameter) else [None]
    values += [legal.low - 1, float("-inf")] if legal.low > -np.inf else [float("inf")]
    values += [legal.low] if "[" not in legal.closed and legal.low > -np.inf else []
    values += [legal.high + 1] if legal.high < np.inf else [] if "]" in legal.closed else [float("inf")]
    values += [legal.high] if "]" not in legal.closed and legal.high < np.inf else []
    values += [2.5] if legal.integer else []
    values += [] if legal.schedule else [lambda count: 0.1]
    return values


RANGED = [
    pytest.param(entry, p, id=f"{entry.name}-{p.name}")
    for entry in family()
    for p in inspect.signature(entry.maker).parameters.values()
    if p.name in RANGES
]


@pytest.mark.parametrize(("entry", "parameter"), RANGED)
def test_values_outside_their_range(entry: Any, parameter: inspect.Parameter) -> None:
    usual = {"inner": g.sgd(0.1), "learning_rate": 0.1, "steps": 10}
    required = {
        p.name: usual[p.name] for p in inspect.signature(entry.maker).parameters.values() if p.default is p.empty
    }
    name = parameter.name
    for value in outside(parameter):
        with pytest.raises((ValueError, TypeError)) as error:
            entry.maker(**(required | {name: value}))
        assert f"{entry.name}: {name}=" in str(error.value) or f"{entry.name}: {name} " in str(error.value), value
        assert "\n" not in str(error.value)


def test_legal_ends_are_legal() -> None:
    params = jnp.ones(2)
    for tx in (
        g.adam(0.0, b1=0.0, b2=0.0, eps=0.0),
        g.lookahead(g.sgd(), sync_period=1, slow_step_size=1.0),
        g.radam(threshold=4),
        g.adafactor(decay_rate=1.0),
        g.sgdbound(lower_bound=0.0, upper_bound=float("inf")),
        g.lamb(min_norm=0.0, max_norm=float("inf")),
        g.adafactor(min_parameter_scale=None, momentum=None),
        g.adamnc(b1_decay=1.0),
        g.adam(np.float32(0.1), b1=jnp.float32(0.9), b2=np.float64(0.99)),
    ):
        updates, _ = tx.update(params, tx.init(params), params)
        assert jnp.isfinite(updates).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: g.adam(0.1, b1=1.5), ValueError, r"adam: b1=1.5 is outside \[0, 1\): it is the weight of the past"),
        (lambda: g.adam(-0.1), ValueError, r"adam: learning_rate=-0.1 .* downhill by itself"),
        (lambda: g.adam("0.1"), TypeError, r"adam: learning_rate='0.1' is not a number or a schedule"),
        (lambda: g.adam(jnp.ones(7)), TypeError, r"shape \(7,\), but is one number: .* jax.vmap"),
        (lambda: g.adam(0.1, eps=-8), ValueError, r"eps=-8 .* such as 1e-8, not its exponent"),
        (lambda: g.adam(0.1, lr=0.1), TypeError, r"adam: no argument lr=; did you mean learning_rate=\?"),
        (lambda: g.adam(0.1, beta1=0.9), TypeError, r"did you mean b1=\?"),
        (lambda: g.adamw(0.1, weight_deacy=0.1), TypeError, r"did you mean weight_decay=\?"),
        (lambda: g.adam(0.1, 0.9, 0.9, 0.9, 0.9, 0.9), TypeError, r"adam: too many positional arguments; it takes \("),
        (lambda: g.chain(g.adam), TypeError, r"adam is no gradient transformation: call it, adam\(…\)"),
        (lambda: g.chain(g.adam(0.1), 0.5), TypeError, r"0.5 is no gradient transformation"),
        (lambda: g.lookahead(g.adam), TypeError, r"call it, adam"),
        (lambda: g.chain([g.ema(0.9)]), TypeError, r"\[ema\(0.9\)\] is no gradient transformation: unpack it"),
        (
            lambda: g.adaptive(g.ema(0.9), []),
            TypeError,
            r"direction=ema\(0.9\) is not a list of pieces: \[ema\(0.9\)\]",
        ),
        (lambda: g.parallel(jnp.add), ValueError, r"parallel: the branches \[\] need a name each"),
        (lambda: g.parallel(jnp.add, params=[]), ValueError, r"not updates, state or params"),
        (lambda: g.sgd(0.1, nesterov=True), TypeError, r"sgd: no argument nesterov=; it takes learning_rate"),
        (lambda: g.adam(0.1, b2=jnp.bfloat16(0.999)), ValueError, r"rounded to bfloat16, give it in float32"),
        (
            lambda: g.piece(lambda: optax.sgd(0.1))(),
            TypeError,
            r"returned GradientTransformationExtraArgs, which is no Piece",
        ),
        (lambda: g.adaptive([g.ema], []), TypeError, r"ema is no gradient transformation: call it"),
        (lambda: g.radam(0.1, b2=lambda count: 0.9), TypeError, r"rectify: decay cannot be a schedule"),
        (lambda: g.nadam(0.1, b1=lambda count: 0.9), TypeError, r"nadam: b1 cannot be a schedule"),
        (
            lambda: g.adabound(lambda count: 0.1 * count.astype(float)),
            ValueError,
            r"learning_rate\(0\) is 0, but the bounds follow",
        ),
        (lambda: g.sgdbound(lower_bound=2.0), ValueError, r"sgdbound: lower_bound=2.0 is above upper_bound=1.0"),
        (lambda: g.lamb(min_norm=2.0, max_norm=1.0), ValueError, r"min_norm=2.0 is above max_norm=1.0"),
        (lambda: g.adamnc(b1=lambda count: 0.9), TypeError, r"adamnc: b1 cannot be a schedule"),
        (lambda: g.adamwr(weight_decay=lambda count: 0.1), TypeError, r"weight_decay cannot be a schedule"),
        (lambda: g.adafactor(momentum_position="first"), ValueError, r"'first' is neither 'after' nor 'before'"),
        (lambda: g.adafactor(factored_dims="first"), ValueError, r"'first' is neither 'last' nor 'largest'"),
        (lambda: g.excluding(["bias"]), TypeError, r"excluding: \['bias'\] is no string: give the patterns one by one"),
        (
            lambda: jax.jit(lambda period: g.adamwr(period=period).init(jnp.zeros(1)))(100),
            TypeError,
            r"adamwr: period cannot be traced, shapes depend on it: name it in static_args",
        ),
        (lambda: g.aggmo(momenta=0.9), TypeError, r"aggmo: momenta=0.9 is not a tuple of numbers"),
        (lambda: g.aggmo(momenta=()), ValueError, r"aggmo: momenta is empty"),
        (lambda: g.aggmo(momenta=(0.9, 1.0)), ValueError, r"aggmo: one of momenta: momentum=1.0 is outside \[0, 1\)"),
        (lambda: g.rprop(lambda count: 0.1), TypeError, r"rprop: learning_rate cannot be a schedule: it is the first"),
        (lambda: g.rprop(variant="I"), ValueError, r"rprop: variant='I' is none of 'minus', 'iminus' and 'plus'"),
        (lambda: g.rprop(min_step_size=1.0, max_step_size=0.1), ValueError, r"rprop: min_step_size=1.0 is above max_s"),
        (lambda: g.hinton_gains(min_gain=20.0), ValueError, r"hinton_gains: min_gain=20.0 is above max_gain=10.0"),
        (lambda: g.adagrad_rda(low=1.0, high=0.0), ValueError, r"project_to_box: low=1.0 is above high=0.0"),
        (lambda: g.adadelta(rho=lambda count: 0.9), TypeError, r"rho=.* is not a number \(no schedule\)"),
        (lambda: g.get("radm"), KeyError, r"nothing is called 'radm'; did you mean radam\?"),
        (lambda: g.get("zzz"), KeyError, r"did you mean sgd, momentum, "),
    ],
)
def test_the_message_says_what_to_write(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_names_of_other_peoples_pieces_are_theirs() -> None:
    @g.piece
    def soft(threshold: float = 0.1) -> g.Piece:
        return g.pointwise(lambda x: jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0))

    assert repr(soft(threshold=0.1)) == "soft(threshold=0.1)"


def test_traced_values_pass_unchecked() -> None:
    assert jax.jit(lambda b: g.adam(0.1, b1=b).init(jnp.zeros(1)))(2.0)


@pytest.mark.parametrize(
    "name", ["adamw", "lamb", "adafactor", "lookahead", "ranger", "lion", "nesterov_1983", "adagrad_rda"]
)
def test_missing_parameters(name: str) -> None:
    tx = g.get(name)()
    with pytest.raises(ValueError, match=r"reads the parameters: call update\(updates, state, params\)"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_gradients_of_another_structure() -> None:
    tx = g.adamw(0.1)
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    with pytest.raises(ValueError, match="must have the structure of the gradients: .*'b'"):
        tx.update({"a": jnp.ones(2)}, tx.init(params), params)


@pytest.mark.parametrize("mask", ["kernel", {"kernel": 1.0}, lambda tree: jax.tree.map(jnp.sum, tree)])
def test_masks_that_are_none(mask: Any) -> None:
    params = {"kernel": jnp.ones(2)}
    with pytest.raises(TypeError, match="mask: .* is neither True nor False"):
        g.adamw(0.1, mask=mask).update(params, g.adamw(0.1).init(params), params)


def test_integer_gradients_are_not_rounded_away() -> None:
    updates, _ = g.sgd(0.1).update(jnp.array([1, -2]), g.sgd(0.1).init(jnp.zeros(2)))
    np.testing.assert_allclose(updates, [-0.1, 0.2], rtol=1e-6)


def test_optax_transformations_that_are_no_pieces_are_welcome() -> None:
    assert g.chain(optax.sgd(0.1)).init(jnp.ones(1)) is not None
