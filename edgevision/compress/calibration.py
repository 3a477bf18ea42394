"""Images for NNCF, one at a time: its statistics keep running values, so memory does not grow with their number."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from nncf.common.tensor_statistics.collectors import AGGREGATORS_MAP, AggregatorBase
from nncf.quantization.range_estimator import AggregatorType
from nncf.tensor import Tensor

from edgevision.data.dataset import Split
from edgevision.errors import UsageError
from edgevision.progress import Progress


class Calibration:
    """The first `count` images of a split as NNCF wants them: dictionaries of one input, batch 1, re-readable.

    Args:
        split: images as float32 (N, C, H, W) batches.
        name: the graph's input.
        count: images per pass.
        progress: told about every image of the first pass.
    """

    def __init__(self, split: Split, name: str, count: int, progress: Progress) -> None:
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


class RunningMean(AggregatorBase):
    """Mean of all samples from a running sum in float64; NNCF's own keeps every sample until the end."""

    def _register_reduced_input_impl(self, x: Tensor) -> None:
        value = np.asarray(x.data, np.float64)
        total, count = self._container.pop() if self._container else (np.zeros_like(value), 0)
        self._container.append((total + value, count + 1))

    def _aggregate_impl(self) -> Any:
        total, count = self._container[0]
        mean = np.asarray(total / count, np.float32)
        axes = tuple(axis - 1 for axis in self._aggregation_axes if axis > 0)
        return Tensor(mean.mean(axis=axes, keepdims=self._keepdims) if axes else mean)


@contextlib.contextmanager
def running_means() -> Iterator[None]:
    """Make NNCF average range statistics with `RunningMean` inside the block."""
    own = AGGREGATORS_MAP[AggregatorType.MEAN]
    AGGREGATORS_MAP[AggregatorType.MEAN] = RunningMean
    try:
        yield
    finally:
        AGGREGATORS_MAP[AggregatorType.MEAN] = own
