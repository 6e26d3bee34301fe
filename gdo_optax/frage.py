"""FRAGE: word embeddings that do not tell how frequent a word is; a reversed gradient, an adversary, and moments."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine import ranges
from gdo_optax.engine.numerics import norm, wide_dtype


class Discriminator(NamedTuple):
    """init(key) ↦ parameters, and apply(parameters, embedding) ↦ logits: positive for what looks popular."""

    init: Callable[[Array], ArrayTree]
    apply: Callable[[ArrayTree, Array], Array]


def reverse_gradient(x: ArrayTree, strength: Numeric = 1.0) -> ArrayTree:
    """Gradient reversal: x itself, whose gradient comes back turned round.

        forward:   x
        backward:  −λ·g

    What stands behind it descends on its loss, what stands before it ascends, and one optimizer of both plays a minimax
    game. Any tree; arrays of integers have no gradient. Differentiable forward and backward; λ may be traced, has no
    gradient of its own, and the result keeps the dtypes of x.

    Args:
        x: an array or a tree of arrays.
        strength: λ ≥ 0, a number.

    Returns:
        x.

    Raises:
        ValueError: a strength below 0.

    Reference: Y. Ganin, V. Lempitsky (2015), "Unsupervised domain adaptation by backpropagation", arXiv:1409.7495,
    section 3.2.

    >>> jax.grad(lambda x: reverse_gradient(x, 0.5) ** 2)(3.0)
    Array(-3., dtype=float32, weak_type=True)
    """
    ranges.check("reverse_gradient", {"strength": strength})
    return jax.tree.map(lambda a: _reversed(a, strength), x)


@jax.custom_jvp
def _reversed(x: Array, strength: Numeric) -> Array:
    return x


@_reversed.defjvp
def _reversed_jvp(primals: tuple[Array, Numeric], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    (x, strength), (dx, _) = primals, tangents
    if not jnp.issubdtype(jnp.result_type(x), jnp.inexact):
        return x, dx
    wide = wide_dtype(dx)
    return x, (-jnp.asarray(strength, wide) * dx.astype(wide)).astype(dx.dtype)


def frequency_classes(counts: Any, share: float = 0.2) -> np.ndarray:
    """Popular or rare: which words are among the most frequent share of the vocabulary.

        popular = the round(share·V) words of the largest counts; of equal ones the first

    Types, not tokens, are counted: the paper's 20 % of the words make up most of a text. The authors' language models
    take 10 % (Penn Treebank) and a fixed 8000 words (WikiText-2). A word without occurrences is rare like any other:
    leave it out of the vocabulary, or out of the embedding that is judged.

    Args:
        counts: (V,), how often each word occurs, known numbers.
        share: in (0, 1), of the vocabulary.

    Returns:
        (V,) booleans, NumPy, True for popular.

    Raises:
        ValueError: counts that are no vector of numbers ≥ 0; a share that leaves a class empty or is outside [0, 1].
        TypeError: traced counts.

    Reference: C. Gong, D. He, X. Tan, T. Qin, L. Wang, T.-Y. Liu (2018), "FRAGE: frequency-agnostic word
    representation", arXiv:1809.06858, section 4.

    >>> frequency_classes([5, 1, 9, 5, 2], share=0.4)
    array([ True, False,  True, False, False])
    """
    if callable(share) or isinstance(counts, jax.core.Tracer):
        raise TypeError("frequency_classes: counts and share must be known numbers: call it outside jit, no schedule")
    ranges.check("frequency_classes", {"share": share})
    many = np.asarray(counts, np.float64)
    if many.ndim != 1 or not np.all(many >= 0):
        raise ValueError(f"frequency_classes: counts must be a vector of numbers ≥ 0, one a word, not {many.shape}")
    first = round(float(share) * many.size)
    if not 0 < first < many.size:
        raise ValueError(
            f"frequency_classes: share={share} of {many.size} words makes {first} popular, which leaves a class empty"
        )
    popular = np.zeros(many.size, bool)
    popular[np.argsort(-many, kind="stable")[:first]] = True
    return popular


def discriminator(features: int, hidden: Sequence[int] = ()) -> Discriminator:
    """FRAGE's adversary: it tells popular words from rare ones by their embeddings.

        z = E·k + b,   P(popular) = 1/(1 + e⁻ᶻ)        k ~ U(−0.1, 0.1), b = 0

    Linear as in the authors' language models (theirs has two outputs, of which only the difference matters); `hidden`
    puts ReLU layers before it. Parameters are a list of {"kernel", "bias"}, a layer each.

    Args:
        features: d, the length of an embedding, ≥ 1.
        hidden: the widths of the hidden layers, each ≥ 1.

    Returns:
        `Discriminator(init, apply)`: `init(key)` are float32 parameters, `apply(params, embedding)` logits (V,) of an
        embedding (V, d), computed in at least float32.

    Raises:
        ValueError: a width below 1.
        TypeError: a width that is no integer, hidden that is no list.

    Reference: C. Gong, D. He, X. Tan, T. Qin, L. Wang, T.-Y. Liu (2018), "FRAGE: frequency-agnostic word
    representation", arXiv:1809.06858, section 4.

    >>> judge = discriminator(4)
    >>> params = judge.init(jax.random.key(0))
    >>> params[0]["kernel"].shape, judge.apply(params, jnp.zeros((3, 4)))
    ((4, 1), Array([0., 0., 0.], dtype=float32))
    """
    widths = _widths(features, hidden)

    def init(key: Array) -> ArrayTree:
        def layer(key: Array, rows: int, columns: int) -> dict[str, Array]:
            kernel = jax.random.uniform(key, (rows, columns), jnp.float32, -0.1, 0.1)
            return {"kernel": kernel, "bias": jnp.zeros(columns, jnp.float32)}

        keys = jax.random.split(key, len(widths) - 1)
        return [layer(*sizes) for sizes in zip(keys, widths[:-1], widths[1:], strict=True)]

    def apply(params: ArrayTree, embedding: Array) -> Array:
        h = embedding
        for i, layer in enumerate(params):
            dtype = np.promote_types(wide_dtype(h), wide_dtype(layer["kernel"]))
            kernel, bias = layer["kernel"].astype(dtype), layer["bias"].astype(dtype)
            h = (jax.nn.relu(h) if i else h).astype(dtype) @ kernel
            h = h + jnp.broadcast_to(bias, h.shape)
        return h[..., 0]

    return Discriminator(init, apply)


def frage_loss(
    embedding: Array,
    popular: Array,
    logits_of: Callable[[Array], Array],
    strength: Numeric = 0.1,
    push: str = "both",
) -> Array:
    """FRAGE: an adversary judges from a word's embedding whether it is popular, and the embedding learns to fool it.

        L_D = mean over popular −log f(E_w) + mean over rare −log(1 − f(E_w)),   f = 1/(1 + e⁻ᶻ)
        θ_D descends on L_D,   E on L_task − λ·L_D

    What is returned is L_D, seen through `reverse_gradient`: minimising L_task + frage_loss over all parameters with
    one optimizer, or with `adversarial`, is the whole game. Both classes count the same. The value is 2·log 2 where
    the adversary knows nothing. The authors' language models push the rare words alone (`push="rare"`) with λ = 0.02,
    and step in turns. With a tied softmax the output layer is pushed too.

    Args:
        embedding: E, (V, d), the whole table.
        popular: (V,) booleans, as `frequency_classes` returns them.
        logits_of: embedding (V, d), in at least float32, ↦ z (V,), such as
            `functools.partial(judge.apply, params["discriminator"])`.
        strength: λ ≥ 0, a number.
        push: "both", or "rare" for rare words' gradients alone.

    Returns:
        L_D, a number in at least float32.

    Raises:
        ValueError: a strength below 0, another push, shapes that do not fit, an empty class.
        TypeError: classes that are no booleans.

    Reference: C. Gong, D. He, X. Tan, T. Qin, L. Wang, T.-Y. Liu (2018), "FRAGE: frequency-agnostic word
    representation", arXiv:1809.06858, section 4 and Algorithm 1.

    >>> embedding, popular = jnp.array([[2.0], [0.0]]), jnp.array([True, False])
    >>> value, push = jax.value_and_grad(frage_loss)(embedding, popular, lambda e: e[:, 0])
    >>> round(float(value), 4), push.round(4)
    (0.8201, Array([[ 0.0119],
           [-0.05  ]], dtype=float32))
    """
    ranges.check("frage_loss", {"strength": strength})
    if push not in ("both", "rare"):
        raise ValueError(f'frage_loss: push={push!r} is neither "both" nor "rare"')
    popular = _classes("frage_loss", embedding, popular, least=1)
    wide = embedding.astype(wide_dtype(embedding))
    judged = reverse_gradient(wide, strength)
    if push == "rare":
        judged = jnp.where(popular[:, None], jax.lax.stop_gradient(wide), judged)
    logits = logits_of(judged)
    if logits.shape != popular.shape:
        raise ValueError(f"frage_loss: logits_of returns {logits.shape}, not one logit a word, {popular.shape}")
    z = logits.astype(wide_dtype(logits))
    return _mean(jax.nn.softplus(-z), popular) + _mean(jax.nn.softplus(z), ~popular)


def moment_loss(embedding: Array, popular: Array) -> Array:
    """FRAGE's moment matching: popular and rare words are to have the same moments, without an adversary.

        ‖μ_p − μ_r‖ + ‖σ²_p − σ²_r‖ + ‖γ_p − γ_r‖ + ‖κ_p − κ_r‖
        γ = mean((E − μ)³)/σ³,   κ = mean((E − μ)⁴)/σ⁴

    The lengths are over the d features; σ² is the unbiased variance, and where it is 0 so are γ and κ. To be added to
    the task's loss, times a λ of 0.01 or 0.02 in the authors' code, which uses it for their best language model.
    Gradients are finite everywhere, and 0 where moments agree.

    Args:
        embedding: E, (V, d), the whole table.
        popular: (V,) booleans, as `frequency_classes` returns them, two words or more in each class.

    Returns:
        The sum, a number in at least float32.

    Raises:
        ValueError: shapes that do not fit, a class of fewer than two words.
        TypeError: classes that are no booleans.

    Reference: C. Gong, D. He, X. Tan, T. Qin, L. Wang, T.-Y. Liu (2018), "FRAGE: frequency-agnostic word
    representation", arXiv:1809.06858; the moments are in the authors' code, https://github.com/ChengyueGongR/Frequency-Agnostic.

    >>> popular = jnp.array([True, True, False, False])
    >>> moment_loss(jnp.array([[1.0], [3.0], [5.0], [7.0]]), popular)  # the means differ by 4
    Array(4., dtype=float32)
    """
    popular = _classes("moment_loss", embedding, popular, least=2)
    wide = embedding.astype(wide_dtype(embedding))
    pairs = zip(_moments(wide, popular), _moments(wide, ~popular), strict=True)
    return sum((norm(ours - theirs) for ours, theirs in pairs), jnp.zeros((), wide.dtype))


def _moments(x: Array, chosen: Array) -> tuple[Array, Array, Array, Array]:
    """Mean, unbiased variance, skewness and kurtosis of every column of the chosen rows.

    They are taken of the distances from one of these rows: so a constant column has a variance of exactly 0.
    """
    weight = chosen.astype(x.dtype)[:, None]
    size = jnp.sum(weight)
    origin = jax.lax.stop_gradient(x[jnp.argmax(chosen)])
    away = (x - origin[None]) * weight
    middle = jnp.sum(away, 0) / size
    centred = (away - middle[None]) * weight
    variance = jnp.sum(centred**2, 0) / (size - 1)
    constant = variance == 0
    inverse = jnp.where(constant, 0, 1 / jnp.sqrt(jnp.where(constant, 1, variance)))
    z = centred * inverse[None]
    return origin + middle, variance, jnp.sum(z**3, 0) / size, jnp.sum(z**4, 0) / size


def _mean(x: Array, chosen: Array) -> Array:
    return jnp.sum(jnp.where(chosen, x, 0)) / jnp.sum(chosen.astype(x.dtype))


def _classes(name: str, embedding: Array, popular: Any, least: int) -> Array:
    """`popular` as an array, or the error of one that does not sort the words of the embedding into two classes."""
    if np.ndim(embedding) != 2 or np.shape(popular) != np.shape(embedding)[:1]:
        shapes = f"{np.shape(embedding)} and {np.shape(popular)}"
        raise ValueError(f"{name}: embedding and popular have the shapes {shapes}, not (V, d) and (V,)")
    if not jnp.issubdtype(jnp.result_type(popular), np.bool_):
        raise TypeError(f"{name}: popular is {jnp.result_type(popular)}: give booleans, True for a popular word")
    if not isinstance(popular, jax.core.Tracer):
        sizes = int(np.sum(popular)), int(np.sum(~np.asarray(popular)))
        if min(sizes) < least:
            raise ValueError(f"{name}: {sizes[0]} popular and {sizes[1]} rare words: each class needs {least} or more")
    return jnp.asarray(popular)


def _widths(features: Any, hidden: Any) -> tuple[int, ...]:
    if not isinstance(hidden, list | tuple):
        raise TypeError(f"discriminator: hidden={hidden!r} is no list of widths: ({hidden!r},)")
    widths = (features, *hidden, 1)
    for width in widths:
        if isinstance(width, bool) or not isinstance(width, int | np.integer):
            raise TypeError(f"discriminator: {width!r} is no width: features and hidden are integers")
        if width < 1:
            raise ValueError(f"discriminator: {width} is no width: features and hidden are 1 or more")
    return widths
