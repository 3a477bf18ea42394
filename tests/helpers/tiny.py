"""The smallest network that goes through the whole chain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def tiny_network(path: Path, seed: int = 0) -> None:
    """A convolution, pooling and a linear layer on 3x32x32 images, ten classes, as an ONNX file."""
    draw = np.random.default_rng(seed)
    weights = {"w": (8, 3, 3, 3), "b": (8,), "v": (10, 8), "c": (10,)}
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["x"], "stem", strides=[4, 4]),
        helper.make_node("Relu", ["x"], ["r"], "act"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "v", "c"], ["logits"], "head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(draw.normal(0, 0.5, s).astype(np.float32), n) for n, s in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
