"""Layers as what the engine's two units do: numbers of a layer arranged for the lanes its channels lie in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgevision.engine.calls import DEPTHWISE, IM2COL, MAXIMUM, Pointwise, Scale, Spatial
from edgevision.engine.network import Convolution, Layer, MaxPool, Parameters, Requantise
from edgevision.graph.sampling import LARGEST_DILATION

#: Slots of one pixel of an image that lies in cells: several pixels to a vector.
CELL_SLOTS = 4


@dataclass(frozen=True)
class Shape:
    """What a unit reads: planes of (height, width) pixels; `where` is (channels, 2), plane and lane of each channel."""

    planes: int
    height: int
    width: int
    outside: int
    where: np.ndarray


def scale_of(layer: Layer, given: Parameters, where: np.ndarray, planes: int, lanes: int) -> Scale:
    """The requantisation of a layer's channels, at (plane, lane) `where`; lanes without a channel become constant."""
    multiplier, bias = (np.zeros((planes, lanes), np.int16) for _ in range(2))
    multiplier[where[:, 0], where[:, 1]] = given.multiplier
    bias[where[:, 0], where[:, 1]] = given.bias
    assert isinstance(layer, Convolution | Requantise)
    limits = layer.limits if isinstance(layer, Convolution) else None
    if limits is not None:
        return Scale(multiplier, bias, layer.shift, 0, *limits)
    return Scale(multiplier, bias, layer.shift, 128, -128, 127)


def identity(planes: int, lanes: int) -> Scale:
    """The requantisation that changes no byte: P + 128 - 128."""
    shape = (planes, lanes)
    return Scale(np.ones(shape, np.int16), np.full(shape, 128, np.int16), 0, 128, -128, 127)


def spatial_of(layer: Layer, given: Parameters | None, x: Shape, lanes: int, reach: int = LARGEST_DILATION) -> Spatial:
    """A layer that works on each channel by itself: depthwise, maximum or requantisation.

    Args:
        reach: largest value of the map of dilations, where the layer reads one.
    """
    if isinstance(layer, MaxPool):
        # What is outside does not count, whatever the zero point is.
        return _spatial(replace(x, outside=-128), MAXIMUM, 2, 1, None, identity(x.planes, lanes))
    assert given is not None
    scale = scale_of(layer, given, x.where, x.planes, lanes)
    kernel = np.zeros((x.planes, 3, 3, lanes), np.int8)
    planes, own = x.where[:, 0], x.where[:, 1]
    if isinstance(layer, Requantise):
        kernel[planes, 1, 1, own] = 1
        return _spatial(x, DEPTHWISE, 1, 0, kernel, scale)
    assert isinstance(layer, Convolution) and given.weight is not None
    if layer.kernel == 1:
        kernel[planes, 1, 1, own] = given.weight[:, 0, 0, 0]
        return _spatial(x, DEPTHWISE, layer.stride, 0, kernel, scale)
    kernel[planes, :, :, own] = given.weight[:, 0]
    return _spatial(x, DEPTHWISE, layer.stride, 1 if layer.dilation is None else reach, kernel, scale)


def thinned(x: Shape, stride: int, lanes: int) -> Spatial:
    """Every `stride`-th pixel of every `stride`-th row, as it is: the front end of a 1x1 layer with a stride."""
    kernel = np.zeros((x.planes, 3, 3, lanes), np.int8)
    kernel[:, 1, 1] = 1
    return _spatial(x, DEPTHWISE, stride, 0, kernel, identity(x.planes, lanes))


def windows(x: Shape, stride: int, lanes: int) -> Spatial:
    """All nine samples of every output pixel: the front end of a dense 3x3 layer."""
    return _spatial(x, IM2COL, stride, 1, None, identity(1, lanes))


def cell_windows(height: int, width: int, outside: int, stride: int, lanes: int) -> Spatial:
    """The cells that a dense 3x3 layer reads around every cell of results, of an image that lies in cells."""
    cell = lanes // CELL_SLOTS
    own = max(1, cell // stride)
    rows, width_out = -(-height // stride), -(-width // stride) // own
    return Spatial(
        IM2COL, 1, height, -(-width // cell), rows, width_out, stride, max(1, stride // cell), 1,
        3 if stride == 1 else 2, outside, None, identity(1, lanes),
    )  # fmt: skip


def pointwise_of(
    layer: Convolution, given: Parameters, groups: np.ndarray, group_count: int, out: np.ndarray, planes: int,
    pixels: int, lanes: int,
) -> Pointwise:  # fmt: skip
    """A dense layer on vectors that were gathered for it.

    Args:
        groups: (depth, taps, 2): vector of the pixel and lane of each input.
        group_count: vectors of one pixel.
        out: (channels, 2): plane and lane of each result.
        planes: of the result.
    """
    assert given.weight is not None
    weight = np.zeros((planes, lanes, group_count, lanes), np.int8)
    flat = given.weight.reshape(layer.channels, layer.depth, -1)
    weight[out[:, 0, None, None], out[:, 1, None, None], groups[None, ..., 0], groups[None, ..., 1]] = flat
    return Pointwise(weight, _eight_bits(weight), pixels, scale_of(layer, given, out, planes, lanes))


def cell_pointwise(layer: Convolution, given: Parameters, front: Spatial, out: np.ndarray, planes: int,
                   lanes: int) -> Pointwise:  # fmt: skip
    """A dense 3x3 layer on an image in cells: all results of a cell are channels of one pixel."""
    assert given.weight is not None
    cell = lanes // CELL_SLOTS
    own = max(1, cell // layer.stride)
    weight = np.zeros((own, planes, lanes, front.groups, lanes), np.int8)
    for pixel in range(own):
        for v in range(3):
            # Column of the image, counted from the first of the cell in the middle.
            column = pixel * layer.stride + v - 1
            for u in range(3):
                group = (column // cell + 1) * 3 + u
                first = column % cell * CELL_SLOTS
                for depth in range(layer.depth):
                    weight[pixel, out[:, 0], out[:, 1], group, first + depth] = given.weight[:, depth, u, v]
    scale = scale_of(layer, given, out, planes, lanes)
    several = Scale(
        np.tile(scale.multiplier, (own, 1)), np.tile(scale.bias, (own, 1)), scale.shift, scale.offset, scale.low,
        scale.high,
    )  # fmt: skip
    joined = weight.reshape(own * planes, lanes, front.groups, lanes)
    return Pointwise(joined, _eight_bits(joined), front.pixels, several)


def _eight_bits(weight: np.ndarray) -> bool:
    """Whether some weight needs more than four bits; where none does, one pass is exact."""
    return bool(weight.min() < -8 or weight.max() > 7)


def _spatial(x: Shape, mode: int, stride: int, reach: int, kernel: np.ndarray | None, scale: Scale) -> Spatial:
    out = -(-x.height // stride), -(-x.width // stride)
    return Spatial(
        mode, x.planes, x.height, x.width, *out, stride, stride, reach, 3, x.outside, kernel, scale
    )  # fmt: skip
