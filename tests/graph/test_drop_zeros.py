"""Additions of nothing go, all others stay."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevision.compress.session import predictor
from edgevision.graph.simplify import drop_zeros

SHAPE = [1, 2, 3, 3]


def graph(constant, *, swapped=False, last=False):
    added = numpy_helper.from_array(np.asarray(constant, np.float32), "added")
    inputs = ["added", "x"] if swapped else ["x", "added"]
    nodes = [helper.make_node("Add", inputs, ["y" if last else "sum"], name="add")]
    if not last:
        nodes.append(helper.make_node("Relu", ["sum"], ["y"], name="relu"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, list(np.broadcast_shapes(SHAPE, np.shape(constant))))
    made = helper.make_graph(nodes, "g", [x], [y], [added])
    return onnx.shape_inference.infer_shapes(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)]))


def removed(model):
    return drop_zeros(model.graph)


def test_zeros_of_a_shape_that_enlarges_nothing_are_dropped():
    for constant in (np.zeros(SHAPE), np.zeros((2, 1, 1)), 0.0):
        for swapped in (False, True):
            model = graph(constant, swapped=swapped)
            assert removed(model) == 1
            assert [node.op_type for node in model.graph.node] == ["Relu"] and not model.graph.initializer
            onnx.checker.check_model(model, full_check=True)
            x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
            np.testing.assert_array_equal(predictor(model)(x), np.maximum(x, 0))


def test_other_additions_stay():
    one = np.zeros(SHAPE)
    one[0, 1, 2, 2] = 1e-30
    for model in (graph(one), graph(np.zeros((4, *SHAPE))), graph(np.zeros(SHAPE), last=True)):
        before = model.SerializeToString()
        assert removed(model) == 0 and model.SerializeToString() == before
