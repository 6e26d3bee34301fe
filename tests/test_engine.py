"""What the engine promises of every recipe: its state, its clock, equality, un-jitted use, dtypes, clients."""

import copy
import functools
import gc
import inspect
import pickle
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, serialization
from jax import export, monitoring

import gdo_optax as g
from gdo_optax.engine import xla
from gdo_optax.engine.interpreter import program_of
from gdo_optax.engine.nodes import Rule, Whole
from gdo_optax.family import family, get, library
from tests.catalogue import FAMILY, SETTINGS, cheap_jit, steps_of, tree


WRAPPERS = [
    pytest.param(entry.build, id=entry.name)
    for entry in library()
    if entry.kind == "wrapper" and not entry.needs and entry.name != "sam"
]
P = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]]), "bias": jnp.array([0.5, -1.0]), "none": None}
G = jax.tree.map(lambda p: jnp.sin(3 * p) + 0.1, P)


def run(tx: Any, steps: int = 4, params: Any = P, grads: Any = G, state: Any = None, jit: Any = cheap_jit) -> Any:
    """Parameters and state after some steps with gradients that change."""
    state = tx.init(params) if state is None else state
    update = jit(tx.update)
    for i in range(steps):
        updates, state = update(jax.tree.map(lambda a, i=i: a * (1 + i % 3), grads), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def close(a: Any, b: Any, ulps: float = 8) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        size = np.max(np.abs(np.asarray(y, np.float64)), initial=1e-30)
        np.testing.assert_allclose(x, y, rtol=0, atol=ulps * float(jnp.finfo(y.dtype).eps) * size)


class Compiled:
    """Counts what XLA compiles while it is entered."""

    count = 0

    def __enter__(self) -> "Compiled":
        monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def _listen(self, event: str, duration: float, **_: Any) -> None:
        self.count += event.endswith("backend_compile_duration")

    def __exit__(self, *_: Any) -> None:
        monitoring.unregister_event_duration_listener(self._listen)


# ---------------------------------------------------------------------------------------------------- names are free

NAMES = (
    "go", "touched", "common", "choices", "keep", "rows", "count", "state", "merge", "params", "updates", "extra",
    "memory", "m", "x", "p", "t", "path", "values", "inner", "self", "node", "branches", "key", "eval_weights", "now",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_branch_may_have_any_name(name: str) -> None:
    gradients = [jnp.array(v) for v in ([1.0, 0.0], [0.0, 2.0], [3.0, 0.0])]

    def last(name: str) -> jax.Array:
        tx = g.parallel(lambda a, b: b, **{name: [], "other": [g.ema(0.5), g.recall(name), g.ema(0.5)]})
        state = tx.init(gradients[0])
        for x in gradients:
            y, state = jax.jit(tx.update)(x, state)
        return y

    np.testing.assert_array_equal(last(name), [1.625, 0.5])


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("updates", "state", "params", "self", "x")])
def test_an_argument_of_the_caller_may_have_any_name(name: str) -> None:
    def update(x: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        return jax.tree.map(lambda a: a * extra[name], x), state

    foreign = optax.GradientTransformationExtraArgs(lambda p: optax.EmptyState(), update)
    tx = g.skip_nonfinite(g.chain(g.scale(2.0), foreign, g.lazy(g.chain(g.ema(0.0), foreign))))
    x = jnp.array([1.0, 3.0])
    np.testing.assert_array_equal(tx.update(x, tx.init(x), x, **{name: 3.0})[0], 18 * x)


@pytest.mark.parametrize("name", ["m", "x", "p", "t", "age", "path", "key", "measured", "branches", "count"])
def test_what_the_engine_gives_is_no_hyperparameter(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name!r}.*no hyperparameter"):
        g.rule(lambda a, **h: a, **{name: 1.0})
    with pytest.raises(TypeError, match=f"{name!r}.*no hyperparameter"):
        g.per_step(lambda **h: 1.0, **{name: 1.0})


def test_a_rule_and_its_hyperparameters_fit() -> None:
    with pytest.raises(TypeError, match="asks for 'rate'"):
        g.rule(lambda x, rate: rate * x)
    with pytest.raises(TypeError, match="does not ask for 'rate'"):
        g.rule(lambda x: x, rate=1.0)


@pytest.mark.parametrize("name", ["eval_weights", "eval_displacement"])
def test_parameters_do_not_have_the_names_of_second_weights(name: str) -> None:
    with pytest.raises(ValueError, match="rename it"):
        g.sgd().init({"layer": {name: jnp.ones(1)}})


# ------------------------------------------------------------------------------------------------ one clock, one layout


def layout(state: Any) -> Any:
    return jax.tree.map(lambda a: (jnp.shape(a), jnp.result_type(a)), state)


def plain(node: Any) -> bool:
    if isinstance(node, dict):
        return all(isinstance(k, str) and plain(v) for k, v in node.items())
    return node is None or isinstance(node, jax.Array)


@pytest.mark.parametrize("entry", FAMILY)
def test_a_state_is_dicts_of_arrays_under_a_count(entry: Any) -> None:
    if entry.needs:
        pytest.skip("its update needs a function")
    for settings in SETTINGS.get(entry.name, [{}]):
        if "inner" in settings:
            continue
        tx = entry.maker(**settings) if settings else entry.build()
        state = tx.init(P)
        assert set(state) == {"count", "state"}
        assert plain(state), state
        _, after = jax.eval_shape(tx.update, G, state, P)
        assert layout(after) == layout(state)


@pytest.mark.parametrize("make", WRAPPERS)
def test_a_wrapper_has_one_count(make: Any) -> None:
    state = make().init(P)
    assert plain(state)
    assert optax.tree.get(state, "count").dtype == jnp.int32


@pytest.mark.parametrize("entry", FAMILY)
def test_the_layout_does_not_know_how_a_hyperparameter_is_given(entry: Any) -> None:
    if entry.needs:
        pytest.skip("its update needs a function")
    first = layout(entry.build().init(P))
    parameters = inspect.signature(entry.build).parameters
    names = ("learning_rate", "b1", "b2", "decay", "momentum", "weight_decay", "eps", "rho")
    for name in (n for n in names if n in parameters and isinstance(parameters[n].default, float)):
        value = parameters[name].default
        for given in (jnp.float32(value), np.float32(value), lambda count, v=value: v):
            try:
                tx = entry.build(**{name: given})
            except TypeError:
                assert callable(given)  # not every number may be a schedule
                continue
            assert layout(tx.init(P)) == first, name
            assert layout(jax.eval_shape(tx.update, G, tx.init(P), P)[1]) == first, name
        assert layout(jax.eval_shape(lambda v, name=name: entry.build(**{name: v}).init(P), value)) == first, name


@pytest.mark.parametrize("b1", [0.9, jnp.float32(0.9), lambda count: 0.9], ids=["number", "array", "schedule"])
@pytest.mark.parametrize("then", [0.9, jnp.float32(0.9), lambda count: 0.9], ids=["number", "array", "schedule"])
def test_a_run_goes_on_when_a_number_becomes_an_array_or_a_schedule(b1: Any, then: Any) -> None:
    params, state = run(g.adam(0.1, b1=b1))
    there, _ = run(g.adam(0.1, b1=then), params=params, state=state)
    expected, _ = run(g.adam(0.1, b1=0.9), steps=4)
    close(params, expected)
    whole, _ = run(g.adam(0.1), params=expected, state=run(g.adam(0.1))[1])
    close(there, whole)


def test_another_beta_in_the_middle_of_a_run_is_debiased_by_those_that_were_used() -> None:
    x = jnp.ones(1)
    state = g.chain(g.ema(0.5), g.bias_correction(0.5)).init(x)
    for decay in (0.5, 0.5, 0.9, 0.9, 0.5):
        y, state = g.chain(g.ema(decay), g.bias_correction(decay)).update(x, state)
        np.testing.assert_allclose(y, 1.0, rtol=1e-6)


def test_memories_that_are_reset_have_an_age_and_the_clock_goes_on() -> None:
    seen = g.rule(lambda x, t, age: x + 100 * t + age)
    tx = g.restart_state(g.piece(lambda: seen)(), every=3)
    state, out = tx.init(jnp.zeros(1)), []
    for _ in range(7):
        y, state = tx.update(jnp.zeros(1), state, jnp.zeros(1))
        out.append(int(y[0]))
    assert out == [101, 202, 303, 401, 502, 603, 701]


def test_a_program_that_runs_less_often_has_a_clock_of_its_own() -> None:
    tx = g.accumulate(g.sgd(lambda count: 1.0 + count.astype(float)), every=2)
    state, out = tx.init(jnp.zeros(1)), []
    for _ in range(6):
        y, state = tx.update(jnp.ones(1), state)
        out.append(float(y[0]))
    assert out == [0, -1, 0, -2, 0, -3]
    assert int(optax.tree.get(state, "count")) == 6
    assert int(optax.tree.get(state, "inner_count")) == 3


def test_a_full_count_stays_full() -> None:
    tx = g.adam()
    state = tx.init(P) | {"count": jnp.int32(2**31 - 1)}
    updates, state = tx.update(G, state, P)
    assert int(state["count"]) == 2**31 - 1
    assert all(bool(jnp.all(jnp.isfinite(u))) for u in jax.tree.leaves(updates))


def test_another_optimizers_state_is_refused() -> None:
    for state in (g.sgd().init(P), (), {"count": jnp.int32(0)}, optax.adam(1e-3).init(P)):
        with pytest.raises(ValueError, match="another optimizer's"):
            g.adam().update(G, state, P)


AVERAGES = {
    "temporal_average": lambda: g.chain(g.adam(0.1), g.temporal_average(0.5)),
    "lookahead": lambda: g.lookahead(g.sgd(0.1), sync_period=2),
    "nesterov_1983": lambda: g.nesterov_1983(0.1),
    "in wrappers": lambda: g.skip_nonfinite(g.accumulate(g.lookahead(g.sgd(0.1), sync_period=2), 1)),
    "easgd": lambda: g.easgd(0.1, sync_period=1),
}


@pytest.mark.parametrize("make", AVERAGES.values(), ids=AVERAGES.keys())
def test_eval_params_reads_a_state_that_was_restored_without_a_template(make: Any) -> None:
    params, state = run(make(), 3)
    expected = g.eval_params(state, params)
    assert any(bool(jnp.any(a != b)) for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(params), strict=True))
    restored = serialization.msgpack_restore(serialization.msgpack_serialize(serialization.to_state_dict(state)))
    close(g.eval_params(restored, params), expected, 0)


@pytest.mark.parametrize("entry", FAMILY)
def test_no_slot_is_an_input_array(entry: Any) -> None:
    if entry.needs:
        pytest.skip("its update needs a function")
    params = tree()
    state = entry.build().init(params)
    mine = {a.unsafe_buffer_pointer() for a in jax.tree.leaves(params)}
    assert not mine & {a.unsafe_buffer_pointer() for a in jax.tree.leaves(state)}


# ------------------------------------------------------------------------------------------------------ un-jitted use


@pytest.mark.parametrize("entry", FAMILY)
def test_an_equal_optimizer_compiles_nothing_new(entry: Any) -> None:
    if entry.needs:
        pytest.skip("its update needs a function")
    first = entry.build()  # kept, as programs are as long as they are
    params, grads = tree(), steps_of()[5]
    state = first.init(params)
    first.update(grads, state, params)
    with Compiled() as compiled:
        entry.build().update(grads, state, params)
    assert compiled.count == 0


def test_arrays_and_schedules_compile_nothing_new() -> None:
    def settings(rate: Any, beta: Any) -> Any:
        return g.adamw(rate, b1=beta, weight_decay=jnp.float32(0.1))

    first = settings(jnp.float32(0.1), jnp.float32(0.9))
    state = first.init(P)
    first.update(G, state, P)
    with Compiled() as compiled:
        for rate in (0.2, 0.3):
            settings(jnp.float32(rate), jnp.float32(0.8)).update(G, state, P)
    assert compiled.count == 0
    second = g.adam(lambda count: 0.1 if count < 2 else 0.2)
    _, state = second.update(G, second.init(P), P)
    with Compiled() as compiled:
        for _ in range(3):
            _, state = second.update(G, state, P)
    assert compiled.count == 0


def test_a_users_schedule_is_called_each_step_as_python() -> None:
    calls = []

    def schedule(count: Any) -> float:
        calls.append(int(count))  # which a traced count would refuse
        return 1.0 if count < 1 else 2.0

    tx = g.chain(g.clip_by_global_norm(100.0), g.sgd(schedule), g.slow_weights(3))
    state, x = tx.init(jnp.zeros(1)), jnp.ones(1)
    out = []
    for _ in range(3):
        y, state = tx.update(x, state, jnp.zeros(1))
        out.append(float(y[0]))
    assert calls == [0, 1, 2]
    assert out == [-1, -2, -1]


def test_a_schedule_of_the_library_is_compiled() -> None:
    tx = g.adam(g.linear_warmup(10, 0.1), b1=g.nadam_momentum(0.9))
    assert not tx.node.outside
    assert g.adam(g.inverse_sqrt_decay(lambda count: 0.1)).node.outside  # a user's inside of it


@pytest.mark.parametrize("entry", FAMILY)
def test_un_jitted_is_one_program(entry: Any) -> None:
    if not entry.needs:
        assert entry.build().node.compiles


@pytest.mark.parametrize("how", ["jit", "un-jitted", "vmap", "disable_jit", "grad"])
def test_the_same_numbers_however_it_runs(how: str) -> None:
    tx = g.skip_nonfinite(g.chain(g.clip_by_global_norm(1.0), g.ranger(0.1), g.temporal_average(0.9)))
    state = tx.init(P)
    expected = jax.jit(tx.update)(G, state, P)[0]
    if how == "disable_jit":
        with jax.disable_jit():
            found = tx.update(G, state, P)[0]
    elif how == "vmap":
        stacked = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), G)
        found = jax.tree.map(lambda a: a[0], jax.vmap(lambda g: tx.update(g, state, P)[0])(stacked))
    elif how == "grad":
        found = jax.vjp(lambda g: tx.update(g, state, P)[0], G)[0]
    else:
        found = (jax.jit(tx.update) if how == "jit" else tx.update)(G, state, P)[0]
    close(found, expected, 4)


def test_gradients_flow_to_a_rate() -> None:
    def loss(rate: Any) -> Any:
        tx = g.adam(rate)
        updates, _ = tx.update(G, tx.init(P), P)
        return sum(jnp.sum(u) for u in jax.tree.leaves(updates))

    slope = (loss(0.1 + 1e-3) - loss(0.1 - 1e-3)) / 2e-3
    np.testing.assert_allclose(jax.grad(loss)(0.1), slope, rtol=1e-3)
    np.testing.assert_allclose(jax.vmap(loss)(jnp.array([0.1, 0.2])), [loss(0.1), loss(0.2)], rtol=1e-6)


def test_nothing_keeps_a_piece_alive() -> None:
    tx = g.adam(0.123456)
    tx.update(G, tx.init(P), P)
    jax.jit(tx.update)(G, tx.init(P), P)
    piece, program = weakref.ref(tx.node), weakref.ref(program_of(tx.node))
    del tx
    jax.clear_caches()
    gc.collect()
    assert piece() is None
    assert program() is None


# --------------------------------------------------------------------------------------------------------- equality


@pytest.mark.parametrize("entry", FAMILY)
def test_equal_calls_are_equal_pieces(entry: Any) -> None:
    a, b = entry.build(), entry.build()
    assert a == b
    assert hash(a) == hash(b)
    assert (a != b) is False
    assert copy.copy(a) == a
    assert copy.deepcopy(a) == a
    assert a.node.program_key == b.node.program_key


@pytest.mark.parametrize("entry", FAMILY)
def test_pieces_are_pickled(entry: Any) -> None:
    again = pickle.loads(pickle.dumps(entry.build()))
    assert again == entry.build()
    assert str(again) == str(entry.build())


def test_what_is_not_the_same_is_not_equal() -> None:
    assert g.scale(1) != g.scale(1.0)
    assert g.scale(1.0) != g.scale(-1.0)
    assert g.scale(0.0).node.program_key != g.scale(-0.0).node.program_key
    assert g.sgd(0.1) != g.momentum(0.1)
    assert g.sgd(0.1) == g.sgd(learning_rate=0.1)
    assert g.adam() == g.adam(1e-3)
    assert g.chain(g.ema(0.9), g.scale(0.1)) != g.chain(g.scale(0.1), g.ema(0.9))
    assert g.masked(g.scale(2.0), {"a": True}) != g.masked(g.scale(2.0), {"a": False})
    assert g.adam(g.linear_warmup(5, 0.1)) == g.adam(g.linear_warmup(5, 0.1))
    assert g.adam(g.linear_warmup(5, 0.1)) != g.adam(g.linear_warmup(6, 0.1))
    assert g.sgd() != optax.sgd(0.1)
    assert g.sgd() != "sgd"


def test_what_cannot_be_hashed_equals_itself() -> None:
    for make in (lambda: g.sgd(jnp.float32(0.1)), lambda: g.scale_by_path({"a": jnp.ones(())})):
        tx = make()
        assert tx == tx  # noqa: PLR0124
        assert tx != make()
        hash(tx)


def test_a_piece_is_a_static_argument() -> None:
    traces = []

    @functools.partial(jax.jit, static_argnums=0)
    def step(tx: Any, x: Any, state: Any) -> Any:
        traces.append(tx)
        return tx.update(x, state, x)

    x = jnp.ones(3)
    for _ in range(3):
        step(g.adamw(0.1), x, g.adamw().init(x))
    assert len(traces) == 1
    step(g.adamw(0.2), x, g.adamw().init(x))
    assert len(traces) == 2


def test_functions_of_one_code_that_captured_other_values_are_other_programs() -> None:
    def made(factor: float) -> g.Piece:
        return g.piece(lambda: g.rule(lambda x: factor * x))()

    x = jnp.ones(1)
    assert [float(made(f).update(x, made(f).init(x))[0][0]) for f in (2.0, 3.0, 2.0)] == [2, 3, 2]
    assert made(2.0).node.program_key == made(2.0).node.program_key != made(3.0).node.program_key


EXPORTED = [*FAMILY, *WRAPPERS]


@pytest.mark.parametrize("entry", EXPORTED)
def test_a_step_is_exported_and_runs_again(entry: Any) -> None:
    if getattr(entry, "needs", ""):
        pytest.skip("its update needs a function")
    tx = (entry.build if hasattr(entry, "build") else entry)()
    params = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}
    grads = jax.tree.map(lambda p: 0.5 * p, params)

    @jax.jit
    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    blob = export.export(step)(params, state, grads).serialize()
    again = export.deserialize(blob).call(params, state, grads)
    close(again[0], step(params, state, grads)[0], 2)
    assert layout(again[1]) == layout(state)


# ------------------------------------------------------------------------------------------------- dtypes and clients


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("entry", FAMILY)
def test_an_update_has_the_wider_dtype_of_gradient_and_parameter(entry: Any, dtype: Any) -> None:
    if entry.needs:
        pytest.skip("its update needs a function")
    tx, params = entry.build(), tree()
    half = jax.tree.map(lambda p: p.astype(dtype), params)
    for grads, p, wanted in ((half, params, jnp.float32), (half, half, dtype), (params, half, jnp.float32)):
        updates, _ = jax.eval_shape(tx.update, grads, jax.eval_shape(tx.init, p), p)
        assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(wanted)}


@pytest.mark.parametrize("make", [lambda: g.momentum(1e-5), lambda: g.adam(2e-8), lambda: g.keep_master(g.sgd(1e-5))])
def test_a_small_step_of_half_precision_gradients_reaches_float32_parameters(make: Any) -> None:
    tx, p = make(), jnp.zeros(1)
    grad = jnp.full(1, 1e-4, jnp.float16)
    updates, _ = tx.update(grad, tx.init(p), p)
    assert updates.dtype == jnp.float32
    assert float(updates[0]) != 0


@pytest.mark.parametrize("name", ["b1", "b2"])
def test_injected_betas_are_debiased_by_those_that_were_used(name: str) -> None:
    tx = optax.inject_hyperparams(g.adam)(1.0, **{name: lambda count: 0.5 + 0.4 * (count % 2).astype(float)})
    state, x = tx.init(jnp.zeros(1)), jnp.ones(1)
    for _ in range(6):
        y, state = jax.jit(tx.update)(x, state, x)
        np.testing.assert_allclose(y, -1.0, rtol=1e-6)


STORED = {
    "int8": lambda: g.store(g.adam(0.1), block_size=2),
    "bfloat16": lambda: g.store(g.adam(0.1), as_="bfloat16", block_size=2),
    "sparse": lambda: g.sparse_rows(g.adam(0.1)),
    "by row": lambda: g.sparse_rows(g.adam(0.1), counts="row"),
}
OPTIONS = {
    f"{entry.name}-{i}": functools.partial(entry.maker, **settings)
    for entry in family()
    for i, settings in enumerate(SETTINGS.get(entry.name, []))
    if "inner" not in settings and not entry.needs and not entry.dense
}


@pytest.mark.parametrize("make", [*STORED.values(), *OPTIONS.values()], ids=[*STORED, *OPTIONS])
def test_nnx_runs_it_at_any_options(make: Any) -> None:
    model = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, make(), wrt=nnx.Param)
    for i in range(2):
        grads = nnx.grad(lambda m, i=i: jnp.sum(m(jnp.full((2, 4), 1.0 + i)) ** 2))(model)
        optimizer.update(model, grads)
    assert bool(jnp.all(jnp.isfinite(model.kernel[...])))


# ----------------------------------------------------------------------------------------------------------- segments


def test_recall_finds_branches_across_nodes_that_see_all_arrays() -> None:
    inside = g.skip_nonfinite(g.chain(g.clip_by_global_norm(1e9), g.recall("first"), g.scale(3.0)))
    tx = g.parallel(lambda a, b: b, first=[g.scale(2.0)], second=[inside])
    np.testing.assert_array_equal(tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2))[0], [6, 6])


def test_masks_stand_inside_of_masks() -> None:
    def ends(letter: str) -> Any:
        return lambda tree: jax.tree.map_with_path(lambda path, _: path[-1].key.endswith(letter), tree)

    x = {name: jnp.ones(1) for name in ("ab", "b", "a", "c")}
    outer = {"ab": True, "b": True, "a": True, "c": False}
    tx = g.masked(g.chain(g.ema(0.5), g.masked(g.scale(10.0), ends("b"))), outer)
    y, state = tx.update(x, tx.init(x))
    assert {k: float(v[0]) for k, v in y.items()} == {"ab": 5, "b": 5, "a": 0.5, "c": 1}
    assert optax.tree.get(state, "memory")["c"] is None


@pytest.mark.parametrize("inner", ["ours", "foreign"])
def test_keep_reaches_every_kind_of_node(inner: str) -> None:
    adam = {"ours": g.adam(0.1), "foreign": optax.adam(0.1)}[inner]
    tx = g.skip_nonfinite(g.chain(g.clip_by_global_norm(9.0), g.accumulate(g.lazy(adam), 1), g.slow_weights(2)))
    bad = jax.tree.map(lambda a: a.at[0].set(jnp.nan), G)
    with jax.numpy_dtype_promotion("standard"):  # which optax needs
        _, state = tx.update(G, tx.init(P), P)
        updates, after = jax.jit(tx.update)(bad, state, P)
    assert int(after["state"]["skipped"]) == 1
    kept = {**after["state"], "skipped": state["state"]["skipped"]}
    jax.tree.map(np.testing.assert_array_equal, kept, state["state"])
    assert all(bool(jnp.all(u == 0)) for u in jax.tree.leaves(updates))


def test_leafless_trees_pass() -> None:
    tx = g.chain(g.masked(g.ema(0.9), g.excluding("bias")), g.scale_by_path({"kernel": 0.1}), g.adamw())
    mapped = optax.tree_map_params(tx, lambda a: a + 1, tx.init(P))
    assert layout(mapped) == layout(tx.init(P))
    for empty in ({}, None, [], {"a": None}):
        updates, _ = tx.update(empty, tx.init(empty), empty)
        assert jax.tree.leaves(updates) == []


@pytest.mark.parametrize("entry", FAMILY)
def test_without_the_tricks_for_a_cpu_the_numbers_are_the_same(entry: Any) -> None:
    if entry.needs:
        pytest.skip("its update needs a function")
    params, grads = tree(), steps_of()[5]
    state = entry.build().init(params)
    expected, _ = entry.build().update(grads, state, params)
    jax.clear_caches()
    with xla.off():
        found, _ = jax.jit(lambda g, s, p: entry.build().update(g, s, p))(grads, state, params)
    close(found, expected, 64)


def test_a_maker_returns_a_node_or_a_piece() -> None:
    with pytest.raises(TypeError, match="no piece"):
        g.piece(lambda: 3)()
    assert isinstance(g.ema(0.9).node, Rule)
    assert isinstance(g.accumulate(g.sgd(), 2).node, Whole)


def test_get_finds_the_registry() -> None:
    assert get("adam")() == g.adam()
