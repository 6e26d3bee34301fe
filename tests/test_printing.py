"""What a piece says of itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from gdo_optax.family import Entry
from gdo_optax.optimizers.ranger21 import _decayed
from tests.catalogue import FAMILY, FEW, plain, run, steps_of, tree


def test_the_nested_recipe_of_ranger() -> None:
    assert (
        str(g.ranger(1e-3))
        == """\
chain(  # ranger(0.001)
    centralize(),
    adaptive(
        direction=[ema(0.95), bias_correction(0.95)],
        scale=[square(), ema(0.999), inverse_root(1e-05), bias_correction(0.999, power=-0.5), rectify(0.999, 5.0)],
    ),
    add_decayed_weights(0.0, None),
    scale_by_learning_rate(0.001),
    slow_weights(6, 0.5),
)"""
    )


def test_a_recipe_inside_a_recipe() -> None:
    assert (
        str(g.lookahead(g.momentum(learning_rate=0.1), sync_period=3))
        == """\
chain(  # lookahead(momentum(learning_rate=0.1), sync_period=3)
    chain(  # momentum(learning_rate=0.1)
        trace(0.9),
        scale_by_learning_rate(0.1),
    ),
    slow_weights(3, 0.5),
)"""
    )


def test_nothing_prints_as_nothing() -> None:
    assert str(g.chain()) == repr(g.chain()) == "chain()"


def test_repr_is_the_call() -> None:
    assert repr(g.adam(learning_rate=1e-3, b1=0.8)) == "adam(learning_rate=0.001, b1=0.8)"
    assert repr(g.chain(g.ema(0.9), g.square())) == "chain(ema(0.9), square())"
    assert repr(g.sgd(jnp.float32(0.5))) == "sgd(0.5)"
    assert repr(g.sgd(np.float64(0.5))) == "sgd(0.5)"
    assert repr(g.sgd(optax.linear_schedule(1.0, 0.0, 10))) == "sgd(polynomial_schedule(…))"
    assert repr(g.parallel(jnp.add, a=[], b=[g.square()])) == "parallel(add, a=[], b=[square()])"


def test_foreign_transformations_are_shown_too() -> None:
    assert (
        str(g.chain(optax.clip_by_global_norm(1.0), g.ema(0.9)))
        == """\
chain(
    clip_by_global_norm(…),
    ema(0.9),
)"""
    )
    assert repr(g.lookahead(optax.adam(0.1))) == "lookahead(chain(…))"


def test_a_mask_is_shown_around_what_it_masks() -> None:
    text = str(g.chain(g.add_decayed_weights(0.1, mask={"a": True})))
    assert "        add_decayed_weights(0.1),\n        {'a': True},\n" in text


def test_traced_hyperparameters_are_shown_by_type() -> None:
    seen = []
    jax.jit(lambda rate: seen.append(repr(g.sgd(rate))))(0.1)
    assert seen == ["sgd(<traced float32>)"]


NAMES = {**vars(g), "add": jnp.add, "_decayed": _decayed}


@pytest.mark.parametrize("entry", FAMILY)
def test_a_recipe_is_python_and_is_the_optimizer(entry: Entry) -> None:
    text = str(entry())
    rebuilt = eval(text, NAMES)
    assert without_comments(str(rebuilt)) == without_comments(text)
    after, _ = run(rebuilt, tree(names=FEW), steps_of(steps=3, names=FEW))
    assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (after, plain(entry.name, 3, FEW))), strict=True))


def without_comments(text: str) -> list[str]:
    return [line.partition("  #")[0] for line in text.splitlines()]


def test_long_lists_unfold() -> None:
    text = str(g.chain(g.adaptive([], [g.ema(0.123456789)] * 9)))
    assert max(map(len, text.splitlines())) <= 120
    assert text.count("ema(0.123456789),\n") == 9


def test_a_piece_is_an_optax_transformation() -> None:
    assert isinstance(g.adam(), optax.GradientTransformationExtraArgs)
    assert isinstance(g.square(), optax.GradientTransformationExtraArgs)
    init, update = g.adam()
    assert callable(init)
    assert callable(update)
