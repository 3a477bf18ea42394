"""Which range of an activation its integers cover: all that was seen, or less, so that common values are told apart.

"percentile" leaves out the outermost values, "mse" takes the range of least squared error, "kl" the one whose
quantised distribution diverges least from the one seen (Migacz, "8-bit inference with TensorRT", GTC 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from edgevision.compress.histogram import BINS, Histogram

Ranges = Literal["min_max", "percentile", "mse", "kl"]
#: Of centres, counts, both ends of a range and levels.
Cost = Callable[[np.ndarray, np.ndarray, float, float, int], float]
#: Share of the values left out on either side.
OUTSIDE = 1e-4
#: Share of the values that a range of least divergence holds at least.
INSIDE = 0.99
#: Ranges tried, as shares of the extremes.
_SHARES = np.linspace(1.0, 0.1, 91)
_ROUNDS = 2


def chosen(histogram: Histogram, how: Ranges, levels: int = 256) -> tuple[float, float]:
    """Lower and upper end of the range, which holds zero.

    Args:
        histogram: of at least one value.
        levels: integers there are.
    """
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if how == "min_max" or low == high:
        return low, high
    if how == "percentile":
        return _percentile(histogram, low, high)
    return _searched(histogram, low, high, levels, squared_error if how == "mse" else divergence)


def _percentile(histogram: Histogram, low: float, high: float) -> tuple[float, float]:
    total = np.cumsum(histogram.counts)
    edges = (np.arange(BINS + 1) - BINS / 2) * (2 * histogram.reach / BINS)
    least = edges[int(np.searchsorted(total, OUTSIDE * total[-1], side="right"))]
    most = edges[int(np.searchsorted(total, (1 - OUTSIDE) * total[-1])) + 1]
    return max(low, min(float(least), 0.0)), min(high, max(float(most), 0.0))


def _searched(histogram: Histogram, low: float, high: float, levels: int, cost: Cost) -> tuple[float, float]:
    """The ends of least cost, one moved after the other; a tie keeps the wider range."""
    filled = np.flatnonzero(histogram.counts)
    centres, counts = histogram.centres[filled], histogram.counts[filled].astype(np.float64)
    best, ends = cost(centres, counts, low, high, levels), (low, high)
    for _ in range(_ROUNDS):
        before = ends
        for side in (1, 0):
            for share in _SHARES:
                tried = (low * share, ends[1]) if side == 0 else (ends[0], high * share)
                if tried[0] == tried[1]:
                    continue
                found = cost(centres, counts, tried[0], tried[1], levels)
                if found < best:
                    best, ends = found, tried
        if ends == before:
            break
    return ends


def squared_error(centres: np.ndarray, counts: np.ndarray, low: float, high: float, levels: int = 256) -> float:
    """Sum over all values of the squared difference to the nearest of `levels` steps from `low` to `high`."""
    step = (high - low) / (levels - 1)
    nearest = np.rint(np.clip((centres - low) / step, 0, levels - 1)) * step + low
    return float(np.sum(counts * (centres - nearest) ** 2))


def divergence(centres: np.ndarray, counts: np.ndarray, low: float, high: float, levels: int = 256) -> float:
    """Kullback-Leibler divergence of what `levels` equal steps make of the values from the values themselves.

    Infinite for a range that most values lie beyond: all of them in one step would be themselves again.
    Both in the bins of the histogram: a step spreads its count evenly over those of its bins that hold something. What
    lies outside is counted at the ends of the first, and nowhere in the second.
    """
    step = (high - low) / (levels - 1)
    inside = (centres >= low - step / 2) & (centres <= high + step / 2)
    if counts[inside].sum() < INSIDE * counts.sum():
        return np.inf
    seen = counts[inside].copy()
    seen[0] += counts[centres < low - step / 2].sum()
    seen[-1] += counts[centres > high + step / 2].sum()
    places = np.rint(np.clip((centres[inside] - low) / step, 0, levels - 1)).astype(np.int64)
    sums = np.bincount(places, weights=counts[inside], minlength=levels)
    filled = np.bincount(places, minlength=levels)
    spread = (sums / np.maximum(filled, 1))[places]
    p, q = seen / seen.sum(), spread / spread.sum()
    return float(np.sum(p * np.log(p / q)))
