"""FRAGE's losses against their NumPy forms in float64, the reversed gradient, and what they refuse."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gdo_optax.frage import discriminator, frage_loss, frequency_classes, moment_loss, reverse_gradient
from gdo_optax.optimizers.momentum import sgd
from gdo_optax.wrappers.players import adversarial
from tests.catalogue import cheap_jit
from tests.oracles import frage as oracle


WORDS, FEATURES, STEPS = 12, 3, 200
POPULAR = oracle.frequency_classes(np.arange(WORDS) % 5, 0.25)
GAMES: list[tuple[float, str, np.ndarray]] = [
    (0.1, "both", POPULAR),
    (2.0, "rare", POPULAR),
    (0.7, "both", oracle.frequency_classes(np.arange(WORDS), 0.6)),
]


def table(seed: int = 0, size: float = 1.0) -> np.ndarray:
    return size * np.random.default_rng(seed).standard_normal((WORDS, FEATURES)) + 0.3


def close(ours: Any, expected: Any, tolerance: float) -> None:
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected)
    assert np.max(np.abs(ours - expected)) <= tolerance * np.max(np.abs(expected))


def test_the_derivative_is_turned_round_both_ways() -> None:
    x = {"a": jnp.array([1.0, -2.0]), "b": [jnp.float32(3.0), None], "c": jnp.arange(2), "d": optax.MaskedNode()}
    same = reverse_gradient(x, 0.5)
    assert jax.tree.structure(same) == jax.tree.structure(x)
    assert all(a is b for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(x), strict=True))

    def f(a: jax.Array, strength: Any) -> jax.Array:
        return jnp.sum(reverse_gradient({"a": a, "n": 3}, strength)["a"] ** 2)

    a = x["a"]
    assert np.array_equal(jax.grad(f)(a, 0.5), -0.5 * 2 * a)
    assert np.array_equal(jax.jit(jax.grad(f))(a, 3), -3 * 2 * a)
    assert jax.jvp(lambda a: f(a, 0.5), (a,), (jnp.ones(2),))[1] == -0.5 * 2 * (1 - 2)
    several = jax.vmap(jax.grad(f), (None, 0))(a, jnp.array([0.0, 1.0, 2.0]))
    assert np.array_equal(several, -jnp.arange(3.0)[:, None] * 2 * a[None])
    assert jax.grad(f, 1)(a, 0.5) == 0  # λ is no parameter
    nothing = jax.grad(lambda n: 2.0, allow_int=True)(reverse_gradient(x["c"]))
    assert nothing.dtype == jax.dtypes.float0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.complex64])
def test_a_reversed_gradient_keeps_its_dtype_and_is_rounded_once(dtype: Any) -> None:
    x = jnp.array([1.5, -3.25], dtype)
    out, pull = jax.vjp(lambda x: reverse_gradient(x, jnp.float32(0.1)), x)
    (g,) = pull(x)
    assert out.dtype == g.dtype == x.dtype
    assert np.array_equal(g, jnp.array([-np.float32(0.1) * 1.5, np.float32(0.1) * 3.25], jnp.float32).astype(dtype))


def test_classes() -> None:
    for counts in (np.arange(9) % 4, np.ones(7), np.array([3, 1, 2], np.uint8), 10.0 ** np.arange(20)):
        for share in (0.2, 0.34, 0.5):
            assert np.array_equal(frequency_classes(counts, share), oracle.frequency_classes(counts, share))
    assert frequency_classes([1, 1, 1, 1, 1]).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(("strength", "push", "popular"), GAMES)
def test_a_game_equals_the_oracle(strength: float, push: str, popular: np.ndarray) -> None:
    """200 steps of two players, of whom the embedding also wants to be where it is told."""
    aim, rates = table(1), (0.05, 0.3)
    embedding, kernel, bias, losses = table(), np.full(FEATURES, 0.1), 0.2, []
    for _ in range(STEPS):
        value, d_e, d_k, d_b = oracle.frage_loss(embedding, popular, kernel, bias, strength, push)
        losses.append(value)
        embedding = embedding - rates[0] * (embedding - aim + d_e)
        kernel, bias = kernel - rates[1] * d_k, bias - rates[1] * d_b

    judge = discriminator(FEATURES)
    tx = adversarial(model=sgd(rates[0]), discriminator=sgd(rates[1]))

    def loss(params: Any) -> Any:
        judged = frage_loss(params["e"], popular, partial(judge.apply, params["discriminator"]), strength, push)
        return jnp.sum((params["e"] - aim) ** 2) / 2 + judged, judged

    def step(carry: Any, _: None) -> Any:
        params, state = carry
        (_, judged), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), judged

    with jax.enable_x64(True):
        layer = {"kernel": jnp.full((FEATURES, 1), 0.1), "bias": jnp.full(1, 0.2)}
        params = {"e": jnp.asarray(table()), "discriminator": [layer]}
        (params, _), ours = cheap_jit(lambda c: jax.lax.scan(step, c, length=STEPS))((params, tx.init(params)))
    close(ours, losses, 1e-9)
    close(params["e"], embedding, 1e-9)
    close(params["discriminator"][0]["kernel"][:, 0], kernel, 1e-9)
    close(params["discriminator"][0]["bias"], bias, 1e-9)


def linear(kernel: np.ndarray, bias: float) -> Any:
    return lambda e: jnp.sum(e * jnp.asarray(kernel, e.dtype)[None], 1) + bias


@pytest.mark.parametrize(("strength", "push", "popular"), GAMES)
def test_the_loss_in_float32_and_traced(strength: float, push: str, popular: np.ndarray) -> None:
    e = jnp.asarray(table(size=30.0), jnp.float32)  # logits far beyond where 1 − f is 0 in float32
    value, d_e, _, _ = oracle.frage_loss(np.asarray(e), popular, np.ones(FEATURES), 0.5, strength, push)
    both = cheap_jit(jax.value_and_grad(lambda e, p, s: frage_loss(e, p, linear(np.ones(FEATURES), 0.5), s, push)))
    ours = both(e, popular, strength)
    close(ours[0], value, 2e-5)
    close(ours[1], d_e, 2e-5)


def values_and_gradients(loss: Any) -> Any:
    return cheap_jit(jax.value_and_grad(loss))


def test_moments_equal_the_oracle() -> None:
    for x64, tolerance in ((True, 1e-9), (False, 2e-5)):
        with jax.enable_x64(x64):
            ours = values_and_gradients(moment_loss)
            for e, popular in ((table(), POPULAR), (table(2, 100.0) + 50.0, POPULAR), (table(3, 0.01), ~POPULAR)):
                value, d_e = oracle.moment_loss(e, popular)
                close(ours(jnp.asarray(e, float), popular)[0], value, tolerance)
                close(ours(jnp.asarray(e, float), popular)[1], d_e, tolerance)


def test_a_constant_feature_has_no_skewness() -> None:
    """Of all words, or of one class; the others' moments and gradients are as without it."""
    e, mean = table(), np.zeros((WORDS, 1))
    dead = np.concatenate([e, mean + 0.25, np.where(POPULAR, 0.5, table(5)[:, 0])[:, None]], 1)
    with jax.enable_x64(True):
        value, g = values_and_gradients(moment_loss)(jnp.asarray(dead), POPULAR)
    close(value, oracle.moment_loss_value(dead.astype(complex), POPULAR).real, 1e-9)
    assert np.isfinite(g).all()
    assert not g[:, 3].any() or np.ptp(g[POPULAR, 3]) == 0


def test_matching_moments_brings_them_together() -> None:
    e = jnp.asarray(np.random.default_rng(0).gamma(2.0, size=(60, 3)), jnp.float32)
    popular = np.arange(60) < 20
    start = e + jnp.where(popular, 1.0, 0.0)[:, None]

    def step(e: Any, rate: Any) -> Any:
        value, g = jax.value_and_grad(moment_loss)(e, popular)
        return e - rate * g, value

    _, values = cheap_jit(lambda e: jax.lax.scan(step, e, 0.5 / (1 + jnp.arange(400.0) / 20)))(start)
    assert values[-1] < 0.05 * values[0]


def test_equal_rows_are_no_matter() -> None:
    loss = values_and_gradients(moment_loss)
    for number in (0.0, 0.1, 3e4):
        value, g = loss(jnp.full((WORDS, FEATURES), number), POPULAR)
        assert value == 0
        assert not np.asarray(g).any()


def test_half_precision_is_judged_in_float32() -> None:
    e = jnp.asarray(table(), jnp.bfloat16)
    judge = discriminator(FEATURES, hidden=(4,))
    logits = partial(judge.apply, cheap_jit(judge.init)(jax.random.key(0)))
    for loss in (lambda e: frage_loss(e, POPULAR, logits, 0.3), lambda e: moment_loss(e, POPULAR)):
        value, g = values_and_gradients(loss)(e)
        wide, wide_g = values_and_gradients(loss)(e.astype(jnp.float32))
        assert value.dtype == jnp.float32
        assert g.dtype == jnp.bfloat16
        assert not value.weak_type
        assert value == wide
        assert np.array_equal(g, wide_g.astype(jnp.bfloat16))


def test_several_tables_at_once() -> None:
    tables = jnp.stack([jnp.asarray(table(seed), jnp.float32) for seed in range(3)])
    for loss in (
        lambda e: moment_loss(e, POPULAR),
        lambda e: frage_loss(e, POPULAR, linear(np.ones(FEATURES), 0.0), 0.5),
    ):
        one_by_one = [cheap_jit(jax.grad(loss))(e) for e in tables]
        close(cheap_jit(jax.vmap(jax.grad(loss)))(tables), jnp.stack(one_by_one), 1e-6)


def test_the_discriminator() -> None:
    judge = discriminator(FEATURES, hidden=[5, 4])
    params = cheap_jit(judge.init)(jax.random.key(0))
    assert [p["kernel"].shape for p in params] == [(3, 5), (5, 4), (4, 1)]
    kernels = np.concatenate([np.ravel(p["kernel"]) for p in params])
    assert 0.08 < np.max(np.abs(kernels)) <= 0.1
    assert len(np.unique(kernels)) == kernels.size
    assert not any(p["bias"].any() for p in params)
    e = table()
    params = jax.tree.map(lambda a: a + 0.05, params)
    h = e
    for i, p in enumerate(params):
        h = (np.maximum(h, 0) if i else h) @ np.asarray(p["kernel"], np.float64) + np.asarray(p["bias"])
    close(judge.apply(params, jnp.asarray(e, jnp.float32)), h[:, 0], 1e-5)
    with jax.enable_x64(True):
        z = judge.apply(params, jnp.asarray(e))
    assert z.dtype == jnp.float64
    close(z, h[:, 0], 1e-12)


def test_what_the_adversary_learns_is_what_a_probe_would() -> None:
    """Alone it converges on the cross entropy of the best line; against it the classes come together."""
    e = jnp.asarray(table(), jnp.float32) + jnp.where(POPULAR, 1.5, 0.0)[:, None]
    judge = discriminator(FEATURES)
    start = {"e": e, "discriminator": judge.init(jax.random.key(0))}
    gaps, ends = [], []
    for strength in (0.0, 0.3):
        tx = adversarial(model=sgd(0.2), discriminator=sgd(0.5))

        def loss(p: Any, strength: float = strength) -> jax.Array:
            return frage_loss(p["e"], POPULAR, partial(judge.apply, p["discriminator"]), strength)

        def step(carry: Any, _: None, tx: Any = tx, loss: Any = loss) -> Any:
            params, state = carry
            value, g = jax.value_and_grad(loss)(params)
            updates, state = tx.update(g, state, params)
            return (optax.apply_updates(params, updates), state), value

        (params, _), values = cheap_jit(lambda c, step=step: jax.lax.scan(step, c, length=400))((start, tx.init(start)))
        gaps.append(float(jnp.linalg.norm(params["e"][POPULAR].mean(0) - params["e"][~POPULAR].mean(0))))
        ends.append(float(values[-1]))
    assert ends[0] < 0.7
    assert ends[1] > 1.3  # of 2·log 2 = 1.386
    assert gaps[1] < 0.2 * gaps[0]


E, P = jnp.ones((4, 2)), np.array([True, False, False, True])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: reverse_gradient(E, -1.0), ValueError, r"strength=-1.0 is outside \[0, inf\).*turned round by itself"),
        (lambda: frage_loss(E, P, lambda e: e[:, 0], "much"), TypeError, "strength='much' is not a number"),
        (lambda: frage_loss(E, P, lambda e: e[:, 0], push="popular"), ValueError, 'neither "both" nor "rare"'),
        (lambda: frage_loss(E, P, lambda e: e), ValueError, r"logits_of returns \(4, 2\), not one logit a word"),
        (lambda: frage_loss(E[0], P, lambda e: e), ValueError, r"shapes \(2,\) and \(4,\), not \(V, d\) and \(V,\)"),
        (lambda: moment_loss(E, P[:3]), ValueError, r"shapes \(4, 2\) and \(3,\)"),
        (lambda: moment_loss(E, P.astype(int)), TypeError, "popular is int(32|64): give booleans"),
        (lambda: frage_loss(E, P & False, lambda e: e[:, 0]), ValueError, "0 popular and 4 rare words"),
        (lambda: moment_loss(E, np.arange(4) > 0), ValueError, "3 popular and 1 rare words: each class needs 2"),
        (lambda: frequency_classes([1, 2, 3], 0.1), ValueError, "share=0.1 of 3 words makes 0 popular"),
        (lambda: frequency_classes([1, 2, 3], 1.0), ValueError, "makes 3 popular, which leaves a class empty"),
        (lambda: frequency_classes([1, 2, 3], 20), ValueError, r"share=20 is outside \[0, 1\]"),
        (lambda: frequency_classes([[1, 2]]), ValueError, r"a vector of numbers ≥ 0, one a word"),
        (lambda: frequency_classes([1, -2, 3]), ValueError, r"a vector of numbers ≥ 0, one a word"),
        (lambda: jax.jit(frequency_classes)(jnp.ones(9)), TypeError, "known numbers: call it outside jit"),
        (lambda: discriminator(0), ValueError, "0 is no width"),
        (lambda: discriminator(4, 32), TypeError, r"hidden=32 is no list of widths: \(32,\)"),
        (lambda: discriminator(4, [2.0]), TypeError, "2.0 is no width: features and hidden are integers"),
    ],
)  # fmt: skip
def test_errors_say_what_to_write_instead(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
