"""Reference loops of the optimizers in float64 NumPy, written from the papers.

Each is name(x, gradients, **hyperparameters) for one parameter array x and gradients [T, *x.shape] given in advance; it
returns the updates u_1, ..., u_T of x_t = x_{t-1} + u_t. learning_rate is a number or a function of the count t - 1.
"""

from .adagrad import adadelta, adagrad, rmsprop
from .adam import adam, adamax, adamw, amsgrad, nadam
from .bounded import adabound, amsbound
from .factored import adafactor
from .layerwise import lamb
from .momentum import momentum, nesterov, sgd
from .rectified import radam
from .slow import lookahead, ranger


__all__ = [
    "adabound",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "amsbound",
    "amsgrad",
    "lamb",
    "lookahead",
    "momentum",
    "nadam",
    "nesterov",
    "radam",
    "ranger",
    "rmsprop",
    "sgd",
]
