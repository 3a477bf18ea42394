"""Images for NNCF, one at a time and never kept, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgevision.data.metric import AnySplit
from edgevision.errors import UsageError
from edgevision.progress import Progress, silent


class Calibration:
    """The first `count` images of a split as NNCF wants them: dictionaries of one input, batch 1, re-readable.

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
        seen = 0
        for images, _ in self._split.batches(16, limit=self._count):
            for image in images:
                if not np.isfinite(image).all():
                    raise UsageError("expected finite pixels, got NaN or infinity", where=f"calibration image {seen}")
                seen += 1
                if seen > self._reported:
                    self._reported = seen
                    self._progress("calibrate", seen, len(self))
                yield {self._name: image[None]}
