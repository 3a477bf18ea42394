"""What every device does first: check the bundle, and that it is for this kind of machine."""

from __future__ import annotations

from pathlib import Path

from edgevision.bundle.bundle import Bundle, load
from edgevision.errors import Unsupported, UsageError
from edgevision.target import Arch


def checked_bundle(folder: Path, arch: Arch, *, name: str) -> Bundle:
    """Return the bundle in `folder`, its files hashed, once it is sure that device `name` can execute it.

    Raises:
        UsageError, Mismatch: as `bundle.load`.
        Unsupported: the bundle is for another architecture.
    """
    bundle = load(folder)
    refuse_other_arch(bundle, arch, name=name)
    return bundle


def refuse_other_arch(bundle: Bundle, arch: Arch, *, name: str) -> None:
    """Raise `Unsupported` when the bundle is for another architecture than that of device `name`."""
    target = bundle.manifest.target
    if target.arch != arch:
        raise Unsupported(
            f"expected a bundle for {arch}, got one for {target.arch} (target {target.name})",
            where=f"device {name}",
            fix=f"--device {target.default_device}, or deploy again with the --target that is this device",
        )


def need_bundle(bundle: Bundle | None, *, name: str) -> Bundle:
    """Return the pushed bundle.

    Raises:
        UsageError: nothing was pushed yet.
    """
    if bundle is None:
        raise UsageError("expected a bundle on the device, none was pushed", where=f"device {name}", fix="push(folder)")
    return bundle
