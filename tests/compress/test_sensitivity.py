from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from helpers.networks import digits
from onnx import numpy_helper

from edgevision.compress.blocks import blocks
from edgevision.compress.bypass import left_in_float
from edgevision.compress.kept_rows import KeptRows
from edgevision.compress.layers import quantised_operators
from edgevision.compress.noise import MAX_DB, kl_divergence, sqnr_db
from edgevision.compress.sensitivity import NAMED, rank
from edgevision.compress.session import session
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


def outputs(graph):
    """Of onnxruntime, image by image, nothing fused."""
    runner = session(graph, optimise=False)
    return np.concatenate([runner.run(None, {"input": image[None]})[0] for image in IMAGES])


class Counted:
    """Accuracies that say how often they were asked for: one more point for each."""

    def __init__(self):
        self.count = 0

    def __call__(self, predict):
        assert predict(IMAGES[:1]).shape == (1, 10)
        self.count += 1
        return 50.0 + self.count


def test_the_spoiled_layer_comes_first_with_its_line_to_paste(float_graph, quantised_graph):
    rows = rank(spoiled(quantised_graph, "mlp.2"), float_graph, IMAGES, macs={"mlp.2": 5}).layers
    assert rows[0].layer == "mlp.2" and rows[0].macs == 5
    assert rows[0].keep_fp == "--keep-fp mlp.2"
    gains = [row.sqnr_gain_db for row in rows]
    assert gains == sorted(gains, reverse=True) and gains[0] > 1
    assert all(row.keep_fp is None for row in rows[NAMED:])


def test_a_quick_ranking_measures_the_accuracy_of_the_worst_only(float_graph, quantised_graph):
    evaluate = Counted()
    ranking = rank(quantised_graph, float_graph, IMAGES, macs={}, evaluate=evaluate)
    # The first accuracy asked for is that of the worst layer in float, the second that of the network as it is.
    assert [row.metric_gain for row in ranking.layers[:10]] == [-1.0, *(float(n) for n in range(1, 10))]
    assert evaluate.count == 11
    assert all(row.metric_gain is None for row in ranking.layers[10:])
    assert ranking.blocks == () and all(row.alone_sqnr_db is None for row in ranking.layers)


def test_a_full_ranking_agrees_with_graphs_made_one_by_one(float_graph, quantised_graph):
    """Figures behind the switch against graphs built without one."""
    names = quantised_operators(quantised_graph.graph)
    ranking = rank(quantised_graph, float_graph, IMAGES, macs={}, full=True, evaluate=Counted())
    assert {row.layer for row in ranking.layers} == set(names)
    wanted, base = outputs(float_graph), outputs(quantised_graph)
    for row in ranking.layers[:3]:
        left = outputs(left_in_float(quantised_graph, float_graph, [row.layer]))
        alone = outputs(left_in_float(quantised_graph, float_graph, [name for name in names if name != row.layer]))
        assert row.sqnr_db == pytest.approx(sqnr_db(wanted, left), abs=0.05)
        assert row.alone_sqnr_db == pytest.approx(sqnr_db(wanted, alone), abs=0.05)
        assert row.alone_kl == pytest.approx(kl_divergence(wanted, alone), rel=0.02, abs=1e-7)
        gained = kl_divergence(wanted, base) - kl_divergence(wanted, left)
        assert row.kl_gain == pytest.approx(gained, rel=0.02, abs=1e-6)
    assert all(row.metric_loss is not None for row in ranking.layers)


def test_blocks_are_ranked_as_their_layers_together(float_graph, quantised_graph):
    ranking = rank(spoiled(quantised_graph, "mlp.2"), float_graph, IMAGES, macs={"mlp.0": 2, "mlp.2": 3}, full=True)
    members = blocks(quantised_operators(quantised_graph.graph))
    assert {row.layer: row.operators for row in ranking.blocks} == {name: len(m) for name, m in members.items()}
    worst = ranking.blocks[0]
    assert worst.layer == "mlp" and worst.macs == 5
    assert worst.keep_fp == " ".join(f"--keep-fp {name}" for name in members["mlp"])


def test_outputs_that_are_no_classes_have_no_divergence(float_graph, quantised_graph):
    rows = rank(quantised_graph, float_graph, IMAGES, macs={}, full=True, classes=False).layers
    assert all(row.kl_gain is None and row.alone_kl is None for row in rows)


def test_an_interrupted_ranking_measures_nothing_twice_and_ends_the_same(float_graph, quantised_graph):
    def stop(stage, done, total, detail=""):
        if stage == "sensitivity: accuracy" and done == 3:
            raise KeyboardInterrupt

    def kept():
        return KeptRows.of((quantised_graph, float_graph), IMAGES, "here")

    first, again = Counted(), Counted()
    with pytest.raises(KeyboardInterrupt):
        rank(quantised_graph, float_graph, IMAGES, macs={}, evaluate=first, rows=kept(), progress=stop)
    assert first.count == 4
    again.count = first.count
    resumed = rank(quantised_graph, float_graph, IMAGES, macs={}, evaluate=again, rows=kept())
    assert again.count == 11
    assert resumed == rank(quantised_graph, float_graph, IMAGES, macs={}, evaluate=Counted())
    assert resumed == rank(quantised_graph, float_graph, IMAGES, macs={}, evaluate=again, rows=kept())
    assert again.count == 11


def test_figures_of_other_graphs_or_images_are_not_taken(float_graph, quantised_graph):
    one = KeptRows.of((quantised_graph, float_graph), IMAGES)
    other = KeptRows.of((spoiled(quantised_graph, "mlp.2"), float_graph), IMAGES)
    third = KeptRows.of((quantised_graph, float_graph), IMAGES[:4])
    assert [rows.get("all", lambda at=at: float(at)) for at, rows in enumerate((one, other, third))] == [0.0, 1.0, 2.0]
    assert KeptRows.of((quantised_graph, float_graph), IMAGES).get("all", lambda: 9.0) == 0.0


def test_a_line_cut_short_is_measured_again(tmp_path):
    path = tmp_path / "rows.jsonl"
    Rows.at(path).get("all", lambda: 1.0)
    with path.open("ab") as file:
        file.write(b'["sqnr he')
    kept = Rows.at(path)
    assert kept.known == {"all": 1.0}
    assert kept.get("sqnr head", lambda: 2.0) == 2.0 and Rows.at(path).known == kept.known


def test_time_up_gives_what_there_is(float_graph, quantised_graph):
    assert rank(quantised_graph, float_graph, IMAGES, macs={}, deadline=time.monotonic()).layers == ()


def test_sqnr_of_equal_and_of_unrelated_outputs():
    signal = np.array([3.0, 4.0])
    assert sqnr_db(signal, signal) == MAX_DB
    assert sqnr_db(signal, np.zeros(2)) == 0.0
    assert sqnr_db(np.zeros(2), signal) == -MAX_DB


def test_divergence_is_that_of_its_definition():
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.2, 0.6])
    expected = float((p * np.log(p / q)).sum())
    assert kl_divergence(np.log(p)[None] + 3, np.log(q)[None]) == pytest.approx(expected)
