"""The reference of integer networks: numpy, slow and obvious; what the CPU, the C simulation and the RTL must give."""

from __future__ import annotations

import numpy as np

from edgevision.engine.checks import checked, tensors_of
from edgevision.engine.network import (
    INPUT,
    Channels,
    Concat,
    Convolution,
    IntegerNetwork,
    Layer,
    Parameters,
    Requantise,
    Shuffle,
    Upsample,
)
from edgevision.errors import UsageError
from edgevision.graph.sampling import sampled


def run(network: IntegerNetwork, image: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of `network` for one image, int8 (channels, height, width), by name; maps of dilations are uint8.

    Raises:
        UsageError: the image is not what the network takes, or the network contradicts itself.
    """
    header = checked(network).header
    if image.dtype != np.int8 or image.shape != header.input_shape:
        raise UsageError(f"expected an int8 image {header.input_shape}, got {image.dtype} {image.shape}",
                         fix="quantise it with the group of the network's input")  # fmt: skip
    zeros = {
        name: 0 if tensor.group is None else header.groups[tensor.group].zero
        for name, tensor in tensors_of(header).items()
    }
    tensors = {INPUT: image}
    for layer in header.layers:
        tensors[layer.name] = result_of(layer, tensors, zeros, network)
    return tensors


def requantised(sums: np.ndarray, multiplier: np.ndarray, bias: np.ndarray, shift: int, *, relu: bool) -> np.ndarray:
    """int8 of sums (channels, ...): ((P multiplier + 2^(shift - 1)) >> shift) + bias, ReLU, - 128, clamped."""
    q = _scaled(sums, multiplier, bias, shift)
    q = np.maximum(q, 0) if relu else q
    return np.clip(q - 128, -128, 127).astype(np.int8)


def convolved(x: np.ndarray, weight: np.ndarray, stride: int, outside: int, dilation: np.ndarray | None) -> np.ndarray:
    """Sums (int64) over the bytes of `x` (channels, height, width) as they are; `outside` stands outside the frame."""
    channels, depth, kernel, _ = weight.shape
    sizes = [-(-size // stride) for size in x.shape[1:]]
    if kernel == 1:
        taps = x[None, :, ::stride, ::stride]
    else:
        one = np.ones((1, *sizes), np.int64) if dilation is None else dilation.astype(np.int64)
        taps = sampled(x[None], one[None], stride, outside)[:, 0]
    flat = weight.reshape(channels, depth, -1).astype(np.int64)
    if depth == 1 and channels == x.shape[0]:
        return np.einsum("tchw,ct->chw", taps.astype(np.int64), flat[:, 0])
    return np.einsum("tchw,oct->ohw", taps.astype(np.int64), flat, optimize=True)


def _scaled(sums: np.ndarray, multiplier: np.ndarray, bias: np.ndarray, shift: int) -> np.ndarray:
    along = (-1, *[1] * (sums.ndim - 1))
    half = 1 << shift >> 1
    product = sums.astype(np.int64) * multiplier.astype(np.int64).reshape(along)
    return ((product + half) >> shift) + bias.astype(np.int64).reshape(along)


def result_of(
    layer: Layer, tensors: dict[str, np.ndarray], zeros: dict[str, int], network: IntegerNetwork
) -> np.ndarray:
    """The bytes of one layer, (C, H, W), from `tensors` by name and the `zeros` of their groups."""
    if isinstance(layer, Concat):
        return np.concatenate([tensors[name] for name in layer.inputs])
    x = tensors[layer.input]
    if isinstance(layer, Convolution):
        dilation = None if layer.dilation is None else tensors[layer.dilation]
        return _convolution(layer, network.parameters[layer.name], x, zeros[layer.input], dilation)
    if isinstance(layer, Requantise):
        given = network.parameters[layer.name]
        return requantised(x, given.multiplier, given.bias, layer.shift, relu=layer.relu)
    if isinstance(layer, Channels):
        return x[layer.first : layer.first + layer.count]
    if isinstance(layer, Shuffle):
        return x.reshape(layer.parts, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
    if isinstance(layer, Upsample):
        return x.repeat(2, axis=1).repeat(2, axis=2)
    ones = np.ones((1, 1, *(-(-size // 2) for size in x.shape[1:])), np.int64)
    return sampled(x[None], ones, 2, -128)[:, 0].max(axis=0)


def _convolution(
    layer: Convolution, given: Parameters, x: np.ndarray, outside: int, dilation: np.ndarray | None
) -> np.ndarray:
    assert given.weight is not None
    sums = convolved(x, given.weight, layer.stride, outside, dilation)
    if layer.limits is None:
        return requantised(sums, given.multiplier, given.bias, layer.shift, relu=layer.relu)
    return np.clip(_scaled(sums, given.multiplier, given.bias, layer.shift), *layer.limits).astype(np.uint8)
