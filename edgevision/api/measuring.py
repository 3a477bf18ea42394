"""`profile`: what bundles take, timed on a device, in turns with each other and with other runtimes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgevision.api.choosing import alike, newest, usable
from edgevision.errors import EdgeVisionError, UsageError
from edgevision.progress import Progress, silent
from edgevision.workspace import DEFAULT_OUT, Workspace

if TYPE_CHECKING:
    from edgevision.bundle import Origin
    from edgevision.compress.scoring import Scoring
    from edgevision.profile.modelled import Modelled
    from edgevision.profile.profile import Profile

#: What may be given for test images that are not where they were, by metric.
_ELSEWHERE = {
    "top-1": "folder:PATH (or imagenet:PATH)",
    "AP50": "voc:PATH (or coco:PATH)",
    "fit": "wave:FILE.toml",
}


@dataclass(frozen=True)
class Profiled:
    """A profile and the file it is in.

    Attributes:
        skipped: artefacts in the work folder that could not be read, path and reason; none of them was needed.
    """

    path: Path
    profile: Profile
    skipped: tuple[str, ...] = ()


class Unsaved(UsageError):
    """The measurement is done, but its file could not be written: the measurement is in `profile`."""

    def __init__(self, path: Path, done: Profile, error: Exception) -> None:
        what = error.what if isinstance(error, EdgeVisionError) else str(error)
        super().__init__(
            f"the profile was measured, but its file could not be written: {what}",
            where=str(path),
            fix="keep the figures printed here; free some space, or choose another --out, before measuring again",
        )
        self.profile = done

    def as_dict(self) -> dict[str, object]:
        """With the whole profile, so that nothing measured is lost."""
        return super().as_dict() | {"profile": msgspec.to_builtins(self.profile)}


def profile(
    bundles: Sequence[Path | str] = (),
    *,
    every: bool = False,
    against: Sequence[str] = (),
    device: str | None = None,
    data: str | None = None,
    accuracy: bool = True,
    threads: int = 1,
    seconds: float = 10.0,
    limit: int | None = None,
    affinity: Sequence[int] = (),
    out: Path | str = DEFAULT_OUT,
    seed: int = 0,
    timeout: float = 60,
    command: str = "edgevision profile",
    progress: Progress = silent,
) -> Profiled:
    """Time bundles on a device, in turns with each other and with other runtimes on the same networks.

    Args:
        bundles: folders, or names in `out`; without any the newest that fits the device.
        every: all bundles in `out` of the newest one's model and target instead.
        against: runtimes to compare with: "onnxruntime", "openvino", "ncnn". The last two are extra packages, and ncnn
            runs float networks alone.
        device: where; without it, the default of the target they were built for.
        data: where the test images are, when not where they were: "folder:PATH", "imagenet:PATH", "voc:PATH" or
            "coco:PATH".
        accuracy: measure accuracy and agreement on the test images; without it latency alone, and no images are read.
        seconds: measured time per engine.
        limit: test images for accuracy; all without it.
        affinity: cores to bind this process to while measuring.

    Raises:
        UsageError: nothing to profile, bundles that do not belong together, images that are gone, cores that do not
            exist; `Unsaved`, which holds the profile, when only its file could not be written.
        Unsupported: no bundle fits the device, or it is an emulator, whose times say nothing.
        ToolMissing: a runtime to compare with is not installed.
        Mismatch, DeviceError: a bundle changed, or its device failed.
    """
    from edgevision.bundle import Bundle
    from edgevision.bundle.manifest import read_manifest
    from edgevision.compress.compressed import Compressed
    from edgevision.device import open_device
    from edgevision.device.device import Device
    from edgevision.profile.contenders import contenders
    from edgevision.profile.measure import profile as measure
    from edgevision.profile.profile import Protocol

    _check(affinity, device, data, accuracy=accuracy)
    workspace, skipped = Workspace(Path(out)), list[str]()
    folders = [workspace.find_bundle(str(name)) for name in bundles]
    folders = folders or [newest(workspace, device, skipped, timeout=timeout)]
    if every:
        folders = alike(workspace, folders[-1], skipped)

    def opened(bundle: Bundle) -> Device:
        target = bundle.manifest.target
        return open_device(device or ("csim" if bundle.manifest.engine else target.default_device), target,
                           timeout=timeout)  # fmt: skip

    origin = read_manifest(folders[0]).origin
    scoring, place, doubts = images_of(origin, data) if accuracy else (None, None, [])
    networks = usable(workspace.all_compressed(), Compressed.load, skipped)
    with _bound(affinity):
        engines = contenders(folders, networks, open_device=opened, against=against, threads=threads, broken=skipped)
        done = measure(
            engines,
            Protocol(seconds=seconds, seed=seed),
            metric=origin.metric,
            scoring=scoring,
            images_from=place,
            doubts=doubts,
            limit=limit,
            affinity=tuple(affinity),
            command=command,
            progress=progress,
        )
    path = workspace.profile(done.device, threads)
    try:
        done.save(path)
    except (EdgeVisionError, OSError) as error:
        raise Unsaved(path, done, error) from error
    return Profiled(path, done, tuple(skipped))


@dataclass(frozen=True)
class ModelledProfile:
    """What `profile` shows of a bundle on the simulated engine, and the file it is in."""

    path: Path
    modelled: Modelled


def profile_modelled(
    bundle: Path | str,
    *,
    data: str | None = None,
    accuracy: bool = True,
    limit: int | None = None,
    out: Path | str = DEFAULT_OUT,
    timeout: float = 60,
    command: str = "edgevision profile --device csim",
    progress: Progress = silent,
) -> ModelledProfile:
    """Model the calls of a bundle for an engine, and run the C simulation on the test images beside the reference.

    Args:
        bundle: its folder, or its name in `out`.
        data, accuracy, limit: as of `profile`.

    Raises:
        UsageError: no such bundle, or images that are gone.
        Unsupported: the bundle is not for an engine.
        ToolMissing: the simulation cannot be built.
        Mismatch: the bundle changed.
    """
    from edgevision.bundle.manifest import read_manifest
    from edgevision.device.csim import CsimDevice
    from edgevision.profile.modelled import modelled_profile

    _check((), "csim", data, accuracy=accuracy)
    workspace = Workspace(Path(out))
    folder = workspace.find_bundle(str(bundle))
    manifest = read_manifest(folder)
    scoring, place, doubts = images_of(manifest.origin, data) if accuracy else (None, None, [])
    done = modelled_profile(
        folder, CsimDevice(timeout=timeout), scoring=scoring, images_from=place, doubts=tuple(doubts), limit=limit,
        command=command, progress=progress,
    )  # fmt: skip
    path = workspace.modelled(folder.name)
    done.save(path)
    return ModelledProfile(path, done)


def runs_simulated(bundles: Sequence[Path | str], device: str | None, out: Path | str = DEFAULT_OUT) -> bool:
    """Whether `profile` would end on the simulated engine: asked for, or all that a lone bundle has."""
    from edgevision.bundle.manifest import read_manifest

    if device is not None:
        return device == "csim"
    folder = Workspace(Path(out)).find_bundle(str(bundles[0])) if len(bundles) == 1 else None
    return folder is not None and read_manifest(folder).engine is not None


def images_of(origin: Origin, data: str | None) -> tuple[Scoring | None, str | None, list[str]]:
    """How accuracy is measured, where its images are, and doubts when they are others than the network's own.

    Args:
        origin: of the bundle; names where its images were.
        data: where they are now.

    Raises:
        UsageError: they are not there, cannot be used, or show other classes.
    """
    from edgevision.compress.scoring import scoring_of
    from edgevision.data import open_set
    from edgevision.data.metric import metric_of, mismatch

    place = data or origin.data
    if not place:
        return None, None, []
    kinds = _ELSEWHERE[origin.metric]
    elsewhere = f"--data {kinds} says where they are, --no-accuracy measures latency alone"
    try:
        images = open_set(place, origin.preprocessing)
        scoring = scoring_of(images)
    except UsageError as error:
        raise UsageError(
            f"the test images of {origin.model} cannot be used: {error.what}",
            where=error.where or place,
            reasons=error.reasons,
            fix=elsewhere,
        ) from error
    other = mismatch(origin.model, origin.metric, place, metric_of(images))
    if other:
        raise UsageError(other, where=place, fix=elsewhere)
    if origin.classes and images.classes != origin.classes:
        raise UsageError(
            f"expected images of the network's {len(origin.classes)} classes ({', '.join(origin.classes[:5])}, ...), "
            f"got {len(images.classes)} ({', '.join(images.classes[:5])}, ...)",
            where=place,
            fix=elsewhere,
        )
    same = origin.data_sha256 is None or images.sha256 == origin.data_sha256
    doubts = [] if same else [f"accuracy is of {images.spec}, which holds other images than {origin.data} did"]
    return scoring, images.spec, doubts


def _check(affinity: Sequence[int], device: str | None, data: str | None, *, accuracy: bool) -> None:
    """Refuse flags that contradict each other or this machine, before anything runs."""
    here = os.sched_getaffinity(0)
    absent = sorted(set(affinity) - here)
    reasons = []
    if absent:
        shown = ", ".join(map(str, absent[:8])) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
        reasons.append(f"--affinity: this process may use cores {_ranges(sorted(here))}, and not {shown}")
    if affinity and device is not None and device != "host":
        reasons.append(f"--affinity binds cores of this machine, and {device} is another")
    if data is not None and not accuracy:
        reasons.append("--data names test images, and --no-accuracy uses none")
    if reasons:
        raise UsageError("the measurement cannot be done as asked", reasons=reasons, fix="change or leave out the flag")


def _ranges(cores: Sequence[int]) -> str:
    """Core numbers as `--affinity` takes them.

    >>> _ranges([0, 1, 2, 5])
    '0-2,5'
    """
    runs: list[list[int]] = []
    for core in cores:
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


@contextlib.contextmanager
def _bound(cores: Sequence[int]) -> Iterator[None]:
    """Bind this process, and what it starts, to some cores while the block runs."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
