"""The strictest JAX: no implicit promotion of dtypes or ranks, in every test and doctest."""

import jax


jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
