"""One-layer ONNX graphs: float in, float out, in float or with a quantised product."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cpu.catalogue import Depthwise, Gemm
from edgevision.graph import binary, binaryfunctions

_OPSET, _IR = 20, 10
#: Inputs are normal: four deviations cover them, in 255 steps around 128.
_SCALE, _ZERO = 8 / 255, 128


def gemm(shape: Gemm) -> onnx.ModelProto:
    """MatMul and bias, as a linear layer of a transformer is exported: (1, rows, depth) to (1, rows, columns)."""
    weight, bias = _weights((shape.depth, shape.columns), shape.columns)
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"], name="linear"),
        helper.make_node("Add", ["product", "bias"], ["y"], name="bias"),
    ]
    return _model(nodes, [1, shape.rows, shape.depth], [1, shape.rows, shape.columns], weight=weight, bias=bias)


def quantised_gemm(shape: Gemm) -> onnx.ModelProto:
    """The same with uint8 input and int8 weights of one scale per column, as QDQ; the input is quantised inside."""
    weight, bias = _weights((shape.depth, shape.columns), shape.columns)
    scale = (np.abs(weight).max(axis=0) / 127).astype(np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x.scale", "x.zero"], ["x.q"], name="quantize"),
        helper.make_node("DequantizeLinear", ["x.q", "x.scale", "x.zero"], ["x.dq"], name="dequantize"),
        helper.make_node("DequantizeLinear", ["weight", "scale", "zero"], ["weight.dq"], name="weight", axis=1),
        helper.make_node("MatMul", ["x.dq", "weight.dq"], ["product"], name="linear"),
        helper.make_node("Add", ["product", "bias"], ["y"], name="bias"),
    ]
    constants = {
        "weight": np.clip(np.rint(weight / scale), -127, 127).astype(np.int8),
        "bias": bias,
        "scale": scale,
        "zero": np.zeros(shape.columns, np.int8),
        "x.scale": np.asarray(_SCALE, np.float32),
        "x.zero": np.asarray(_ZERO, np.uint8),
    }
    return _model(nodes, [1, shape.rows, shape.depth], [1, shape.rows, shape.columns], **constants)


def binary_gemm(shape: Gemm) -> onnx.ModelProto:
    """The layer with one-bit weights and activations; the signs of the float input are taken inside."""
    weight, bias = _weights((shape.columns, shape.depth), shape.columns)
    node = binaryfunctions.layer("BinaryLinear", ["x", "packed", "scale", "bias"], "y", shape.depth, "linear")
    scale = np.abs(weight).mean(axis=1).astype(np.float32)
    sides = [1, shape.rows, shape.depth], [1, shape.rows, shape.columns]
    return _model([node], *sides, packed=binary.pack_bits(weight), scale=scale, bias=bias)


def depthwise(shape: Depthwise, *, count: int = 1) -> onnx.ModelProto:
    """`count` depthwise 3x3 convolutions in a row, (1, channels, side, side) to the same."""
    constants: dict[str, np.ndarray] = {}
    nodes, name = [], "x"
    for index in range(count):
        weight, bias = _weights((shape.channels, 1, 3, 3), shape.channels, seed=index)
        constants |= {f"weight{index}": weight / 3, f"bias{index}": bias}
        made = "y" if index == count - 1 else f"h{index}"
        nodes.append(
            helper.make_node(
                "Conv",
                [name, f"weight{index}", f"bias{index}"],
                [made],
                name=f"depthwise{index}",
                group=shape.channels,
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
            )
        )
        name = made
    sides = [1, shape.channels, shape.side, shape.side]
    return _model(nodes, sides, sides, **constants)


def sample(model: onnx.ModelProto) -> np.ndarray:
    """A normal input for a graph of this module."""
    sides = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(1).standard_normal(sides).astype(np.float32)


def _weights(sides: tuple[int, ...], outputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.standard_normal(sides).astype(np.float32), draw.standard_normal(outputs).astype(np.float32)


def _model(nodes: list[onnx.NodeProto], given: list[int], made: list[int], **constants: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, made)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    binaryfunctions.declare(model)
    return onnx.shape_inference.infer_shapes(model, check_type=True)
