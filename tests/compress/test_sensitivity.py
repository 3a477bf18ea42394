from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from helpers.networks import digits
from onnx import numpy_helper

from edgevision.compress.sensitivity import MAX_DB, NAMED, rank_layers, sqnr_db
from edgevision.compress.work import Rows

IMAGES = next(iter(digits().split("calibration").batches(8)))[0]


def spoiled(graph: onnx.ModelProto, layer: str) -> onnx.ModelProto:
    """The graph with the weights of one layer quantised eight times more coarsely."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    for tensor in copy.graph.initializer:
        if tensor.name == f"{layer}.weight.q":
            coarse = (np.round(numpy_helper.to_array(tensor) / 32) * 32).clip(-127, 127).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(coarse, tensor.name))
    return copy


def test_the_spoiled_layer_comes_first_with_its_line_to_paste(float_graph, quantised_graph):
    rows = rank_layers(spoiled(quantised_graph, "mlp.2"), float_graph, IMAGES, macs={"mlp.2": 5})
    assert rows[0].layer == "mlp.2" and rows[0].macs == 5
    assert rows[0].keep_fp == "--keep-fp mlp.2"
    gains = [row.sqnr_gain_db for row in rows]
    assert gains == sorted(gains, reverse=True) and gains[0] > 1
    assert all(row.keep_fp is None for row in rows[NAMED:])


def test_accuracy_is_measured_for_the_worst_only(float_graph, quantised_graph):
    asked = []

    def evaluate(name, graph):
        asked.append(name)
        return 50.0 if name == "quantised" else 51.5

    rows = rank_layers(quantised_graph, float_graph, IMAGES, macs={}, evaluate=evaluate)
    assert asked == ["quantised", *(f"float {row.layer}" for row in rows[:10])]
    assert [row.metric_gain for row in rows[:10]] == [1.5] * 10
    assert all(row.metric_gain is None for row in rows[10:])


def test_an_interrupted_ranking_goes_on_and_ends_the_same(float_graph, quantised_graph, tmp_path):
    path = tmp_path / "rows.jsonl"

    def stop(stage, done, total, detail=""):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rank_layers(quantised_graph, float_graph, IMAGES, macs={}, rows=Rows.at(path), progress=stop)
    with path.open("ab") as file:
        file.write(b'["sqnr he')
    kept = Rows.at(path)
    assert len(kept.known) == 6
    resumed = rank_layers(quantised_graph, float_graph, IMAGES, macs={}, rows=kept)
    assert resumed == rank_layers(quantised_graph, float_graph, IMAGES, macs={})
    assert len(Rows.at(path).known) == len(resumed) + 1


def test_time_up_gives_what_there_is(float_graph, quantised_graph):
    assert rank_layers(quantised_graph, float_graph, IMAGES, macs={}, deadline=time.monotonic()) == ()


def test_sqnr_of_equal_and_of_unrelated_outputs():
    signal = np.array([3.0, 4.0])
    assert sqnr_db(signal, signal) == MAX_DB
    assert sqnr_db(signal, np.zeros(2)) == 0.0
    assert sqnr_db(np.zeros(2), signal) == -MAX_DB
