"""The learning-rate range test: the rates it names train, it is the plain loop, and it ends where it should."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gdo_optax
from benchmarks import problems
from gdo_optax.tuning import RangeTest, range_test


N = 100


def foreign(maker: Callable[[Any], Any]) -> Callable[[Any], optax.GradientTransformationExtraArgs]:
    """An optax transformation of the learning rate, out of strict mode, in which it does not run."""

    def make(rate: Any) -> optax.GradientTransformationExtraArgs:
        tx = optax.with_extra_args_support(maker(rate))

        def update(*args: Any, **extra: Any) -> tuple:
            with jax.numpy_dtype_promotion("standard"):
                return tx.update(*args, **extra)

        return optax.GradientTransformationExtraArgs(tx.init, update)

    return make


MAKERS: dict[str, Callable[..., Any]] = {
    "sgd": gdo_optax.sgd,
    "adam": gdo_optax.adam,
    "optax.adam": foreign(optax.adam),
}


@functools.cache
def digits() -> tuple[Callable, nnx.State, tuple[jax.Array, jax.Array]]:
    """The loss of an nnx MLP, its parameters, and a hundred batches of 64 digits."""
    made = problems.problem("digits", "mlp", seeds=1)
    order = problems.batches(len(made.data.train_x), steps=N, size=64, seeds=1)[0]

    def loss(params: nnx.State, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        x, y = batch
        return optax.softmax_cross_entropy_with_integer_labels(made.logits(params, x), y).mean()

    params = jax.tree.map(lambda leaf: leaf[0], made.params)
    return loss, params, (jnp.asarray(made.data.train_x)[order], jnp.asarray(made.data.train_y)[order])


@functools.cache
def found_on_digits(name: str) -> RangeTest:
    return range_test(*digits(), MAKERS[name])


def bowl(x: jax.Array, batch: jax.Array) -> jax.Array:
    return 2 * jnp.sum((x - batch) ** 2)


def trained(name: str, rates: jax.Array) -> np.ndarray:
    """The mean of the last ten losses of a training at each of these rates."""
    loss, params, batches = digits()

    def training(rate: jax.Array) -> jax.Array:
        tx = MAKERS[name](rate)

        def step(carry: tuple, batch: Any) -> tuple:
            value, grads = jax.value_and_grad(loss)(carry[0], batch)
            updates, state = tx.update(grads, carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), state), value

        return jax.lax.scan(step, (params, tx.init(params)), batches)[1]

    losses = np.asarray(jax.jit(jax.vmap(training))(rates))
    assert losses[:, 0] == pytest.approx(2.45, abs=0.01)
    return losses[:, -10:].mean(1)


def loop(loss: Callable, params: Any, batches: Any, rates: np.ndarray, maker: Callable) -> tuple[list, list]:
    """The losses and their averages, step by step in Python, the average as the weighted mean of all losses so far."""
    table = jnp.asarray(rates, jnp.float32)
    tx = maker(lambda count: table[count])
    update = jax.jit(tx.update)
    state, losses, smoothed = tx.init(params), [], []
    value_and_grad = jax.jit(jax.value_and_grad(loss))
    for i in range(len(rates)):
        value, grads = value_and_grad(params, jax.tree.map(lambda x, i=i: x[i], batches))
        losses.append(float(value))
        weights = 0.98 ** np.arange(i, -1, -1)
        smoothed.append(float(weights @ losses / weights.sum()))
        if not np.isfinite(losses[-1]) or losses[-1] > 4 * min(smoothed):
            break
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return losses, smoothed


@pytest.mark.parametrize("name", MAKERS)
def test_the_suggestion_trains(name: str) -> None:
    found = found_on_digits(name)
    rates = np.geomspace(1e-6, 10, 15)
    scores = trained(name, jnp.asarray([*rates, found.suggestion, found.minimum / 10], jnp.float32))
    good = rates[scores[: len(rates)] < 0.5]
    assert good.min() < found.suggestion < good.max()
    assert len(good) < len(rates) / 3
    assert scores[-2] < 0.15
    assert scores[-1] < 0.4


@pytest.mark.parametrize("name", MAKERS)
def test_it_is_the_plain_loop(name: str) -> None:
    found, rates = found_on_digits(name), np.geomspace(1e-6, 10, N)
    losses, smoothed = loop(*digits(), rates, MAKERS[name])
    seen = int(np.isfinite(found.losses).sum())
    assert seen == len(losses)
    assert found.rates == pytest.approx(rates, rel=1e-6)
    assert np.asarray(found.losses[:seen]) == pytest.approx(losses, rel=1e-4)
    assert np.asarray(found.smoothed[:seen]) == pytest.approx(smoothed, rel=1e-4)


@pytest.mark.parametrize("name", MAKERS)
def test_the_rules(name: str) -> None:
    """By hand from the smoothed losses: the lowest, and the steepest between its neighbours."""
    found = found_on_digits(name)
    s, rates = np.asarray(found.smoothed, float), np.asarray(found.rates, float)
    lowest = min((i for i in range(10, N) if np.isfinite(s[i])), key=lambda i: s[i])
    steepest = min(range(10, lowest), key=lambda i: s[i + 1] - s[i - 1])
    assert found.minimum == pytest.approx(rates[lowest], rel=1e-6)
    assert found.suggestion == pytest.approx(rates[steepest], rel=1e-6)
    assert type(found.suggestion) is type(found.minimum) is float


def test_what_counts_for_the_rules() -> None:
    """Neither a fall within the first tenth nor one after the minimum, however steep."""
    losses = np.array([9.0, 3.0, 6.0, 5.9, 5.7, 5.0, 4.8, 4.7, 9.0, 8.9, 5.0] + [5.0] * 9, np.float32)
    found = range_test(lambda x, batch: batch + 0 * x, jnp.array(1.0), losses, smoothing=0.0, divergence=10.0)
    rates = np.geomspace(1e-6, 10, 20)
    assert found.losses.tolist() == losses.tolist()
    assert (found.suggestion, found.minimum) == pytest.approx((rates[4], rates[7]))


@pytest.mark.parametrize("curvature", [0.25, 1.0, 4.0, 16.0, 100.0])
def test_the_suggestion_follows_the_curvature(curvature: float) -> None:
    found = range_test(lambda x, _: curvature * jnp.sum(x**2) / 2, jnp.ones(3), jnp.zeros(30))
    assert 0.5 < curvature * found.suggestion < 1.2  # 1 is the best, 2 diverges


@pytest.mark.parametrize("params", [1.0, np.ones(3), jnp.array(1.0), {"a": jnp.ones(2, jnp.bfloat16), "b": 2.0}])
@pytest.mark.parametrize("maker", [*MAKERS.values(), functools.partial(gdo_optax.momentum, momentum=0.5)])
def test_one_trace(params: Any, maker: Callable) -> None:
    traces = []

    def loss(params: Any, batch: jax.Array) -> jax.Array:
        traces.append(batch.shape)
        return sum(jnp.sum(jnp.asarray(x, jnp.float32) ** 2) for x in jax.tree.leaves(params)) + batch.sum()

    range_test(loss, params, jnp.ones((20, 5)), maker)
    assert traces == [(5,)]


def test_the_parameters_stay_as_they_are() -> None:
    given = {"jax": jnp.ones(3), "numpy": np.ones(3, np.float32)}
    range_test(lambda p, batch: bowl(p["jax"] + p["numpy"], batch), given, jnp.zeros((20, 3)))
    assert given["jax"].tolist() == given["numpy"].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", MAKERS)
def test_half_precision(name: str) -> None:
    loss, params, batches = digits()
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    x, y = batches
    found = range_test(loss, half, (x.astype(jnp.bfloat16), y), MAKERS[name])
    assert found.losses.dtype == found.smoothed.dtype == found.rates.dtype == jnp.float32
    assert found.suggestion == pytest.approx(found_on_digits(name).suggestion, rel=0.9)


def test_where_it_ends() -> None:
    """After the first loss above four times the best average so far; from then on the loss is not even evaluated."""
    evaluated = []

    def loss(x: jax.Array, batch: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: evaluated.append(1))
        return bowl(x, batch)

    batches = jnp.tile(jnp.array([-0.3, 0.3]), 50)
    found = range_test(loss, jnp.array(1.0), batches)
    jax.effects_barrier()
    losses, _ = loop(bowl, jnp.array(1.0), batches, np.geomspace(1e-6, 10, N), gdo_optax.sgd)
    end = len(losses)
    assert 50 < end < 90
    assert len(evaluated) == end
    assert np.isfinite(found.losses[:end]).all()
    assert np.isfinite(found.smoothed[:end]).all()
    assert np.isnan(found.losses[end:]).all()
    assert np.isnan(found.smoothed[end:]).all()
    limits = 4 * np.minimum.accumulate(found.smoothed[:end])
    assert (np.asarray(found.losses[:end]) > limits).tolist() == [False] * (end - 1) + [True]
    assert found.losses[end - 1] == pytest.approx(losses[-1], rel=1e-4)
    later = range_test(bowl, jnp.array(1.0), batches, divergence=np.inf)
    assert np.isfinite(later.losses).all()
    assert later.losses[-1] > 1e10
    assert (later.suggestion, later.minimum) == (found.suggestion, found.minimum)


def test_an_overflow_ends_it() -> None:
    found = range_test(bowl, jnp.array(1.0), jnp.tile(jnp.array([-0.3, 0.3]), 150), high=1e6, divergence=np.inf)
    seen = int(np.isfinite(found.losses).sum())
    assert 0 < seen < 300
    assert np.isfinite(found.losses[:seen]).all()
    assert np.isnan(found.losses[seen:]).all()
    assert np.isnan(found.smoothed[seen:]).all()
    assert 0 < found.suggestion < 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_from_the_start(bad: float, tmp_path: Any) -> None:
    found = range_test(lambda x, batch: bad + x * 0, jnp.array(1.0), jnp.zeros(20))
    assert np.isnan(found.losses).all()
    assert np.isnan(found.smoothed).all()
    assert np.isnan([found.suggestion, found.minimum]).all()
    found.plot(tmp_path / "nothing.png")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_batch_ends_it(bad: float) -> None:
    batches = np.linspace(2, 1, 20, dtype=np.float32)
    batches[12] = bad
    found = range_test(lambda x, batch: batch + 0 * x, jnp.array(1.0), batches, divergence=np.inf)
    assert np.isfinite(found.losses).tolist() == np.isfinite(found.smoothed).tolist() == [True] * 12 + [False] * 8


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_a_loss_that_never_falls(slope: float) -> None:
    found = range_test(lambda x, batch: 1.0 + 0 * x + slope * batch, jnp.array(1.0), jnp.linspace(0, 1, 20))
    assert np.isfinite(found.losses).all()
    assert np.isnan([found.suggestion, found.minimum]).all()


def test_a_loss_below_0() -> None:
    """A constant less moves the end, but neither ends the test at once nor changes the rules."""
    found = range_test(lambda x, batch: bowl(x, batch) - 50, jnp.array(1.0), jnp.zeros(30))
    above = range_test(bowl, jnp.array(1.0), jnp.zeros(30))
    assert found.losses[0] == -48
    assert found.suggestion == above.suggestion


def test_without_smoothing() -> None:
    found = range_test(bowl, jnp.array(1.0), jnp.zeros(30), smoothing=0.0)
    assert np.array_equal(found.smoothed, found.losses, equal_nan=True)


def test_optimizers_that_evaluate_the_loss() -> None:
    def plateau(rate: Any) -> optax.GradientTransformationExtraArgs:
        return optax.chain(optax.sgd(rate), optax.contrib.reduce_on_plateau())

    for maker in (gdo_optax.heun, foreign(plateau)):
        assert range_test(bowl, jnp.array(1.0), jnp.zeros(30), maker).suggestion == pytest.approx(0.2, abs=0.1)


def test_the_plot(tmp_path: Any) -> None:
    found = found_on_digits("adam")
    path = tmp_path / "range.png"
    (axes,) = found.plot(path).axes
    assert path.read_bytes().startswith(b"\x89PNG")
    assert axes.get_title("left") == "Learning-rate range test"
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("learning rate", "loss", "log")
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[:3] == ["loss of a batch", "smoothed", "diverged"]
    assert labels[3:] == [f"suggestion: {found.suggestion:.2g}", f"minimum / 10: {found.minimum / 10:.2g}"]
    raw, smoothed, _, line, point, *_ = axes.lines
    assert np.array_equal(raw.get_ydata(), found.losses, equal_nan=True)
    assert np.array_equal(smoothed.get_ydata(), found.smoothed, equal_nan=True)
    assert raw.get_color() == "0.75"
    assert line.get_xdata()[0] == point.get_xdata()[0] == found.suggestion
    low, high = axes.get_ylim()
    assert low < np.nanmin(found.losses)
    assert found.losses[0] < high


def test_what_blows_up_does_not_flatten_the_plot() -> None:
    found = range_test(bowl, jnp.array(1.0), jnp.tile(jnp.array([-0.3, 0.3]), 50), divergence=np.inf)
    assert np.nanmax(found.losses) > 1e10
    assert found.plot().axes[0].get_ylim()[1] < 5


def test_no_file_is_written_unless_asked_for(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found_on_digits("sgd").plot()
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    found = found_on_digits("sgd")
    for module in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    needed = 'plot needs matplotlib, which is not installed: pip install "gdo_optax[plot]"'
    with pytest.raises(ImportError) as error:
        found.plot()
    assert str(error.value) == needed


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"low": 1.0, "high": 1.0}, ValueError, r"range_test: low=1\.0 is not below high=1\.0"),
        ({"low": 0.0}, ValueError, r"range_test: low=0\.0 is outside \(0, inf\)"),
        ({"low": -1e-3}, ValueError, r"range_test: low=-0\.001 is outside"),
        ({"high": np.inf}, ValueError, r"range_test: high=inf is outside \(0, inf\)"),
        ({"high": np.nan}, ValueError, r"range_test: high=nan is outside"),
        ({"smoothing": 1.0}, ValueError, r"range_test: smoothing=1\.0 is outside \[0, 1\)"),
        ({"divergence": 1.0}, ValueError, r"range_test: divergence=1\.0 is outside \(1, inf\]"),
        ({"low": "1e-6"}, TypeError, r"range_test: low='1e-6' is not a number"),
        ({"smoothing": True}, TypeError, r"range_test: smoothing=True is not a number"),
        ({"batches": jnp.zeros(9)}, ValueError, r"range_test: batches=9 is outside the integers of \[10, inf\)"),
        ({"batches": (jnp.zeros(20), jnp.zeros(19))}, ValueError, r"batches has the leading axes \[\(19,\), \(20,\)\]"),
        ({"batches": (jnp.zeros(20), 1.0)}, ValueError, r"batches has the leading axes \[\(\), \(20,\)\]"),
        ({"batches": 1.0}, ValueError, r"batches has the leading axes \[\(\)\]"),
        ({"batches": ()}, ValueError, r"batches has the leading axes \[\]"),
        ({"loss": lambda x, batch: x - batch}, ValueError, r"loss has the shape \(3,\), but is one number"),
        ({"loss": lambda x, batch: (x.sum(), batch)}, ValueError, r"loss has the shape \(\(\), \(\)\)"),
        ({"optimizer": gdo_optax.adam(0.1)}, TypeError, r"optimizer=adam\(0\.1\) is no function of the learning rate"),
        ({"optimizer": lambda rate: rate(0)}, TypeError, r"is no gradient transformation"),
    ],
)
def test_what_it_refuses(settings: dict[str, Any], error: type, message: str) -> None:
    given = {"loss": lambda x, _: jnp.sum(x**2), "params": jnp.ones(3), "batches": jnp.zeros(20)}
    with pytest.raises(error, match=message):
        range_test(**{**given, **settings})
