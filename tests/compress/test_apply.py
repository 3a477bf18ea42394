from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from helpers.finders import few_shapes, small_detector
from helpers.networks import as_model, digits, trained_small
from torch import nn

from edgevision import recipe
from edgevision.compress.apply import compress
from edgevision.compress.compressed import Compressed
from edgevision.compress.job import Job
from edgevision.compress.measure import measure
from edgevision.compress.sensitivity import Ranking
from edgevision.compress.session import session
from edgevision.errors import AccuracyMissed, UsageError
from edgevision.graph.export import export
from edgevision.recipe import Quantize, Recipe
from edgevision.zoo.model import Model

W8A8 = Recipe("w8a8", "eight bits", (recipe.FoldBatchNorm(), Quantize(calibration_images=32)))
LIMIT = 64


def run(out, steps=W8A8, **more) -> Compressed:
    settings = {"data": digits(), "sensitivity": False, "evaluate_limit": LIMIT, **more}
    return compress(trained_small(), steps, export=export, out=out, **settings)


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> Compressed:
    return run(tmp_path_factory.mktemp("apply") / "small", sensitivity=True, command="edgevision compress", seed=7)


def test_the_folder_loads_and_says_what_was_done(result):
    info = Compressed.load(result.folder).info
    assert info == result.info
    assert [entry.step for entry in info.ledger] == ["fold_batch_norm", "quantize"]
    fold, quantise = info.ledger
    assert fold.accuracy_after == quantise.accuracy_before
    # The convolution of the gate has no bias, and gets one that makes up for its weights: eight channels.
    assert quantise.weight_bytes < fold.weight_bytes and quantise.parameters == fold.parameters + 8
    assert fold.macs == quantise.macs == measure(result.graph()).macs
    assert "8 of 8 layers" in quantise.change and "100.0 %" in quantise.change
    assert (info.seed, info.command, info.evaluated_images) == (7, "edgevision compress", LIMIT)
    assert info.data_sha256 == digits().sha256 and info.versions["nncf"] == "3.4.0"
    assert 0 < info.export_max_abs_error < 1e-3


def test_accuracy_is_that_of_the_file(result):
    images, labels = next(iter(digits().split("test").batches(LIMIT)))
    runner = session(onnx.load(str(result.onnx_path)))
    hits = [int(runner.run(None, {"input": image[None]})[0].argmax()) for image in images] == labels
    assert result.info.ledger[-1].accuracy_after == 100 * np.mean(hits)


def test_sensitivity_names_three_layers_to_keep(result):
    lines = [row.keep_fp for row in result.info.sensitivity if row.keep_fp]
    assert lines == [f"--keep-fp {row.layer}" for row in result.info.sensitivity[:3]]


def test_two_runs_write_the_same_graph(result, tmp_path):
    assert run(tmp_path / "again").info.onnx_sha256 == result.info.onnx_sha256


def test_nothing_but_the_output_is_left(result):
    assert [path.name for path in result.folder.parent.iterdir()] == ["small"]
    assert sorted(path.name for path in result.folder.iterdir()) == ["compressed.json", "model.onnx"]


@pytest.mark.parametrize("stage", ["calibrate", "evaluate quantised", "sensitivity"])
def test_an_interrupted_run_resumes_to_the_same_result(result, tmp_path, stage):
    out, told, exports = tmp_path / "small", [], []

    def stop(name, done, total, detail=""):
        told.append(name)
        if name == stage and done >= min(3, total):
            raise KeyboardInterrupt

    def counted(model: Model):
        exports.append(model)
        return export(model)

    with pytest.raises(KeyboardInterrupt):
        run(out, sensitivity=True, progress=stop)
    assert not out.exists()
    resumed = compress(trained_small(), W8A8, export=counted, data=digits(), out=out, evaluate_limit=LIMIT, resume=True)
    assert not exports
    assert resumed.info.onnx_sha256 == result.info.onnx_sha256
    assert resumed.info.sensitivity == result.info.sensitivity
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_another_recipe_does_not_take_up_the_work_of_this_one(tmp_path):
    def stop(name, done, total, detail=""):
        if name == "calibrate":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "small", progress=stop)
    other = Recipe("w8a8", "eight bits", (recipe.FoldBatchNorm(), Quantize(calibration_images=8)))
    resumed = run(tmp_path / "small", other, resume=True)
    assert "8 images" in resumed.info.ledger[-1].notes[0]


def test_the_accuracy_asked_for_is_held(tmp_path):
    held = run(tmp_path / "held", max_drop=0.0)
    first, last = held.info.ledger[0], held.info.ledger[-1]
    assert last.accuracy_after >= first.accuracy_after


def test_a_missed_target_leaves_the_best_point_and_says_so(tmp_path, monkeypatch):
    accuracies = iter([90.0, *range(50, 90)])
    monkeypatch.setattr("edgevision.compress.job.Job.measured", lambda *_: float(next(accuracies)))
    with pytest.raises(AccuracyMissed) as caught:
        run(tmp_path / "missed", max_drop=0.5)
    assert caught.value.exit_code == 6 and "missed by" in caught.value.what
    written = Compressed.load(tmp_path / "missed").info
    assert written.ledger[-1].step == "hold_accuracy"
    assert set(written.keep_fp) <= {row.layer for row in written.sensitivity}


def test_time_that_ran_out_while_ranking_is_not_called_a_full_search(tmp_path, monkeypatch):
    accuracies = iter([90.0, *range(50, 90)])
    monkeypatch.setattr("edgevision.compress.job.Job.measured", lambda *_: float(next(accuracies)))
    ranked = Job.rank

    def first_two(job, deadline, full):
        return Ranking(ranked(job, math.inf, full=full).layers[:2])

    monkeypatch.setattr(Job, "rank", first_two)
    with pytest.raises(AccuracyMissed) as caught:
        run(tmp_path / "missed", max_drop=0.5, max_minutes=5)
    (reason,) = caught.value.reasons
    assert "the time was up with 2 of " in reason and "every operator" not in reason
    assert "--max-minutes" in (caught.value.fix or "")


def test_kept_layers_are_recorded(tmp_path):
    kept = run(tmp_path / "kept", keep_fp=["head"])
    assert kept.info.keep_fp == ("head",)
    assert "7 of 8 layers" in kept.info.ledger[-1].change


@pytest.mark.parametrize("name", ["fp32", "w8"])
def test_recipes_without_calibration_need_no_data(tmp_path, name):
    done = run(tmp_path / name, recipe.load(name), data=None, evaluate_limit=None)
    assert done.info.ledger[-1].accuracy_after is None and done.info.evaluated_images == 0
    assert json.loads((done.folder / "compressed.json").read_bytes())["schema"] == "edgevision.compressed/1"


def test_everything_wrong_is_said_before_anything_is_done(tmp_path):
    def never(model):
        raise AssertionError("work was done")

    with pytest.raises(UsageError) as caught:
        compress(
            trained_small(), W8A8, export=never, out=tmp_path / "x", max_drop=-1, max_minutes=0, keep_fp=["a", "a"]
        )
    text = " ".join(caught.value.reasons)
    assert all(word in text for word in ("--data", "--max-drop", "--max-minutes", "more than once"))
    assert not list(tmp_path.iterdir())


def test_data_prepared_for_another_network_is_refused(tmp_path):
    from edgevision.data.open import open_data

    with pytest.raises(UsageError) as caught:
        run(tmp_path / "x", data=open_data("digits"))
    assert "opened with" in caught.value.reasons[0]


def test_a_head_too_small_for_the_classes_is_refused(tmp_path):
    tiny = as_model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    with pytest.raises(UsageError, match="at least 10 outputs"):
        compress(tiny, recipe.load("fp32"), export=export, data=digits(), out=tmp_path / "x")


def test_an_existing_output_is_left_alone(result):
    before = (result.folder / "model.onnx").stat().st_mtime_ns
    with pytest.raises(UsageError, match="--overwrite"):
        run(result.folder)
    assert (result.folder / "model.onnx").stat().st_mtime_ns == before


def test_networks_and_images_of_different_kinds_are_refused_before_any_work(tmp_path):
    named = replace(trained_small(), metric="top-1")
    for model, data, words in ((small_detector(), digits(), "finds objects"), (named, few_shapes(4), "names images")):
        with pytest.raises(UsageError) as caught:
            compress(model, W8A8, export=export, out=tmp_path / "out", data=data)
        assert any(words in reason for reason in caught.value.reasons)
    assert not list(tmp_path.iterdir())
