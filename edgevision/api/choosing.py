"""Which artefacts in a workspace a command means, with the broken ones stepped over and named."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgevision.errors import EdgeVisionError, Unsupported, UsageError
from edgevision.workspace import Workspace

if TYPE_CHECKING:
    from edgevision.bundle import Bundle
    from edgevision.target import Target

T = TypeVar("T")


def usable(places: Sequence[Path], load: Callable[[Path], T], skipped: list[str]) -> list[T]:
    """Load what can be loaded, in order; `skipped` gets one line with path and reason for each of the others."""
    found = []
    for place in places:
        try:
            found.append(load(place))
        except EdgeVisionError as error:
            reason = "; ".join([error.what, *error.reasons[:2]])
            _skip(skipped, place, reason + (f" ({error.fix})" if error.fix else ""))
        except OSError as error:
            # Another command may be replacing it at this very moment.
            _skip(skipped, place, f"cannot be read: {error.strerror or error}")
    return found


def newest(workspace: Workspace, device: str | None, skipped: list[str] | None = None, *, timeout: float = 60) -> Path:
    """The newest bundle that can be timed on `device`; without one, on its own target's device unless that emulates.

    Args:
        skipped: gets a line for each bundle that cannot be used.
        timeout: seconds a board may take to say what it is.

    Raises:
        UsageError: there is no bundle, or none that is whole.
        Unsupported: none fits the device; every bundle is named with what it is for.
        DeviceError: the board cannot be reached.
    """
    from edgevision import bundle as bundles

    broken: list[str] = [] if skipped is None else skipped
    workspace.find_bundle(None)
    machine, others = _machine(device, timeout), []
    for folder in reversed(workspace.all_bundles()):
        for bundle in usable([folder], bundles.load, broken):
            reason = _misfit(bundle, device, machine)
            if reason is None:
                return folder
            others.append(f"{folder.name}: {reason}")
    if others:
        raise Unsupported(
            f"none of the bundles can be timed on {device}" if device else "none of the bundles can be timed here",
            where=str(workspace.root / "bundles"),
            reasons=[*others, *broken],
            fix="edgevision deploy --target host, or profile on the board itself: --device ssh:user@host",
        )
    raise UsageError(
        "there is no bundle that is whole",
        where=str(workspace.root / "bundles"),
        reasons=broken,
        fix="make one again: edgevision deploy --overwrite",
    )


def alike(workspace: Workspace, one: Path, skipped: list[str] | None = None) -> list[Path]:
    """All whole bundles of the model, data and target of `one`, oldest first."""
    from edgevision import bundle as bundles

    wanted = bundles.load(one).manifest
    found = []
    for bundle in usable(workspace.all_bundles(), bundles.load, [] if skipped is None else skipped):
        manifest = bundle.manifest
        same = (manifest.origin.model, manifest.origin.data) == (wanted.origin.model, wanted.origin.data)
        if same and manifest.target.name == wanted.target.name:
            found.append(bundle.folder)
    return found


def _machine(device: str | None, timeout: float) -> dict[str, Any] | None:
    """What a device is, as far as it can be known before anything is pushed; a board is asked."""
    from edgevision.device.ssh import SshDevice

    if device is None or device == "host":
        return {"arch": platform.machine()}
    if device.startswith("ssh:"):
        return SshDevice(device.removeprefix("ssh:"), timeout=timeout).facts()
    return {"qemu-aarch64": {"arch": "aarch64"}, "qemu-armv7": {"arch": "armv7l"}}.get(device)


def _misfit(bundle: Bundle, device: str | None, machine: dict[str, Any] | None) -> str | None:
    """Why a bundle is not for the device; None when nothing is known against it."""
    from edgevision.device.pushed import refuse_machine

    target = bundle.manifest.target
    if bundle.manifest.engine is not None and not (device or "").startswith("ssh:"):
        return f"for the engine of {target.name}; --device csim models it"
    if device is None and target.default_device.startswith("qemu"):
        return f"for {_about(target)}, which is only emulated here"
    if device is not None and device.startswith("rpc:") and bundle.manifest.static:
        return "static, and an RPC server takes none"
    try:
        if machine is not None:
            refuse_machine(target, machine, name=device or "host")
    except Unsupported as error:
        return f"for {_about(target)}" if "needs CPU features" not in error.what else error.what
    return None


def _about(target: Target) -> str:
    return f"{target.arch} (target {target.name})"


def _skip(skipped: list[str], place: Path, reason: str) -> None:
    line = f"{place}: {reason}"
    if line not in skipped:
        skipped.append(line)
