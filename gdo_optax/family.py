"""The one registry: every method, its paper and what it keeps. Tests, tables and benchmarks are products over it."""

import difflib
from collections.abc import Callable
from typing import Any

from chex import Numeric

from gdo_optax.cycles import one_cycle, one_cycle_three_phase, piecewise_linear, ranger21_schedule
from gdo_optax.damping import (
    critical_momentum,
    largest_stable_rate,
    optimal_gradient_descent,
    optimal_heavy_ball,
    spectral_radius,
)
from gdo_optax.diagnostics import interference
from gdo_optax.engine.piece import Hyperparameter, Piece
from gdo_optax.entry import Entry, Paper
from gdo_optax.frage import frage_loss, moment_loss, reverse_gradient
from gdo_optax.optimizers.adagrad import adadelta, adagrad, adagrad_full_matrix
from gdo_optax.optimizers.adam import adam, adamax, qhadam
from gdo_optax.optimizers.bounded import adabound, adaboundw, amsbound
from gdo_optax.optimizers.convergent import adamnc, amsgrad
from gdo_optax.optimizers.decoupled import adamw, adamwr, sgdw, sgdwr
from gdo_optax.optimizers.evaluating import extragradient, heun, nesterov_1983_backtracking, sam
from gdo_optax.optimizers.factored import adafactor
from gdo_optax.optimizers.lars import lars, lars_2017
from gdo_optax.optimizers.layerwise import lamb, nlamb, nnlamb
from gdo_optax.optimizers.lookahead import adaptive_lookahead, lookahead
from gdo_optax.optimizers.momentum import aggmo, momentum, nesterov, nesterov_1983, sgd
from gdo_optax.optimizers.nadam import nadam
from gdo_optax.optimizers.parallel import adaptive_revision, eamsgd, easgd, hogwild
from gdo_optax.optimizers.penalized import adagrad_mirror, adagrad_rda
from gdo_optax.optimizers.ranger21 import ranger21
from gdo_optax.optimizers.ranger_kin import ranger_qh, ranger_va
from gdo_optax.optimizers.rectified import radam, ranger
from gdo_optax.optimizers.rmsprop import rmsprop, rmsprop_centered, rmsprop_momentum, rmsprop_nesterov
from gdo_optax.optimizers.sgdbound import sgdbound
from gdo_optax.optimizers.signs import delta_bar_delta, hinton_gains, lion, rprop
from gdo_optax.pieces.gradients import add_gradient_noise, centralize
from gdo_optax.pieces.paths import scale_by_path
from gdo_optax.pieces.proximal import project_to_box
from gdo_optax.pieces.slow import polyak_average, temporal_average
from gdo_optax.pieces.units import adaptive_grad_clip, clip_by_global_norm
from gdo_optax.problems import (
    beale,
    marginal_value_problem,
    ravine,
    reddi_online,
    reddi_stochastic,
    reddi_theorem1,
    saddle,
)
from gdo_optax.restarts import normalized_weight_decay, restarting_weight_decay, warm_restarts
from gdo_optax.sampling import curriculum, shuffled
from gdo_optax.schedules import (
    geometric_decay,
    inverse_sqrt_decay,
    nadam_momentum,
    nesterov_momentum,
    relative_step,
    sutskever_momentum,
)
from gdo_optax.stopping import early_stopping
from gdo_optax.tasks.balancing import gradnorm, pcgrad
from gdo_optax.tasks.rating import dynamic_weight_average, uncertainty_weights
from gdo_optax.tuning import range_test
from gdo_optax.warmups import linear_warmup, noam, untuned_exponential_warmup, untuned_linear_warmup
from gdo_optax.wrappers.accumulation import accumulate
from gdo_optax.wrappers.layers import layerwise
from gdo_optax.wrappers.players import adversarial, in_turn
from gdo_optax.wrappers.precision import compensate, keep_master, round_stochastically
from gdo_optax.wrappers.rows import lazy
from gdo_optax.wrappers.skipping import skip_nonfinite
from gdo_optax.wrappers.sparse import sparse_rows
from gdo_optax.wrappers.storage import store
from gdo_optax.wrappers.workers import delay, downpour, local_sgd


def _entry(
    maker: Callable, authors: str, year: int, link: str, build: Callable | None = None, **settings: Any
) -> Entry:
    return Entry(maker, Paper(authors, year, link), build or maker, **settings)


def _others(kind: str, *rows: tuple) -> tuple[Entry, ...]:
    """Entries of what is no optimizer: (maker, authors, year, link), and around what a wrapper is built."""
    return tuple(_entry(*row, kind=kind, races=False, elementwise=False) for row in rows)


def _ranger21(
    learning_rate: Hyperparameter = 1e-3,
    steps: Numeric = 1000,
    weight_decay: Hyperparameter = 1e-4,
    norm_loss: Hyperparameter = 1e-4,
) -> Piece:
    return ranger21(learning_rate, steps, weight_decay=weight_decay, norm_loss=norm_loss)


def _lookahead_adam(
    learning_rate: Hyperparameter = 1e-3, sync_period: Numeric = 5, slow_step_size: Hyperparameter = 0.5
) -> Piece:
    return lookahead(adam(learning_rate), sync_period, slow_step_size)


_WRIGHT = ("Wright", 2019, "https://github.com/lessw2020/Ranger-Deep-Learning-Optimizer")
_POLYAK = ("Polyak", 1964, "doi:10.1016/0041-5553(64)90137-5")
_SUTTON = ("Sutton", 1986, "Proc. 8th Annual Conference of the Cognitive Science Society")
_QIAN = ("Qian", 1999, "doi:10.1016/S0893-6080(98)00116-6")
_REDDI = ("Reddi, Kale, Kumar", 2018, "arXiv:1904.09237")
_GOODFELLOW = ("Goodfellow et al.", 2014, "arXiv:1406.2661")
_FRAGE = ("Gong et al.", 2018, "arXiv:1809.06858")
_MCMAHAN = ("McMahan, Streeter", 2014, "NIPS")
_ZHANG = ("Zhang, Choromanska, LeCun", 2015, "arXiv:1412.6651")
_LOOKAHEAD = ("Zhang, Lucas, Hinton, Ba", 2019, "arXiv:1907.08610")

_OPTIMIZERS = (
    _entry(sgd, "Robbins, Monro", 1951, "doi:10.1214/aoms/1177729586"),
    _entry(momentum, "Qian", 1999, "doi:10.1016/S0893-6080(98)00116-6"),
    _entry(nesterov, "Nesterov", 1983, "Soviet Math. Dokl. 27:372-376"),
    _entry(nesterov_1983, "Nesterov", 1983, "Soviet Math. Dokl. 27:372-376"),
    _entry(aggmo, "Lucas, Sun, Zemel, Grosse", 2019, "arXiv:1804.00325"),
    _entry(delta_bar_delta, "Jacobs", 1988, "Neural Networks 1:295-307"),
    _entry(rprop, "Riedmiller, Braun", 1993, "doi:10.1109/ICNN.1993.298623"),
    _entry(hinton_gains, "Hinton, Srivastava, Swersky", 2012, "Coursera"),
    _entry(lion, "Chen et al.", 2023, "arXiv:2302.06675"),
    _entry(adagrad, "Duchi, Hazan, Singer", 2011, "JMLR 12:2121-2159"),
    _entry(adagrad_full_matrix, "Duchi, Hazan, Singer", 2011, "JMLR 12:2121-2159", races=False, elementwise=False),
    _entry(adagrad_rda, "Duchi, Hazan, Singer", 2011, "JMLR 12:2121-2159"),
    _entry(adagrad_mirror, "Duchi, Hazan, Singer", 2011, "JMLR 12:2121-2159"),
    _entry(rmsprop, "Tieleman, Hinton", 2012, "Coursera"),
    _entry(rmsprop_centered, "Graves", 2013, "arXiv:1308.0850"),
    _entry(rmsprop_momentum, "Tieleman, Hinton", 2012, "Coursera"),
    _entry(rmsprop_nesterov, "Tieleman, Hinton", 2012, "Coursera"),
    _entry(adadelta, "Zeiler", 2012, "arXiv:1212.5701"),
    _entry(adam, "Kingma, Ba", 2015, "arXiv:1412.6980"),
    _entry(adamax, "Kingma, Ba", 2015, "arXiv:1412.6980"),
    _entry(nadam, "Dozat", 2016, "https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ"),
    _entry(amsgrad, "Reddi, Kale, Kumar", 2018, "arXiv:1904.09237"),
    _entry(adamnc, "Reddi, Kale, Kumar", 2018, "arXiv:1904.09237"),
    _entry(adamw, "Loshchilov, Hutter", 2019, "arXiv:1711.05101"),
    _entry(qhadam, "Ma, Yarats", 2019, "arXiv:1810.06801"),
    _entry(adamwr, "Loshchilov, Hutter", 2019, "arXiv:1711.05101"),
    _entry(sgdw, "Loshchilov, Hutter", 2019, "arXiv:1711.05101"),
    _entry(sgdwr, "Loshchilov, Hutter", 2019, "arXiv:1711.05101"),
    _entry(adafactor, "Shazeer, Stern", 2018, "arXiv:1804.04235", elementwise=False),
    _entry(adabound, "Luo, Xiong, Liu, Sun", 2019, "arXiv:1902.09843"),
    _entry(amsbound, "Luo, Xiong, Liu, Sun", 2019, "arXiv:1902.09843"),
    _entry(adaboundw, "Luo, Xiong, Liu, Sun", 2019, "arXiv:1902.09843"),
    _entry(sgdbound, "Luo, Xiong, Liu, Sun", 2019, "arXiv:1902.09843"),
    _entry(lars_2017, "You, Gitman, Ginsburg", 2017, "arXiv:1708.03888", elementwise=False),
    _entry(lars, "You et al.", 2020, "arXiv:1904.00962", elementwise=False),
    _entry(lamb, "You et al.", 2020, "arXiv:1904.00962", elementwise=False),
    _entry(nlamb, "You et al.", 2020, "arXiv:1904.00962", elementwise=False),
    _entry(nnlamb, "You et al.", 2020, "arXiv:1904.00962", elementwise=False),
    _entry(radam, "Liu et al.", 2020, "arXiv:1908.03265"),
    _entry(lookahead, *_LOOKAHEAD, build=_lookahead_adam),
    _entry(ranger, *_WRIGHT, elementwise=False),
    _entry(ranger_va, *_WRIGHT),
    _entry(ranger_qh, *_WRIGHT),
    _entry(ranger21, "Wright, Demeure", 2021, "arXiv:2106.13731", build=_ranger21, elementwise=False, arraywise=False),
    _entry(nesterov_1983_backtracking, "Nesterov", 1983, "Soviet Math. Dokl. 27:372-376", needs="value_fn"),
    _entry(heun, "Su", 2018, "https://kexue.fm/archives/5879", needs="value_and_grad_fn"),
    _entry(extragradient, "Korpelevich", 1976, "Matecon 12:747-756", needs="value_and_grad_fn"),
)

_BESIDE = (
    *_others(
        "wrapper",
        (adaptive_lookahead, *_LOOKAHEAD, lambda: adaptive_lookahead(adam())),
        (accumulate, "Su", 2019, "https://kexue.fm/archives/6794", lambda: accumulate(adam(), 2)),
        (lazy, "Su", 2019, "https://kexue.fm/archives/6869", lambda: lazy(adam())),
        (layerwise, "Su", 2019, "https://kexue.fm/archives/7094", lambda: layerwise(adam())),
        (sparse_rows, "Su", 2019, "https://kexue.fm/archives/6869", lambda: sparse_rows(adam())),
        (keep_master, "Micikevicius et al.", 2018, "arXiv:1710.03740", lambda: keep_master(adam())),
        (compensate, "Kahan", 1965, "doi:10.1145/363707.363723", lambda: compensate(adam())),
        (round_stochastically, "Gupta et al.", 2015, "arXiv:1502.02551", lambda: round_stochastically(adam())),
        (store, "Dettmers et al.", 2022, "arXiv:2110.02861", lambda: store(adam(), as_="int8")),
        (skip_nonfinite, "Micikevicius et al.", 2018, "arXiv:1710.03740", lambda: skip_nonfinite(adam())),
        (sam, "Foret et al.", 2021, "arXiv:2010.01412", lambda: sam(adam())),
    ),
    *_others(
        "piece",
        (centralize, "Yong et al.", 2020, "arXiv:2004.01461"),
        (clip_by_global_norm, "Pascanu, Mikolov, Bengio", 2013, "arXiv:1211.5063"),
        (adaptive_grad_clip, "Brock et al.", 2021, "arXiv:2102.06171"),
        (add_gradient_noise, "Neelakantan et al.", 2015, "arXiv:1511.06807"),
        (project_to_box, *_REDDI),
        (temporal_average, "Kingma, Ba", 2015, "arXiv:1412.6980"),
        (polyak_average, "Polyak, Juditsky", 1992, "doi:10.1137/0330046"),
        (scale_by_path, "Su", 2019, "https://github.com/bojone/bert4keras"),
    ),
    *_others(
        "balancer",
        (gradnorm, "Chen et al.", 2018, "arXiv:1711.02257"),
        (uncertainty_weights, "Kendall, Gal, Cipolla", 2018, "arXiv:1705.07115"),
        (dynamic_weight_average, "Liu, Johns, Davison", 2019, "arXiv:1803.10704"),
        (pcgrad, "Yu et al.", 2020, "arXiv:2001.06782"),
    ),
    *_others(
        "adversary",
        (reverse_gradient, "Ganin, Lempitsky", 2015, "arXiv:1409.7495"),
        (in_turn, *_GOODFELLOW),
        (adversarial, *_GOODFELLOW),
        (frage_loss, *_FRAGE),
        (moment_loss, *_FRAGE),
    ),
    *_others(
        "parallel",
        (hogwild, "Recht et al.", 2011, "arXiv:1106.5730"),
        (downpour, "Dean et al.", 2012, "NIPS", lambda: downpour(adagrad())),
        (delay, *_MCMAHAN, lambda: delay(sgd(), 4)),
        (adaptive_revision, *_MCMAHAN),
        (easgd, *_ZHANG),
        (eamsgd, *_ZHANG),
        (local_sgd, "Stich", 2019, "arXiv:1805.09767", lambda: local_sgd(adam(), outer=nesterov(0.7))),
    ),
    *_others(
        "schedule",
        (linear_warmup, "Goyal et al.", 2017, "arXiv:1706.02677"),
        (untuned_linear_warmup, "Ma, Yarats", 2019, "arXiv:1910.04209"),
        (untuned_exponential_warmup, "Ma, Yarats", 2019, "arXiv:1910.04209"),
        (noam, "Vaswani et al.", 2017, "arXiv:1706.03762"),
        (piecewise_linear, "Su", 2019, "https://github.com/bojone/bert4keras"),
        (warm_restarts, "Loshchilov, Hutter", 2017, "arXiv:1608.03983"),
        (normalized_weight_decay, "Loshchilov, Hutter", 2019, "arXiv:1711.05101"),
        (restarting_weight_decay, "Loshchilov, Hutter", 2019, "arXiv:1711.05101"),
        (one_cycle, "Smith, Topin", 2017, "arXiv:1708.07120"),
        (one_cycle_three_phase, "Smith", 2018, "arXiv:1803.09820"),
        (relative_step, "Shazeer, Stern", 2018, "arXiv:1804.04235"),
        (nadam_momentum, "Dozat", 2016, "https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ"),
        (sutskever_momentum, "Sutskever et al.", 2013, "ICML"),
        (nesterov_momentum, "Su, Boyd, Candès", 2014, "arXiv:1503.01243"),
        (inverse_sqrt_decay, "Kingma, Ba", 2015, "arXiv:1412.6980"),
        (geometric_decay, *_REDDI),
        (ranger21_schedule, "Wright, Demeure", 2021, "arXiv:2106.13731"),
    ),
    *_others(
        "strategy",
        (early_stopping, "Prechelt", 1998, "doi:10.1007/3-540-49430-8_3"),
        (shuffled, "Bottou", 2009, "https://leon.bottou.org/papers/bottou-slds-open-problem-2009"),
        (curriculum, "Bengio et al.", 2009, "doi:10.1145/1553374.1553380"),
    ),
    *_others(
        "diagnostic",
        (range_test, "Smith", 2017, "arXiv:1506.01186"),
        (interference, *_SUTTON),
        (critical_momentum, *_QIAN),
        (largest_stable_rate, *_QIAN),
        (spectral_radius, *_QIAN),
        (optimal_heavy_ball, *_POLYAK),
        (optimal_gradient_descent, *_POLYAK),
    ),
    *_others(
        "problem",
        (ravine, *_SUTTON),
        (marginal_value_problem, "Wilson et al.", 2017, "arXiv:1705.08292"),
        (reddi_theorem1, *_REDDI),
        (reddi_online, *_REDDI),
        (reddi_stochastic, *_REDDI),
        (beale, "Ruder", 2016, "arXiv:1609.04747"),
        (saddle, "Ruder", 2016, "arXiv:1609.04747"),
    ),
)


def library() -> tuple[Entry, ...]:
    """Everything that has a paper, an optimizer or not.

    >>> sorted({entry.kind for entry in library()})[:5]
    ['adversary', 'balancer', 'diagnostic', 'optimizer', 'parallel']
    """
    return _OPTIMIZERS + _BESIDE


def family() -> tuple[Entry, ...]:
    """Every optimizer that asks for gradients and parameters alone, older before newer, relatives together.

    >>> [entry.name for entry in family() if entry.words == 0]
    ['sgd']
    """
    return tuple(entry for entry in _OPTIMIZERS if not entry.needs)


def get(name: str) -> Entry:
    """The entry of that name; KeyError, with the nearest name, where there is none.

    >>> get("adamw").paper.year
    2019
    >>> get("radm")
    Traceback (most recent call last):
        ...
    KeyError: "nothing is called 'radm'; did you mean radam?"
    """
    entries = {entry.name: entry for entry in library()}
    if name not in entries:
        near = difflib.get_close_matches(str(name).lower(), entries, 1)
        raise KeyError(f"nothing is called {name!r}; did you mean {near[0] if near else ', '.join(entries)}?")
    return entries[name]
