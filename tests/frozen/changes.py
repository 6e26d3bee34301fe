"""What is meant to be different from the recording.

| change          | what is different                                             | how it is compared               |
| --------------- | ------------------------------------------------------------- | -------------------------------- |
| promoted dtype  | an update has promote_types(gradient, parameter) as its dtype | rounded to the gradient's dtype, |
|                 | where it had the gradient's                                   | as which it moves the parameters |
| bias correction | 1 − Π β of betas that are arrays or traced is exact: of the   | within CORRECTED ulps            |
|                 | product of the betas that were used                           |                                  |
"""

import jax.numpy as jnp


CORRECTED_CASES = ("arrays/adam", "arrays/nadam", "arrays/radam", "arrays/amsgrad", "arrays/bias_correction")
CORRECTED = 256.0


def allowed_dtypes(recorded: str, gradient: str, parameter: str) -> set[str]:
    """The dtypes that an update may have: the recorded one, and what the two promote to."""
    return {recorded, str(jnp.promote_types(gradient, parameter))}


def limit(case: str) -> float | None:
    """How many ulps apart a case is meant to be, None where it is not meant to be."""
    return CORRECTED if case in CORRECTED_CASES else None
