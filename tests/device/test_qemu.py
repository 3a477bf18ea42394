from pathlib import Path

import numpy as np
import pytest
from helpers import programs
from helpers.tools import need

from edgevision import bundle
from edgevision.device import open_device
from edgevision.errors import DeviceError, ToolMissing, Unsupported
from edgevision.target import load as load_target

BOARDS = [
    ("rpi4", "qemu-aarch64", "/usr/aarch64-linux-gnu/lib"),
    ("zynq7020-ps", "qemu-armv7", "/usr/arm-linux-gnueabihf/lib"),
]


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize(("name", "spec", "libc"), BOARDS)
def test_both_arm_architectures_give_the_bits_of_the_host(
    tmp_path: Path, name: str, spec: str, libc: str, integer: bool
) -> None:
    need("qemu-aarch64", "qemu-arm", libc)
    target = load_target(name)
    made = bundle.load(programs.bundled(tmp_path / "b", target, integer=integer))
    device = open_device(spec, target)
    assert bundle.verify(made, device).max_abs_error == 0
    images = programs.images(3)
    np.testing.assert_array_equal(device.run(images), programs.reference(images, integer=integer))


def test_times_are_marked_as_emulated(tmp_path: Path) -> None:
    need("qemu-aarch64", BOARDS[0][2])
    device = open_device("qemu-aarch64", load_target("rpi4"))
    device.push(programs.bundled(tmp_path / "b", load_target("rpi4")))
    timing = device.profile(2, threads=2, per_step=True)
    assert timing.timing == "emulated"
    assert timing.peak_rss_bytes is None
    assert [len(step.ns) for step in timing.steps] == [2, 2]
    assert device.facts()["frequency_khz"] is None


def test_a_cpu_without_the_dot_product_is_told_before_the_first_step(tmp_path: Path) -> None:
    """A Cortex-A72 has no sdot: a bundle for a Raspberry Pi 5 must not die of an illegal instruction there."""
    need("qemu-aarch64", BOARDS[0][2])
    folder = programs.bundled(tmp_path / "b", load_target("rpi5"))
    device = open_device("qemu-aarch64", load_target("rpi5"))
    device.push(folder)
    device.run(programs.images())
    device._emulator = str(tmp_path / "a72")
    Path(device._emulator).write_text('#!/bin/sh\nexec qemu-aarch64 -cpu cortex-a72 "$@"\n')
    Path(device._emulator).chmod(0o755)
    with pytest.raises(Unsupported, match="lacks 'asimddp'"):
        device.run(programs.images())


def test_a_run_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    need("qemu-aarch64", BOARDS[0][2])
    device = open_device("qemu-aarch64", load_target("rpi4"), timeout=0.3)
    device.push(programs.bundled(tmp_path / "b", load_target("rpi4")))
    with pytest.raises(DeviceError, match=r"limit is 0\.3 s") as caught:
        device.profile(1_000_000)
    assert "--timeout" in str(caught.value)


def test_without_the_emulator_or_its_libc_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("qemu-aarch64")
    folder = programs.bundled(tmp_path / "b", load_target("rpi4"))
    device = open_device("qemu-aarch64", load_target("rpi4"))
    monkeypatch.setenv("QEMU_LD_PREFIX", str(tmp_path))
    with pytest.raises(ToolMissing, match="libc6-arm64-cross"):
        device.push(folder)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="qemu-user"):
        open_device("qemu-aarch64", load_target("rpi4"))
