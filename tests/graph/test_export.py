from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from helpers.networks import SIZE, Small, as_model
from torch import nn

from edgevision.compress.session import session
from edgevision.errors import Mismatch, Unsupported
from edgevision.graph.export import export


@pytest.fixture(scope="module")
def exported():
    torch.manual_seed(0)
    model = as_model(Small())
    return model, export(model)


def test_onnxruntime_computes_what_torch_does(exported):
    model, result = exported
    image = np.random.default_rng(7).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    with torch.no_grad():
        expected = model.module(torch.from_numpy(image)).numpy()
    got = session(result.graph).run(None, {"input": image})[0]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert 0 < result.max_abs_error < 1e-5


def test_nodes_are_called_after_modules(exported):
    _, result = exported
    names = [node.name for node in result.graph.graph.node]
    assert {"stem.0", "qkv", "depthwise", "to_one.0", "gate.block.1", "mlp.0", "mlp.1", "head"} <= set(names)
    assert len(names) == len(set(names))


def test_graph_is_checked_opset_20_with_every_shape_and_no_source_paths(exported):
    _, result = exported
    graph = result.graph
    onnx.checker.check_model(graph, full_check=True)
    assert graph.opset_import[0].version == 20
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    known = {value.name for value in (*graph.graph.value_info, *graph.graph.output)}
    assert {name for node in graph.graph.node for name in node.output} <= known
    assert b".py" not in graph.SerializeToString()


def test_means_are_pooling_and_batch_norms_are_gone(exported):
    _, result = exported
    operators = {node.op_type for node in result.graph.graph.node}
    assert not operators & {"ReduceMean", "BatchNormalization", "Reshape"}
    assert {"GlobalAveragePool", "Flatten", "Gelu"} <= operators


def test_two_exports_are_the_same_bytes():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 3))
    first, second = (export(as_model(network)).graph.SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_exporter_prints_nothing(capfd):
    export(as_model(nn.Conv2d(3, 2, 3)))
    assert capfd.readouterr().out == ""


class Restless(nn.Module):
    """Computes something else each time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        return torch.nn.functional.dropout(self.conv(x), 0.5, training=True)


def test_a_graph_that_differs_from_torch_is_refused():
    with pytest.raises((Mismatch, Unsupported)) as caught:
        export(as_model(Restless()))
    assert isinstance(caught.value, Mismatch)
    assert "largest difference" in str(caught.value)


class Sorting(nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x.mean(1))[1]


def test_what_torch_cannot_export_is_named():
    with pytest.raises(Unsupported) as caught:
        export(as_model(Sorting()))
    assert "svd" in " ".join(caught.value.reasons)
