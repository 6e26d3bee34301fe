"""Random compositions keep thirteen invariants; `python -m benchmarks.compositions` tries thousands of them."""

import itertools
import random
import re

import jax
import jax.numpy as jnp
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gdo_optax as g
from benchmarks import compositions, recipes
from benchmarks.compositions import broken, check, composition, drawn
from benchmarks.recipes import Recipe, Writer


TREES = len(compositions.MODELS)
ONE_ARRAY = TREES - 1
"""The cheapest to try something on, as everything is compiled for every shape."""


def failures(seeds: range, jitted: bool = False) -> list[str]:
    return [f"{seed}: {found}\n{drawn(seed)}" for seed in seeds if (found := check(seed, jitted))]


def test_compositions_keep_the_invariants() -> None:
    assert not failures(range(ONE_ARRAY, 16 * TREES, TREES))


def test_on_trees() -> None:
    assert not failures(range(TREES - 1))


def test_compiled_they_are_what_they_are_eagerly() -> None:
    assert not failures(range(ONE_ARRAY, 2 * TREES, TREES), jitted=True)


@settings(derandomize=True, deadline=None, max_examples=4)
@given(st.randoms(use_true_random=False))
def test_any_choices_do_and_few_are_found_where_they_do_not(source: random.Random) -> None:
    recipe = Writer(source).recipe()
    assert not broken(recipe, ONE_ARRAY), recipe


def test_a_recipe_is_drawn_again_and_covers_what_there_is() -> None:
    _, text = composition(7)
    assert text == composition(7)[1] != composition(8)[1]
    texts = " ".join(drawn(seed).text for seed in range(600))
    optional = {*recipes.SERIES, *recipes.OPTIMIZERS, *recipes.WRAPPERS, *recipes.OUTERMOST, *recipes.STATISTICS}
    assert optional <= set(re.findall(r"\w+", texts))


def test_what_they_have_found() -> None:
    """A store within a store, whose codes the outer one took for its own; optax's norm of parameters of 1e21."""
    assert not check(43336)
    for text in (
        "store(store(adam(), block_size=3), block_size=2)",
        "store(store(adam(), block_size=2), as_='bfloat16')",
    ):
        assert not broken(Recipe(text, text.replace("adam()", "adam(0.0)")), ONE_ARRAY)


def test_nothing_is_compiled_again(caplog: pytest.LogCaptureFixture) -> None:
    """A reduction by a function that is made in place was, at every step."""
    tx, x = g.chain(g.normalize(), g.factored_ema(), g.centralize()), jnp.ones((2, 3))
    for again in (False, True):
        with jax.log_compiles(again):
            tx.update(x, tx.init(x), x)
    assert "Compiling" not in caplog.text


COUNT = itertools.count(1.0)


def off(kind: str) -> optax.GradientTransformation:
    """Transformations that each break one invariant."""
    changes = {
        "updates": lambda x, u: x.astype(jnp.float16),
        "finite": lambda x, u: x * 1e30 * 1e30 / 1e30 / 1e30,
        "zero rate": lambda x, u: x * 0 + 1,
        "flatten": lambda x, u: x * x.size,
        "permutation": lambda x, u: x * (1 + jax.tree.leaves(u)[0].ndim),
        "jit": lambda x, u: x * (1 if isinstance(x, jax.core.Tracer) else 2),
        "determinism": lambda x, u: x * next(COUNT),
        "state": lambda x, u: x,
    }

    def update(u: optax.Updates, state: jax.Array, params: optax.Params | None = None) -> tuple:
        return jax.tree.map(lambda x: changes[kind](x, u), u), state + 1.0 if kind == "state" else state

    return optax.GradientTransformation(lambda p: jnp.int32(0), update)


@pytest.mark.parametrize(
    "kind", ["updates", "state", "finite", "zero rate", "flatten", "permutation", "jit", "determinism"]
)
def test_what_breaks_an_invariant_is_found(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(recipes.SPACE, "off", off)
    text = f"off({kind!r})  # optax." + " norm" * (kind == "permutation")  # norms are not tried as one vector
    assert any(kind in found for found in broken(Recipe(text, text), jitted=kind == "jit"))


def test_a_failure_says_how_to_have_it_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(compositions, "check", lambda seed, jitted: 1 / 0)
    seed, text, found, _ = compositions.reported(3)
    assert (seed, text) == (3, composition(3)[1])
    assert found == ["raises: ZeroDivisionError: division by zero"]


def test_close_allows_for_what_an_optimizer_magnifies_and_no_more() -> None:
    run = compositions.data(0, 0)
    tx = g.adam()
    updates = [u for u, _, _ in compositions.steps(tx, run)]
    assert compositions.close(updates, updates, tx, run, dict)
    for factor, right in ((1 + 2**-22, True), (1 + 2**-12, False)):
        moved = [jax.tree.map(lambda x: x * jnp.float32(factor), u) for u in updates]  # noqa: B023
        assert compositions.close(moved, updates, tx, run, dict) == right
