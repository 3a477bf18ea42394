"""One-layer ONNX graphs in each of the forms a peer may run fastest."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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
