"""Deployed for the engine: the bundle, its check layer by layer in the C simulation, and every refusal."""

import json
import shutil

import msgspec
import numpy as np
import pytest
from helpers import engine_artefacts
from helpers.bitstreams import HWH, bit
from helpers.engines import require_csim
from helpers.tools import need

from edgevision import api, bundle
from edgevision.bundle.engine_bundle import golden_layers
from edgevision.device import open_device
from edgevision.device.csim import CsimDevice
from edgevision.engine import deployed, fileformat
from edgevision.engine.border import quantised_image, real_outputs
from edgevision.engine.execute import run
from edgevision.engine.simulated_pynq import Faults, SimulatedPynq
from edgevision.errors import DeviceError, DoesNotFit, Mismatch, Unsupported, UsageError
from edgevision.files import sha256_of
from edgevision.target import load as load_target


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    require_csim()
    folder = tmp_path_factory.mktemp("engine")
    engine_artefacts.write(folder)
    return folder


@pytest.fixture(scope="module")
def made(out):
    return api.deploy("tiny-w4a8-qat", "pynq-z2", out=out, run=True)


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made.bundle.folder, tmp_path / "bundle")


def resigned(folder, name):
    """Make the manifest vouch for file `name` as it is now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = next(entry for entry in manifest["files"] if entry["path"] == name)
    entry["sha256"], entry["size"] = sha256_of(folder / name), (folder / name).stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_every_layer_and_vector_agrees_and_the_figures_are_called_modelled(made):
    verified, manifest = made.verified, made.bundle.manifest
    assert verified.device == "csim" and verified.layers == len(golden_layers(made.bundle)) > 60
    assert verified.vectors == 2 and verified.max_abs_error == 0 and made.emulated
    assert manifest.engine.figures.frames_per_second > 100
    kinds = {step.family for step in manifest.steps}
    assert kinds == {"engine", "border"} and manifest.macs == sum(step.macs for step in manifest.steps)
    assert all(step.integer for step in manifest.steps if step.macs)


def test_maps_of_the_simulation_are_those_of_the_integer_reference(made):
    device = open_device("csim", made.bundle.manifest.target)
    device.push(made.bundle.folder)
    network = fileformat.read(made.bundle.folder / deployed.NETWORK)
    image = np.random.default_rng(5).standard_normal(made.bundle.manifest.inputs[0].shape).astype(np.float32)
    wanted = real_outputs(network, run(network, quantised_image(network, image[0])))
    assert np.array_equal(device.run(image)[0], wanted)


def test_the_first_layer_that_differs_is_named(copy):
    golden = bytearray((copy / deployed.GOLDEN_LAYERS).read_bytes())
    layers = golden_layers(bundle.load(copy))
    names = list(layers)
    at = sum(layers[name].size for name in names[:7])
    golden[at + 3] ^= 1
    golden[-1] ^= 1
    (copy / deployed.GOLDEN_LAYERS).write_bytes(golden)
    resigned(copy, deployed.GOLDEN_LAYERS)
    with pytest.raises(Mismatch) as caught:
        api.verify(copy)
    assert f"layer '{names[7]}' (8 of {len(names)}) is the first that differs" in caught.value.what
    assert "1 of " in caught.value.reasons[0] and "the first at (0, 0, 3)" in caught.value.reasons[0]
    assert f"2 of {len(names)} layers" in caught.value.reasons[1]


def test_a_truncated_program_is_refused_before_it_runs(copy):
    path = copy / deployed.PROGRAM
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(Mismatch, match=r"program\.evengine: expected"):
        api.verify(copy)
    resigned(copy, deployed.PROGRAM)
    with pytest.raises(UsageError, match="bytes of words"):
        api.verify(copy)


def test_a_program_of_another_version_or_engine_is_refused(copy):
    path = copy / deployed.PROGRAM
    path.write_bytes(path.read_bytes().replace(b"edgevision.engine_program/1", b"edgevision.engine_program/2"))
    resigned(copy, deployed.PROGRAM)
    with pytest.raises(Unsupported, match="engine_program/2"):
        api.verify(copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["target"]["engine"]["weight_blocks"] = 512
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Unsupported, match="the bundle is for engine"):
        api.verify(copy)


def test_a_device_that_fails_says_why_and_runs_the_next_image(made):
    pynq = SimulatedPynq(made.bundle.manifest.target.engine)
    device = CsimDevice(timeout=0.05, pynq=pynq)
    device.push(made.bundle.folder)
    image, maps = made.bundle.golden(made.bundle.manifest.golden[0])
    pynq.faults = Faults(stalls=1)
    with pytest.raises(DeviceError, match="the simulation: stalled as asked"):
        device.run(image)
    device.timeout = 10
    assert np.array_equal(device.run(image), maps)


def test_too_little_memory_is_refused_when_the_bundle_is_pushed(made):
    device = CsimDevice(pynq=SimulatedPynq(made.bundle.manifest.target.engine, memory_bytes=1 << 16))
    with pytest.raises(DoesNotFit, match="contiguous memory"):
        device.push(made.bundle.folder)


def test_its_times_are_modelled_and_never_a_latency(made):
    device = CsimDevice()
    device.push(made.bundle.folder)
    timing = device.profile(3)
    assert timing.timing == "modelled" and timing.run_ns == ()
    figures = made.bundle.manifest.engine.figures
    assert sum(step.ns[0] for step in timing.steps) == pytest.approx(1e6 * figures.ms, rel=0.01)
    assert len(timing.steps) == len(made.bundle.manifest.steps) - 2


@pytest.mark.parametrize("device", ["qemu-armv7", "rpc:localhost:9190:pynq"])
def test_devices_without_the_engine_are_refused_before_anything_is_built(out, device):
    with pytest.raises(Unsupported, match="runs on the engine of pynq-z2"):
        api.deploy("tiny-w4a8-qat", "pynq-z2", out=out, run=True, device=device, overwrite=True)


def test_a_board_without_a_bitstream_is_told_how_to_build_one(out):
    with pytest.raises(UsageError, match="needs the engine's bitstream"):
        api.deploy("tiny-w4a8-qat", "pynq-z2", out=out, run=True, device="ssh:xilinx@board", overwrite=True)


def test_a_board_that_does_not_answer_is_said_and_simulated(out, tmp_path):
    need("ssh")
    (tmp_path / "engine.bit").write_bytes(bit())
    (tmp_path / "engine.hwh").write_bytes(HWH)
    done = api.deploy(
        "tiny-w4a8-qat", "pynq-z2", out=out, run=True, device="ssh:nobody@127.0.0.1:1", overwrite=True,
        bitstream=tmp_path / "engine.bit",
    )  # fmt: skip
    assert done.unreached.startswith("ssh:nobody@127.0.0.1:1: the board cannot be reached")
    assert done.verified.device == "csim" and done.emulated and done.bundle.manifest.engine.bitstream


def test_the_wrong_bitstream_is_refused_and_nothing_is_written(out, tmp_path):
    (tmp_path / "engine.bit").write_bytes(bit(user="12345678"))
    (tmp_path / "engine.hwh").write_bytes(HWH)
    before = sorted(path.name for path in (out / "bundles").glob("*"))
    with pytest.raises(Mismatch, match="not the one of this target's engine"):
        api.deploy("tiny-w4a8-qat", "pynq-z2", out=out, bitstream=tmp_path / "engine.bit", overwrite=True)
    assert sorted(path.name for path in (out / "bundles").glob("*")) == before


def test_a_board_the_drivers_do_not_know_runs_on_the_simulation_alone(out, tmp_path):
    (tmp_path / "engine.bit").write_bytes(bit())
    with pytest.raises(Unsupported, match="expected a part xc7z"):
        api.deploy("tiny-w4a8-qat", "ultra96", out=out, bitstream=tmp_path / "engine.bit")
    assert not (out / "bundles" / "tiny-w4a8-qat@ultra96").exists()


def test_a_bundle_for_a_processor_is_no_bundle_for_the_simulation(made):
    target = msgspec.structs.replace(made.bundle.manifest.target, engine=None)
    with pytest.raises(Unsupported, match="no engine to simulate"):
        open_device("csim", target).ready(target)


def test_a_layer_that_no_tiling_fits_is_named_with_its_share(tmp_path, monkeypatch):
    engine_artefacts.write(tmp_path)
    target = load_target("pynq-z2")
    small = msgspec.structs.replace(target.engine, groups=2)
    monkeypatch.setattr("edgevision.target.load", lambda name: msgspec.structs.replace(target, engine=small))
    with pytest.raises(Unsupported, match="the engine takes 2") as caught:
        api.deploy("tiny-w4a8-qat", "pynq-z2", out=tmp_path)
    assert "zynq7020-ps" in caught.value.fix and len(caught.value.reasons) > 3
    found = api.check("tiny-w4a8-qat", "pynq-z2", out=tmp_path)
    assert found.problems[0].reasons == caught.value.reasons
    shares = dict(found.engine.on_processor)
    assert 0 < sum(shares.values()) <= 1 and "hm.0" in shares


def test_check_says_what_fits_before_anything_is_built(out):
    found = api.check("tiny-w4a8-qat", "pynq-z2", out=out)
    verdicts = {fit.resource: fit.verdict for fit in found.engine.figures.resources}
    assert verdicts["DSP"] in ("fits", "tight") and verdicts["BRAM36"] in ("fits", "tight")
    assert found.problems == () and len(found.engine.on_processor) == 3
