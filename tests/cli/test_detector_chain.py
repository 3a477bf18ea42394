"""The whole chain for a detector, a file of one's own, as typed at a shell."""

from __future__ import annotations

import json

import onnx
import pytest
from helpers.detections import voc, voc_object, voc_xml
from helpers.finders import SIDE, small_detector
from helpers.images import write_folder

from edgevision.api.subject import side_for
from edgevision.cli.group import run
from edgevision.graph.export import export
from edgevision.zoo.weights import read_checkpoint

RANDOM = ("compress", "--recipe", "fp32", "--random-weights")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    onnx.save(export(small_detector()).graph, str(folder / "finder.onnx"))
    common = ["--out", str(folder / "out"), "--quiet"]
    for recipe in ("fp32", "w8a8"):
        compress = ["compress", "--model", str(folder / "finder.onnx"), "--recipe", recipe, "--data", "shapes"]
        assert run([*compress, "--limit", "20", *common]) == 0
        assert run(["deploy", "--target", "host", "--run", *common]) == 0
    assert run(["profile", "--all", "--against", "onnxruntime", "--seconds", "0.05", "--limit", "20", *common]) == 0
    assert run(["report", *common]) == 0
    return folder / "out"


def test_the_ledger_says_what_was_measured(out):
    info = json.loads((out / "compressed/finder-shapes-w8a8/compressed.json").read_text())
    assert info["metric"] == "AP50" and info["evaluated_images"] == 20
    assert info["sensitivity"][0]["metric_gain"] is not None
    assert 0 <= info["ledger"][-1]["accuracy_after"] <= 100


def test_compiled_bundles_find_what_onnxruntime_finds(out):
    manifest = json.loads((out / "bundles/finder-shapes-fp32@host/manifest.json").read_text())
    assert manifest["origin"]["metric"] == "AP50" and manifest["outputs"][0]["shape"] == [1, 10, SIDE // 4, SIDE // 4]
    (path,) = (out / "profiles").glob("*.json")
    profile = json.loads(path.read_text())
    assert profile["metric"] == "AP50"
    ours, theirs = profile["engines"][0], profile["engines"][2]
    assert (ours["name"], theirs["name"]) == ("edgevision fp32", "onnxruntime fp32")
    assert ours["images"] == 20 and ours["differing_predictions"] == 0 and ours["max_abs_error"] < 1e-3
    assert ours["accuracy"]["value"] == pytest.approx(theirs["accuracy"]["value"], abs=0.05)


def test_the_report_shows_pictures_and_the_metric(out):
    page = (out / "report/report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * 4 and "AP50" in page and "top-1" not in page
    found = json.loads((out / "report/report.json").read_text())
    assert [one["title"] for one in found["pictures"][0]["seen"]] == ["fp32", "w8a8"]


def test_results_name_the_metric(out, capsys):
    capsys.readouterr()
    assert run(["report", "--overwrite", "--out", str(out), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["metric"] == "AP50"
    assert run(["report", "--overwrite", "--out", str(out)]) == 0
    assert "AP50 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "data", "asked", "side"),
    [
        ("codenet_c", "voc:VOC2007", None, 512),
        ("codenet_c", "voc:VOC2007", 256, 256),
        ("codenet", "coco:instances", None, 256),
        ("codenet_c", "shapes", None, None),
        ("cas_vit", "folder:photos", None, None),
    ],
)
def test_detectors_take_their_published_side_but_of_shapes(model, data, asked, side):
    assert side_for(model, data, asked) == side


def test_a_detector_is_trained_on_turned_and_on_validation_images(tmp_path, capsys):
    names = ("a", "b", "c", "d")
    lists = {"train": ["a"], "val": ["b", "c"], "test": ["d"]}
    files = voc({name: voc_xml(voc_object("cat", (2, 3, 6, 5))) for name in names}, lists)
    data = f"voc:{write_folder(tmp_path / 'voc', files)}"
    command = ["train", "--model", "codenet_a", "--data", data, "--epochs", "1", "--image-size", "64", "--quiet"]
    assert run([*command, "--out", str(tmp_path / "one")]) == 2
    assert "at least 2" in capsys.readouterr().err
    assert run([*command, "--turns", "--with-validation", "--out", str(tmp_path / "three")]) == 0
    (weights,) = (tmp_path / "three/weights").glob("*.safetensors")
    meta = read_checkpoint(weights).meta
    assert meta is not None
    detail = meta.detail
    assert (detail["batch"], detail["turns"], detail["with_validation"]) == (3, 1, 1)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["train", "--model", "codenet_a", "--data", "digits"], "finds objects"),
        (["train", "--model", "cas_vit", "--data", "shapes"], "names images"),
        (["train", "--model", "cas_vit", "--data", "digits", "--with-validation"], "no validation images"),
        ([*RANDOM, "--model", "codenet", "--data", "digits"], "finds objects"),
        ([*RANDOM, "--model", "resnet18", "--data", "shapes"], "names images"),
    ],
)
def test_data_of_the_other_kind_is_refused_before_anything_is_read(tmp_path, capsys, command, words):
    assert run([*command, "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert words in shown and "--data " in shown
    assert not (tmp_path / "out").exists()
