"""`--tune` can only help: bounded, resumable, and whatever goes wrong in it leaves the plain kernel."""

import os
import time

import numpy as np
import onnxruntime
import pytest
from helpers.execution import run_on
from helpers.operators import CASES, model_of
from helpers.walking import HOST
from onnx import helper

from edgevision import compiler
from edgevision.compiler import tuning
from edgevision.compiler.lower import lower
from edgevision.compiler.simd import simd_of, tvm_target
from edgevision.compiler.tuning import Tuner
from edgevision.device.tuning import tuner_for
from edgevision.errors import DeviceError, ToolMissing, UsageError
from edgevision.graph import ir
from edgevision.graph.integer import integerize
from edgevision.target import load

pytest.importorskip("xgboost")
DESCRIBED = tvm_target(HOST)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEVISION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def model(case):
    nodes, shape, constants = CASES[case]
    return model_of(nodes, shape, **constants), np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def kernels(case):
    return lower(integerize(ir.read(model(case)[0])), simd_of(HOST), DESCRIBED).kernels


def records(cache):
    return sum(len(path.read_text().splitlines()) for path in cache.rglob("database_tuning_record.json"))


def test_a_search_is_bounded_and_the_same_again_takes_seconds(cache):
    made = kernels("log softmax along memory")
    begun = time.monotonic()
    first = Tuner(12 / 60).tune(made, DESCRIBED)
    assert time.monotonic() - begun < 12 + 2 * (tuning._GRACE_SECONDS + tuning._JUDGE_SECONDS)
    measured = records(cache)
    assert measured > 0
    for path in cache.rglob("database_tuning_record.json"):
        # What a search leaves that is stopped while it writes.
        path.write_bytes(path.read_bytes() + b'[0, [[["Get')
    second = Tuner(12 / 60).tune(made, DESCRIBED)
    assert second.keys() <= first.keys() or second.keys() >= first.keys()
    assert records(cache) <= measured + 1
    Tuner(20 / 60).tune(made, DESCRIBED)
    assert records(cache) > measured


def test_a_table_that_cannot_be_read_is_begun_anew(tmp_path):
    table = tmp_path / "database_tuning_record.json"
    table.write_bytes(b"[1]\n\0\0\0\n")
    tuning._without_half_lines(tmp_path)
    assert not table.exists() and tmp_path.exists()
    table.write_bytes(b"[1]\n[2]\n[3")
    tuning._without_half_lines(tmp_path)
    assert table.read_bytes() == b"[1]\n[2]\n"


def unscheduled(source, tvm_target, folder):
    import tvm

    return tvm.ir.load_json(source.spec.function)


def test_a_faster_candidate_with_the_same_results_takes_the_kernels_place(monkeypatch):
    monkeypatch.setattr(tuning, "_searched", lambda *_: b"")
    monkeypatch.setattr(tuning, "_candidate", unscheduled)
    # Plain and candidate take turns.
    times = iter([2.0, 1.0] * 100)
    monkeypatch.setattr(tuning, "seconds_of", lambda *_: next(times))
    network, x = model("log softmax along memory")
    plain = compiler.compile_graph(network, HOST)
    tuned = compiler.compile_graph(network, HOST, tuner=Tuner(1))
    assert tuned.kernels() != plain.kernels() and len(tuned.kernels()) == len(plain.kernels())
    (expected,) = onnxruntime.InferenceSession(network.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(run_on(tuned, x), expected, rtol=2e-5, atol=1e-6)


def along(axis):
    """The log softmax along an axis of one shape: buffers of the same shapes, other results."""
    network = model_of([helper.make_node("LogSoftmax", ["x"], ["y"], axis=axis)], (2, 5, 37))
    made = lower(integerize(ir.read(network)), simd_of(HOST), DESCRIBED).kernels
    return {name: source for name, source in made.items() if source.family == "fallback"}


@pytest.mark.parametrize(("axis", "gain", "used"), [(-1, 0.5, True), (1, 0.5, False), (-1, 0.99, False)])
def test_a_candidate_is_used_only_when_it_is_right_and_faster(axis, gain, used, monkeypatch):
    (other,) = along(axis).values()
    monkeypatch.setattr(tuning, "_searched", lambda *_: b"")
    monkeypatch.setattr(tuning, "_candidate", lambda *_: unscheduled(other, None, None))
    times = iter([1.0, gain] * 100)
    monkeypatch.setattr(tuning, "seconds_of", lambda *_: next(times))
    assert bool(Tuner(1).tune(along(-1), DESCRIBED)) == used


def aborts(*_):
    os.abort()


def test_a_candidate_that_crashes_is_not_used(monkeypatch):
    monkeypatch.setattr(tuning, "_searched", lambda *_: b"")
    monkeypatch.setattr(tuning, "_candidate", aborts)
    assert Tuner(1).tune(along(-1), DESCRIBED) == {}


def test_a_search_that_brings_the_compiler_down_is_over_and_the_build_goes_on(monkeypatch):
    monkeypatch.setattr(tuning, "_searched", aborts)
    network, _ = model("log softmax along memory")
    assert compiler.compile_graph(network, HOST, tuner=Tuner(1)) == compiler.compile_graph(network, HOST)
    monkeypatch.setattr(tuning, "in_children", lambda *_, **__: pytest.fail("its share is spent"))
    tuner = Tuner(1)
    for name, source in kernels("log softmax along memory").items():
        if name.startswith("fallback"):
            folder = tuning.cache_folder() / "tuning" / tuning.cache_key(source, DESCRIBED)
            tuner._search(source, DESCRIBED, folder, 60)


def test_the_time_is_shared_out_by_work():
    shares = tuning._shares({"a": 1.0, "b": 3.0, "c": 0.0}, 100)
    assert sum(shares.values()) == pytest.approx(100)
    assert list(shares) == ["b", "a", "c"] and shares["c"] == tuning._LEAST_SECONDS
    # Too little for all: the largest are searched.
    assert tuning._shares({"a": 1.0, "b": 3.0, "c": 2.0}, 9) == {"b": pytest.approx(4.6), "c": pytest.approx(4.4)}


def test_without_xgboost_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(tuning.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="xgboost") as caught:
        Tuner(1).tune({}, DESCRIBED)
    assert "edgevision[tune]" in caught.value.fix


def test_only_the_machine_itself_can_say_what_is_fast():
    for device, board in ((None, "rpi4"), ("qemu-aarch64", "rpi4"), ("ssh:me@board", "host")):
        with pytest.raises(UsageError, match="is not"):
            tuner_for(device, load(board), minutes=1, timeout=5)
    with pytest.raises(DeviceError, match="tracker cannot be reached"):
        tuner_for("rpc:127.0.0.1:1:board", HOST, minutes=1, timeout=5)
