"""Every classic gradient-descent method for JAX, each a short list of pure, composable pieces."""

from gdo_optax.combinators import adaptive, chain, masked, parallel
from gdo_optax.core import Piece, eval_params, piece
from gdo_optax.family import family, get
from gdo_optax.makers import memory, paired, pointwise, recurrent, sequence, timed, weights
from gdo_optax.optimizers.adagrad import adadelta, adagrad, rmsprop
from gdo_optax.optimizers.adam import adam, adamax, adamw, amsgrad
from gdo_optax.optimizers.bounded import adabound, amsbound
from gdo_optax.optimizers.factored import adafactor
from gdo_optax.optimizers.layerwise import lamb
from gdo_optax.optimizers.lookahead import lookahead
from gdo_optax.optimizers.momentum import momentum, nesterov, sgd
from gdo_optax.optimizers.nadam import nadam
from gdo_optax.optimizers.rectified import radam, ranger
from gdo_optax.pieces.clocks import bias_correction, clip_by_bounds, rectify
from gdo_optax.pieces.composite import scale_by_adam, scale_by_rms
from gdo_optax.pieces.factored import factored_ema
from gdo_optax.pieces.gradients import centralize
from gdo_optax.pieces.moments import decayed_max, ema, running_max, scale_by_past_updates, total, trace
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
from gdo_optax.pieces.weights import add_decayed_weights, scale_by_parameter_rms, slow_weights, trust_ratio
from gdo_optax.schedules import complement, nadam_momentum, relative_step


__all__ = [
    # The family
    "family",
    "get",
    # Methods
    "sgd",
    "momentum",
    "nesterov",
    "adagrad",
    "rmsprop",
    "adadelta",
    "adam",
    "adamax",
    "nadam",
    "amsgrad",
    "adamw",
    "adafactor",
    "adabound",
    "amsbound",
    "lamb",
    "radam",
    "lookahead",
    "ranger",
    # Combinators
    "adaptive",
    "chain",
    "masked",
    "parallel",
    # Pieces that remember
    "decayed_max",
    "ema",
    "factored_ema",
    "running_max",
    "scale_by_past_updates",
    "slow_weights",
    "total",
    "trace",
    # Pieces that know the time
    "bias_correction",
    "clip_by_bounds",
    "rectify",
    # Pieces that read the parameters
    "add_decayed_weights",
    "scale_by_parameter_rms",
    "trust_ratio",
    # Pointwise pieces
    "absolute",
    "add_constant",
    "centralize",
    "clip_by_block_rms",
    "inverse_root",
    "reciprocal",
    "scale",
    "scale_by_learning_rate",
    "sign",
    "square",
    # Two lists in one
    "scale_by_adam",
    "scale_by_rms",
    # Makers
    "Piece",
    "memory",
    "paired",
    "piece",
    "pointwise",
    "recurrent",
    "sequence",
    "timed",
    "weights",
    # Beside the update
    "eval_params",
    "complement",
    "nadam_momentum",
    "relative_step",
]

__version__ = "0.1.0"
