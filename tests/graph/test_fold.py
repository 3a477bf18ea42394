import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgevision.compress.onnxgraph import finished
from edgevision.graph.fold import fold_layer_scales

RNG = np.random.default_rng(0)
WEIGHT, BIAS, SCALE = (RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 6), (6,), (6,)))


def linear(scale: np.ndarray, *, scale_first: bool = True, second_reader: bool = False) -> onnx.ModelProto:
    """(x W + b) * scale, and what else reads the sum."""
    product = ["scale", "sum"] if scale_first else ["sum", "scale"]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="fc"),
        helper.make_node("Add", ["product", "b"], ["sum"], name="fc.1"),
        helper.make_node("Mul", product, ["scaled"], name="gamma"),
        helper.make_node("Add", ["scaled", "sum" if second_reader else "scaled"], ["y"], name="last"),
    ]
    constants = [numpy_helper.from_array(a, n) for n, a in (("w", WEIGHT), ("b", BIAS), ("scale", scale))]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, s]) for n, s in (("x", 4), ("y", 6))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("scale_first", [True, False])
@pytest.mark.parametrize("scale", [SCALE, np.float32(0.25)], ids=["per channel", "scalar"])
def test_a_scale_behind_a_linear_layer_goes_into_it(scale, scale_first):
    model = linear(np.asarray(scale), scale_first=scale_first)
    x = RNG.standard_normal((1, 3, 4)).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    assert fold_layer_scales(model.graph) == 1
    model = finished(model)
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Add", "Add"]
    np.testing.assert_allclose(ReferenceEvaluator(model).run(None, {"x": x})[0], expected, rtol=1e-5, atol=1e-6)


def test_a_scale_that_others_do_not_see_or_that_is_no_channels_stays():
    for model in (linear(SCALE, second_reader=True), linear(RNG.standard_normal((3, 1)).astype(np.float32))):
        before = model.SerializeToString(deterministic=True)
        assert fold_layer_scales(model.graph) == 0
        assert model.SerializeToString(deterministic=True) == before
