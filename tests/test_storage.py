"""Memories in few bits: the codes against NumPy, what they cost, and how they train."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from benchmarks.halves import digits_loss
from gdo_optax.engine.trees import path_name
from gdo_optax.pieces.factored import factored_ema
from gdo_optax.pieces.units import positive_negative_momentum
from gdo_optax.wrappers.skipping import skip_nonfinite
from gdo_optax.wrappers.storage import blocks_of, decoded, half_of, store, turns
from tests.catalogue import avals


COUNT = jnp.int32(5)
encode = jax.jit(blocks_of, static_argnums=2)
decode = jax.jit(decoded, static_argnums=1)


def signed(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * 10 ** rng.uniform(-3, 3, shape)).astype(np.float32)


def numpys(x: np.ndarray, block_size: int, turn: np.ndarray) -> np.ndarray:
    """What is left of x: the level below or above |x|/max|x| = (k/n)², above where its turn is below the share."""
    out = np.empty(x.size)
    for i in range(0, x.size, block_size):
        b = x.ravel()[i : i + block_size].astype(float)
        most, top = np.abs(b).max(), 255 if (b >= 0).all() else 127
        y = np.abs(b) / most * top**2 if most else 0 * b
        k = np.floor(np.sqrt(y))
        share = (y - k**2) / ((k + 1) ** 2 - k**2)
        level = k + ((turn.ravel()[i : i + block_size] >> 24) + 0.5 < 256 * share)
        if top == 255:
            level[b > 0] = np.maximum(level[b > 0], 1)
        out[i : i + block_size] = np.sign(b) * (level / top) ** 2 * most
    return out.reshape(x.shape)


@pytest.mark.parametrize(("shape", "block_size"), [((6, 100), 64), ((512,), 256), ((3, 5, 7), 32)])
@pytest.mark.parametrize("f", [lambda x: x, np.square, lambda x: -np.square(x)], ids=["signed", "square", "negative"])
def test_the_codes_are_numpys(shape: tuple, block_size: int, f: Callable) -> None:
    x = f(signed(shape))
    code = encode(x, COUNT, block_size)
    assert (code.codes.dtype, code.codes.shape) == (jnp.int8, shape)
    assert code.scales.shape == (-(-x.size // block_size),)
    ours = np.asarray(decode(code, block_size), np.float64)
    expected = numpys(x, block_size, np.asarray(turns(shape, COUNT)))
    scale = np.abs(ours).max()
    assert np.mean(np.abs(ours - expected) > 1e-5 * np.abs(expected) + 1e-12 * scale) < 0.01  # ties of turn and share
    again = encode(decode(code, block_size), COUNT + 1, block_size)
    chex.assert_trees_all_equal(again, code)


def test_zero_is_zero_and_a_square_is_never() -> None:
    x = jnp.zeros((2, 256)).at[0, :3].set(jnp.array([1.0, 1e-20, 1e-6]))
    y = decode(encode(x, COUNT, 256), 256)
    assert (y[0, 3:] == 0).all()
    assert (y[1] == 0).all()
    assert y[0, 0] == 1
    np.testing.assert_allclose(y[0, 1:3], 1 / 255**2, rtol=1e-5)
    bad = decode(encode(x.at[0, 5].set(jnp.nan), COUNT, 256), 256)
    assert np.isnan(bad[0]).all()
    assert (bad[1] == 0).all()


@pytest.mark.parametrize("f", [lambda x: x, np.square], ids=["signed", "square"])
def test_the_mean_over_the_turns_is_right(f: Callable) -> None:
    x = f(np.random.default_rng(0).standard_normal(512)).astype(np.float32)
    counts = jnp.arange(1000, dtype=jnp.int32)
    ours = jax.jit(jax.vmap(lambda c: decoded(blocks_of(x, c, 256), 256)))(counts)
    halves = jax.jit(jax.vmap(lambda c: decoded(half_of(x, c), 256)))(counts)
    assert np.abs(np.asarray(ours[0]) - x).max() > 1e-3
    largest = np.abs(x).max()
    assert np.abs(np.asarray(ours, np.float64).mean(0) - x).max() < 1e-4 * largest
    assert np.abs(np.asarray(halves, np.float64).mean(0) / x - 1).max() < 1e-4


def test_an_average_of_a_thousand_steps_is_followed() -> None:
    """Which rounding to the nearest does not do: plain bfloat16 stays where it is."""
    sizes = 10 ** np.random.default_rng(0).uniform(-1, 0, (2, 512)).astype(np.float32)
    draws = np.random.default_rng(1).standard_normal((4000, 512)).astype(np.float32)
    x = np.square(draws * np.repeat(sizes, 2000, 0))

    def last(tx: g.Piece) -> np.ndarray:
        return jax.jit(lambda x: jax.lax.scan(lambda s, x: tx.update(x, s)[::-1], tx.init(x[0]), x)[1][-1])(x)

    exact, plain = last(g.ema(0.999)), last(g.ema(0.999, dtype=jnp.bfloat16))
    for as_, spread in (("int8", 0.2), ("bfloat16", 0.05)):
        ratio = np.asarray(last(store(g.ema(0.999), as_=as_)) / exact)
        assert abs(ratio.mean() - 1) < 0.02
        assert ratio.std() < spread
    assert np.std(np.asarray(plain / exact)) > 0.5


def test_adam_takes_two_bytes_a_parameter() -> None:
    params = {"kernel": jnp.zeros((1024, 1024)), "bias": jnp.zeros(1024)}
    size = sum(p.size for p in params.values())
    for tx in (store(g.adam()), store(optax.adam(1e-3)), store(g.chain(optax.clip_by_global_norm(1.0), g.adamw()))):
        state = tx.init(params)
        assert sum(a.nbytes for a in jax.tree.leaves(state)) <= 2.1 * size
    assert sum(a.nbytes for a in jax.tree.leaves(store(g.adam(), as_="bfloat16").init(params))) <= 4.01 * size


def kinds(tx: g.Piece, params: Any) -> dict[str, str]:
    """What of the state is in codes, by its path."""
    state = jax.eval_shape(tx.init, params)["state"]
    codes = {path_name(path): str(x.dtype) for path, x in jax.tree.leaves_with_path(state["stored"])}
    encoded = {path_name(path) for path, _ in jax.tree.leaves_with_path(state["scales"])}
    own = {path: dtype for path, dtype in codes.items() if "/stored/" not in path}  # not those of a store within
    assert all((path in encoded) == (dtype not in ("float32", "int32")) for path, dtype in own.items())
    return {path: codes[path] for path in encoded}


PARAMS = {"kernel": jnp.full((16, 32), 0.5), "bias": jnp.ones(32), "half": jnp.ones((16, 32), jnp.bfloat16)}
SECOND = {"scale_by_adam/scale/ema/memory/kernel", "scale_by_adam/scale/ema/memory/half"}
FIRST = {"scale_by_adam/direction/ema/memory/kernel", "scale_by_adam/direction/ema/memory/half"}


def test_what_is_encoded_is_a_choice() -> None:
    for where, chosen in (
        (None, FIRST | SECOND),
        ("/scale/", SECOND),
        (lambda path: path.endswith("half"), {p for p in FIRST | SECOND if "half" in p}),
    ):
        assert kinds(store(g.adam(), where), PARAMS) == dict.fromkeys(chosen, "int8")
    assert kinds(store(g.adam(), as_=jnp.bfloat16), PARAMS) == dict.fromkeys(FIRST | SECOND, "bfloat16")
    assert len(kinds(store(g.adam(), block_size=32), PARAMS)) == 6
    slow = g.lookahead(g.momentum())
    assert set(kinds(store(slow), PARAMS)) == {"momentum/trace/memory/kernel", "momentum/trace/memory/half"}
    assert any("eval_weights" in k for k in kinds(store(slow, where=""), PARAMS))
    assert not kinds(store(g.adafactor()), {"kernel": jnp.ones((300, 400))})
    assert len(kinds(store(g.adam()), {"stored": jnp.ones((16, 32))})) == 2  # whatever parameters are called
    within = kinds(store(g.chain(store(g.momentum()), g.trace(0.9))), {"kernel": jnp.ones((16, 32))})
    assert set(within) == {"trace/memory/kernel"}


def holed(seed: int) -> Any:
    x = {"kernel": jnp.asarray(signed((16, 32), seed)), "bias": jnp.ones(32)}
    return x | {"z_none": None, "z_masked": optax.MaskedNode()}


@pytest.mark.parametrize("as_", ["int8", "bfloat16"])
def test_jit_scan_vmap_donation_and_holes(as_: str) -> None:
    tx = store(g.adam(0.01), as_=as_)

    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        params, state = carry
        updates, state = tx.update(x, state, params)
        return (jax.tree.map(jnp.add, params, updates), state), updates

    params, x = jax.tree.map(jnp.copy, holed(0)), holed(1)
    carry = params, tx.init(params)
    kept = avals(carry)
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
    assert jax.tree.map(jnp.shape, tx.init(shapes)) == jax.tree.map(jnp.shape, carry[1])
    donated = jax.jit(step, donate_argnums=0)
    for _ in range(3):
        carry, _ = donated(carry, x)
    assert avals(carry) == kept
    assert avals(optax.tree_map_params(tx, lambda a: a + 1, carry[1])) == kept[1]
    both = jax.tree.map(lambda a: jnp.stack([a, a]), holed(0))
    run = jax.jit(jax.vmap(lambda p: jax.lax.scan(lambda c, _: (step(c, x)[0], None), (p, tx.init(p)), None, 3)[0]))
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[1], run(both)[0]), carry[0], rtol=1e-4, atol=1e-4)
    assert jax.eval_shape(lambda s: tx.update({}, s, {}), tx.init({}))[0] == {}


def test_what_waits_stays_as_it_is() -> None:
    """However often it is decoded and encoded again."""

    def inner(state: Any) -> Any:
        return state["state"]["stored"]["inner"], state["state"]["scales"]["inner"]

    x = jnp.asarray(signed((16, 32)))
    tx = store(g.accumulate(g.adam(0.1), 10))
    update = jax.jit(tx.update)
    state = tx.init(x)
    for _ in range(10):
        _, state = update(x, state, x)
    moments = inner(state)
    for _ in range(9):
        _, state = update(x, state, x)
    chex.assert_trees_all_equal(inner(state), moments)
    guarded = skip_nonfinite(tx)
    _, after = guarded.update(x.at[0, 0].set(jnp.nan), guarded.init(x), x)
    chex.assert_trees_all_equal(after["state"]["inner"], guarded.init(x)["state"]["inner"])


def test_digits_are_learnt_as_well() -> None:
    """The mean loss of three seeds after 300 steps is within a hundredth of float32's."""
    exact = digits_loss(g.adam(3e-3))
    assert exact < 0.15
    for as_ in ("int8", "bfloat16"):
        assert abs(digits_loss(store(g.adam(3e-3), as_=as_)) / exact - 1) < 0.01


@pytest.mark.parametrize(
    "tx",
    [
        lambda dtype: g.two_rate_ema(0.9, 0.99, dtype),
        lambda dtype: g.variance(0.9, dtype),
        lambda dtype: g.scale_by_adadelta(0.9, 1e-3, dtype),
        lambda dtype: factored_ema(dtype=dtype),
        lambda dtype: positive_negative_momentum(dtype=dtype),
    ],
    ids=["two_rate_ema", "variance", "scale_by_adadelta", "factored_ema", "positive_negative_momentum"],
)
def test_what_is_kept_may_be_asked_for_in_16_bits(tx: Callable) -> None:
    half, full, x = tx(jnp.bfloat16), tx(None), jnp.abs(jnp.asarray(signed((3, 4)))) + 0.1
    state, exact = half.init(x), full.init(x)
    for _ in range(2):
        y, state = half.update(x, state)
        expected, exact = full.update(x, exact)
    assert {a.dtype for a in jax.tree.leaves(state["state"]) if a.ndim} == {jnp.dtype(jnp.bfloat16)}
    assert avals(state) == avals(half.init(x))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, expected, rtol=0.03)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: store(g.adam), TypeError, r"call it, adam\(…\)"),
        (lambda: store(g.adam(), as_="float16"), ValueError, "store: as_='float16' is neither \"int8\" nor bfloat16"),
        (lambda: store(g.adam(), where=3), TypeError, "where=3 is neither a function of a path nor a regular"),
        (lambda: store(g.adam(), block_size=1), ValueError, r"block_size=1 is outside the integers of \[2, inf\)"),
    ],
)
def test_the_message_says_what_to_write(call: Callable, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
