"""Every classic gradient-descent method for JAX, each a short list of pure, composable pieces."""

from gdo_optax import like
from gdo_optax.cycles import OneCycle, one_cycle, one_cycle_three_phase, piecewise_linear, ranger21_schedule
from gdo_optax.damping import (
    HeavyBall,
    critical_momentum,
    largest_stable_rate,
    optimal_gradient_descent,
    optimal_heavy_ball,
    spectral_radius,
)
from gdo_optax.diagnostics import Interference, interference
from gdo_optax.differences import differences
from gdo_optax.engine.combinators import adaptive, chain, masked, mean_of, parallel, recall
from gdo_optax.engine.nodes import Rule, Whole, per_step, rule
from gdo_optax.engine.piece import Piece, piece
from gdo_optax.engine.states import eval_params
from gdo_optax.engine.trees import excluding
from gdo_optax.family import family, get, library
from gdo_optax.frage import (
    Discriminator,
    discriminator,
    frage_loss,
    frequency_classes,
    moment_loss,
    reverse_gradient,
)
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
from gdo_optax.pieces.bounds import clip_by_bounds, clip_step_size
from gdo_optax.pieces.clocks import bias_correction, rectify, scale_by_time
from gdo_optax.pieces.composite import look_ahead, nesterov_ema, quasi_hyperbolic, scale_by_adam, scale_by_rms
from gdo_optax.pieces.factored import corrected_decay_rate, factored_ema, scale_by_factored_rms
from gdo_optax.pieces.gradients import add_gradient_noise, centralize
from gdo_optax.pieces.matrices import scale_by_full_matrix
from gdo_optax.pieces.moments import (
    decayed_max,
    ema,
    mean,
    running_max,
    scale_by_adadelta,
    total,
    trace,
    two_rate_ema,
    variance,
)
from gdo_optax.pieces.paths import scale_by_path
from gdo_optax.pieces.proximal import first_parameters, parameters, project_to_box, proximal
from gdo_optax.pieces.scales import (
    absolute,
    add_constant,
    clip_by_block_rms,
    inverse_root,
    reciprocal,
    scale,
    scale_by_learning_rate,
    sign,
    square,
)
from gdo_optax.pieces.slow import (
    adaptive_slow_weights,
    extrapolate,
    polyak_average,
    slow_weights,
    temporal_average,
    weights,
)
from gdo_optax.pieces.steps import scale_by_delta_bar_delta, scale_by_gains, scale_by_rprop
from gdo_optax.pieces.sums import accumulated
from gdo_optax.pieces.units import (
    adaptive_grad_clip,
    add_norm_loss,
    clip_by_global_norm,
    inverse_softplus_root,
    mean_of_all,
    normalize,
    normalize_by_update_norm,
    positive_negative_momentum,
    scale_by_parameters,
    stable_weight_decay,
)
from gdo_optax.pieces.weights import (
    add_decayed_weights,
    scale_by_local_rate,
    scale_by_parameter_rms,
    scale_to_parameter_norm,
    trust_ratio,
)
from gdo_optax.pieces.workers import elastic, fetch, parameter_server, synchronize, worker_mean
from gdo_optax.problems import (
    MarginalValue,
    Online,
    Problem,
    beale,
    marginal_value_problem,
    ravine,
    reddi_online,
    reddi_stochastic,
    reddi_theorem1,
    saddle,
)
from gdo_optax.restarts import normalized_weight_decay, restart_lengths, restarting_weight_decay, warm_restarts
from gdo_optax.rows import Rows
from gdo_optax.sampling import curriculum, shuffled
from gdo_optax.schedules import (
    ahead,
    complement,
    corrected_decay,
    geometric_decay,
    inverse_sqrt_decay,
    nadam_momentum,
    nesterov_momentum,
    product,
    relative_step,
    sutskever_momentum,
)
from gdo_optax.stopping import EarlyStopping, Stopping, early_stopping
from gdo_optax.tasks.balancing import gradnorm, pcgrad
from gdo_optax.tasks.gradients import task_gradients
from gdo_optax.tasks.rating import dynamic_weight_average, uncertainty_weights
from gdo_optax.tasks.weighing import equal_weights, static_weights, weigh_tasks
from gdo_optax.tuning import RangeTest, range_test
from gdo_optax.warmups import linear_warmup, noam, untuned_exponential_warmup, untuned_linear_warmup
from gdo_optax.wrappers.accumulation import accumulate
from gdo_optax.wrappers.evaluations import gradient_ahead, scale_by_backtracking, second, with_second_gradient
from gdo_optax.wrappers.layers import layerwise
from gdo_optax.wrappers.lookups import row_gradients
from gdo_optax.wrappers.players import adversarial, in_turn
from gdo_optax.wrappers.precision import compensate, keep_master, round_stochastically
from gdo_optax.wrappers.restarts import interpolate_state, restart_state
from gdo_optax.wrappers.rows import lazy
from gdo_optax.wrappers.skipping import skip_nonfinite
from gdo_optax.wrappers.sparse import sparse_rows
from gdo_optax.wrappers.storage import store
from gdo_optax.wrappers.workers import delay, downpour, local_sgd, random_delay


__all__ = [
    # What there is
    "differences",
    "family",
    "get",
    "library",
    # Optimizers
    "sgd",
    "momentum",
    "nesterov",
    "nesterov_1983",
    "aggmo",
    "delta_bar_delta",
    "rprop",
    "hinton_gains",
    "lion",
    "adagrad",
    "adagrad_full_matrix",
    "adagrad_rda",
    "adagrad_mirror",
    "rmsprop",
    "rmsprop_centered",
    "rmsprop_momentum",
    "rmsprop_nesterov",
    "adadelta",
    "adam",
    "adamax",
    "nadam",
    "amsgrad",
    "adamnc",
    "adamw",
    "qhadam",
    "adamwr",
    "sgdw",
    "sgdwr",
    "adafactor",
    "adabound",
    "amsbound",
    "adaboundw",
    "sgdbound",
    "lars_2017",
    "lars",
    "lamb",
    "nlamb",
    "nnlamb",
    "radam",
    "lookahead",
    "ranger",
    "ranger_va",
    "ranger_qh",
    "ranger21",
    "nesterov_1983_backtracking",
    "heun",
    "extragradient",
    # Around a whole optimizer
    "accumulate",
    "adaptive_lookahead",
    "compensate",
    "interpolate_state",
    "keep_master",
    "layerwise",
    "lazy",
    "restart_state",
    "round_stochastically",
    "sam",
    "skip_nonfinite",
    "store",
    # Several losses
    "dynamic_weight_average",
    "equal_weights",
    "gradnorm",
    "pcgrad",
    "static_weights",
    "task_gradients",
    "uncertainty_weights",
    "weigh_tasks",
    # Several players
    "Discriminator",
    "adversarial",
    "discriminator",
    "frage_loss",
    "frequency_classes",
    "in_turn",
    "moment_loss",
    "reverse_gradient",
    # Several workers
    "adaptive_revision",
    "delay",
    "downpour",
    "eamsgd",
    "easgd",
    "elastic",
    "fetch",
    "hogwild",
    "local_sgd",
    "parameter_server",
    "random_delay",
    "synchronize",
    "worker_mean",
    # Rows of a table
    "Rows",
    "row_gradients",
    "sparse_rows",
    # Other people's numbers
    "like",
    # Combinators
    "adaptive",
    "chain",
    "masked",
    "mean_of",
    "parallel",
    "recall",
    # Pieces that remember
    "decayed_max",
    "ema",
    "factored_ema",
    "first_parameters",
    "mean",
    "positive_negative_momentum",
    "running_max",
    "scale_by_delta_bar_delta",
    "scale_by_full_matrix",
    "scale_by_factored_rms",
    "scale_by_gains",
    "scale_by_adadelta",
    "scale_by_rprop",
    "total",
    "trace",
    "two_rate_ema",
    "variance",
    # Second sets of weights
    "adaptive_slow_weights",
    "extrapolate",
    "polyak_average",
    "slow_weights",
    "temporal_average",
    # Pieces that evaluate the loss once more
    "gradient_ahead",
    "scale_by_backtracking",
    "second",
    "with_second_gradient",
    # Pieces that know the time
    "add_gradient_noise",
    "bias_correction",
    "clip_by_bounds",
    "clip_by_global_norm",
    "clip_step_size",
    "rectify",
    "scale_by_time",
    # Pieces that read the parameters
    "adaptive_grad_clip",
    "add_decayed_weights",
    "add_norm_loss",
    "parameters",
    "project_to_box",
    "proximal",
    "scale_by_local_rate",
    "scale_by_parameter_rms",
    "scale_by_parameters",
    "scale_to_parameter_norm",
    "stable_weight_decay",
    "trust_ratio",
    # Pieces of one array
    "absolute",
    "add_constant",
    "centralize",
    "clip_by_block_rms",
    "inverse_root",
    "inverse_softplus_root",
    "mean_of_all",
    "normalize",
    "normalize_by_update_norm",
    "reciprocal",
    "scale",
    "scale_by_learning_rate",
    "scale_by_path",
    "sign",
    "square",
    # Several pieces in one
    "look_ahead",
    "nesterov_ema",
    "quasi_hyperbolic",
    "scale_by_adam",
    "scale_by_rms",
    # Makers
    "Piece",
    "Rule",
    "Whole",
    "accumulated",
    "per_step",
    "piece",
    "rule",
    "weights",
    # Beside the update
    "EarlyStopping",
    "RangeTest",
    "Stopping",
    "curriculum",
    "early_stopping",
    "eval_params",
    "excluding",
    "range_test",
    "shuffled",
    # Schedules
    "OneCycle",
    "ahead",
    "complement",
    "corrected_decay",
    "corrected_decay_rate",
    "geometric_decay",
    "inverse_sqrt_decay",
    "linear_warmup",
    "nadam_momentum",
    "nesterov_momentum",
    "noam",
    "normalized_weight_decay",
    "one_cycle",
    "one_cycle_three_phase",
    "piecewise_linear",
    "product",
    "ranger21_schedule",
    "relative_step",
    "restart_lengths",
    "restarting_weight_decay",
    "sutskever_momentum",
    "untuned_exponential_warmup",
    "untuned_linear_warmup",
    "warm_restarts",
    # Problems, diagnostics and closed forms
    "HeavyBall",
    "Interference",
    "MarginalValue",
    "Online",
    "Problem",
    "beale",
    "critical_momentum",
    "interference",
    "largest_stable_rate",
    "marginal_value_problem",
    "optimal_gradient_descent",
    "optimal_heavy_ball",
    "ravine",
    "reddi_online",
    "reddi_stochastic",
    "reddi_theorem1",
    "saddle",
    "spectral_radius",
]

__version__ = "0.3.0"
