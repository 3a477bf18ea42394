"""`profile --calibrate`: what a device's kernels take, for predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgevision.progress import Progress, silent

if TYPE_CHECKING:
    from edgevision.profile.calibration import Calibration


@dataclass(frozen=True)
class Calibrated:
    """A calibration and the file it is kept in."""

    path: Path
    calibration: Calibration


def calibrate(
    target: str = "host",
    *,
    device: str | None = None,
    threads: int = 1,
    timeout: float = 60,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Calibrated:
    """Time made-up networks on a device; afterwards `profile` says what it predicts, too.

    What was timed before with the same kernels is kept, so that an interrupted calibration goes on where it was.

    Args:
        target: a name of `edgevision list targets`; the kernels are compiled for it.
        device: where; without it, the target's own default.
        overwrite: time everything again.

    Raises:
        UsageError: no such target or device, or a calibration file that cannot be read.
        Unsupported: the device is an emulator, or has another architecture than the target.
        DeviceError: it cannot be reached, or its clock keeps falling.
        ToolMissing: no C compiler links for the target.
    """
    from edgevision import target as targets
    from edgevision.device import open_device
    from edgevision.machine import resolve
    from edgevision.profile import calibrate as run
    from edgevision.profile import calibration

    chosen = resolve(targets.load(target))
    where = open_device(device or chosen.default_device, chosen, timeout=timeout)
    where.ready(chosen)
    path = calibration.place(chosen, threads)
    return Calibrated(path, run.calibrate(where, chosen, path, threads=threads, overwrite=overwrite, progress=progress))
