from __future__ import annotations

import numpy as np
import onnx
import pytest

from benchmarks.quant.score import row


@pytest.fixture
def file(tmp_path):
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 3)) for name in "xy"]
    node = onnx.helper.make_node("Identity", ["x"], ["y"], name="same")
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)]), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_a_row_counts_answers_image_by_image(file):
    wanted = np.eye(3)[[0, 1, 2, 0]] * 4.0
    got = wanted.copy()
    got[3] = [0.0, 4.0, 0.0]
    found = row(file, got, wanted, np.array([0, 1, 0, 1]))
    # One image is named right only now, one wrong both times.
    assert (found["top1_percent"], found["points_to_fp32"], found["disagreement_percent"]) == (75.0, 25.0, 25.0)
    low, high = found["points_interval"]
    assert low == pytest.approx(25 - 1.96 * 50 / 2) and high == pytest.approx(25 + 1.96 * 50 / 2)
    assert found["sqnr_db"] == pytest.approx(10 * np.log10(64 / 32)) and found["file_bytes"] == file.stat().st_size


def test_the_float_network_itself_has_no_noise(file):
    wanted = np.eye(3)
    found = row(file, wanted, wanted, np.arange(3))
    assert found["sqnr_db"] is None and found["points_interval"] == (0.0, 0.0)
