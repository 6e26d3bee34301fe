"""What is meant to be different from the recording.

| change          | what is different                                             | how it is compared               |
| --------------- | ------------------------------------------------------------- | -------------------------------- |
| promoted dtype  | an update has promote_types(gradient, parameter) as its dtype | rounded to the gradient's dtype, |
|                 | where it had the gradient's                                   | as which it moves the parameters |
| bias correction | 1 − Π β of betas that are arrays or traced is exact: of the   | within CORRECTED ulps            |
|                 | product of the betas that were used                           |                                  |
| un-jitted       | an un-jitted update is one compiled program                   | with either recording, un-jitted |
|                 |                                                               | or jitted                        |
| clock           | memories that are reset leave the clock alone: schedules      | not; tests/test_engine.py has    |
|                 | inside go on                                                  | the right numbers                |
| rows of codes   | a row that `lazy` leaves out of `store` keeps its memory;     | not; tests/test_rows.py has them |
|                 | 0.3.0 kept its codes, and took the new scale of their block   |                                  |
"""

import math

import jax.numpy as jnp


CORRECTED_CASES = (
    "arrays/adam",
    "arrays/nadam",
    "arrays/radam",
    "arrays/amsgrad",
    "arrays/bias_correction",
    "nested/optax-inject",
)
CORRECTED = 256.0
OTHERS = (
    "around/restart_state-4/adamw", "around/restart_state-7/adamw", "around/lookahead-reset/adamw",
    "nested/skip-lazy-store",
)  # fmt: skip


def allowed_dtypes(recorded: str, gradient: str, parameter: str) -> set[str]:
    """The dtypes that an update may have: the recorded one, and what the two promote to."""
    return {recorded, str(jnp.promote_types(gradient, parameter))}


def limit(case: str) -> float | None:
    """How many ulps apart a case is meant to be, None where it is not meant to be."""
    return math.inf if case in OTHERS else CORRECTED if case in CORRECTED_CASES else None
