"""Reference loops of the optimizers in float64 NumPy, written from the papers.

Each is name(x, gradients, **hyperparameters) for one parameter array x and gradients [T, *x.shape] given in advance; it
returns the updates u_1, ..., u_T of x_t = x_{t-1} + u_t. learning_rate is a number or a function of the count t - 1.
"""

from .adagrad import adadelta, adagrad, adagrad_full_matrix, adagrad_mirror, adagrad_rda
from .adam import adam, adamax, adamnc, amsgrad, nadam, qhadam
from .bounded import adabound, adaboundw, amsbound, sgdbound
from .decoupled import adamw, adamwr, sgdw, sgdwr
from .factored import adafactor
from .layerwise import lamb, lars, lars_2017, nlamb, nnlamb
from .momentum import aggmo, momentum, nesterov, nesterov_1983, sgd
from .rectified import radam
from .rmsprop import rmsprop, rmsprop_centered, rmsprop_momentum, rmsprop_nesterov
from .signs import delta_bar_delta, hinton_gains, lion, rprop
from .slow import lookahead, ranger, ranger21, ranger_qh, ranger_va


__all__ = [
    "adabound",
    "adaboundw",
    "adadelta",
    "adafactor",
    "adagrad",
    "adagrad_full_matrix",
    "adagrad_mirror",
    "adagrad_rda",
    "adam",
    "adamax",
    "adamnc",
    "adamw",
    "adamwr",
    "aggmo",
    "amsbound",
    "amsgrad",
    "delta_bar_delta",
    "hinton_gains",
    "lamb",
    "lars",
    "lars_2017",
    "lion",
    "lookahead",
    "momentum",
    "nadam",
    "nesterov",
    "nesterov_1983",
    "nlamb",
    "nnlamb",
    "qhadam",
    "radam",
    "ranger",
    "ranger21",
    "ranger_qh",
    "ranger_va",
    "rmsprop",
    "rmsprop_centered",
    "rmsprop_momentum",
    "rmsprop_nesterov",
    "rprop",
    "sgd",
    "sgdbound",
    "sgdw",
    "sgdwr",
]
