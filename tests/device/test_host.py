from pathlib import Path

import numpy as np
import pytest
from helpers import programs

from edgevision import bundle
from edgevision.device import open_device
from edgevision.device.host import HostDevice
from edgevision.errors import Unsupported, UsageError
from edgevision.target import load as load_target


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.bundled(tmp_path_factory.mktemp("host") / "float")


def test_a_batch_gives_the_reference(folder: Path) -> None:
    device = HostDevice()
    device.push(folder)
    images = programs.images(5)
    np.testing.assert_array_equal(device.run(images), programs.reference(images, integer=False))


def test_integer_outputs_keep_their_type(tmp_path: Path) -> None:
    device = HostDevice()
    device.push(programs.bundled(tmp_path / "b", integer=True))
    got = device.run(programs.images(3))
    assert got.dtype == np.int8
    np.testing.assert_array_equal(got, programs.reference(programs.images(3), integer=True))


def test_a_profile_has_what_was_asked_for(folder: Path) -> None:
    device = HostDevice()
    device.push(folder)
    timing = device.profile(7, warmup=1, threads=2, per_step=True)
    assert (len(timing.run_ns), timing.threads, timing.timing) == (7, 2, "measured")
    assert [len(step.ns) for step in timing.steps] == [7, 7]
    assert timing.init_ns > 0 and timing.first_ns > 0
    assert timing.peak_rss_bytes and timing.peak_rss_bytes < 50_000_000
    assert device.profile(3).steps == ()


def test_a_bundle_made_again_in_the_same_place_is_the_one_that_runs(tmp_path: Path) -> None:
    device = HostDevice()
    device.push(programs.bundled(tmp_path / "b"))
    assert device.run(programs.images()).dtype == np.float32
    golden = programs.golden(integer=True)
    bundle.write(programs.program(integer=True), programs.origin(), tmp_path / "b", golden=golden, overwrite=True)
    device.push(tmp_path / "b")
    assert device.run(programs.images()).dtype == np.int8


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((4, 7), np.float32),
        np.zeros((3, 8), np.float32),
        np.zeros((0, 8), np.float32),
        np.zeros((4, 8), np.float64),
        np.zeros((4, 8, 1), np.float32),
    ],
)
def test_inputs_of_another_shape_or_type_are_refused(folder: Path, images: np.ndarray) -> None:
    device = HostDevice()
    device.push(folder)
    with pytest.raises(UsageError, match="expected float32 of shape"):
        device.run(images)


def test_running_before_pushing_is_refused() -> None:
    with pytest.raises(UsageError, match="none was pushed"):
        HostDevice().run(programs.images())


def test_a_bundle_for_another_architecture_is_refused_before_it_starts(tmp_path: Path) -> None:
    arm = programs.bundled(tmp_path / "arm", load_target("rpi4"))
    with pytest.raises(Unsupported, match=r"for x86_64|for armv7"):
        HostDevice().push(arm)


BAD = ["", "hots", "qemu", "ssh", "ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "ssh:pi@h:70000"]


@pytest.mark.parametrize("spec", [*BAD, "rpc:host", "rpc:host:port:key", "rpc:host:99999:key"])
def test_a_device_that_cannot_be_is_a_usage_error(spec: str) -> None:
    with pytest.raises(UsageError):
        open_device(spec, load_target("rpi4"))


def test_a_device_of_another_architecture_than_the_target_is_refused() -> None:
    for spec, name in (("host", "zynq7020-ps"), ("qemu-armv7", "rpi4"), ("qemu-aarch64", "zynq7020-ps")):
        with pytest.raises(Unsupported):
            open_device(spec, load_target(name))


def test_facts_of_this_machine_are_known() -> None:
    known = HostDevice().facts()
    assert known["cores"] >= 1 and known["kernel"]
