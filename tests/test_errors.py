"""A wrong input is answered where it is made, with what is legal and the likely slip."""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from gdo_optax.engine.ranges import RANGES, optional
from gdo_optax.family import Entry, family, library


# What makers ask for that have no default.
USUAL: dict[str, Any] = {
    "inner": g.sgd(0.1), "schedule": lambda count: 0.5, "pace": lambda count: 0.5,
    "logits_of": lambda p: p,
    "embedding": "table", "popular": np.array([True, False]), "counts": np.array([3.0, 1.0]), "x": jnp.ones(2),
    "difficulty": np.arange(10.0), "direction": [], "centre": [], "scale": [], "c": 3.0, "seed": 0, "max_norm": 1.0,
    "learning_rate": 0.1, "b1": 0.9, "b2": 0.99, "rho": 0.9, "decay": 0.9, "momentum": 0.5, "eps": 1e-6, "value": 0.9,
    "weight_decay": 0.1, "norm_loss": 0.1, "steps": 10, "total_steps": 10, "period": 10, "warmup_steps": 10,
    "peak_value": 1.0, "model_dim": 512, "batch_size": 1, "training_points": 1, "examples": 10, "epochs": 1,
    "patience": 3, "every": 2, "sync_period": 2, "push_period": 2, "fetch_period": 2, "delay": 2, "max_delay": 2,
    "tasks": 3, "strength": 1.0, "share": 0.5, "nu": 0.5, "threshold": 5.0, "constant": 1.0, "step_size": 1.0,
    "decay_rate": 0.8, "lower_bound": 0.1, "upper_bound": 1.0, "clipping_threshold": 1.0, "final_learning_rate": 0.1,
    "moving_rate": 0.5, "radius": 0.1, "low": 1e-3, "high": 1.0, "rate": 0.1, "curvature": 1.0, "lmin": 1.0,
    "lmax": 2.0, "ratio": 10.0, "dim": 2,
}  # fmt: skip


def everything() -> dict[str, Callable[..., Any]]:
    """Every maker that takes a hyperparameter: the library's, the pieces' and those of other people's versions."""
    named = {entry.name: entry.maker for entry in library()} | {name: getattr(g, name) for name in g.__all__}
    for theirs in ("torch", "keras", "optax", "paper", "authors", "ruder"):
        module = getattr(g.like, theirs)
        local = {k: v for k, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__}
        named |= {f"like.{theirs}.{k}": v for k, v in local.items() if not k.startswith("_")}
    own = {"range_test", "weigh_tasks"}  # ranges of their own, or none: what calls them has checked
    functions = {k: v for k, v in named.items() if inspect.isfunction(v) and k not in own}
    return {k: v for k, v in functions.items() if set(RANGES) & set(inspect.signature(v).parameters)}


MAKERS = everything()
ARRAYS = {"critical_momentum", "largest_stable_rate", "spectral_radius"}  # of these a parameter may be an array


def usual(maker: Callable[..., Any]) -> dict[str, Any]:
    named = [p for p in inspect.signature(maker).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: USUAL[p.name] for p in named if p.default is p.empty}


def outside(name: str, parameter: inspect.Parameter) -> Iterator[Any]:
    """Just outside each legal end, no number, of a wrong type; the numbers also as NumPy's and JAX's."""
    legal = RANGES[parameter.name]
    numbers: list[float] = [math.nan]
    numbers += [legal.low - 1, -math.inf] if legal.low > -math.inf else [-math.inf]
    numbers += [legal.low] if "[" not in legal.closed and legal.low > -math.inf else []
    numbers += [legal.high + 1] if legal.high < math.inf else [] if "]" in legal.closed else [math.inf]
    numbers += [legal.high] if "]" not in legal.closed and legal.high < math.inf else []
    numbers += [2.5] if legal.integer else []
    for number in numbers:
        yield from (number, np.float64(number), np.array(number, np.float32), jnp.float32(number))
    yield from ("0.1", [0.1], (0.1,), {"value": 0.1}, True, np.True_, 1j, b"1", object())
    yield from () if name in ARRAYS else (jnp.ones(3), np.ones((1, 1)))
    yield from () if optional(parameter) else (None,)
    yield from () if legal.schedule else (lambda count: 0.1,)


def wrong_calls(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for parameter in inspect.signature(MAKERS[name]).parameters.values():
        if parameter.name in RANGES:
            for value in outside(name, parameter):
                yield parameter.name, usual(MAKERS[name]) | {parameter.name: value}


@pytest.mark.parametrize("name", MAKERS)
def test_values_outside_their_range(name: str) -> None:
    for parameter, settings in wrong_calls(name):
        with pytest.raises((ValueError, TypeError)) as error:
            MAKERS[name](**settings)
        message, value = str(error.value), settings[parameter]
        assert message.startswith((f"{name}: {parameter}=", f"{name}: {parameter} ")), value
        assert "\n" not in message
        legal = RANGES[parameter]
        if not callable(value) and not getattr(value, "ndim", 0):
            assert str(legal) in message
            assert legal.hint in message


def test_there_are_many_of_them() -> None:
    """torch has 124 invalid inputs."""
    assert len(MAKERS) > 150
    assert sum(1 for name in MAKERS for _ in wrong_calls(name)) > 10_000


def ends(parameter: inspect.Parameter) -> list[Any]:
    """The legal ends of a range, and what may stand beside numbers."""
    legal = RANGES[parameter.name]
    numbers = [legal.low] if "[" in legal.closed and legal.low > -math.inf else []
    numbers += [legal.high] if "]" in legal.closed else []
    arrays = [np.float64(n) for n in numbers] + [np.array(n, np.float32) for n in numbers]
    return [*numbers, *arrays, *map(jnp.float32, numbers), *([None] if optional(parameter) else [])]


def complaint(call: Callable[..., Any], *args: Any, **settings: Any) -> str:
    """What a call that may be wrong says."""
    try:
        call(*args, **settings)
    except (ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"frage_loss", "frequency_classes"}))  # they take data
def test_ends_of_ranges_are_legal(name: str) -> None:
    """Unless another setting is in the way, and then it says which."""
    for parameter in inspect.signature(MAKERS[name]).parameters.values():
        for value in ends(parameter) if parameter.name in RANGES else []:
            said = complaint(MAKERS[name], **usual(MAKERS[name]) | {parameter.name: value})
            assert not said or " is above " in said, (parameter.name, value)


INJECTED = [e for e in family() if {"b1", "momentum", "decay", "eps"} & set(inspect.signature(e.build).parameters)]


@pytest.mark.parametrize("entry", INJECTED, ids=lambda entry: entry.name)
def test_wrong_values_may_not_be_injected_either(entry: Entry) -> None:
    parameters = inspect.signature(entry.build).parameters
    name = next(k for k in ("b1", "momentum", "decay", "eps") if k in parameters)
    injected = optax.inject_hyperparams(entry.build, static_args=entry.static_args)(**{name: -0.5})
    with pytest.raises(ValueError, match=f": {name}=-0.5 is outside "):
        injected.init(jnp.ones(2))


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
        (
            lambda: g.adam(0.1, 0.9, 0.9, 0.9, 0.9, 0.9),
            TypeError,
            r"too many positional arguments; it takes learning_rate, b1",
        ),
        (lambda: g.chain(g.adam), TypeError, r"adam is no gradient transformation: call it, adam\(…\)"),
        (lambda: g.chain(g.adam(0.1), 0.5), TypeError, r"0.5 is no gradient transformation"),
        (lambda: g.lookahead(g.adam), TypeError, r"call it, adam"),
        (lambda: g.chain([g.ema(0.9)]), TypeError, r"\[ema\(0.9\)\] is no gradient transformation: unpack it"),
        (
            lambda: g.adaptive(g.ema(0.9), []),
            TypeError,
            r"direction=ema\(0.9\) is not a list of pieces: \[ema\(0.9\)\]",
        ),
        (lambda: g.parallel(jnp.add), ValueError, r"parallel: there are no branches; give lists of pieces"),
        (lambda: g.parallel(jnp.add, params=g.ema(0.9)), TypeError, r"params=ema\(0.9\) is not a list of pieces"),
        (lambda: g.sgd(0.1, nesterov=True), TypeError, r"sgd: no argument nesterov=; it takes learning_rate"),
        (lambda: g.adam(0.1, b2=jnp.bfloat16(0.999)), ValueError, r"rounded to bfloat16, give it in float32"),
        (
            lambda: g.piece(lambda: optax.sgd(0.1))(),
            TypeError,
            r"returned GradientTransformationExtraArgs, which is no piece: return chain",
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
        (
            lambda: g.centralize("last"),
            TypeError,
            r"centralize: out_axis='last' is not the number of an axis, such as -1",
        ),
        (lambda: g.masked(g.ema(0.9), None).init({"a": 1.0}), TypeError, r"mask: None is neither True nor False"),
        (
            lambda: g.nadam_momentum(lambda count: 0.9),
            TypeError,
            r"nadam_momentum: b1 .*no schedule|cannot be a schedule",
        ),
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
    def soft(threshold: float = 0.1) -> g.Rule:
        return g.rule(lambda x, level: jnp.sign(x) * jnp.maximum(jnp.abs(x) - level, 0), level=threshold)

    assert repr(soft(threshold=0.1)) == "soft(threshold=0.1)"


def test_traced_values_pass_unchecked() -> None:
    assert jax.jit(lambda b: g.adam(0.1, b1=b).init(jnp.zeros(1)))(2.0)


PARAMS = {"a": jnp.ones(2), "b": {"c": jnp.ones((3, 2))}}
OF_ANOTHER_MODEL: dict[str, tuple[Any, str]] = {
    "none": ({}, "'a.*' has no gradient"),
    "missing": ({"a": jnp.ones(2)}, "'b/c"),
    "renamed": ({"a": jnp.ones(2), "b": {"d": jnp.ones((3, 2))}}, "'b/c"),
    "more": (PARAMS | {"z": jnp.ones(2)}, "'z' has nothing but a gradient"),
    "list": ([jnp.ones(2)], "'a.*' has no gradient"),
    "longer": (PARAMS | {"a": jnp.ones(3)}, r"'a' has the shape \(3,\)"),
    "scalar": (PARAMS | {"a": jnp.ones(())}, r"'a' has the shape \(\)"),
    "column": (PARAMS | {"a": jnp.ones((2, 1))}, r"'a' has the shape \(2, 1\)"),
    "row": (PARAMS | {"a": jnp.ones((1, 2))}, r"'a' has the shape \(1, 2\)"),
    "transposed": (PARAMS | {"b": {"c": jnp.ones((2, 3))}}, r"'b/c' has the shape \(2, 3\)"),
}
NO_FLOATS: dict[str, tuple[Any, str]] = {
    "integer": (np.ones(2, np.int32), "int32"),
    "boolean": (np.ones(2, bool), "bool"),
    "float0": (np.zeros(2, jax.dtypes.float0), "float0"),
    "string": ("x", "str"),
    "function": (jnp.tanh, "PjitFunction"),
}


def with_memory() -> list[Entry]:
    """Of what has none but counts nobody can tell whether a gradient is another model's."""
    return [entry for entry in family() if entry.words > 0]


def names(entry: Entry) -> str:
    return entry.name


@pytest.mark.parametrize("entry", with_memory(), ids=names)
def test_gradients_of_another_model_are_told_by_their_path(entry: Entry) -> None:
    tx = entry()
    state = tx.init(PARAMS)
    for kind in sorted(set(OF_ANOTHER_MODEL) - ({"row", "column", "transposed"} if entry.dense else set())):
        grads, message = OF_ANOTHER_MODEL[kind]  # a matrix of all pairs does not tell how they are laid out
        with pytest.raises(ValueError, match=message) as error:
            tx.update(grads, state, PARAMS)
        assert "\n" not in str(error.value), kind


@pytest.mark.parametrize("entry", family(), ids=names)
def test_gradients_are_floats(entry: Entry) -> None:
    tx = entry()
    state = tx.init(PARAMS)
    for x, kind in NO_FLOATS.values():
        with pytest.raises(TypeError, match=rf"the gradient of 'b/c' is .*{kind}.*: give floats, or None for what is"):
            tx.update(PARAMS | {"b": {"c": x}}, state, PARAMS)


@pytest.mark.parametrize("entry", with_memory(), ids=names)
def test_states_of_other_optimizers(entry: Entry) -> None:
    """Unless they look the same, and then they are as good."""
    tx, every = entry(), family()
    own = tx.init(PARAMS)
    neighbours = [every[(every.index(entry) + i) % len(every)]().init(PARAMS) for i in (1, 2, 3)]
    for other in (*neighbours, (), {}, None, PARAMS, optax.adam(0.1).init(PARAMS), g.ema(0.9).init(PARAMS)):
        if jax.tree.structure(other) != jax.tree.structure(own):
            with pytest.raises(
                ValueError, match=r"the state is another optimizer's: it (holds|is)|must have the struct"
            ):
                tx.update(PARAMS, other, PARAMS)
    with pytest.raises(ValueError, match="'a' has the shape .*, but the state was made for another"):
        tx.update(PARAMS, tx.init(PARAMS | {"a": None}), PARAMS)


def test_the_state_of_one_piece_is_no_others() -> None:
    for tx in (g.ema(0.9), g.bias_correction(0.9), g.slow_weights(), g.extrapolate()):
        for state in (g.rectify(0.9).init(PARAMS), optax.scale_by_adam().init(PARAMS), (), None, {"ema": PARAMS}):
            if jax.tree.structure(state) != jax.tree.structure(tx.init(PARAMS)):
                with pytest.raises(ValueError, match=r"the state is another optimizer's|must have the structure"):
                    tx.update(PARAMS, state, PARAMS)
    with pytest.raises(ValueError, match=r"it holds \['ema'\], not \['direction', 'scale'\]"):
        g.adaptive([g.ema(0.9)], [g.ema(0.9)]).update(PARAMS, g.chain(g.ema(0.9)).init(PARAMS), PARAMS)


READING = {
    "adabound", "adaboundw", "adafactor", "adagrad_mirror", "adagrad_rda", "adamw", "adamwr", "amsbound", "lamb",
    "lars", "lars_2017", "lookahead", "nlamb", "nnlamb", "ranger", "ranger21", "ranger_qh", "ranger_va", "sgdw",
    "sgdwr", "lion",
}  # fmt: skip


@pytest.mark.parametrize("entry", family(), ids=names)
def test_missing_parameters(entry: Entry) -> None:
    """Who reads them says so, and nobody else asks."""
    tx = entry(**({"weight_decay": 0.1} if entry.name in ("adabound", "amsbound") else {}))
    state = tx.init(PARAMS)
    if entry.name in READING:
        with pytest.raises(ValueError, match=r"reads the parameters: call update\(updates, state, params\)"):
            tx.update(PARAMS, state)
    else:
        tx.update(PARAMS, state)


MASKING = [(name, k) for name in MAKERS for k in inspect.signature(MAKERS[name]).parameters if k.endswith("mask")]
MASKS: dict[str, tuple[Any, type[Exception], str]] = {
    "string": ("kernel", TypeError, "'kernel' is neither True nor False"),
    "numbers": ({"a": 1.0, "b": 0.0}, TypeError, "1.0 is neither True nor False"),
    "arrays": (lambda tree: jax.tree.map(jnp.sum, tree), TypeError, "is neither True nor False"),
    "missing": ({"a": True}, ValueError, "its structure is no prefix of the tree's: 'b/c' is not in it"),
    "renamed": ({"a": True, "b": {"d": True}}, ValueError, "'b/c' is not in it"),
    "more": ({"a": True, "b": True, "z": False}, ValueError, "'z' is in it alone"),
    "list": ([True, False], ValueError, "'a' is not in it"),
}


@pytest.mark.parametrize(("name", "argument"), MASKING)
def test_masks_that_are_none(name: str, argument: str) -> None:
    for mask, kind, message in MASKS.values():
        decay = {"weight_decay": 0.1} if "weight_decay" in inspect.signature(MAKERS[name]).parameters else {}
        tx = MAKERS[name](**usual(MAKERS[name]) | decay | {argument: mask})
        with pytest.raises(kind, match=f"^mask: .*{message}"):
            tx.update(PARAMS, tx.init(PARAMS), PARAMS)


WRAPPERS = [name for name in MAKERS if "inner" in inspect.signature(MAKERS[name]).parameters]


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_is_wrapped_is_a_transformation(name: str) -> None:
    for inner, hint in (
        (g.adam, r": call it, adam\(…\)"),
        ([g.adam()], ": unpack it"),
        (None, ""),
        ("adam", ""),
        (1, ""),
    ):
        with pytest.raises(TypeError, match=f" is no gradient transformation{hint}"):
            MAKERS[name](**usual(MAKERS[name]) | {"inner": inner})


def test_optax_transformations_that_are_no_pieces_are_welcome() -> None:
    assert g.chain(optax.sgd(0.1)).init(jnp.ones(1)) is not None
