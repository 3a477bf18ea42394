"""What every device does first: check the bundle, and that it, or what will be built, is for this kind of machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgevision.bundle.bundle import Bundle, load
from edgevision.errors import Unsupported, UsageError
from edgevision.machine import machine_arch
from edgevision.target import Arch, Target


def checked_bundle(folder: Path, arch: Arch, *, name: str) -> Bundle:
    """Return the bundle in `folder`, its files hashed, once it is sure that device `name` can execute it.

    Raises:
        UsageError, Mismatch: as `bundle.load`.
        Unsupported: the bundle is for another architecture.
    """
    bundle = load(folder)
    refuse_engine(bundle, name=name)
    refuse_other_arch(bundle, arch, name=name)
    return bundle


def refuse_engine(bundle: Bundle, *, name: str) -> None:
    """Raise `Unsupported` when the bundle needs the engine of an FPGA, which device `name` has not."""
    if bundle.manifest.engine is not None:
        raise Unsupported(
            f"the bundle runs on the engine of {bundle.manifest.target.name}, which this device has not",
            where=f"device {name}", fix="--device csim simulates it, --device ssh:USER@HOST is the board",
        )  # fmt: skip


def refuse_other_arch(bundle: Bundle, arch: Arch, *, name: str) -> None:
    """Raise `Unsupported` when the bundle is for another architecture than that of device `name`."""
    target = bundle.manifest.target
    if target.arch != arch:
        raise Unsupported(
            f"expected a bundle for {arch}, got one for {target.arch} (target {target.name})",
            where=f"device {name}",
            fix=f"--device {target.default_device}, or deploy again with the --target that is this device",
        )


def refuse_target(target: Target, arch: Arch, *, name: str) -> None:
    """Raise `Unsupported` when `target` is of another architecture than device `name`."""
    if target.arch != arch:
        raise Unsupported(
            f"the device is {arch}, the target {target.name} is {target.arch}",
            where=f"--device {name}",
            fix=f"--device {target.default_device}, or another --target",
        )


def refuse_machine(target: Target, known: Mapping[str, Any], *, name: str) -> None:
    """Raise `Unsupported` when the machine with the facts `known` cannot run what is built for `target`.

    What the machine does not say is not held against it: the runner looks again before its first step.
    """
    machine = machine_arch(str(known.get("arch")))
    refuse_target(target, runs_on(machine, target), name=name)
    features = known.get("features")
    # A 64-bit kernel describes its 32-bit programs' CPU in other words.
    missing = set(target.cpu.requires) - set(features.split()) if features and machine == target.arch else set()
    if missing:
        raise Unsupported(
            f"the target {target.name} needs CPU features the device does not have: {', '.join(sorted(missing))}",
            where=f"--device {name}" + (f", {known['model']}" if known.get("model") else ""),
            fix="another --target (edgevision list targets), or a board that has them",
        )


def runs_on(machine: Arch, target: Target) -> Arch:
    """A 64-bit Arm kernel may have a 32-bit userland (Raspberry Pi OS did), so there armv7 is let through."""
    return "armv7" if machine == "aarch64" and target.arch == "armv7" else machine


def need_bundle(bundle: Bundle | None, *, name: str) -> Bundle:
    """Return the pushed bundle.

    Raises:
        UsageError: nothing was pushed yet.
    """
    if bundle is None:
        raise UsageError("expected a bundle on the device, none was pushed", where=f"device {name}", fix="push(folder)")
    return bundle
