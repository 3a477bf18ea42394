"""Calibration on this machine with a layer or two, and the graphs it is made of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.execution import run_on

from edgevision import compiler, target
from edgevision.compress.session import predictor
from edgevision.device.device import RawTiming, StepTime
from edgevision.device.host import HostDevice
from edgevision.errors import DeviceError, Unsupported, UsageError
from edgevision.graph import reference
from edgevision.machine import resolve
from edgevision.profile import calibration
from edgevision.profile.calibrate import TRIES, calibrate
from edgevision.profile.calibration_graphs import NETWORKS, gated, inverted, residual, tokens
from edgevision.profile.calibration_layers import Layers

SMALL = {
    "inverted": lambda *, integer: inverted(integer=integer, side=16, stem=8, blocks=[(8, 1, 1, 3), (8, 1, 2, 5)]),
    "residual": lambda *, integer: residual(integer=integer, side=16, widths=[(8, 1), (16, 2)]),
    "tokens": lambda *, integer: tokens(integer=integer, side=16, patch=4, width=16, heads=2),
    "windows": lambda *, integer: tokens(integer=integer, side=16, patch=4, width=16, heads=2, window=2),
    "gated": lambda *, integer: gated(integer=integer, side=16, stages=[8]),
}


@pytest.fixture(scope="module")
def host() -> target.Target:
    return resolve(target.load("host"))


def image(model: onnx.ModelProto) -> np.ndarray:
    shape = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("kind", SMALL)
def test_calibration_networks_compute_what_others_compute_of_them(kind, host):
    for integer in (False, True):
        model = SMALL[kind](integer=integer)
        x = image(model)
        program = compiler.compile_graph(model, host)
        assert any(step.integer for step in program.steps) is integer
        expected = reference.run(model, x)[0] if integer else predictor(model)(x)
        np.testing.assert_allclose(run_on(program, x), expected, atol=0 if integer else 1e-4)


def test_no_network_is_one_of_the_zoo():
    from edgevision import zoo

    assert not set(NETWORKS) & set(zoo.names())


def product(*, integer: bool) -> onnx.ModelProto:
    net = Layers((1, 3, 8, 8), integer=integer)
    return net.model(net.conv("x", 16, 3))


def test_what_was_timed_is_kept_and_not_timed_again(tmp_path, host):
    path = tmp_path / "calibration.json"
    first = calibrate(HostDevice(), host, path, networks={"a": product})
    assert [network.name for network in first.networks] == ["a fp32", "a int8"]
    assert {work.family for work, _ in first.steps} >= {"conv", "layout"}
    assert all(us > 0 for _, us in first.steps)
    assert 0.2 < first.whole_over_steps <= 2

    more = calibrate(HostDevice(), host, path, networks={"a": product, "b": product})
    assert more.networks[:2] == first.networks and len(more.networks) == 4
    assert calibration.load(path) == more


def test_times_of_other_kernels_are_not_used(tmp_path, host, monkeypatch):
    monkeypatch.setenv("EDGEVISION_CACHE", str(tmp_path))
    assert calibration.known(host, 1) is None
    path = calibration.place(host, 1)
    calibrate(HostDevice(), host, path, networks={"a": product})
    assert calibration.known(host, 1) is not None and calibration.known(host, 2) is None
    content = json.loads(path.read_text())
    for network in content["networks"]:
        network["kernels"] = "other"
    path.write_text(json.dumps(content))
    assert calibration.known(host, 1) is None
    path.write_text("{")
    with pytest.raises(UsageError, match="not a calibration"):
        calibration.known(host, 1)


class Device:
    """A device that answers with a time of its own, and with a clock that may fall."""

    name = "fake"

    def __init__(self, timing: str = "measured", falls: bool = False) -> None:
        self.timing, self.falls, self.khz, self.profiles, self.steps = timing, falls, 2_000_000.0, 0, 0

    def push(self, bundle: Path) -> None:
        from edgevision.bundle.manifest import read_manifest

        self.steps = len(read_manifest(bundle).steps)

    def profile(self, n: int, *, warmup: int = 3, threads: int = 1, per_step: bool = False) -> RawTiming:
        self.profiles += per_step
        steps = tuple(StepTime(i, (1000,) * n) for i in range(self.steps)) if per_step else ()
        return RawTiming(1, 1, (10**8,) * n, steps, timing=self.timing)

    def facts(self) -> dict:
        self.khz *= 0.8 if self.falls else 1.0
        return {"frequency_khz": self.khz}


def test_an_emulator_cannot_be_calibrated(tmp_path, host):
    with pytest.raises(Unsupported, match="emulates its target"):
        calibrate(Device("emulated"), host, tmp_path / "c.json", networks={"a": product})
    assert not (tmp_path / "c.json").exists()


def test_times_of_a_falling_clock_are_rejected(tmp_path, host):
    device = Device(falls=True)
    with pytest.raises(DeviceError, match="clock fell"):
        calibrate(device, host, tmp_path / "c.json", networks={"a": product})
    assert device.profiles % TRIES == 0 and not (tmp_path / "c.json").exists()
