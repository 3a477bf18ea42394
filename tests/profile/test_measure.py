from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
import pytest
from helpers.artefacts import make_profile

from edgevision.compress.scoring import scoring_of
from edgevision.data import open_data
from edgevision.data.preprocess import Preprocessing
from edgevision.device.device import RawTiming, StepTime
from edgevision.errors import Unsupported, UsageError
from edgevision.profile import measure, profile
from edgevision.profile.agreement import agreement
from edgevision.profile.engines import BundleEngine
from edgevision.profile.rivals import OnnxRuntimeEngine


@dataclass
class Step:
    label: str
    family: str = "gemm"
    macs: int = 2_000_000
    integer: bool = True


class Emulator:
    name = "qemu-aarch64"

    def push(self, bundle):
        pass

    def profile(self, n, *, warmup=3, threads=1, per_step=False):
        return RawTiming(init_ns=1, first_ns=1, run_ns=(1,) * n, timing="emulated")


def test_times_of_an_emulator_are_refused(tmp_path):
    with pytest.raises(Unsupported, match="emulates"):
        BundleEngine("edgevision fp32", tmp_path, Emulator(), 1)


def test_steps_get_medians_shares_and_rates():
    timing = RawTiming(0, 0, (), steps=(StepTime(0, (3000, 1000, 2000)), StepTime(1, (6000, 6000, 6000))))
    first, second = measure.steps(timing, [Step("a"), Step("b", macs=0)])
    assert (first.median_us, second.median_us) == (2.0, 6.0)
    assert (first.share, second.share) == (0.25, 0.75)
    assert first.gmac_per_s == pytest.approx(1000.0) and second.gmac_per_s is None


def test_agreement_counts_what_numpy_counts():
    scoring = scoring_of(open_data("digits", Preprocessing(8, 8)))
    images, labels = next(iter(scoring.batches(50)))
    draw = np.random.default_rng(0)
    matrix = draw.normal(size=(3 * 64, 10))

    def first(x):
        return x.reshape(len(x), -1) @ matrix

    def second(x):
        return first(x) + 0.5 * np.eye(10)[3]

    got = agreement({"a": first, "b": second}, {"b": "a"}, scoring, batch=7, limit=50)
    assert got["a"].accuracy.correct == int((first(images).argmax(1) == labels).sum())
    assert got["b"].accuracy.total == 50
    assert got["b"].max_abs_error == pytest.approx(0.5)
    assert got["b"].differing == int((first(images).argmax(1) != second(images).argmax(1)).sum())
    assert got["a"].max_abs_error is None


def test_onnxruntime_engine_gives_onnxruntimes_outputs(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "negate",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    path = tmp_path / "n.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    engine = OnnxRuntimeEngine("onnxruntime fp32", path, 1, np.ones((1, 3), np.float32))
    batch = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert (engine.predict(batch) == -batch).all()
    timing = engine.window(7, 2)
    assert len(timing.run_ns) == 7 and all(ns > 0 for ns in timing.run_ns)
    assert engine.opening.init_ns > 0
    assert onnxruntime.InferenceSession(str(path)).run(None, {"x": batch[:1]})[0].tolist() == [[0.0, -1.0, -2.0]]


def test_a_profile_reads_back_as_it_was(tmp_path):
    made = make_profile()
    made.save(tmp_path / "p.json")
    assert profile.load(tmp_path / "p.json") == made


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', "\x00\x01"])
def test_files_that_are_no_profile_are_refused(tmp_path, content):
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(UsageError):
        profile.load(path)


def test_a_profile_of_another_version_is_refused(tmp_path):
    path = tmp_path / "p.json"
    make_profile().save(path)
    path.write_text(path.read_text().replace(profile.SCHEMA, "edgevision.profile/9"))
    with pytest.raises(UsageError, match="profile/9"):
        profile.load(path)


def test_work_of_this_process_is_not_other_load():
    busy = measure._OtherLoad()
    total = 0.0
    while busy._now()[2] - busy._own < 0.5:
        total += float(np.square(np.arange(10_000.0)).sum())
    cores = busy.cores()
    # Others may be at work on this machine too; our own half second must not be among them.
    wall = (busy._now()[1] - busy._total) / (measure.psutil.cpu_count() or 1)
    assert total > 0 and cores is not None
    assert cores <= (measure.psutil.cpu_count() or 1) - 0.5 / wall + 0.15
