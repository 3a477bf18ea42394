from __future__ import annotations

import numpy as np
import onnx
import pytest
from helpers.finders import SIDE, few_shapes, small_detector
from helpers.squares import layer, layer_inputs

from edgevision.compress.fold import fold_batch_norm
from edgevision.compress.measure import measure
from edgevision.compress.noise import sqnr_db
from edgevision.compress.onnxgraph import Index, copy_of, finished
from edgevision.compress.quantize import quantize
from edgevision.compress.session import predictor, session
from edgevision.compress.standins import stand_in
from edgevision.compress.weights import quantize_weights
from edgevision.graph import reference
from edgevision.graph.export import export
from edgevision.recipe import Quantize

STEP = Quantize(calibration_images=16)


@pytest.fixture(scope="module")
def float_graph() -> onnx.ModelProto:
    return export(small_detector()).graph


@pytest.fixture(scope="module")
def quantised(float_graph) -> onnx.ModelProto:
    return quantize(float_graph, STEP, few_shapes(16).split("calibration"))


def images(count=4):
    return next(iter(few_shapes(count).split("test").batches(count)))[0]


@pytest.mark.parametrize("stride", [1, 2])
def test_the_stand_in_computes_the_same(stride):
    x, dilation, weight = layer_inputs(0, channels=5, size=(9, 11), stride=stride)
    model = layer(x, dilation, weight, stride)
    shown = copy_of(model)
    kept = stand_in(shown)
    shown = finished(shown)
    feeds = {"x": x, "D": dilation}
    np.testing.assert_allclose(session(shown).run(None, feeds)[0], session(model).run(None, feeds)[0], atol=1e-4)
    assert {node.name for node in shown.graph.node} == {*kept, "square"}


def test_every_layer_of_a_quantised_detector_computes_on_integers(float_graph, quantised):
    measured = measure(quantised)
    assert measured.integer_share == 1.0
    (square,) = [one for one in measured.layers if one.op_type == "SquareDeformConv"]
    assert (square.name, square.dtype, square.parameters) == ("square", "int8", 8 * 9)
    assert square.macs == 8 * 9 * (SIDE // 4) ** 2
    assert sqnr_db(predictor(float_graph)(images()), predictor(quantised)(images())) > 15


def test_a_channel_shuffle_joins_bytes(quantised):
    index = Index.of(quantised.graph)
    (joined,) = [node for node in quantised.graph.node if node.op_type == "Concat"]
    assert all(index.producer[name].op_type == "QuantizeLinear" for name in joined.input)
    (reader,) = [node for node in quantised.graph.node if node.name == "mix.0"]
    assert index.producer[reader.input[0]].op_type == "DequantizeLinear"


def test_the_integer_reference_agrees_with_onnxruntime(quantised):
    image = images(1)
    expected, got = predictor(quantised)(image), reference.run(quantised, image)[0]
    assert sqnr_db(expected, got) > 25


def test_a_layer_left_in_float_reads_the_tensor_ahead_of_its_quantiser(float_graph):
    graph = quantize(float_graph, STEP, few_shapes(16).split("calibration"), keep_fp=["square"])
    (square,) = [one for one in measure(graph).layers if one.name == "square"]
    assert square.dtype == "float32" and not square.integer
    (node,) = [node for node in graph.graph.node if node.name == "square"]
    assert Index.of(graph.graph).producer[node.input[0]].op_type != "DequantizeLinear"


def test_weights_alone_are_quantised_too(float_graph):
    graph = quantize_weights(float_graph)
    assert {layer.dtype for layer in measure(graph).layers} == {"int8"}
    assert sqnr_db(predictor(float_graph)(images()), predictor(graph)(images())) > 30


def test_folding_leaves_deformable_layers_whole():
    module = small_detector().module
    import torch

    folded, report = fold_batch_norm(module, torch.randn(1, 3, SIDE, SIDE))
    assert report.folded == ("stem.1 -> stem.0", "branch.1 -> branch.0") and not report.kept
    assert "square.weight" in folded.state_dict()
