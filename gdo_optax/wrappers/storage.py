"""How what an optimizer remembers is stored: in 16 or in 8 bits."""

import functools
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from chex import Array, ArrayTree, Numeric

from gdo_optax.engine.combinators import part
from gdo_optax.engine.interpreter import Now
from gdo_optax.engine.nodes import Whole
from gdo_optax.engine.piece import piece
from gdo_optax.engine.printing import show
from gdo_optax.engine.states import EVAL_WEIGHTS
from gdo_optax.engine.trees import path_name
from gdo_optax.wrappers.precision import dithered
from gdo_optax.wrappers.restarts import image


Where = Callable[[str], bool] | str | None


@piece
def store(
    inner: optax.GradientTransformation, where: Where = None, as_: Any = "int8", block_size: Numeric = 256
) -> Whole:
    """The memories of any optimizer in 8 bits or 16, each decoded before its update and encoded after it.

        int8:       x = s·max|x|·(k/n)²      k = 0 … n levels at squares; n = 127, or 255 in blocks without negatives
        bfloat16:   x = what is left of a float32 with 8 digits

    Adam takes 2.03 bytes a parameter in place of 8. It saves memory and no time: XLA on a CPU writes out what is
    decoded, and a step moves 21 words in place of 10. A number takes both its neighbours in turn, as often as makes its
    mean right: an average that changes by a thousandth in a step would never move if it were rounded to the nearest (b2
    = 0.999 in plain bfloat16 stalls, and steps are too large for ever). Nothing is drawn for it: the turns follow the
    count and the place, in strides around the unit interval. What is on a level stays there. Levels at squares are
    dense near 0, and what is not 0 in a block without negatives is given at least the first of them, max/65025: a
    second moment never becomes 0, nor its root less than 1/255 of the largest in the block. A number that is not finite
    takes its block with it.

    Unlike Dettmers et al. there is no table of values, small blocks (256, not 2048) and no optimizer of its own. What
    is saved is what lies between the steps: during an array's own update its memories are float32.

    Without `where` it is all arrays of parameters' shapes but second weights, such as `eval_params` reads. Kept as they
    are: counts, arrays of less than `block_size` elements, of another shape, what is not float32, and what a `store`
    within holds. Put `keep_master` and the like around it, not into it.

    Args:
        inner: any optax transformation.
        where: which arrays to encode: a function of a path of the inner state, such as
            "scale_by_adam/scale/ema/memory/kernel", or a regular expression searched in it.
        as_: "int8" or bfloat16.
        block_size: how many numbers share a scale, an integer ≥ 2; a scale is 4 bytes.

    Raises:
        ValueError: a value outside its range, or another `as_`.
        TypeError: an inner that is no transformation, or another `where`.

    Reference: T. Dettmers et al. (2022), "8-bit optimizers via block-wise quantization", arXiv:2110.02861, section 2.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from gdo_optax import adam
    >>> state = store(adam(1e-3)).init(jnp.zeros((1024, 1024)))
    >>> print(f"{sum(a.nbytes for a in jax.tree.leaves(state)) / 1024**2:.2f} bytes a parameter")
    2.03 bytes a parameter
    """
    chosen, block_size = _chooser(where), int(block_size)
    encode = _encoder(as_, block_size)

    def init(params: ArrayTree, stored: Any, scales: Any = None) -> dict[str, Any]:
        shapes, count = {jnp.shape(p) for p in jax.tree.leaves(params)}, jnp.zeros((), jnp.int32)

        def one(path: tuple, x: Any) -> Any:
            if _is_store(x):
                return jax.tree.map(lambda a: Coded(a, None), x)
            names = path_name(path).split("/")
            memory = getattr(x, "dtype", None) == jnp.float32 and x.shape in shapes and x.size >= block_size
            second = where is None and EVAL_WEIGHTS in names
            if second or not memory or not chosen("/".join(names)):
                return Coded(x, None)
            return jax.eval_shape(encode, x, count) if isinstance(x, jax.ShapeDtypeStruct) else encode(x, count)

        return _apart(jax.tree.map_with_path(one, stored, is_leaf=_is_store))

    def update(x: ArrayTree, state: Any, params: Any, now: Now) -> tuple[ArrayTree, Any]:
        def plain(code: Array, scale: Any) -> Array:
            return code if scale is None else decoded(Coded(code, scale), block_size)

        def again(new: Array, scale: Any) -> Coded:
            return Coded(new, None) if scale is None else encode(new, now.count)

        structure: Any
        codes, structure = jax.tree.flatten(state["stored"])
        scales = structure.flatten_up_to(state["scales"])
        kept = structure.unflatten(map(plain, codes, scales))
        y, kept = now.run("stored", x, kept, params)
        new = _apart(structure.unflatten(map(again, structure.flatten_up_to(kept), scales)))
        return y, now.kept(new, state)

    node = part(inner)
    blocks = {} if as_ in ("bfloat16", jnp.bfloat16) else {"scales": image(node)}  # where a row has no scale of its own
    return Whole({"stored": node, **blocks}, init, update)


class Coded(NamedTuple):
    """An array as codes in its own shape, and their scales: one for a block, 1 for bfloat16, None for what is no code.

    The blocks are runs of one length of the array in row-major order; the last may be shorter. The scale of a block
    without negative numbers has a minus sign: its codes have 255 levels, not 127 on either side of 0.
    """

    codes: Array
    scales: Any


def _is_store(x: Any) -> bool:
    return isinstance(x, dict) and set(x) == {"stored", "scales"}  # what a store within holds is not ours


def _apart(tree: Any) -> dict[str, Any]:
    """The codes and the scales as two trees, so that every leaf is an array."""
    pick = functools.partial(jax.tree.map, is_leaf=lambda x: isinstance(x, Coded))
    return {"stored": pick(lambda x: x.codes, tree), "scales": pick(lambda x: x.scales, tree)}


def _chooser(where: Where) -> Callable[[str], bool]:
    if where is None:
        return lambda path: True
    if isinstance(where, str):
        pattern = re.compile(where)
        return lambda path: bool(pattern.search(path))
    if not callable(where):
        raise TypeError(f"store: where={show(where)} is neither a function of a path nor a regular expression")
    return where


def _encoder(as_: Any, block_size: int) -> Callable[[Array, Array], Coded]:
    if as_ in ("bfloat16", jnp.bfloat16):
        return jax.jit(half_of)
    if as_ in ("int8", jnp.int8):
        return jax.jit(functools.partial(blocks_of, block_size=block_size))
    raise ValueError(f'store: as_={show(as_)} is neither "int8" nor bfloat16')


def turns(shape: tuple[int, ...], count: Array) -> Array:
    """A number in [0, 2³²) for every place and count, evenly spread over the places of one count, and over counts."""
    places = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return places * jnp.uint32(3242174889) + count.astype(jnp.uint32) * jnp.uint32(2447445414)


def half_of(x: Array, count: Array) -> Coded:
    """Float32 x in bfloat16, rounded up or down as it is its turn."""
    half = dithered(x, jnp.bfloat16, turns(x.shape, count) >> 16).astype(jnp.bfloat16)
    return Coded(half, jnp.ones((), jnp.float32))


def blocks_of(x: Array, count: Array, block_size: int) -> Coded:
    """Float32 x in codes: |x|/max|x| on levels (k/n)², up or down as it is its turn."""
    b, turn = _rows(x, block_size), _rows(turns(x.shape, count), block_size)
    most, positive = jnp.max(jnp.abs(b), 1, keepdims=True), jnp.min(b, 1, keepdims=True) >= 0
    top = jnp.where(positive, 255.0, 127.0)
    squared = jnp.abs(b) * jnp.where(most > 0, 1 / most, 0) * top**2  # k² where x is on a level
    below = jnp.floor(jnp.sqrt(squared))
    limit = ((turn >> 24).astype(jnp.int32).astype(b.dtype) + 0.5) / 256  # never near 0 or 1: a level stays itself
    up = limit * (2 * below + 1) < squared - below**2
    level = jnp.clip(below + up.astype(b.dtype), jnp.where(positive & (b > 0), 1.0, 0.0), top)
    codes = (jnp.sign(b) * level).astype(jnp.int32).astype(jnp.int8)  # the upper levels of 255 become negative codes
    return Coded(_unrowed(codes, x.shape), jnp.where(positive, -most, most)[:, 0])


def decoded(x: Coded, block_size: int) -> Array:
    """The float32 array."""
    if x.codes.dtype == jnp.bfloat16:
        return x.codes.astype(jnp.float32)
    c, scale = _rows(x.codes, block_size).astype(jnp.float32), x.scales[:, None]
    positive = scale < 0
    share = jnp.where(positive & (c < 0), c + 256, c) * jnp.where(positive, 1 / 255, 1 / 127)
    return _unrowed(share * jnp.abs(share) * jnp.abs(scale), x.codes.shape)


def _rows(x: Array, block_size: int) -> Array:
    """x in blocks, (blocks, block_size), zeros where the last one ends early."""
    return jnp.pad(x.reshape(-1), (0, -x.size % block_size)).reshape(-1, block_size)


def _unrowed(b: Array, shape: tuple[int, ...]) -> Array:
    return b.reshape(-1)[: math.prod(shape)].reshape(shape)
