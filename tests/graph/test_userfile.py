from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevision.compress.session import session
from edgevision.data.preprocess import Preprocessing
from edgevision.graph.export import export
from edgevision.zoo.model import InputSpec, Model, Provenance

RNG = np.random.default_rng(3)


def constant(name: str, shape: tuple[int, ...], positive: bool = False) -> onnx.TensorProto:
    value = RNG.standard_normal(shape).astype(np.float32)
    return numpy_helper.from_array(np.abs(value) + np.float32(0.1) if positive else value, name)


def norm_after_conv(opset: int = 15, *, bias: bool = True, second_reader: bool = False) -> Model:
    """Conv, BatchNormalization, a constant computed by nodes, ReduceMean; nameless nodes."""
    weights = [constant("w", (4, 3, 3, 3)), *(constant(n, (4,)) for n in ("b", "gamma", "beta", "mean"))]
    weights += [constant("var", (4,), positive=True), constant("one", (1,)), constant("two", (1,))]
    nodes = [
        helper.make_node("Conv", ["image", "w", *(["b"] if bias else [])], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["n"], epsilon=1e-3),
        helper.make_node("Add", ["one", "two"], ["three"]),
        helper.make_node("Mul", ["n", "three"], ["m"]),
        helper.make_node("Add", ["m", "c" if second_reader else "m"], ["s"]),
        helper.make_node("ReduceMean", ["s"], ["y"], axes=[2, 3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "user",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return wrapped(model)


def wrapped(model: onnx.ModelProto) -> Model:
    return Model("user", InputSpec("image", (1, 3, 8, 8)), Preprocessing(8, 8), Provenance("user.onnx"), onnx=model)


@pytest.mark.parametrize("bias", [True, False])
def test_an_older_file_is_converted_folded_and_computes_the_same(bias):
    model = norm_after_conv(bias=bias)
    result = export(model)
    image = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
    expected, got = (session(graph).run(None, {"image": image})[0] for graph in (model.onnx, result.graph))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert result.graph.opset_import[0].version == 20
    assert [n.op_type for n in result.graph.graph.node] == ["Conv", "Mul", "Add", "GlobalAveragePool", "Flatten"]
    notes = ("opset 15 converted to 20", "1 constants folded", "1 batch norms folded", "1 means written as pooling")
    assert result.notes == notes


def test_a_batch_norm_is_kept_where_the_convolution_has_another_reader():
    result = export(norm_after_conv(second_reader=True))
    assert "BatchNormalization" in [node.op_type for node in result.graph.graph.node]


def test_the_users_model_is_not_changed():
    model = norm_after_conv()
    before = model.onnx.SerializeToString(deterministic=True)
    export(model)
    assert model.onnx.SerializeToString(deterministic=True) == before


def test_nameless_nodes_get_unique_names():
    names = [node.name for node in export(norm_after_conv()).graph.graph.node]
    assert all(names) and len(names) == len(set(names))
