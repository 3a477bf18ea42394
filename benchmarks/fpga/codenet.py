"""CoDeNet's layers as an integer network with random numbers: the shapes of a real network, without training one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from edgevision.engine.checks import tensors_of
from edgevision.engine.execute import _made, convolved
from edgevision.engine.network import (
    INPUT,
    Channels,
    Concat,
    Convolution,
    Group,
    Header,
    IntegerNetwork,
    Layer,
    MaxPool,
    Parameters,
    Requantise,
    Shuffle,
    Upsample,
)
from edgevision.zoo.codenet import VARIANTS, Variant

_DECODER = (256, 128, 64)


def codenet(
    name: str, *, side: int | None = None, classes: int = 20, seed: int = 0, spread: bool = True
) -> IntegerNetwork:
    """The network of variant `name`; `side` of the image where it is not the published one, `spread` as below."""
    return with_random_numbers(codenet_header(name, side=side, classes=classes), seed, spread=spread)


def codenet_header(name: str, *, side: int | None = None, classes: int = 20) -> Header:
    """All but its numbers."""
    variant = VARIANTS[name]
    layers = _Layers()
    out = layers.heads(layers.decoder(layers.backbone(variant), variant.dims[-1]), classes)
    return Header(
        input_shape=(3, side or variant.side, side or variant.side), input_group=1,
        groups=(Group(0.05, -128), Group(0.1, 3)), layers=tuple(layers.made), outputs=tuple(out),
    )  # fmt: skip


def with_random_numbers(header: Header, seed: int = 0, *, spread: bool = True) -> IntegerNetwork:
    """Weights over their full range.

    Args:
        spread: find multipliers and biases that spread what a random image makes over all bytes, which takes as long as
            running the network; without it they are 1 and 0.
    """
    rng = np.random.default_rng(seed)
    made = tensors_of(header)
    zeros = {name: 0 if tensor.group is None else header.groups[tensor.group].zero for name, tensor in made.items()}
    tensors = {INPUT: rng.integers(-128, 128, header.input_shape).astype(np.int8)}
    network = IntegerNetwork(header, {})
    for layer in header.layers:
        weight = None
        if isinstance(layer, Convolution):
            half = 1 << layer.bits - 1
            shape = layer.channels, layer.depth, layer.kernel, layer.kernel
            weight = rng.integers(-half, half, shape).astype(np.int8)
        if isinstance(layer, Convolution | Requantise) and not spread:
            channels = made[layer.name].shape[0]
            network.parameters[layer.name] = Parameters(*np.int16([[1] * channels, [0] * channels]), weight)
        if not spread:
            continue
        if isinstance(layer, Requantise):
            network.parameters[layer.name] = _spread(tensors[layer.input], layer.shift, 100, None, rng)
        if isinstance(layer, Convolution):
            x, dilation = tensors[layer.input], None if layer.dilation is None else tensors[layer.dilation]
            sums = convolved(x, weight, layer.stride, zeros[layer.input], dilation)
            width, middle = (60, None) if layer.limits is None else (2, 3)
            network.parameters[layer.name] = _spread(sums, layer.shift, width, middle, rng, weight)
        tensors[layer.name] = _made(layer, tensors, zeros, network)
    return network


def _spread(sums: np.ndarray, shift: int, width: float, middle: float | None, rng: np.random.Generator,
            weight: np.ndarray | None = None) -> Parameters:  # fmt: skip
    flat = sums.reshape(len(sums), -1)
    signs = rng.choice([-1, 1], len(flat))
    multiplier = np.clip(np.rint(2**shift * width / (flat.std(axis=1) + 1)), 1, 32767) * signs
    wanted = rng.uniform(0, 255, len(flat)) if middle is None else middle
    bias = np.clip(np.rint(wanted - flat.mean(axis=1) * multiplier / 2**shift), -32768, 32767)
    return Parameters(multiplier.astype(np.int16), bias.astype(np.int16), weight)


class _Layers:
    def __init__(self) -> None:
        self.made: list[Layer] = []

    def add(self, layer: Layer) -> str:
        self.made.append(layer)
        return layer.name

    def dense(self, name: str, x: str, depth: int, channels: int, *, kernel: int = 1, stride: int = 1, bits: int = 4,
              relu: bool = True, limits: tuple[int, int] | None = None) -> str:  # fmt: skip
        group = None if limits is not None else 0 if relu else 1
        return self.add(Convolution(
            name=name, input=x, channels=channels, depth=depth, kernel=kernel, stride=stride, bits=bits,
            relu=relu and limits is None, group=group, limits=limits,
        ))  # fmt: skip

    def depthwise(self, name: str, x: str, channels: int, *, stride: int = 1, dilation: str | None = None) -> str:
        return self.add(Convolution(
            name=name, input=x, channels=channels, depth=1, kernel=3, stride=stride, depthwise=True, group=1,
            dilation=dilation,
        ))  # fmt: skip

    def backbone(self, variant: Variant) -> str:
        dims = variant.dims
        x = self.dense("stem", "input", 3, dims[0], kernel=3, stride=2 if variant.pooled else 4, bits=8)
        if variant.pooled:
            x = self.add(MaxPool(name="pool", input=x))
        for stage, (before, after) in enumerate(pairwise(dims[:4])):
            x = self.strided_unit(f"s{stage}.0", x, before, after // 2)
            for unit in range(1, (4, 8, 4)[stage]):
                x = self.unit(f"s{stage}.{unit}", x, after // 2)
        return self.dense("conv5", x, dims[3], dims[4])

    def strided_unit(self, name: str, x: str, before: int, half: int) -> str:
        a = self.dense(f"{name}.a.1", self.depthwise(f"{name}.a.0", x, before, stride=2), before, half)
        b = self.dense(f"{name}.b.0", x, before, half)
        b = self.dense(f"{name}.b.2", self.depthwise(f"{name}.b.1", b, half, stride=2), half, half)
        return self.joined(name, a, b)

    def unit(self, name: str, x: str, half: int) -> str:
        a = self.add(Channels(name=f"{name}.left", input=x, first=0, count=half))
        b = self.add(Channels(name=f"{name}.right", input=x, first=half, count=half))
        b = self.dense(f"{name}.b.0", b, half, half)
        b = self.dense(f"{name}.b.2", self.depthwise(f"{name}.b.1", b, half), half, half)
        return self.joined(name, a, b)

    def joined(self, name: str, a: str, b: str) -> str:
        return self.add(Shuffle(name=name, input=self.add(Concat(name=f"{name}.cat", inputs=(a, b))), parts=2))

    def decoder(self, x: str, channels: int) -> str:
        for block, (before, after) in enumerate(pairwise((channels, *_DECODER))):
            name = f"d{block}"
            dilation = self.dense(f"{name}.map", x, before, 1, bits=8, limits=(0, 7))
            x = self.dense(f"{name}.1", self.depthwise(f"{name}.0", x, before, dilation=dilation), before, after)
            x = self.add(Upsample(name=name, input=x))
        return x

    def heads(self, x: str, classes: int) -> list[str]:
        found = []
        for name, outputs in (("hm", classes), ("wh", 2), ("reg", 2)):
            y = self.dense(f"{name}.0", x, _DECODER[-1], _DECODER[-1])
            y = self.depthwise(f"{name}.1", y, _DECODER[-1])
            found.append(self.dense(f"{name}.2", y, _DECODER[-1], outputs, relu=False))
        return found
