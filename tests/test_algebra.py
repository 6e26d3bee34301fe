"""Where one method is another, and what none of them may depend on: in double precision, to the last bits.

Identities that stand elsewhere: L2 and decay in test_claims.py; quasi-hyperbolic Adam, the limits of sgdbound in
test_variants.py; one worker, revision without delay in test_workers.py; micro-batches, layerwise LAMB in
test_wrappers.py; Adadelta's units in test_numerics.py; one task, nothing in conflict in test_tasks.py.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdo_optax as g
from gdo_optax.family import Entry, family, get
from tests.catalogue import cheap_jit, rollout


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def slopes(*shape: int) -> np.ndarray:
    """Twelve gradients of coordinates of different size, among them one of zeros."""
    grads = normal(1, 12, *shape) * 10.0 ** np.random.default_rng(5).uniform(-3, 2, shape)
    grads[3] = 0
    return grads


def path(tx: optax.GradientTransformation, x: np.ndarray, grads: np.ndarray) -> np.ndarray:
    return np.asarray(rollout(tx, jnp.asarray(x), jnp.asarray(grads)))


def equal(a: Any, b: Any, rtol: float = 1e-12) -> None:
    """To rtol of the largest number in sight: what cancels has lost digits on both sides."""
    largest = float(np.max(np.abs(b)))
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * largest)


def same(one: optax.GradientTransformation, other: optax.GradientTransformation, x: Any, grads: Any) -> None:
    equal(path(one, x, grads), path(other, x, grads))


def chained(*pieces: Any, rate: float = 0.1) -> g.Piece:
    return g.chain(*pieces, g.scale(-rate))


SIGNS = (lambda: chained(g.sign()),)
VECTOR: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "momentum without any": (lambda: g.momentum(0.1, 0.0), lambda: g.sgd(0.1)),
    "nesterov without momentum": (lambda: g.nesterov(0.1, 0.0), lambda: g.sgd(0.1)),
    "one velocity": (lambda: g.aggmo(0.1, (0.8,)), lambda: g.momentum(0.1, 0.8)),
    "three equal velocities": (lambda: g.aggmo(0.1, (0.8, 0.8, 0.8)), lambda: g.momentum(0.1, 0.8)),
    "gains that stay": (lambda: g.hinton_gains(0.1, increase=0.0, decrease=1.0), lambda: g.sgd(0.1)),
    "rates that stay": (lambda: g.delta_bar_delta(0.1, kappa=0.0, phi=0.0), lambda: g.sgd(0.1)),
    "rprop without growth": (
        lambda: g.rprop(0.1, eta_minus=0.5, eta_plus=1.0, min_step_size=0.1, max_step_size=0.1, variant="minus"),
        SIGNS[0],
    ),
    "adam without memory": (lambda: g.adam(0.1, b1=0.0, b2=0.0, eps=0.0), SIGNS[0]),
    "adamax without memory": (lambda: g.adamax(0.1, b1=0.0, b2=0.0, eps=0.0), SIGNS[0]),
    "lion without an average": (lambda: g.lion(0.1, b1=0.0, b2=0.9), SIGNS[0]),
    "rmsprop without memory": (lambda: g.rmsprop(0.1, decay=0.0, eps=0.0), SIGNS[0]),
    "rmsprop without momentum": (lambda: g.rmsprop_momentum(0.1, 0.9, 1e-4, 0.0), lambda: g.rmsprop(0.1, 0.9, 1e-4)),
    "rmsprop without nesterov": (lambda: g.rmsprop_nesterov(0.1, 0.9, 1e-4, 0.0), lambda: g.rmsprop(0.1, 0.9, 1e-4)),
    "adam of the newest": (lambda: g.qhadam(0.1, nu1=0.0, eps=1e-4), lambda: g.adam(0.1, b1=0.0, eps=1e-4)),
    "adam over the newest": (
        lambda: g.qhadam(0.1, 0.9, 0.99, nu1=1.0, nu2=0.0, eps=0.0),
        lambda: chained(g.adaptive([g.ema(0.9), g.bias_correction(0.9)], [g.absolute(), g.reciprocal()])),
    ),
    "adamnc is adagrad": (lambda: g.adamnc(0.1, b1=0.0, eps=0.0), lambda: g.adagrad(0.1, eps=0.0)),
    "mirror descent without a penalty": (lambda: g.adagrad_mirror(0.1, eps=1e-3), lambda: g.adagrad(0.1, eps=1e-3)),
    "adamw without decay": (lambda: g.adamw(0.1, weight_decay=0.0), lambda: g.adam(0.1)),
    "sgdw without decay": (lambda: g.sgdw(0.1, 0.8, weight_decay=0.0), lambda: g.momentum(0.1, 0.8)),
    "adaboundw without decay": (lambda: g.adaboundw(weight_decay=0.0), g.adabound),
    "radam that never adapts": (
        lambda: g.radam(0.1, b1=0.8, b2=0.5),
        lambda: chained(g.ema(0.8), g.bias_correction(0.8)),
    ),
    "bounds that never close": (lambda: g.adabound(0.1, eps=0.0, gamma=1e-280), lambda: g.adam(0.1, eps=0.0)),
    "bounds that are closed": (lambda: g.adabound(gamma=1e280), lambda: chained(g.ema(0.9))),
    "amsbounds that are closed": (lambda: g.amsbound(gamma=1e280), lambda: chained(g.ema(0.9))),
    "lamb without trust": (
        lambda: g.lamb(0.1, weight_decay=0.1, trust_ratio_mask=False),
        lambda: g.adamw(0.1, eps=1e-6, weight_decay=0.1),
    ),
    "lars without trust": (
        lambda: g.lars(0.1, 0.8, 0.1, trust_ratio_mask=False),
        lambda: chained(g.add_decayed_weights(0.1), g.ema(0.8)),
    ),
    "lambs without memory": (
        lambda: g.nnlamb(0.1, b1=0.0, b2=0.0, eps=0.0, weight_decay=0.0),
        lambda: g.lamb(0.1, b1=0.0, b2=0.0, eps=0.0, weight_decay=0.0),
    ),
    "ranger of vectors": (
        lambda: g.ranger(0.1, eps=0.0),
        lambda: g.lookahead(g.radam(0.1, 0.95, eps=0.0), 6, 0.5),
    ),
    "slow after every step": (lambda: g.lookahead(g.sgd(0.1), 1, 0.3), lambda: g.sgd(0.03)),
    "slow all the way, momentum": (lambda: g.lookahead(g.momentum(0.1), 3, 1.0), lambda: g.momentum(0.1)),
    "slow all the way, lion": (lambda: g.lookahead(g.lion(0.1), 3, 1.0), lambda: g.lion(0.1)),
    "a share that is 1": (lambda: g.adaptive_lookahead(g.momentum(0.1), 3, 1.0), lambda: g.momentum(0.1)),
    "nothing masked": (lambda: g.masked(g.adam(0.1), True), lambda: g.adam(0.1)),
    "all masked": (lambda: g.masked(g.adam(0.1), False), g.chain),
    "chains of chains": (
        lambda: g.chain(g.chain(g.ema(0.9), g.square()), g.scale(-0.1)),
        lambda: g.chain(g.ema(0.9), g.chain(g.square(), g.scale(-0.1))),
    ),
    "accumulation of one": (lambda: g.accumulate(g.adam(0.1), 1), lambda: g.adam(0.1)),
    "a turn every time": (lambda: g.in_turn(g.adam(0.1), 1), lambda: g.adam(0.1)),
    "restarts every time": (lambda: g.restart_state(g.adam(0.1, eps=0.0), 1), SIGNS[0]),
    "no delay": (lambda: g.delay(g.adam(0.1), 0), lambda: g.adam(0.1)),
    "hogwild alone": (lambda: g.hogwild(0.1, max_delay=0), lambda: g.sgd(0.1)),
    "springs without momentum": (lambda: g.eamsgd(0.1, 0.5, 2, 0.0), lambda: g.easgd(0.1, 0.5, 2)),
    "noise of no size": (lambda: g.add_gradient_noise(eta=0.0), g.chain),
    "clipping that never happens": (lambda: g.clip_by_block_rms(1e9), g.chain),
    "adaptive clipping that never happens": (lambda: g.adaptive_grad_clip(1e9), g.chain),
    "a box without sides": (g.project_to_box, g.chain),
    "signs of signs": (lambda: g.chain(g.sign(), g.sign()), g.sign),
    "nesterov of one constant": (
        lambda: g.nesterov_ema(lambda count: 0.9 + 0 * count.astype(float)),
        lambda: g.nesterov_ema(0.9),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VECTOR)
def test_one_method_is_another(name: str) -> None:
    one, other = VECTOR[name]
    same(one(), other(), normal(0, 5), slopes(5))


MATRIX: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "factors of what is rank one": (g.adafactor, lambda: g.adafactor(min_dim_size_to_factor=9)),
    "centralized twice": (lambda: g.chain(g.centralize(), g.centralize()), g.centralize),
    "lazily, where every row has a gradient": (lambda: g.lazy(g.adam(0.1)), lambda: g.adam(0.1)),
}


@pytest.mark.parametrize("name", MATRIX)
def test_one_method_is_another_of_matrices(name: str) -> None:
    one, other = MATRIX[name]
    outer = np.abs(normal(2, 12, 1, 1)) * np.outer(normal(3, 4), normal(4, 3))  # of rank one, in one direction
    same(one(), other(), normal(0, 4, 3), outer)


def test_a_largest_that_is_the_newest() -> None:
    """AMSGrad is Adam, and AMSBound AdaBound, while the second moment rises; no longer when it falls."""
    rising = normal(1, 1, 5) * 1.3 ** np.arange(12)[:, None]
    for largest, newest in ((g.amsgrad, g.adam), (g.amsbound, g.adabound)):
        same(largest(0.1, b2=0.9), newest(0.1, b2=0.9), normal(0, 5), rising)
        apart = [path(maker(0.1, b2=0.9), normal(0, 5), rising[::-1]) for maker in (largest, newest)]
        assert float(np.max(np.abs(apart[0] - apart[1]))) > 1e-3


def late(tx: optax.GradientTransformation, x: Any, grads: Any, count: int) -> jax.Array:
    """The updates of a method that has counted that far without having seen a gradient."""

    def at(path: Any, a: jax.Array) -> jax.Array:
        full = getattr(path[-1], "key", None) == "weight"  # the average has gathered all there is
        return jnp.full_like(a, count) if a.dtype == jnp.int32 else jnp.ones_like(a) if full else a

    state = jax.tree.map_with_path(at, tx.init(x))

    def step(carry: Any, slope: Any) -> Any:
        x, state = carry
        update, state = tx.update(slope, state, x)
        return (x + update, state), update

    return cheap_jit(lambda: jax.lax.scan(step, (x, state), grads)[1])()


LATE: dict[str, tuple[Callable[[], Any], Callable[[], Any], int, float]] = {
    "radam adapts": (lambda: g.radam(0.1, eps=1e-3), lambda: g.adam(0.1, eps=1e-3), 10**6, 1e-12),
    "nothing to correct": (
        lambda: g.adam(0.1, b1=0.0, b2=0.9, eps=1e-3),
        lambda: g.rmsprop(0.1, decay=0.9, eps=1e-3),
        10**6,
        1e-12,
    ),
    "bounds have closed": (lambda: g.adabound(gamma=1.0), lambda: chained(g.ema(0.9)), 2**31 - 2, 1e-9),
    "amsbounds have closed": (lambda: g.amsbound(gamma=1.0), lambda: chained(g.ema(0.9)), 2**31 - 2, 1e-9),
}


@pytest.mark.parametrize("name", LATE)
def test_in_the_long_run_one_method_is_another(name: str) -> None:
    one, other, count, rtol = LATE[name]
    x, grads = jnp.asarray(normal(0, 5)), jnp.asarray(normal(1, 12, 5))
    equal(late(one(), x, grads, count), late(other(), x, grads, count), rtol)


def test_nadam_of_a_constant_momentum_is_dozats() -> None:
    """m̄ₜ = μ·mₜ/(1−μᵗ⁺¹) + (1−μ)·gₜ/(1−μᵗ), which the general form comes to."""
    grads, mu, b2 = slopes(5), 0.9, 0.99
    ours = path(
        chained(g.adaptive([g.nesterov_ema(mu)], [g.square(), g.ema(b2), g.bias_correction(b2), g.inverse_root(1e-8)])),
        normal(0, 5),
        grads,
    )
    m = v = np.zeros(5)
    for t, slope in enumerate(grads, 1):
        m, v = mu * m + (1 - mu) * slope, b2 * v + (1 - b2) * slope**2
        ahead = mu * m / (1 - mu ** (t + 1)) + (1 - mu) * slope / (1 - mu**t)
        equal(ours[t - 1], -0.1 * ahead / (np.sqrt(v / (1 - b2**t)) + 1e-8))


def test_decay_is_beside_the_step() -> None:
    """The update of AdamW is Adam's and −η·λ·θ, whatever the gradients were."""
    x, grads = normal(0, 5), slopes(5)
    plain, decayed = path(g.adam(0.1), x, grads), path(g.adamw(0.1, weight_decay=0.3), x, grads)
    before = x + np.concatenate([np.zeros((1, 5)), np.cumsum(decayed, 0)[:-1]])
    equal(decayed, plain - 0.1 * 0.3 * before)


def test_dual_averaging_from_nothing() -> None:
    """Without a penalty x is −η·Σg/(δ + √Σg²) after every step, whatever way it came."""
    grads = slopes(5)
    points = np.cumsum(path(g.adagrad_rda(0.1, eps=1e-3), np.zeros(5), grads), 0)
    equal(points, -0.1 * np.cumsum(grads, 0) / (1e-3 + np.sqrt(np.cumsum(grads**2, 0))))


def test_the_average_of_all_points() -> None:
    """What polyak_average gives to evaluate with is the mean of the points, temporal_average's its debiased average."""
    x, grads = normal(0, 5), slopes(5)
    points = x + np.cumsum(-0.1 * grads, 0)
    for average, weights in (
        (g.polyak_average(), jnp.ones(12)),
        (g.temporal_average(0.9), 0.9 ** np.arange(12.0)[::-1]),
    ):
        tx = g.chain(g.sgd(0.1), average)
        p = jnp.asarray(x)
        state = tx.init(p)
        for slope in map(jnp.asarray, grads):
            update, state = tx.update(slope, state, p)
            p = p + update
        equal(g.eval_params(state, p), np.sum(weights[:, None] * points, 0) / np.sum(weights))


def test_two_slopes_a_step_on_a_quadratic() -> None:
    """With z = η·k a step multiplies by 1 − z + z²/2 (Heun), 1 − z + z² (extragradient), 1 − z (SAM of radius 0)."""
    curvatures, x = jnp.array([1.0, 3.0, 9.0]), jnp.asarray(normal(0, 3))
    both, z = jax.value_and_grad(lambda p: jnp.sum(curvatures * p**2) / 2), 0.1 * curvatures
    for tx, factor in (
        (g.heun(0.1), 1 - z + z**2 / 2),
        (g.extragradient(0.1), 1 - z + z**2),
        (g.sam(g.sgd(0.1), radius=0.0), 1 - z),
    ):
        p, state = x, tx.init(x)
        for t in range(1, 6):
            update, state = tx.update(both(p)[1], state, p, value_and_grad_fn=both)
            p = p + update
            equal(p, factor**t * x)


def test_backtracking_that_never_happens() -> None:
    curvatures, x = jnp.array([1.0, 3.0, 9.0]), jnp.asarray(normal(0, 3))
    loss = lambda p: jnp.sum(curvatures * p**2) / 2  # noqa: E731
    paths = []
    for tx in (g.nesterov_1983_backtracking(1 / 9), g.nesterov_1983(1 / 9)):
        p, state, path = x, tx.init(x), []
        for _ in range(5):
            value, slope = jax.value_and_grad(loss)(p)
            update, state = tx.update(slope, state, p, value=value, value_fn=loss)
            p = p + update
            path.append(p)
        paths.append(jnp.stack(path))
    equal(*paths)


def test_a_gradient_turned_round_twice() -> None:
    x, back = jnp.asarray(normal(0, 5)), g.reverse_gradient
    equal(jax.grad(lambda p: jnp.sum(back(p, 2.0) ** 3))(x), -2 * 3 * x**2)
    equal(jax.grad(lambda p: jnp.sum(back(back(p, 2.0), 0.5) ** 3))(x), 3 * x**2)


@pytest.mark.parametrize("b1", [0.0, 0.5, 0.9])
def test_no_step_of_adamax_is_longer_than_it_may_be(b1: float) -> None:
    """|Δₜ| ≤ α·(1−b1)/(1−b1/b2)·(1−(b1/b2)ᵗ)/(1−b1ᵗ), which is α for b2 = 1; gradients that shrink by b2 reach it."""
    b2, t = 0.95, np.arange(1.0, 13)[:, None]
    bound = 0.1 * (1 - b1) / (1 - b1 / b2) * (1 - (b1 / b2) ** t) / (1 - b1**t)
    for grads in (slopes(5), normal(2, 12, 5), normal(3, 12, 1) ** 3 * np.ones((1, 5))):
        steps = path(g.adamax(0.1, b1, b2, eps=0.0), normal(0, 5), grads)
        assert bool(np.all(np.abs(steps) <= bound * (1 + 1e-12)))
    worst = path(g.adamax(0.1, b1, b2, eps=0.0), np.zeros(1), b2**t)
    equal(-worst, bound)


def test_steps_of_signs_have_the_length_of_the_rate() -> None:
    x, grads = normal(0, 5), normal(1, 12, 5)
    assert bool(np.all(np.abs(path(g.lion(0.25), x, grads)) == 0.25))
    first = {name: path(get(name)(0.25, eps=0.0), x, grads)[0] for name in ("adam", "adamax", "adagrad", "amsgrad")}
    for step in first.values():
        equal(step, -0.25 * np.sign(grads[0]))


def test_no_signs_but_the_gradients() -> None:
    """Rprop does not see what keeps the signs of the gradient, in whatever coordinate."""
    x, grads = normal(0, 5), slopes(5)
    odd = np.sign(grads) * (np.abs(grads) ** 3 + 7 * np.abs(grads))
    for variant in ("minus", "iminus", "plus"):
        assert bool(np.all(path(g.rprop(variant=variant), x, grads) == path(g.rprop(variant=variant), x, odd)))


def turned(tx: optax.GradientTransformation, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The updates of turned gradients, and the turned updates."""
    x, grads = normal(0, 4), normal(1, 12, 4)
    return path(tx, turn @ x, grads @ turn.T), path(tx, x, grads) @ turn.T


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "aggmo", "adagrad_full_matrix"])
def test_no_axis_is_special(name: str) -> None:
    """Of what turns with its coordinates; with Adagrad of the diagonal it makes a difference."""
    turn = np.linalg.qr(normal(9, 4, 4))[0]
    equal(*turned(get(name)(), turn), rtol=1e-9 if name == "adagrad_full_matrix" else 1e-12)
    one, other = turned(g.adagrad(), turn)
    assert float(np.max(np.abs(one - other))) > 1e-3


# Of every method: what a change of the gradients makes of its steps.

HOMOGENEOUS = {  # the power of c with which steps grow as gradients grow by c, without eps and decay
    **dict.fromkeys(("sgd", "momentum", "nesterov", "nesterov_1983", "aggmo", "hinton_gains", "delta_bar_delta"), 1),
    "sgdw": 1, "sgdwr": 1,
    **dict.fromkeys(("rprop", "lion", "adagrad", "adagrad_full_matrix", "adagrad_rda", "adagrad_mirror"), 0),
    **dict.fromkeys(("rmsprop", "rmsprop_centered", "rmsprop_momentum", "rmsprop_nesterov", "adam", "adamax"), 0),
    **dict.fromkeys(("nadam", "amsgrad", "adamnc", "adamw", "qhadam", "adamwr", "adafactor", "ranger_qh"), 0),
    **dict.fromkeys(("lars_2017", "lars", "lamb", "nlamb", "nnlamb"), 0),
}  # fmt: skip
NOT_LINEAR_IN_THE_RATE = {"adagrad_rda", "ranger21", "adabound", "amsbound", "adaboundw", "sgdbound", "lookahead"}
LINEAR = {"sgd", "momentum", "nesterov", "nesterov_1983", "aggmo", "sgdw", "sgdwr"}


def plain_settings(entry: Entry) -> dict[str, Any]:
    """Without eps and decay, where there are any."""
    parameters = inspect.signature(entry.build).parameters
    return {k: 0.0 for k in ("eps", "weight_decay", "norm_loss") if k in parameters}


@pytest.mark.parametrize("entry", [pytest.param(e, id=e.name) for e in family()])
def test_what_steps_do_not_depend_on(entry: Entry) -> None:
    x, grads = normal(0, 4, 3), slopes(4, 3)
    settings, rate = plain_settings(entry), 0.125

    @cheap_jit
    def steps(rate: Any, x: Any, grads: Any) -> Any:
        tx = entry(rate, **settings)

        def step(carry: Any, slope: Any) -> Any:
            x, state = carry
            update, state = tx.update(slope, state, x)
            return (x + update, state), update

        return jax.lax.scan(step, (x, tx.init(x)), grads)[1]

    plain = steps(rate, x, grads)
    assert bool(np.all(steps(rate, -x, -grads) == -plain)), "neither direction is special"
    exact = 0.0 if entry.elementwise else 1e-12
    if not entry.dense:
        equal(steps(rate, x[::-1, ::-1], grads[:, ::-1, ::-1]), plain[:, ::-1, ::-1], exact)
    if entry.elementwise and not entry.dense:
        only = np.where(np.arange(12).reshape(4, 3) == 5, grads, 0.0)
        assert bool(np.all(steps(rate, x, only)[:, 1, 2] == plain[:, 1, 2])), "no element sees another"
    if entry.name in HOMOGENEOUS:
        power = HOMOGENEOUS[entry.name]
        equal(steps(rate, x, 1024 * grads), 1024**power * plain, 1e-9 if entry.dense else 0.0)
        equal(steps(rate, x, grads / 3), 3.0**-power * plain, 1e-9)
    if entry.schedulable and entry.name not in NOT_LINEAR_IN_THE_RATE:
        assert bool(np.all(steps(2 * rate, x, grads)[0] == 2 * plain[0])), "the first step is the rate's"
    if entry.name in LINEAR:
        others = normal(7, 12, 4, 3)
        equal(steps(rate, x, grads + others), plain + steps(rate, x, others))


def test_the_scale_of_a_layer() -> None:
    """A step of LAMB, LARS and Adafactor is a share of the layer's own size, whatever that is."""
    x, grads = normal(0, 4, 3), slopes(4, 3)
    for tx in (
        g.lamb(0.1, weight_decay=0.0, eps=0.0),
        g.lars(0.1, weight_decay=0.0),
        g.adafactor(0.1, min_parameter_scale=0.0),
    ):
        equal(path(tx, 8 * x, grads), 8 * path(tx, x, grads))


def test_rows_and_columns_may_change_places() -> None:
    x, grads = normal(0, 4, 3), slopes(4, 3)
    for tx in (g.adafactor(0.1), g.lamb(0.1), g.adam(0.1)):
        equal(path(tx, x.T, grads.transpose(0, 2, 1)), path(tx, x, grads).transpose(0, 2, 1))


BALANCERS: dict[str, Callable[[], g.Piece]] = {
    "gradnorm": lambda: g.gradnorm(3, alpha=0.0),
    "dynamic_weight_average": lambda: g.dynamic_weight_average(3),
    "equal_weights": lambda: g.equal_weights(3),
}


@pytest.mark.parametrize("name", BALANCERS)
def test_tasks_that_are_alike_count_alike(name: str) -> None:
    """Losses and norms that are equal leave all weights at 1; with alpha = 0 so do norms alone."""
    tx, x = BALANCERS[name](), jnp.asarray(normal(0, 4))
    state = tx.init(x)
    for t in range(4):
        frame = jnp.asarray(np.roll(np.eye(4), t, 1)[:3])  # norms that are equal to the last bit
        losses = jnp.array([1.0, 5.0, 9.0]) / (t + 1) if name == "gradnorm" else jnp.full(3, 2.0 / (t + 1))
        update, state = tx.update(frame, state, x, losses=losses)
        equal(update, frame.sum(0), 1e-9)
