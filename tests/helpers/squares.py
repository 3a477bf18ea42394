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
