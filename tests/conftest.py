"""The strictest JAX: no implicit promotion of dtypes or ranks, in every test and doctest."""

import os

import jaxlib


# Most of what the tests cost is compiling. Without these emitters, which other versions may not know, it takes half the
# time, and moves as many words; and the processes of the tests are threads enough.
if jaxlib.__version__.startswith("0.10."):
    cheaper = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")
    os.environ["XLA_FLAGS"] = " ".join((os.environ.get("XLA_FLAGS", ""), *cheaper)).strip()

import jax  # noqa: E402 (it reads the flags)


jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
