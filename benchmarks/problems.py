"""What is trained in the race: scikit-learn's bundled data sets and two small Flax networks, the same on every run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split


SETS = {"digits": load_digits, "wine": load_wine, "breast_cancer": load_breast_cancer}


class Data(NamedTuple):
    """A data set, split once and for all: arrays of images, (n, height, width, 1), or features, (n, k), and labels."""

    train_x: Any
    train_y: Any
    test_x: Any
    test_y: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.train_x.shape[1:]

    @property
    def classes(self) -> int:
        """How many classes there are to tell apart."""
        return int(self.train_y.max()) + 1


def load(name: str) -> Data:
    """The data set of that name, three quarters of it for training: digits from 0 to 1, others standardised."""
    x, y = SETS[name](return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    if name == "digits":
        train_x, test_x = (part.reshape(-1, 8, 8, 1) / 16 for part in (train_x, test_x))
    else:
        mean, std = train_x.mean(0), train_x.std(0)
        train_x, test_x = (train_x - mean) / std, (test_x - mean) / std
    return Data(
        train_x.astype(np.float32), train_y.astype(np.int32), test_x.astype(np.float32), test_y.astype(np.int32)
    )


def batches(n: int, steps: int, size: int, seeds: int) -> np.ndarray:
    """The examples of every batch, (seeds, steps, size): shuffled epochs of n, end to end, in each seed's own order."""

    def order(seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        epochs = -(-steps * size // n)
        return np.concatenate([random.permutation(n) for _ in range(epochs)])[: steps * size]

    return np.stack([order(seed).reshape(steps, size) for seed in range(seeds)]).astype(np.int32)


def patches(x: jax.Array) -> jax.Array:
    """The 3x3 neighbours of every pixel as its channels, (n, h, w, c) to (n, h, w, 9c); zeros around the image."""
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.concatenate([padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=-1)


def halved(x: jax.Array) -> jax.Array:
    """The largest of every 2x2 pixels."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


class Conv(nnx.Module):
    """A 3x3 convolution as patches times a matrix: vmapped over kernels it is 20 times as fast as nnx.Conv on a CPU."""

    def __init__(self, channels: int, features: int, rngs: nnx.Rngs) -> None:
        self.linear = nnx.Linear(9 * channels, features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.linear(patches(x))


class ConvNet(nnx.Module):
    """Two convolutions, each halved, and a linear layer."""

    def __init__(self, shape: tuple[int, ...], classes: int, rngs: nnx.Rngs) -> None:
        h, w, channels = shape
        self.first = Conv(channels, 8, rngs)
        self.second = Conv(8, 16, rngs)
        self.last = nnx.Linear(h // 4 * (w // 4) * 16, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = halved(nnx.relu(self.first(x)))
        x = halved(nnx.relu(self.second(x)))
        return self.last(x.reshape(x.shape[0], -1))


class Mlp(nnx.Module):
    """One hidden layer."""

    def __init__(self, shape: tuple[int, ...], classes: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(int(np.prod(shape)), 64, rngs=rngs)
        self.last = nnx.Linear(64, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(nnx.relu(self.first(x.reshape(x.shape[0], -1))))


MODELS: dict[str, Callable[..., nnx.Module]] = {"conv": ConvNet, "mlp": Mlp}


class Problem(NamedTuple):
    """A data set, a network as a pure function of its parameters, and each seed's start: params are (seeds, …)."""

    data: Data
    graph: nnx.GraphDef
    params: nnx.State

    def logits(self, params: nnx.State, x: jax.Array) -> jax.Array:
        """What one network makes of a batch."""
        return nnx.merge(self.graph, params)(x)

    @property
    def size(self) -> int:
        """How many parameters a network has."""
        return sum(leaf[0].size for leaf in jax.tree.leaves(self.params))


def problem(data: str, model: str, seeds: int) -> Problem:
    """The network of that name on that data, initialised once for every seed."""
    loaded = load(data)
    networks = [nnx.split(MODELS[model](loaded.shape, loaded.classes, nnx.Rngs(seed))) for seed in range(seeds)]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[params for _, params in networks])
    return Problem(loaded, networks[0][0], params)
