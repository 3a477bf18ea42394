"""The whole chain on a small network and real images, as typed at a shell."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevision.cli.group import run


def small_network(path: Path) -> None:
    """Convolution, depthwise convolution, pooling and a linear layer on 3x32x32 images, ten classes."""
    draw = np.random.default_rng(0)
    shapes = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 1, 3, 3), "b1": (8,), "w2": (10, 8), "b2": (10,)}
    weights = {name: draw.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["image", "w0", "b0"], ["c0"], "stem", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"], "act"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "depthwise", group=8, pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c1"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["logits"], "head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, str(path))


class Shell:
    """Runs commands in one folder and reads their JSON."""

    def __init__(self, out: Path, capsys) -> None:
        self.out, self.capsys = out, capsys

    def __call__(self, *arguments: str, code: int = 0) -> dict:
        self.capsys.readouterr()
        got = run([*arguments, "--out", str(self.out), "--json"])
        self.shown = self.capsys.readouterr()
        assert got == code, self.shown.err
        return json.loads(self.shown.out)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Both recipes compressed and deployed, one profile, one report."""
    folder = tmp_path_factory.mktemp("chain")
    network, out = folder / "small.onnx", folder / "out"
    small_network(network)
    common = ["--out", str(out), "--quiet"]
    for recipe in ("fp32", "w8a8"):
        compress = ["compress", "--model", str(network), "--recipe", recipe, "--data", "digits", "--limit", "40"]
        assert run([*compress, *common]) == 0
        assert run(["deploy", "--target", "host", "--run", *common]) == 0
    assert run(["profile", "--all", "--against", "onnxruntime", "--seconds", "0.05", "--limit", "40", *common]) == 0
    assert run(["report", *common]) == 0
    return out


@pytest.fixture
def shell(workspace, capsys) -> Shell:
    return Shell(workspace, capsys)


def test_the_newest_artefact_is_meant_and_named_on_stderr(shell):
    found = shell("verify")
    assert found["golden_vectors"] == 2
    assert "verifying" in shell.shown.err and "small-digits-w8a8@host" in shell.shown.err


@pytest.mark.parametrize(("recipe", "tolerance"), [("fp32", 1e-4), ("w8a8", 0.0)])
def test_golden_vectors_come_back_and_integers_bit_for_bit(shell, recipe, tolerance):
    assert shell("verify", f"small-digits-{recipe}@host")["max_abs_error"] <= tolerance


def test_nothing_is_replaced_unless_asked(shell):
    before = (shell.out / "bundles/small-digits-w8a8@host/manifest.json").stat()
    problem = shell("deploy", "--target", "host", code=2)
    assert "--overwrite" in problem["fix"]
    assert (shell.out / "bundles/small-digits-w8a8@host/manifest.json").stat() == before


def test_the_profile_compares_ours_with_onnxruntime_on_the_same_graphs(shell):
    (path,) = (shell.out / "profiles").glob("*.json")
    profile = json.loads(path.read_text())
    names = [engine["name"] for engine in profile["engines"]]
    assert names == ["edgevision fp32", "edgevision w8a8", "onnxruntime fp32", "onnxruntime int8"]
    assert {engine["timing"] for engine in profile["engines"]} == {"measured"}
    assert {c["baseline"] for c in profile["comparisons"]} == {"onnxruntime fp32"}
    float_engine = profile["engines"][0]
    assert float_engine["max_abs_error"] < 1e-4 and float_engine["images"] == 40
    assert float_engine["accuracy"] == profile["engines"][2]["accuracy"]
    assert sum(step["share"] for step in float_engine["steps"]) == pytest.approx(1)
    assert profile["facts_before"]["cores"] == os.cpu_count()


def test_the_report_is_written_in_four_formats(shell):
    assert sorted(path.name for path in (shell.out / "report").iterdir()) == [
        "report.csv", "report.html", "report.json", "report.md",
    ]  # fmt: skip
    found = json.loads((shell.out / "report/report.json").read_text())
    assert found["built"][0]["measured"] and len(found["groups"][0]["points"]) == 4
    assert any(
        command.startswith("edgevision compress --model") for command in [n["command"] for n in found["networks"]]
    )
    assert "--quiet" not in found["networks"][0]["command"]


def test_check_answers_before_any_build(shell):
    found = shell("check", "--target", "rpi4")
    assert found["ok"] and found["float_mac_share"] == 0 and found["macs"] > 0


def test_a_changed_bundle_is_a_mismatch(shell, workspace, tmp_path):
    copy = shutil.copytree(workspace / "bundles/small-digits-fp32@host", tmp_path / "copy")
    content = bytearray((copy / "weights.bin").read_bytes())
    content[7] ^= 1
    (copy / "weights.bin").write_bytes(content)
    problem = shell("verify", str(copy), code=8)
    assert problem["kind"] == "verification mismatch" and any("weights.bin" in r for r in problem["reasons"])


def test_an_emulator_gives_no_latency(shell):
    if shutil.which("qemu-aarch64") is None:
        message = "no qemu-aarch64: apt-get install qemu-user"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    built = shell("deploy", "--target", "rpi4", "--run", "--static", "--overwrite")
    assert built["max_abs_error"] == 0.0
    problem = shell("profile", built["folder"], code=4)
    assert "emulates" in problem["what"]
    # The newest bundle cannot be timed here, so the newest that can be is meant.
    measured = shell("profile", "--seconds", "0.01", "--limit", "4")
    assert measured["engines"][0]["bundle"] == "small-digits-w8a8@host"
    Path(measured["path"]).unlink()
    shutil.rmtree(built["folder"])


def test_bundles_of_two_models_are_not_timed_together(shell, tmp_path):
    problem = shell("profile", "small-digits-fp32@host", "small-digits-fp32@host", code=2)
    assert "two bundles of recipe fp32" in problem["reasons"][0]
    problem = shell("profile", "--against", "onxruntime", code=2)
    assert "did you mean 'onnxruntime'" in problem["reasons"][0]


def test_ncnn_is_compared_on_the_float_network_alone(shell):
    problem = shell("profile", "small-digits-w8a8@host", "--against", "ncnn", code=2)
    assert "ncnn cannot run" in problem["what"]
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    measured = shell("profile", "--all", "--against", "ncnn", "--seconds", "0.01", "--limit", "4")
    assert [engine["name"] for engine in measured["engines"]] == ["edgevision fp32", "edgevision w8a8", "ncnn fp32"]
    ours = measured["engines"][0]
    assert ours["reference"] == "ncnn fp32" and ours["max_abs_error"] < 1e-4
    Path(measured["path"]).unlink()


def test_openvino_runs_both_networks(shell):
    pytest.importorskip("openvino")
    measured = shell("profile", "--all", "--against", "openvino,onnxruntime", "--seconds", "0.01", "--limit", "4")
    names = [engine["name"] for engine in measured["engines"]]
    assert names[2:] == ["openvino fp32", "openvino int8", "onnxruntime fp32", "onnxruntime int8"]
    # onnxruntime is what the others are compared with wherever it runs too.
    assert measured["engines"][0]["reference"] == "onnxruntime fp32"
    Path(measured["path"]).unlink()
