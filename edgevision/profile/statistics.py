"""What a set of timings says: median, percentiles, and intervals that admit the machine's mood.

Runs inside one window share the machine's state (frequency, neighbours, caches), so they are not independent; windows
minutes or rounds apart nearly are. Every interval here is over windows, never over single runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

CONFIDENCE = 0.95


class Interval(msgspec.Struct, frozen=True):
    """A figure and its 95 % confidence interval, in the unit of the figure."""

    value: float
    low: float
    high: float


class Latency(msgspec.Struct, frozen=True):
    """Latency of one inference, in milliseconds.

    Attributes:
        median: median of the window medians, with its order-statistics interval (MLPerf Tiny: median of windows).
        p90, iqr, minimum: over all single runs.
        runs, windows: how many of each.
    """

    median: Interval
    p90: float
    iqr: float
    minimum: float
    runs: int
    windows: int


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Median with a distribution-free interval from order statistics (David and Nagaraja, Order Statistics, 7.1).

    The interval [x_(k), x_(n+1-k)] covers the true median with probability 1 - 2 P(Bin(n, 1/2) < k). With fewer than
    six values no such interval reaches 95 %, and the whole range is returned.

    >>> median_interval([4.0, 1.0, 3.0, 2.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    Interval(value=5.0, low=2.0, high=8.0)
    """
    ordered = sorted(values)
    n = len(ordered)
    if n == 0:
        raise ValueError("expected at least one value")
    k, tail = 0, 0.0
    while k < n // 2:
        tail += math.comb(n, k) / 2**n
        if 2 * tail > 1 - confidence:
            break
        k += 1
    k = max(k, 1)
    return Interval(float(np.median(ordered)), float(ordered[k - 1]), float(ordered[n - k]))


def latency(windows_ns: Sequence[Sequence[int]]) -> Latency:
    """Summarise windows of single-run times in nanoseconds.

    >>> latency([[1_000_000, 3_000_000, 2_000_000], [4_000_000]]).median.value
    3.0
    """
    medians = [float(np.median(window)) / 1e6 for window in windows_ns]
    runs = np.concatenate([np.asarray(window, np.float64) for window in windows_ns]) / 1e6
    q1, q3, p90 = np.percentile(runs, [25, 75, 90])
    return Latency(
        median=median_interval(medians),
        p90=float(p90),
        iqr=float(q3 - q1),
        minimum=float(runs.min()),
        runs=int(runs.size),
        windows=len(medians),
    )


def paired_ratio(
    numerator: Sequence[float], denominator: Sequence[float], *, confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """Median over rounds of numerator / denominator, with a percentile bootstrap over rounds.

    Round i of both was taken next to each other, so noise that hits a round hits both and cancels in the quotient.

    >>> paired_ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    Interval(value=2.0, low=2.0, high=2.0)
    """
    if len(numerator) != len(denominator) or not len(numerator):
        raise ValueError(f"expected as many rounds of both, got {len(numerator)} and {len(denominator)}")
    quotients = np.asarray(numerator, np.float64) / np.asarray(denominator, np.float64)
    draws = np.random.default_rng(seed).integers(0, quotients.size, (4000, quotients.size))
    resampled = np.median(quotients[draws], axis=1)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return Interval(float(np.median(quotients)), float(low), float(high))
