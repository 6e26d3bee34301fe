"""Recorded trajectories: what the optimizers of other libraries did, float64, step by step.

The recording of a library is an .npz of arrays case/leaf, [STEPS, *shape]: the parameters after each step from
`catalogue.parameters()` with `catalogue.gradients(steps=STEPS)`, which do not depend on the parameters. A case is

    {"id": "adam-l2", "name": our name, "settings": our arguments, all of them, "torch": (class, its arguments)}

where "falling" for a learning rate stands for `catalogue.falling`, set before every step. The arguments of torch leave
out its defaults in the cases that are about defaults. Only Adafactor looks at more than one element at a time, so only
its cases keep every leaf; `record.live` gives all leaves of any case where torch is installed.
"""

from pathlib import Path
from typing import Any

import numpy as np


STEPS = 100
FOLDER = Path(__file__).parent
ADAM = {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
OTHER_ADAM = {"learning_rate": 0.5, "b1": 0.8, "b2": 0.95, "eps": 1e-3}
RMSPROP = {"learning_rate": 0.01, "decay": 0.99, "eps": 1e-8}
OTHER_RMSPROP = {"learning_rate": 0.5, "decay": 0.8, "eps": 1e-3}

# The class, the arguments that make it the method, and all its defaults in our words. No L2 among them.
METHODS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sgd": ("SGD", {}, {"learning_rate": 1e-3}),
    "momentum": ("SGD", {"momentum": 0.9}, {"learning_rate": 1e-3, "momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}, {"learning_rate": 1e-3, "momentum": 0.9}),
    "adagrad": (
        "Adagrad",
        {},
        {"learning_rate": 0.01, "learning_rate_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10},
    ),
    "rmsprop": ("RMSprop", {}, RMSPROP),
    "rmsprop_centered": ("RMSprop", {"centered": True}, RMSPROP),
    "rmsprop_momentum": ("RMSprop", {"momentum": 0.9}, RMSPROP | {"momentum": 0.9}),
    "rmsprop_centered_momentum": ("RMSprop", {"centered": True, "momentum": 0.9}, RMSPROP | {"momentum": 0.9}),
    "rprop": (
        "Rprop",
        {},
        {"learning_rate": 0.01, "eta_minus": 0.5, "eta_plus": 1.2, "min_step_size": 1e-6, "max_step_size": 50.0},
    ),
    "adadelta": ("Adadelta", {}, {"learning_rate": 1.0, "rho": 0.9, "eps": 1e-6}),
    "adam": ("Adam", {}, ADAM),
    "adamax": ("Adamax", {}, ADAM | {"learning_rate": 2e-3}),
    "nadam": ("NAdam", {}, ADAM | {"learning_rate": 2e-3, "momentum_decay": 4e-3}),
    "amsgrad": ("Adam", {"amsgrad": True}, ADAM),
    "adamw": ("AdamW", {}, ADAM | {"weight_decay": 1e-2}),
    "radam": ("RAdam", {}, ADAM),
    "adafactor": (
        "Adafactor",
        {},
        {
            "learning_rate": 0.01, "decay_rate": 0.8, "eps": float(np.finfo(float).eps), "min_parameter_scale": 1e-3,
            "clipping_threshold": 1.0, "weight_decay": 0.0,
        },
    ),
}  # fmt: skip
OTHER: dict[str, dict[str, Any]] = {
    "sgd": {"learning_rate": 0.5},
    "momentum": {"learning_rate": 0.5, "momentum": 0.99},
    "nesterov": {"learning_rate": 0.5, "momentum": 0.99},
    "adagrad": {"learning_rate": 0.5, "learning_rate_decay": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-3},
    "rmsprop": OTHER_RMSPROP,
    "rmsprop_centered": OTHER_RMSPROP,
    "rmsprop_momentum": OTHER_RMSPROP | {"momentum": 0.5},
    "rmsprop_centered_momentum": OTHER_RMSPROP | {"momentum": 0.5},
    "rprop": {"learning_rate": 0.3, "eta_minus": 0.4, "eta_plus": 1.5, "min_step_size": 0.05, "max_step_size": 0.8},
    "adadelta": {"learning_rate": 0.5, "rho": 0.7, "eps": 1e-3},
    "adam": OTHER_ADAM,
    "adamax": OTHER_ADAM,
    "nadam": OTHER_ADAM | {"momentum_decay": 0.1},
    "amsgrad": OTHER_ADAM,
    "adamw": OTHER_ADAM | {"weight_decay": 0.1},
    "radam": OTHER_ADAM,
    "adafactor": {
        "learning_rate": 0.3, "decay_rate": 0.5, "eps": 1e-3, "min_parameter_scale": 1.0,
        "clipping_threshold": 1.25, "weight_decay": 0.1,
    },
}  # fmt: skip
WITH_L2 = ("sgd", "adagrad", "rmsprop", "adadelta", "adam", "adamax", "nadam", "radam")
WITHOUT_RATE = ("rprop",)
"""The learning rate is only where its step sizes start."""


def in_words_of_torch(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Our arguments as those of torch's class."""
    theirs = {"learning_rate": "lr", "learning_rate_decay": "lr_decay", "decay": "alpha", "clipping_threshold": "d"}
    pairs = {"betas": ("b1", "b2"), "etas": ("eta_minus", "eta_plus"), "step_sizes": ("min_step_size", "max_step_size")}
    if name == "adafactor":
        pairs |= {"eps": ("eps", "min_parameter_scale")}
        settings = {k: v for k, v in settings.items() if k != "decay_rate"} | {"beta2_decay": -settings["decay_rate"]}
    paired = {k: tuple(settings[i] for i in pair) for k, pair in pairs.items() if pair[0] in settings}
    rest = {k: v for k, v in settings.items() if not any(k in pair for pair in pairs.values())}
    return {theirs.get(k, k): v for k, v in rest.items()} | paired


def cases_of(name: str) -> list[dict[str, Any]]:
    """The defaults, everything else than the defaults, the defaults with a falling rate, and with L2."""
    kind, fixed, defaults = METHODS[name]

    def case(label: str, settings: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
        return {"id": f"{name}-{label}", "name": name, "settings": dict(settings), "torch": (kind, fixed | arguments)}

    cases = [case("defaults", defaults, {}), case("other", OTHER[name], in_words_of_torch(name, OTHER[name]))]
    if name not in WITHOUT_RATE:
        cases.append(case("falling", defaults | {"learning_rate": "falling"}, {}))
    if name == "adafactor":  # its floor of mean(R) shows only where it is above the means of small squares
        floors = OTHER[name] | {"eps": 10.0}
        cases.append(case("floors", floors, in_words_of_torch(name, floors)))
    if name in WITH_L2:
        cases.append(case("l2", defaults | {"weight_decay": 0.1}, {"weight_decay": 0.1}))
    return cases


CASES = [case for name in METHODS for case in cases_of(name)]


def recorded_leaves(case: dict[str, Any]) -> tuple[str, ...]:
    """The leaves of a case that the recording keeps."""
    return ("kernel", "conv", "bias", "gain") if case["name"] == "adafactor" else ("bias", "gain")


def load(library: str) -> dict[str, dict[str, np.ndarray]]:
    """A recording as {case: {leaf: parameters after each step}}."""
    trajectories: dict[str, dict[str, np.ndarray]] = {}
    with np.load(FOLDER / f"{library}.npz") as file:
        for key in file.files:
            case, _, leaf = key.partition("/")
            if leaf:
                trajectories.setdefault(case, {})[leaf] = file[key]
    return trajectories


def note(library: str) -> str:
    """The version that was recorded, and how."""
    with np.load(FOLDER / f"{library}.npz") as file:
        return str(file["note"])
