"""Whether a bundle still gives the outputs it gave when it was made, on the device it is meant for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edgevision.bundle.bundle import Bundle, load
from edgevision.bundle.manifest import GoldenVector
from edgevision.errors import Mismatch, UsageError


class Runs(Protocol):
    """The part of a device that verification needs."""

    name: str

    def push(self, bundle: Path) -> None:
        """Bring the bundle folder onto the device."""

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Run the pushed bundle."""


@dataclass(frozen=True)
class Verified:
    """What a verification that passed has seen."""

    device: str
    files: int
    vectors: int
    max_abs_error: float


def verify(bundle: Bundle, device: Runs) -> Verified:
    """Hash every file again, push the bundle, and run its golden vectors.

    Raises:
        Mismatch: a file changed, or an output is not the golden one; largest error and number of differing elements.
        UsageError: the bundle has no golden vectors.
        DeviceError: the device cannot be reached or the runner died.
    """
    bundle = load(bundle.folder)
    if not bundle.manifest.golden:
        raise UsageError(
            "the bundle has no golden vectors to run", where=str(bundle.folder), fix="deploy it again with data"
        )
    device.push(bundle.folder)
    errors, reasons = [0.0], []
    for vector in bundle.manifest.golden:
        given, expected = bundle.golden(vector)
        worst, reason = compare(device.run(given), expected, vector)
        errors.append(worst)
        reasons += [reason] if reason else []
    if reasons:
        raise Mismatch(
            f"{len(reasons)} of {len(bundle.manifest.golden)} golden vectors give another output on {device.name}",
            where=str(bundle.folder),
            reasons=reasons[:20],
            fix="deploy again for exactly this board; if it persists, report the bundle and the board",
        )
    return Verified(device.name, len(bundle.manifest.files), len(bundle.manifest.golden), max(errors))


def compare(got: np.ndarray, expected: np.ndarray, vector: GoldenVector) -> tuple[float, str]:
    """Return the largest absolute error and, when the vector's tolerance is passed, a sentence about it.

    Two NaN, or two infinities of one sign, are equal.
    """
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return float("inf"), (
            f"{vector.output}: expected {expected.dtype} {expected.shape}, got {got.dtype} {got.shape}"
        )
    wide_got, wide_expected = got.astype(np.float64), expected.astype(np.float64)
    same = (got == expected) | (np.isnan(wide_got) & np.isnan(wide_expected))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(wide_got - wide_expected))
    error = np.where(np.isnan(error), np.inf, error)
    worst = float(error.max(initial=0.0))
    if worst <= vector.tolerance:
        return worst, ""
    return worst, (
        f"{vector.output}: max abs error {worst:.3g} (allowed {vector.tolerance:.3g}), "
        f"{int((error > vector.tolerance).sum())} of {error.size} elements differ"
    )
