"""The rules for square deformable convolutions, float and integer."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.compiler.kernels import square, square_bytes
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.dense import Finish, Layer, layer_of, shifted_bias
from edgevision.compiler.simd import Simd
from edgevision.graph.geometry import Window
from edgevision.graph.ir import Node


def lower_square(builder: Builder, node: Node) -> bool:
    """SquareDeform (`graph.dilations`) and IntSquareDeform."""
    x, y = builder.graph.shape(node.inputs[0]), builder.graph.shape(node.outputs[0])
    layer = _layer(builder, node)
    if layer is None:
        return False
    channels = x[1]
    value = builder.rows(node.inputs[0]) if layer.integer else builder.float_rows(node.inputs[0])
    dilations = builder.rows(node.inputs[1])
    stride = int(node.attributes["stride"])
    window = Window(x[0], x[2], x[3], y[2], y[3], (3, 3), (stride, stride), (1, 1), 1, 1)
    finish = Finish(builder, node, layer, window.out_height * window.out_width)
    parameter = finish.tail.extra(dilations.storage)
    spec = square.Square(
        window, channels, "uint8" if layer.integer else "float32", layer.integer and _narrow(layer.weight),
        value.pitch, value.offset, builder.elements(value), parameter, dilations.pitch, dilations.offset,
        finish.elements, finish.chain, finish.tail.shapes(),
    )  # fmt: skip
    finish.call("square", square.build, spec, _constants(layer, builder.simd), value.storage)
    finish.done()
    return True


def _constants(layer: Layer, simd: Simd) -> list[np.ndarray]:
    """Weights, bias, [scale, zero point] in the order the kernel reads them."""
    channels = layer.weight.shape[0]
    taps, bias = layer.weight.reshape(channels, -1), shifted_bias(layer, layer.weight, layer.bias)
    if layer.scale is None:
        return [np.ascontiguousarray(taps.T), bias]
    scale = np.broadcast_to(layer.scale, (channels,)).astype(np.float32)
    zero = np.broadcast_to(layer.x_zero, (channels,)).astype(np.uint8)
    if square_bytes.suits(channels, simd):
        return [*(square_bytes.packed(values, channels) for values in (taps, bias, scale)), zero]
    return [np.ascontiguousarray(taps.T.astype(np.int16)), bias, scale, zero]


def _layer(builder: Builder, node: Node) -> Layer | None:
    if node.domain == "edgevision.integer":
        return layer_of(node, builder.graph.constants, linear=False)
    weight = builder.graph.constants.get(node.inputs[2])
    if weight is None or weight.dtype != np.float32:
        return None
    channels = weight.shape[0]
    return Layer(weight, np.zeros(channels, np.float32), None, channels, np.zeros((), np.int32), integer=False)


def _narrow(weight: np.ndarray) -> bool:
    """Whether no sum of bytes times these weights leaves an int16, whichever of them it has come to."""
    taps = weight.reshape(weight.shape[0], -1).astype(np.int64)
    largest = max(np.maximum(taps, 0).sum(axis=1).max(), np.maximum(-taps, 0).sum(axis=1).max())
    return bool(largest <= square.NARROW)


def rules() -> dict[str, Any]:
    """Operators of this file."""
    return {"SquareDeform": lower_square, "IntSquareDeform": lower_square}
