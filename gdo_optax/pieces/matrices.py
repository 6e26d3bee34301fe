"""Second moments of all pairs of coordinates: a matrix per array, of its size squared."""

import jax
import jax.numpy as jnp
from chex import Array, Numeric

from gdo_optax.engine.nodes import Rule, rule
from gdo_optax.engine.numerics import reciprocal
from gdo_optax.engine.piece import piece


@piece
def scale_by_full_matrix(eps: Numeric = 1e-10) -> Rule:
    """x ↦ (Gₜ^½ + ε)⁻¹·x with Gₜ = Gₜ₋₁ + x·xᵀ, G₀ = 0, x as one long vector: Adagrad's scale with all its pairs.

    Directions without a gradient so far are left out, as a pseudo-inverse does: x has no part in them but for rounding.
    An eigendecomposition in every step: for a few hundred parameters. In float32 the step along an eigenvector is good
    to about 1e-7 times the largest eigenvalue over its own. Of gradients that are too large for a sum of squares it is
    the step that stays finite.

    J. Duchi, E. Hazan, Y. Singer (2011), JMLR 12:2121-2159, section 1.

    >>> import jax.numpy as jnp
    >>> tx = scale_by_full_matrix()
    >>> x, g = tx.update(jnp.array([0.0, 3.0]), tx.init(jnp.zeros(2)))
    >>> tx.update(jnp.array([4.0, 0.0]), g)[0]
    Array([1., 0.], dtype=float32)
    """

    def of_pairs(p: Array) -> Array:
        return jnp.zeros((p.size, p.size), p.dtype)

    def scaled(m: Array, x: Array, eps: Numeric) -> tuple[Array, Array]:
        most = float(jnp.finfo(x.dtype).max) / 4
        limit = (most / max(x.size, 1)) ** 0.5
        v = jnp.clip(jnp.ravel(_unsharded(x)), -limit, limit)  # |v|² ≤ most
        m = jnp.where(jnp.trace(m) < most, m + jnp.outer(v, v), m)  # full, it gathers no more, and stays definite
        return m, _sharded_as(x, jnp.reshape(inverse_root_matrix(m, eps) @ v, x.shape))

    return rule(scaled, init=of_pairs, real="this matrix", eps=eps)


def _unsharded(x: Array) -> Array:
    """x whole on every device, as all its pairs are needed there."""
    sharding = jax.typeof(x).sharding
    replicated = jax.NamedSharding(sharding.mesh, jax.P())
    return jax.sharding.reshard(x, replicated) if any(sharding.spec) else x


def _sharded_as(x: Array, y: Array) -> Array:
    sharding = jax.typeof(x).sharding
    return jax.sharding.reshard(y, sharding) if any(sharding.spec) else y


@jax.custom_jvp
def inverse_root_matrix(m: Array, eps: Numeric) -> Array:
    """(M^½ + ε)⁻¹ of a symmetric M ≥ 0, and 0 in the directions where M is 0 to rounding."""
    vectors, _, inverse = _spectrum(m, eps)
    return (vectors * inverse[None, :]) @ vectors.T


@inverse_root_matrix.defjvp
def _inverse_root_matrix_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """By the divided differences of 1/(√λ + ε), which are finite where eigenvalues are equal and eigh's are not."""
    (m, eps), (dm, deps) = primals, tangents
    vectors, root, inverse = _spectrum(m, eps)
    product = inverse[:, None] * inverse[None, :]
    slope = -product * reciprocal(root[:, None] + root[None, :])
    inner = slope * (vectors.T @ dm @ vectors) - deps * product * jnp.eye(len(root), dtype=m.dtype)
    return (vectors * inverse[None, :]) @ vectors.T, vectors @ inner @ vectors.T


def _spectrum(m: Array, eps: Numeric) -> tuple[Array, Array, Array]:
    """Eigenvectors, and of every eigenvalue λ the root √λ and 1/(√λ + ε), both 0 where λ is rounding."""
    values, vectors = jnp.linalg.eigh(m)
    rounding = len(m) * float(jnp.finfo(m.dtype).eps) * jnp.max(values, initial=0)
    root = jnp.where(values > rounding, jnp.sqrt(jnp.maximum(values, 0)), 0)
    return vectors, root, jnp.where(root > 0, 1 / jnp.where(root > 0, root + eps, 1), 0)
