"""Whether a bundle still gives the outputs it gave when it was made, on the device it is meant for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edgevision.bundle.bundle import Bundle, load
from edgevision.bundle.engine_bundle import golden_layers
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
    """What a verification that passed has seen; `layers` of a bundle for the engine that were compared one by one."""

    device: str
    files: int
    vectors: int
    max_abs_error: float
    layers: int = 0


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
    layers = _layers(bundle, device)
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
    return Verified(device.name, len(bundle.manifest.files), len(bundle.manifest.golden), max(errors), layers)


def _layers(bundle: Bundle, device: Runs) -> int:
    """Compare every layer of a bundle for the engine with its golden vector; how many there are.

    Raises:
        Mismatch: names the first layer that differs, where, and how many do in all.
    """
    if bundle.manifest.engine is None:
        return 0
    wanted = golden_layers(bundle)
    got = device.layers(bundle.golden(bundle.manifest.golden[0])[0])  # type: ignore[attr-defined]
    different = [name for name, tensor in wanted.items() if not np.array_equal(got.get(name), tensor)]
    if different:
        first, order = different[0], list(wanted)
        one, other = wanted[first], got.get(first)
        detail = "nothing was returned"
        if other is not None and other.shape == one.shape:
            places = np.argwhere(one != other)
            at = tuple(int(index) for index in places[0])
            detail = f"{len(places)} of {one.size} bytes differ, the first at {at}: expected {one[at]}, got {other[at]}"
        raise Mismatch(
            f"layer '{first}' ({order.index(first) + 1} of {len(order)}) is the first that differs on {device.name}",
            where=str(bundle.folder), reasons=[detail, f"{len(different)} of {len(order)} layers differ in all"],
            fix="was the bitstream built from the hw folder of this bundle? if so, report the layer and the board",
        )  # fmt: skip
    return len(wanted)


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
