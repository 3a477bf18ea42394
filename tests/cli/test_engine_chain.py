"""The engine from the command line: what is said before, at and after a deployment, and that it is called modelled."""

import json

import pytest
from helpers import engine_artefacts
from helpers.engines import require_csim

from edgevision.cli.group import run


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    require_csim()
    folder = tmp_path_factory.mktemp("engine")
    engine_artefacts.write(folder)
    return folder


def answer(capsys, *words):
    assert run([*words, "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def test_check_deploy_verify_and_profile_agree_on_what_is_modelled(out, capsys):
    place = ("--out", str(out))
    before = answer(capsys, "check", "--target", "pynq-z2", *place)["engine"]
    assert before["modelled"] and before["frames_per_second"] > 100
    assert {one["resource"]: one["verdict"] for one in before["resources"]}["DSP"] == "fits"
    made = answer(capsys, "deploy", "--target", "pynq-z2", "--run", *place)
    assert made["engine"]["cycles"] == before["cycles"] and made["device"] == "csim" and made["golden_layers"] > 60
    assert made["integer_macs"] == made["macs"] == before["macs"]
    checked = answer(capsys, "verify", *place)
    assert checked["golden_layers"] == made["golden_layers"] and checked["device"] == "csim"
    found = answer(capsys, "profile", "--device", "csim", "--no-accuracy", *place)
    assert found["modelled"] and found["figures"]["cycles"] == before["cycles"] and "latency" not in found
    assert sum(call["added"] for call in found["calls"]) == before["cycles"]


def test_people_are_told_that_nothing_was_measured(out, capsys):
    assert run(["check", "--target", "pynq-z2", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "modelled: nothing was synthesised" in shown and "frames/s modelled" in shown
    assert "On the processor: image to bytes" in shown


def test_a_simulation_is_compared_with_nothing(out, capsys):
    assert run(["profile", "--device", "csim", "--against", "onnxruntime", "--out", str(out)]) == 2
    assert "no time to compare" in capsys.readouterr().err


def test_a_bitstream_for_a_processor_is_refused(out, capsys, tmp_path):
    (tmp_path / "engine.bit").write_bytes(b"")
    flags = ["--target", "zynq7020-ps", "--bitstream", str(tmp_path / "engine.bit"), "--out", str(out)]
    assert run(["deploy", *flags]) == 2
    assert "nothing of this network runs on an engine" in capsys.readouterr().err
