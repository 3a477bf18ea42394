"""Other runtimes against numpy, where their packages are installed, and what is said where they are not."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevision.errors import ToolMissing, Unsupported
from edgevision.profile import rivals
from edgevision.profile.rivals import NcnnEngine, OpenVinoEngine, RivalEngine, open_rival
from edgevision.profile.rivals import ncnn as ncnn_rival


def network(path, sides=(1, 3, 8, 8)):
    """A 1x1 convolution of 3 channels to 5, and its weight."""
    weight = np.random.default_rng(0).normal(size=(5, 3, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 5, *sides[2:]))],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return weight[:, :, 0, 0]


@pytest.mark.parametrize("runtime", rivals.RIVALS)
def test_a_rival_computes_what_numpy_does(runtime, tmp_path):
    for package in {"ncnn": ("ncnn", "pnnx")}.get(runtime, (runtime,)):
        pytest.importorskip(package)
    weight = network(tmp_path / "net.onnx")
    images = np.random.default_rng(1).normal(size=(3, 3, 8, 8)).astype(np.float32)
    engine = open_rival(runtime, f"{runtime} fp32", tmp_path / "net.onnx", 1, images[:1])
    expected = np.maximum(np.einsum("oc,nchw->nohw", weight, images), 0)
    assert engine.predict(images) == pytest.approx(expected, abs=1e-5)
    assert len(engine.window(4, 1).run_ns) == 4 and engine.opening.init_ns > 0
    # Showing it other images must not change what is timed.
    assert engine.predict(images[:1]) == pytest.approx(expected[:1], abs=1e-5)


def test_openvino_says_what_it_computes_in(tmp_path):
    pytest.importorskip("openvino")
    network(tmp_path / "net.onnx")
    engine = OpenVinoEngine("openvino f32", tmp_path / "net.onnx", 1, np.zeros((1, 3, 8, 8), np.float32))
    assert engine.chosen == "f32"


@pytest.mark.parametrize("runtime", ["openvino", "ncnn"])
def test_a_missing_runtime_is_named_with_what_installs_it(runtime, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(ToolMissing, match=runtime) as problem:
        open_rival(runtime, f"{runtime} fp32", tmp_path / "net.onnx", 1, np.zeros((1, 3, 8, 8), np.float32))
    assert "bench-cpu" in str(problem.value)


@pytest.mark.parametrize(("script", "said"), [("echo cannot >&2; exit 3", "cannot"), ("exit 0", "cannot convert")])
def test_what_pnnx_cannot_convert_is_refused(script, said, tmp_path, monkeypatch):
    program = tmp_path / "pnnx"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setitem(sys.modules, "pnnx", types.SimpleNamespace(EXEC_PATH=str(program)))
    network(tmp_path / "net.onnx")
    (tmp_path / "out").mkdir()
    with pytest.raises(Unsupported, match=said):
        ncnn_rival.convert(tmp_path / "net.onnx", (1, 3, 8, 8), tmp_path / "out")


def test_ncnn_stopping_half_way_is_an_error(tmp_path, monkeypatch):
    class Extractor:
        def input(self, name, mat):
            return 0

        def extract(self, name):
            return -100, None

    class Net:
        opt = types.SimpleNamespace()

        def load_param(self, path):
            return 0

        load_model = load_param

        def input_names(self):
            return ["in0"]

        output_names = input_names
        create_extractor = Extractor

    class Mat:
        def __init__(self, array):
            self.array = array

        def clone(self):
            return Mat(self.array.copy())

    monkeypatch.setitem(sys.modules, "ncnn", types.SimpleNamespace(Net=Net, Mat=Mat))
    monkeypatch.setattr(ncnn_rival, "convert", lambda path, shape, out: (path, path))
    with pytest.raises(Unsupported, match="-100"):
        NcnnEngine("ncnn fp32", tmp_path / "net.onnx", 2, np.zeros((1, 3, 8, 8), np.float32))
    assert Net.opt.num_threads == 2 and not Net.opt.use_bf16_storage and not Net.opt.use_fp16_arithmetic


@dataclass
class Counting(RivalEngine):
    calls: int = 0

    def _load(self):
        def infer():
            self.calls += 1

        return infer

    def _output(self, image):
        return image


def test_warm_up_is_run_and_not_timed(tmp_path):
    engine = Counting("x", tmp_path, 1, np.zeros(1))
    timing = engine.window(4, 3)
    assert (engine.calls, len(timing.run_ns)) == (1 + 3 + 4, 4)
