"""`profile --calibrate`, and what `profile` and `report` say afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.tiny import tiny_network

from edgevision.cli.group import after_interruption, run
from edgevision.profile import calibrate
from edgevision.profile.calibration_layers import Layers


def layers(*, integer: bool):
    """One layer of each kind the tiny network has."""
    net = Layers((1, 3, 32, 32), integer=integer)
    x = net.function("Relu", net.conv("x", 8, 3, stride=4))
    return net.model(net.linear(net.reshaped(net.pooled(x), (1, 8)), 12))


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("predicted")
    tiny_network(folder / "tiny.onnx")
    common = ["--out", str(folder / "out"), "--quiet"]
    assert run(["compress", "--model", str(folder / "tiny.onnx"), "--recipe", "fp32", *common]) == 0
    assert run(["deploy", "--target", "host", *common]) == 0
    return folder / "out"


def test_a_calibrated_device_is_predicted_and_the_report_shows_it(out, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGEVISION_CACHE", str(tmp_path))
    monkeypatch.setitem(calibrate.calibrate.__kwdefaults__, "networks", {"layers": layers})
    capsys.readouterr()
    assert run(["profile", "--calibrate", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["networks"] == ["layers fp32", "layers int8"] and Path(found["path"]).is_file()
    assert found["float_macs_per_s"] > 0 and found["call_us"] > 0

    assert run(["profile", "--seconds", "0.05", "--no-accuracy", "--out", str(out), "--json", "--quiet"]) == 0
    engine = json.loads(capsys.readouterr().out)["engines"][0]
    # The same shapes were calibrated on, so even a busy machine is not far off.
    assert 0.02 < engine["predicted_ms"] / engine["latency"]["median"]["value"] < 50
    assert all(step["predicted_us"] > 0 for step in engine["steps"])

    # What is known before anything is built is the same.
    assert run(["check", "--target", "host", "--out", str(out), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["predicted_ms"] == pytest.approx(engine["predicted_ms"])

    assert run(["report", "--out", str(out), "--quiet", "--overwrite"]) == 0
    assert 'class="chart model"' in (out / "report/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--calibrate", "--all", "--limit", "3"], "--calibrate takes no --all, --limit"),
        (["--target", "host"], "--target says what --calibrate compiles for"),
        (["--calibrate", "--target", "hots"], "unknown target 'hots'"),
        (["--calibrate", "--target", "rpi4", "--device", "qemu-aarch64"], "emulat"),
    ],
)
def test_flags_that_do_not_go_together(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGEVISION_CACHE", str(tmp_path))
    assert run(["profile", *arguments, "--out", str(tmp_path), "--json", "--quiet"]) in (2, 3, 4)
    shown = json.loads(capsys.readouterr().out)
    assert words in shown["what"] or shown["kind"] == "tool missing"


def test_an_interrupted_calibration_says_how_to_go_on():
    said = after_interruption(["profile", "--calibrate", "--overwrite", "--threads", "2"])
    assert said.endswith("go on with: edgevision profile --calibrate --threads 2")
