"""The micro-benchmark behind the predictor: made-up networks, compiled, timed step by step, kept one by one."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import numpy as np
import onnx

from edgevision import bundle as bundles
from edgevision import compiler
from edgevision.bundle import Origin
from edgevision.compiler.objects import generators
from edgevision.compress.session import predictor
from edgevision.data.preprocess import Preprocessing
from edgevision.device.device import Device
from edgevision.errors import DeviceError, Unsupported
from edgevision.installed import versions_of
from edgevision.profile import calibration, noise
from edgevision.profile.calibration import Calibration, TimedNetwork, TimedStep
from edgevision.profile.calibration_graphs import NETWORKS
from edgevision.profile.work import works_of
from edgevision.progress import Progress, silent
from edgevision.target import Target

#: Timed rounds of a network, seconds each takes at least, and runs of a round at least and at most.
ROUNDS, ROUND_SECONDS = 6, 0.08
LEAST_RUNS, MOST_RUNS = 5, 200
#: How often a network is timed before a clock that keeps falling is an error.
TRIES = 3
#: Quantile of the times of a step.
LOW = 0.25
PACKAGES = ("edgevision", "apache-tvm", "numpy")

Maker = Callable[..., onnx.ModelProto]


def calibrate(
    device: Device,
    target: Target,
    path: Path,
    *,
    threads: int = 1,
    overwrite: bool = False,
    networks: Mapping[str, Maker] = NETWORKS,
    progress: Progress = silent,
) -> Calibration:
    """Time the calibration networks on a device; each is kept in `path` when it is done and found there again.

    Args:
        device: where; it has to be what `target` is.
        target: resolved.
        overwrite: time again what was timed before.
        networks: makers by name, each called with `integer`.

    Raises:
        Unsupported: the device emulates its target.
        DeviceError: it cannot be reached, or its clock fell each time a network was timed.
        UsageError: `path` holds something else.
    """
    if device.name.startswith("qemu"):
        raise _emulates(device)
    kernels, found = generators(), _begun(device, target, path, threads, overwrite=overwrite)
    wanted = [(f"{name} {kind}", make, kind == "int8") for name, make in networks.items() for kind in ("fp32", "int8")]
    for done, (name, make, integer) in enumerate(wanted):
        progress("calibrate", done, len(wanted), name)
        if any(network.name == name and network.kernels == kernels for network in found.networks):
            continue
        with tempfile.TemporaryDirectory(prefix="edgevision-calibrate-") as scratch:
            folder = _built(make(integer=integer), target, Path(scratch, "bundle"))
            timed = _timed(name, kernels, device, folder, threads)
        kept = tuple(network for network in found.networks if network.kernels == kernels)
        found = msgspec.structs.replace(found, networks=(*kept, timed))
        found.save(path)
    progress("calibrate", len(wanted), len(wanted), str(path))
    return found


def _begun(device: Device, target: Target, path: Path, threads: int, *, overwrite: bool) -> Calibration:
    """The calibration so far, under what the device is now."""
    facts = device.facts()
    fresh = Calibration(
        calibration.SCHEMA, datetime.now(timezone.utc).isoformat(timespec="seconds"), device.name, target, threads,
        {name: value for name, value in facts.items() if name != "features"}, versions_of(PACKAGES),
    )  # fmt: skip
    if overwrite or not path.is_file():
        return fresh
    return msgspec.structs.replace(fresh, networks=calibration.load(path).networks)


def _built(model: onnx.ModelProto, target: Target, folder: Path) -> Path:
    program = compiler.compile_graph(model, target)
    given = model.graph.input[0]
    shape = [side.dim_value for side in given.type.tensor_type.shape.dim]
    image = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    origin = Origin(model="calibration", recipe="none", seed=0, input_name=given.name,
                    preprocessing=Preprocessing(height=shape[2], width=shape[3]))  # fmt: skip
    bundles.write(program, origin, folder, golden=[(image, predictor(model)(image))])
    return folder


def _timed(name: str, kernels: str, device: Device, folder: Path, threads: int) -> TimedNetwork:
    """Time a bundle, again while the device's clock falls."""
    device.push(folder)
    once = device.profile(LEAST_RUNS, warmup=2, threads=threads)
    if once.timing != "measured":
        raise _emulates(device)
    runs = math.ceil(ROUND_SECONDS * 1e9 / max(min(once.run_ns), 1))
    runs = min(max(runs, LEAST_RUNS), MOST_RUNS)
    for _ in range(TRIES):
        before = device.facts()
        rounds = [device.profile(runs, warmup=2, threads=threads, per_step=True) for _ in range(ROUNDS)]
        fallen = noise.clock_drop(before, device.facts())
        if fallen is None or fallen <= noise.DRIFT:
            break
    else:
        raise DeviceError(
            f"the clock fell by more than {noise.DRIFT:.0%} each of {TRIES} times a network was timed",
            where=f"{device.name}, {name}",
            fix="let the device cool down, or fix its clock (cpufreq governor performance), and run the command again",
        )
    steps = [np.concatenate([one.steps[index].ns for one in rounds]) for index in range(len(rounds[0].steps))]
    works = works_of(bundles.load(folder))
    return TimedNetwork(
        name,
        kernels,
        float(np.quantile(np.concatenate([one.run_ns for one in rounds]), LOW)) / 1e3,
        tuple(
            TimedStep(work, max(float(np.quantile(ns, LOW)) / 1e3, 1e-3)) for work, ns in zip(works, steps, strict=True)
        ),
    )


def _emulates(device: Device) -> Unsupported:
    return Unsupported(
        f"the device '{device.name}' emulates its target: nothing about the target's speed can be learnt there",
        fix="calibrate on the board itself: --device ssh:user@host",
    )
