"""`profile` and `report`: what the bundles in a workspace take, and the trade-off they make."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgevision.errors import UsageError
from edgevision.progress import Progress, silent
from edgevision.workspace import DEFAULT_OUT, Workspace

if TYPE_CHECKING:
    from edgevision.compress.compressed import Compressed
    from edgevision.profile.profile import Profile
    from edgevision.report.tradeoff import Built, TradeOff


@dataclass(frozen=True)
class Profiled:
    """A profile and the file it is in."""

    path: Path
    profile: Profile


@dataclass(frozen=True)
class Reported:
    """A trade-off and the files it was written to: HTML, Markdown, CSV, JSON."""

    html: Path
    files: tuple[Path, ...]
    trade_off: TradeOff


def profile(
    bundles: Sequence[Path | str] = (),
    *,
    every: bool = False,
    against: Sequence[str] = (),
    device: str | None = None,
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
        bundles: folders, or names in `out`; without any the newest that can be timed.
        every: all bundles in `out` of the newest one's model and target instead.
        against: runtimes to compare with: "onnxruntime", "openvino", "ncnn". The last two are extra packages, and ncnn
            runs float networks alone.
        device: where; without it, the default of the target they were built for.
        seconds: measured time per engine.
        limit: test images for accuracy; all without it.
        affinity: cores to bind this process to while measuring.

    Raises:
        UsageError: nothing to profile, or bundles that do not belong together.
        Unsupported: the device is an emulator, whose times say nothing.
        ToolMissing: a runtime to compare with is not installed.
        Mismatch, DeviceError: a bundle changed, or its device failed.
    """
    from edgevision.bundle import Bundle
    from edgevision.compress.compressed import Compressed
    from edgevision.data import open_data
    from edgevision.device import open_device
    from edgevision.device.device import Device
    from edgevision.profile.contenders import contenders
    from edgevision.profile.measure import profile as measure
    from edgevision.profile.profile import Protocol

    workspace = Workspace(Path(out))
    folders = [workspace.find_bundle(str(name)) for name in bundles] or [newest(workspace, device)]
    if every:
        folders = alike(workspace, folders[-1])

    def opened(bundle: Bundle) -> Device:
        target = bundle.manifest.target
        return open_device(device or target.default_device, target, timeout=timeout)

    with _bound(affinity):
        networks = [Compressed.load(folder) for folder in workspace.all_compressed()]
        engines = contenders(folders, networks, open_device=opened, against=against, threads=threads)
        origin = next(c.bundle.manifest.origin for c in engines if c.bundle)
        split = open_data(origin.data, origin.preprocessing).split("test") if origin.data else None
        done = measure(
            engines,
            Protocol(seconds=seconds, seed=seed),
            split=split,
            limit=limit,
            affinity=tuple(affinity),
            command=command,
            progress=progress,
        )
    path = workspace.profile(done.device, threads)
    done.save(path)
    return Profiled(path, done)


def newest(workspace: Workspace, device: str | None) -> Path:
    """The newest bundle that can be timed: without a device, one whose own device is no emulator.

    Raises:
        UsageError: there is none.
    """
    from edgevision.bundle.manifest import read_manifest

    found = workspace.find_bundle(None)
    if device is None:
        for folder in reversed(workspace.all_bundles()):
            if not read_manifest(folder).target.default_device.startswith("qemu"):
                return folder
    return found


def alike(workspace: Workspace, one: Path) -> list[Path]:
    """All bundles of the model, data and target of `one`, oldest first."""
    from edgevision.bundle.manifest import read_manifest

    wanted = read_manifest(one)
    found = []
    for folder in workspace.all_bundles():
        manifest = read_manifest(folder)
        same = (manifest.origin.model, manifest.origin.data) == (wanted.origin.model, wanted.origin.data)
        if same and manifest.target.name == wanted.target.name:
            found.append(folder)
    return found


def report(
    *,
    model: str | None = None,
    data: str | None = None,
    out: Path | str = DEFAULT_OUT,
    overwrite: bool = False,
    command: str = "edgevision report",
) -> Reported:
    """Write the latency-accuracy trade-off of everything in `out` as HTML, Markdown, CSV and JSON.

    The latest profile of each device and number of threads is shown, with every compressed network and bundle of the
    same model and data.

    Args:
        model, data: what the report is about; the newest artefact's without them.

    Raises:
        UsageError: there is nothing to report, or a report is already there.
    """
    from edgevision import zoo
    from edgevision.compress.compressed import Compressed
    from edgevision.files import folder_aside, refuse_overwrite, write_atomic
    from edgevision.profile.profile import load
    from edgevision.report import html, tables
    from edgevision.report.tradeoff import trade_off

    workspace = Workspace(Path(out))
    refuse_overwrite(workspace.report, overwrite=overwrite)
    networks = [Compressed.load(folder) for folder in workspace.all_compressed()]
    profiles = [load(path) for path in workspace.all_profiles()]
    subjects = [(p.model, p.data) for p in profiles] or [(n.info.model, n.info.data) for n in networks]
    if not subjects:
        raise UsageError(
            "there is nothing to report: no profile and no compressed network",
            where=str(workspace.root),
            fix="edgevision compress --model cas_vit --recipe w8a8, then edgevision deploy --target host --run",
        )
    about = (zoo.full_name(model) if model else subjects[-1][0], data if data is not None else subjects[-1][1])
    latest = {(p.device, p.threads): p for p in profiles if (p.model, p.data) == about}
    chosen = [latest[key] for key in sorted(latest, key=lambda key: (key[0] != "host", *key))]
    own = [n for n in networks if (n.info.model, n.info.data) == about]
    made = trade_off(chosen, own, _built(workspace, about, chosen, own), command=command)
    texts = {
        "report.html": html.render(made),
        "report.md": tables.as_markdown(made),
        "report.csv": tables.as_csv(made),
        "report.json": tables.as_json(made),
    }
    with folder_aside(workspace.report, overwrite=overwrite) as folder:
        for name, text in texts.items():
            write_atomic(folder / name, text)
    files = tuple(workspace.report / name for name in texts)
    return Reported(files[0], files, made)


def _built(
    workspace: Workspace, about: tuple[str, str], profiles: Sequence[Profile], networks: Sequence[Compressed]
) -> list[Built]:
    from edgevision import bundle as bundles
    from edgevision.report.tradeoff import Built

    timed = {engine.bundle for profile in profiles for engine in profile.engines}
    artefacts = {network.info.onnx_sha256: network.folder.name for network in networks}
    found = []
    for folder in workspace.all_bundles():
        loaded = bundles.load(folder)
        manifest = loaded.manifest
        if (manifest.origin.model, manifest.origin.data) != about:
            continue
        artefact = artefacts.get(manifest.origin.onnx_sha256 or "", folder.name.split("@")[0])
        static = " --static" if manifest.static and manifest.target.libc != "musl" else ""
        integer = sum(step.macs for step in manifest.steps if step.integer)
        found.append(
            Built(
                name=folder.name,
                artefact=artefact,
                target=manifest.target.name,
                title=manifest.target.title,
                arch=manifest.target.arch,
                size_bytes=loaded.size_bytes,
                arena_bytes=manifest.arena_bytes,
                integer_macs_share=integer / manifest.macs if manifest.macs else None,
                measured=folder.name in timed,
                command=f"edgevision deploy {artefact} --target {manifest.target.name}{static}",
            )
        )
    return found


@contextlib.contextmanager
def _bound(cores: Sequence[int]) -> Iterator[None]:
    """Bind this process, and what it starts, to some cores while the block runs."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    if not set(cores) <= before:
        raise UsageError(f"expected cores among {sorted(before)}, got {sorted(cores)}", fix="change --affinity")
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
