"""Layers of square deformable convolution, and the same written out sum by sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevision.graph import square


def direct(x: np.ndarray, dilation: np.ndarray, weight: np.ndarray, stride: int, zero: Any = 0) -> np.ndarray:
    """Every sum of (x - zero) in Python's arithmetic; `dilation` holds integers."""
    images, channels, height, width = x.shape
    result = np.zeros((images, channels, *dilation.shape[2:]), np.float64)
    steps = x.astype(np.float64) - zero
    for n, i, j in np.ndindex(images, *dilation.shape[2:]):
        d = int(dilation[n, 0, i, j])
        for u, v in np.ndindex(3, 3):
            row, column = stride * i + d * (u - 1), stride * j + d * (v - 1)
            if 0 <= row < height and 0 <= column < width:
                result[n, :, i, j] += weight[:, 0, u, v].astype(np.float64) * steps[n, :, row, column]
    return result


def layer_inputs(
    seed: int, *, channels: int, size: tuple[int, int], stride: int, batch: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, dilations 0 to 7 and weights of one layer."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, channels, *size)).astype(np.float32)
    out = [-(-s // stride) for s in size]
    dilation = rng.integers(0, 8, (batch, 1, *out)).astype(np.float32)
    return x, dilation, rng.standard_normal((channels, 1, 3, 3)).astype(np.float32)


def layer(
    x: np.ndarray, dilation: np.ndarray, weight: np.ndarray, stride: int, *, body: square.Body = "dilated",
    after: tuple[Any, ...] = (), output: str = "y", **constants: np.ndarray,
) -> onnx.ModelProto:  # fmt: skip
    """A network of one layer with inputs x and D; nodes `after` make y from `output`."""
    values = {"w": weight, **constants}
    nodes = [square.node("x", "D", "w", output, channels=weight.shape[0], stride=stride, name="square"), *after]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in (("x", x), ("D", dilation))]
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(square.DOMAIN, 1)], ir_version=10
    )
    square.declare(model, body)
    return onnx.shape_inference.infer_shapes(model)


def quantised_layer(
    seed: int, *, channels: int, size: tuple[int, int], stride: int, bits: int = 8, relu: bool = True, low: int = 0,
    last: bool = True,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:  # fmt: skip
    """A QDQ network from x to y: a convolution makes the dilations, a square layer with bias follows; its constants.

    Args:
        bits: of the weights.
        low: smallest dilation.
        last: whether the result is quantised.
    """
    rng = np.random.default_rng(seed)
    most = 2 ** (bits - 1) - 1
    constants: dict[str, Any] = {
        "xs": np.float32(0.02), "xz": np.uint8(rng.integers(0, 256)), "ys": np.float32(0.05),
        "yz": np.uint8(rng.integers(0, 256)),
        "wq": rng.integers(-most, most + 1, (channels, 1, 3, 3)).astype(np.int8),
        "ws": rng.uniform(0.5, 1.5, channels).astype(np.float32) / np.float32(4 * most),
        "wz": np.zeros(channels, np.int8), "bias": rng.normal(0, 0.5, (1, channels, 1, 1)).astype(np.float32),
        "mq": rng.integers(-127, 128, (1, channels, 3, 3)).astype(np.int8),
        "ms": np.float32(0.06 / np.sqrt(channels)), "mz": np.int8(0), "mb": np.float32([3.3]),
        "low": np.float32(low), "high": np.float32(7),
    }  # fmt: skip
    make = helper.make_node
    nodes = [
        make("QuantizeLinear", ["x", "xs", "xz"], ["xq"]), make("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        make("DequantizeLinear", ["mq", "ms", "mz"], ["md"]),
        make("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=0),
        make("Conv", ["xd", "md", "mb"], ["m"], name="map", pads=[1] * 4, strides=[stride, stride]),
        make("Round", ["m"], ["r"]), make("Clip", ["r", "low", "high"], ["D"]),
        square.node("xd", "D", "wd", "s", channels=channels, stride=stride, name="square"),
        make("Add", ["s", "bias"], ["b"]),
        *([make("Relu", ["b"], ["a"])] if relu else [make("Identity", ["b"], ["a"])]),
        *([make("QuantizeLinear", ["a", "ys", "yz"], ["yq"]), make("DequantizeLinear", ["yq", "ys", "yz"], ["y"])]
          if last else [make("Identity", ["a"], ["y"])]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, channels, *size))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(square.DOMAIN, 1)], ir_version=10
    )
    square.declare(model)
    return onnx.shape_inference.infer_shapes(model), constants
