"""Small ONNX graphs by hand, quantised or not, and what onnxruntime makes of them."""

import numpy as np
import onnx
import onnxruntime
from helpers.walking import walk
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model_of(
    nodes, shape, outputs=("y",), dtype=TensorProto.FLOAT, opset=20, input_dtype=TensorProto.FLOAT, initialisers=(),
    **constants,
):  # fmt: skip
    """A model of one input x; the constants by name."""
    graph = helper.make_graph(
        [*nodes], "g", [helper.make_tensor_value_info("x", input_dtype, shape)],
        [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
        [*initialisers, *(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("their.domain", 1)]
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def expected(model, x):
    """Outputs of onnxruntime with nothing fused."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})


def agrees(model, x):
    """Compiled and run, `model` gives what onnxruntime gives within rounding."""
    for got, wanted in zip(walk(model, x), expected(model, x), strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def quantized(tensor, name, scale="s", zero="z", **attributes):
    """QuantizeLinear and DequantizeLinear from `tensor` to `name`."""
    return [
        node("QuantizeLinear", [tensor, scale, zero], [f"{name}.q"], name=f"{name}.q", **attributes),
        node("DequantizeLinear", [f"{name}.q", scale, zero], [name], name=f"{name}.dq", **attributes),
    ]


def weight(name, *shape, axis=0):
    """The DequantizeLinear of int8 weights with one scale per entry of `axis`, and its constants."""
    rng = np.random.default_rng(1)
    constants = {
        f"{name}.i": rng.integers(-127, 128, shape).astype(np.int8),
        f"{name}.s": rng.uniform(0.001, 0.01, shape[axis]).astype(np.float32),
        f"{name}.z": np.zeros(shape[axis], np.int8),
    }
    return [node("DequantizeLinear", [*constants], [name], axis=axis)], constants
