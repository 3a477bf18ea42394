"""One-layer ONNX graphs in each of the forms a peer may run fastest."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevision.graph import square

Shape = tuple[int, ...]


def _model(nodes: list[onnx.NodeProto], x: Shape, y: Shape, constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "layer", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _weights(depth: int, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """float32 weights, the same as int8 with one scale per channel, and a bias."""
    draw = np.random.default_rng(0)
    weight = draw.standard_normal((depth, channels)).astype(np.float32)
    scale = (np.abs(weight).max(axis=0) / 127).astype(np.float32)
    return weight, np.rint(weight / scale).astype(np.int8), scale, draw.standard_normal(channels).astype(np.float32)


def gemm_float32(rows: int, depth: int, channels: int) -> onnx.ModelProto:
    """x W + b in float32."""
    weight, _, _, bias = _weights(depth, channels)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
    return _model(nodes, (rows, depth), (rows, channels), {"w": weight, "b": bias})


def gemm_qdq(rows: int, depth: int, channels: int) -> onnx.ModelProto:
    """The product between QuantizeLinear and DequantizeLinear pairs, float in and out."""
    _, weight, scale, bias = _weights(depth, channels)
    step = np.float32(8 / 255)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=1),
        helper.make_node("MatMul", ["xd", "wd"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["y"]),
    ]
    constants = {
        "xs": np.array(step), "xz": np.array(128, np.uint8), "w": weight, "ws": scale,
        "wz": np.zeros(channels, np.int8), "b": bias,
    }  # fmt: skip
    return _model(nodes, (rows, depth), (rows, channels), constants)


def gemm_dynamic(rows: int, depth: int, channels: int) -> onnx.ModelProto:
    """The product on bytes whose scale is taken from each input, as onnxruntime's dynamic quantisation writes it."""
    _, weight, scale, bias = _weights(depth, channels)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("MatMulInteger", ["xq", "w", "xz", "wz"], ["acc"]),
        helper.make_node("Cast", ["acc"], ["accf"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["xs", "ws"], ["scale"]),
        helper.make_node("Mul", ["accf", "scale"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["y"]),
    ]
    constants = {"w": weight, "wz": np.zeros(channels, np.int8), "ws": scale, "b": bias}
    return _model(nodes, (rows, depth), (rows, channels), constants)


def depthwise_float32(size: int, channels: int) -> onnx.ModelProto:
    """3x3 depthwise convolution of a square image, padding 1."""
    draw = np.random.default_rng(0)
    weight = draw.standard_normal((channels, 1, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], group=channels, pads=[1, 1, 1, 1], kernel_shape=[3, 3])]
    shape = (1, channels, size, size)
    return _model(nodes, shape, shape, {"w": weight, "b": draw.standard_normal(channels).astype(np.float32)})


def square_float32(size: int, channels: int) -> onnx.ModelProto:
    """Square deformable convolution of a square image; the map of dilations D is an input."""
    return _square(size, channels, [square.node("x", "D", "w", "y", channels=channels)], {"w": _taps(channels)}, 1)


def square_as_deform_conv(size: int, channels: int) -> onnx.ModelProto:
    """The same as the DeformConv of standard ONNX, its offsets given."""
    nodes = [helper.make_node("DeformConv", ["x", "w", "D"], ["y"], group=channels, pads=[1] * 4, kernel_shape=[3, 3])]
    return _square(size, channels, nodes, {"w": _taps(channels)}, 18)


def depthwise_qdq(size: int, channels: int, bits: int, *, deformed: bool) -> onnx.ModelProto:
    """A depthwise layer of bytes to bytes, plain or square deformable, with weights of `bits` bits."""
    most = 2 ** (bits - 1) - 1
    weight, step = _taps(channels), np.float32(8 / 255)
    scale = (np.abs(weight).max(axis=(1, 2, 3)) / most).astype(np.float32)
    stored = np.rint(weight / scale.reshape(-1, 1, 1, 1)).astype(np.int8)
    layer = (
        square.node("xd", "D", "wd", "a", channels=channels)
        if deformed
        else helper.make_node("Conv", ["xd", "wd"], ["a"], group=channels, pads=[1] * 4, kernel_shape=[3, 3])
    )
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=0),
        layer,
        helper.make_node("QuantizeLinear", ["a", "xs", "xz"], ["aq"]),
        helper.make_node("DequantizeLinear", ["aq", "xs", "xz"], ["y"]),
    ]
    constants = {"xs": np.array(step), "xz": np.array(128, np.uint8), "wq": stored, "ws": scale,
                 "wz": np.zeros(channels, np.int8)}  # fmt: skip
    return _square(size, channels, nodes, constants, 1 if deformed else 0)


def _taps(channels: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((channels, 1, 3, 3)).astype(np.float32)


def _square(
    size: int, channels: int, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], maps: int
) -> onnx.ModelProto:
    """A layer of x and, where there are any, of the maps D."""
    shape = (1, channels, size, size)
    model = _model(nodes, shape, shape, constants)
    if maps:
        model.graph.input.append(helper.make_tensor_value_info("D", TensorProto.FLOAT, (1, maps, size, size)))
    model.opset_import.append(helper.make_opsetid(square.DOMAIN, square.VERSION))
    square.declare(model)
    return model
