"""Where the values of a tensor lie, in memory that does not grow with the number of images.

Bins are equally wide, from -reach to reach, and reach is a power of two: when a value falls beyond it, reach is
doubled and neighbouring bins are added together, which is exact. So how the values came in pieces does not matter.
"""

from __future__ import annotations

import math

import numpy as np

#: Even, so that doubling the reach joins bins in pairs; half of them lie on either side of zero.
BINS = 8192


class Histogram:
    """Counts of values in `BINS` bins, and their extremes.

    >>> histogram = Histogram()
    >>> histogram.add(np.array([0.5, -3.0])); histogram.add(np.array([100.0]))
    >>> histogram.low, histogram.high, histogram.reach, int(histogram.counts.sum())
    (-3.0, 100.0, 128.0, 3)
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.low, self.high = math.inf, -math.inf
        self.reach = 0.0

    def add(self, values: np.ndarray) -> None:
        """Count `values`, finite and of any shape."""
        values = values.reshape(-1)
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen(max(-low, high, 2.0**-100))
        # Times a power of two and rounded down: exact, so that a bin is always the same two of half its width.
        places = np.floor(values * np.float32(BINS / 2 / self.reach)).astype(np.int32) + BINS // 2
        # The largest value may lie on the upper edge.
        places = np.minimum(places, BINS - 1)
        self.counts += np.bincount(places, minlength=BINS)

    def merge(self, other: Histogram) -> None:
        """Count what `other` counted."""
        if other.reach == 0.0:
            return
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self._widen(other.reach)
        counts, reach = other.counts, other.reach
        while reach < self.reach:
            counts, reach = _joined(counts), 2 * reach
        self.counts += counts

    @property
    def centres(self) -> np.ndarray:
        """Middles of the bins, float64."""
        return (np.arange(BINS) - BINS / 2 + 0.5) * (2 * self.reach / BINS)

    def _widen(self, reach: float) -> None:
        wanted = 2.0 ** math.ceil(math.log2(reach))
        if self.reach == 0.0:
            self.reach = wanted
        while self.reach < wanted:
            self.counts, self.reach = _joined(self.counts), 2 * self.reach


def _joined(counts: np.ndarray) -> np.ndarray:
    """The same counts in bins of twice the width."""
    wide = np.zeros_like(counts)
    wide[BINS // 4 : BINS // 4 + BINS // 2] = counts.reshape(-1, 2).sum(1)
    return wide
