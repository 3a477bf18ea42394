"""Calibration images, one at a time and never kept, so that memory does not grow with their number.

They are refused where they cannot be what the network was trained on: not a number, or far from the range that their
preprocessing gives, as when pixels of 0 to 255 are fed to a network that wants 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgevision.data.metric import AnySplit
from edgevision.data.preprocess import Preprocessing
from edgevision.data.wave import WaveSplit
from edgevision.errors import UsageError
from edgevision.progress import Progress, silent

#: How far beyond its range a pixel may lie, and how little of it all images may fill, as shares of the range.
BEYOND, LEAST = 0.01, 1 / 64


class Calibration:
    """The first `count` images of a split as NNCF wants them: dictionaries of one input, batch 1, re-readable.

    Iterating raises `UsageError` at an image that cannot be used, and at the end where all together fill too little of
    their range.

    Args:
        split: images as float32 (N, C, H, W) batches.
        name: the graph's input.
        count: images per pass.
        progress: told about every image of the first pass.
    """

    def __init__(self, split: AnySplit, name: str, count: int, progress: Progress = silent) -> None:
        self._split, self._name, self._count, self._progress = split, name, count, progress
        self._reported = 0

    def __len__(self) -> int:
        return min(self._count, len(self._split))

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        seen, low, high = 0, np.inf, -np.inf
        # Fields are in units of their own; only of pixels a range is known.
        preprocessing = None if isinstance(self._split, WaveSplit) else getattr(self._split, "preprocessing", None)
        expected = bounds(preprocessing) if isinstance(preprocessing, Preprocessing) else None
        for images, _ in self._split.batches(16, limit=self._count):
            for image in images:
                if not np.isfinite(image).all():
                    raise UsageError("expected finite pixels, got NaN or infinity", where=f"calibration image {seen}")
                low, high = min(low, float(image.min())), max(high, float(image.max()))
                if expected is not None:
                    _refuse_beyond(low, high, expected, f"calibration image {seen}")
                seen += 1
                if seen > self._reported:
                    self._reported = seen
                    self._progress("calibrate", seen, len(self))
                yield {self._name: image[None]}
        if expected is not None and seen and high - low < LEAST * (expected[1] - expected[0]):
            raise UsageError(
                f"expected pixels that fill some of {_words(expected)}, got {low:.4g} to {high:.4g} in all of them",
                where=f"{seen} calibration images",
                fix="look for empty images, or pixels divided by 255 twice",
            )


def bounds(preprocessing: Preprocessing) -> tuple[float, float]:
    """Least and largest value that normalised pixels can have.

    >>> bounds(Preprocessing(8, 8, mean=(0.5,) * 3, std=(0.25,) * 3))
    (-2.0, 2.0)
    """
    pairs = list(zip(preprocessing.mean, preprocessing.std, strict=True))
    return min((0 - mean) / std for mean, std in pairs), max((1 - mean) / std for mean, std in pairs)


def _refuse_beyond(low: float, high: float, expected: tuple[float, float], where: str) -> None:
    margin = BEYOND * (expected[1] - expected[0])
    if low >= expected[0] - margin and high <= expected[1] + margin:
        return
    undivided = high > 16 * max(abs(expected[0]), abs(expected[1]))
    raise UsageError(
        f"expected pixels of {_words(expected)}, got {low:.4g} to {high:.4g}",
        where=where,
        fix="divide by 255: these look like bytes from 0 to 255"
        if undivided
        else "prepare them as the network's `preprocessing` says",
    )


def _words(expected: tuple[float, float]) -> str:
    return f"{expected[0]:.4g} to {expected[1]:.4g} (0 to 1, normalised by the network's mean and deviation)"
