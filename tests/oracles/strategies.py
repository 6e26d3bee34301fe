"""When to stop."""

import math


def early_stopping(values, patience, min_delta=0.0, mode="min"):
    """Prechelt, "Early stopping - but when?", 1998, with patience. values are those of the evaluations 0, 1, ...; one
    improves if it is better than the best by more than min_delta; the first that is a finite number or infinitely good
    always does, NaN never. An evaluation without improvement stops if `patience` or more came in a row, itself
    included; nothing changes after that. Returns a dict per evaluation: "best", "best_step" (-1 before there is one),
    "waited", "stopped"."""
    assert mode in ("min", "max")
    sign = 1.0 if mode == "min" else -1.0
    best, best_step, waited, stopped = math.inf, -1, 0, False
    states = []
    for count, value in enumerate(values):
        if not stopped:
            if sign * value < best - min_delta:
                best, best_step, waited = sign * value, count, 0
            else:
                waited += 1
                stopped = waited >= patience
        states.append({"best": sign * best, "best_step": best_step, "waited": waited, "stopped": stopped})
    return states
