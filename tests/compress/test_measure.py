from __future__ import annotations

import pytest
from helpers.networks import SIZE, as_model
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgevision.compress.measure import measure
from edgevision.compress.onnxgraph import finished
from edgevision.graph.export import export


@pytest.mark.parametrize(
    ("layer", "macs", "parameters"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), SIZE * SIZE * 8 * 3 * 9, 8 * 3 * 9 + 8),
        (nn.Conv2d(3, 6, 3, stride=2, groups=3, bias=False), 7 * 7 * 6 * 9, 6 * 9),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 5)), 3 * SIZE * SIZE * 5, 3 * SIZE * SIZE * 5 + 5),
    ],
)
def test_known_counts(layer, macs, parameters):
    got = measure(export(as_model(layer)).graph)
    assert (got.macs, got.parameters, got.weight_bytes) == (macs, parameters, 4 * parameters)


def test_matmul_of_two_computed_tensors_counts():
    nodes = [helper.make_node("MatMul", ["a", "a"], ["y"], name="product")]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4, 4]) for name in ("a", "y")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:])
    layer = measure(finished(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))).layers[0]
    assert (layer.macs, layer.parameters, layer.dtype) == (2 * 4 * 4 * 4, 0, "")


def test_parameters_are_those_of_torch(exported):
    from helpers.networks import trained_small

    module = trained_small().module
    norm = sum(p.numel() for p in module.stem[1].parameters())
    assert measure(exported.graph).parameters == sum(p.numel() for p in module.parameters()) - norm


def test_quantised_bytes_are_those_in_the_file(quantised_graph):
    got = measure(quantised_graph)
    stored = [numpy_helper.to_array(t) for t in quantised_graph.graph.initializer if t.data_type != TensorProto.INT64]
    assert got.weight_bytes == sum(array.nbytes for array in stored)
    assert got.parameters < got.weight_bytes < len(quantised_graph.SerializeToString())
