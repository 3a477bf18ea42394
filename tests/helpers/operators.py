"""Small networks of operators that have no kernel of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node


def array(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers, the same every time."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model_of(nodes: list[Any], shape: tuple[int, ...], **constants: Any) -> onnx.ModelProto:
    """A network from x to y."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20)]
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def product(depth: int, left: int, right: int) -> tuple[list[Any], tuple[int, ...], dict[str, Any]]:
    """A product of two computed sides, as no rule of ours takes it."""
    return [
        node("Split", ["x", "sizes"], ["a", "b"], axis=-1), node("Transpose", ["b"], ["t"], perm=[0, 2, 1]),
        node("Einsum", ["a", "t"], ["y"], equation="bij,bjk->bik"),
    ], (left, right, 2 * depth), {"sizes": np.array([depth, depth])}  # fmt: skip


#: Nodes, shape of x and constants, by what they are.
CASES: dict[str, tuple[list[Any], tuple[int, ...], dict[str, Any]]] = {
    "product of prime lengths": product(17, 2, 13),
    "product of vectors": product(32, 3, 64),
    "log softmax along memory": ([node("LogSoftmax", ["x"], ["y"], axis=-1)], (2, 5, 37), {}),
    "log softmax across memory": ([node("LogSoftmax", ["x"], ["y"], axis=1)], (2, 5, 6, 7), {}),
    "squares along memory": ([node("ReduceSumSquare", ["x", "a"], ["y"])], (3, 7, 50), {"a": np.array([-1])}),
    "largest of an image": ([node("ReduceMax", ["x", "a"], ["y"])], (2, 5, 9, 9), {"a": np.array([2, 3])}),
    "length of a vector": ([node("ReduceL2", ["x", "a"], ["y"])], (2, 16, 5, 5), {"a": np.array([1])}),
    "sum of everything": ([node("ReduceSum", ["x"], ["y"], keepdims=1)], (2, 3, 40), {}),
    "three dimensions": ([node("Conv", ["x", "w"], ["y"], pads=[1] * 6)], (1, 3, 5, 6, 17),
                         {"w": array(4, 3, 3, 3, 3)}),
    "transposed": ([node("ConvTranspose", ["x", "w"], ["y"], strides=[2])], (1, 4, 9), {"w": array(4, 3, 2)}),
    "reflected border": ([node("Pad", ["x", "p"], ["y"], mode="reflect")], (1, 3, 6, 7),
                         {"p": np.array([0, 0, 2, 1, 0, 0, 2, 3])}),
    "instance norm": ([node("InstanceNormalization", ["x", "w", "b"], ["y"])], (2, 6, 9, 9),
                      {"w": array(6), "b": array(6, seed=1)}),
}  # fmt: skip
