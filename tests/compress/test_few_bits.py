from __future__ import annotations

import numpy as np
import onnx
import pytest
from helpers.networks import digits
from helpers.walking import walk

from edgevision.compress.few_bits import chosen, in_four_bits
from edgevision.compress.layers import quantised_layers
from edgevision.compress.measure import measure
from edgevision.compress.noise import sqnr_db
from edgevision.compress.onnxgraph import Index
from edgevision.compress.session import predictor
from edgevision.graph import reference

IMAGES = next(iter(digits().split("calibration").batches(32)))[0]


@pytest.fixture(scope="module")
def four(quantised_graph):
    return in_four_bits(quantised_graph, IMAGES)


def test_every_weight_takes_half_a_byte_and_sixteen_values(quantised_graph, four):
    index = Index.of(four.graph)
    names = [f"{layer}.weight.q" for layer in quantised_layers(quantised_graph.graph)]
    for name in names:
        tensor = index.constants[name]
        assert tensor.data_type == onnx.TensorProto.INT4
        assert len(tensor.raw_data) == (np.prod(tensor.dims) + 1) // 2
        assert index.array(name).astype(int).min() >= -8 and index.array(name).astype(int).max() <= 7
    halved = sum((int(np.prod(index.constants[name].dims)) + 1) // 2 for name in names)
    whole = sum(int(np.prod(index.constants[name].dims)) for name in names)
    # A zero point of a channel is halved too; two corrected layers had no bias before.
    saved = measure(quantised_graph).weight_bytes - measure(four).weight_bytes
    assert whole - halved - 64 <= saved <= whole - halved + 64


def test_layers_are_chosen_one_by_one(quantised_graph, four):
    graph = chosen(quantised_graph, four, {"mlp.0": 4, "mlp.2": 8, "head": 4})
    stored = {layer.name: layer.dtype for layer in measure(graph).layers}
    assert {name for name, dtype in stored.items() if dtype == "int4"} == {"mlp.0", "head"}
    assert stored["mlp.2"] == "int8"
    everything = dict.fromkeys(quantised_layers(quantised_graph.graph), 4)
    np.testing.assert_array_equal(predictor(chosen(quantised_graph, four, everything))(IMAGES), predictor(four)(IMAGES))
    assert chosen(quantised_graph, four, {"mlp.0": 8}) == quantised_graph


def test_correcting_the_bias_takes_noise_away(float_graph, quantised_graph, four, monkeypatch):
    """Each layer alone: the mean error of its weights is what the correction takes out."""
    monkeypatch.setattr("edgevision.compress.few_bits._correct", lambda *_: None)
    plain = in_four_bits(quantised_graph, IMAGES)
    wanted = predictor(float_graph)(IMAGES)
    gained = [
        sqnr_db(wanted, predictor(chosen(quantised_graph, four, {layer: 4}))(IMAGES))
        - sqnr_db(wanted, predictor(chosen(quantised_graph, plain, {layer: 4}))(IMAGES))
        for layer in quantised_layers(quantised_graph.graph)
    ]
    assert np.median(gained) > 1 and min(gained) > -1


def test_the_compiled_network_computes_what_the_file_says(quantised_graph, four):
    graph = chosen(quantised_graph, four, {"mlp.0": 4, "depthwise": 4, "head": 4})
    (got,) = walk(graph, IMAGES[:1])
    np.testing.assert_array_equal(got, reference.run(graph, IMAGES[:1])[0])
