"""Whether a measurement can be trusted: throttling, drift, other work on the machine, spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgevision.profile.statistics import Latency

#: A clock this much lower after than before, or windows this much slower at the end, count as throttling.
DRIFT = 0.05
#: Interquartile range over median above which single runs are called noisy.
SPREAD = 0.10
#: Processor time other processes took, in cores.
OTHER_LOAD = 0.25


def flags(
    windows_ms: Mapping[str, Sequence[float]],
    latencies: Mapping[str, Latency],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    other_load: float | None = None,
) -> tuple[str, ...]:
    """Name every reason to distrust a measurement; empty when there is none.

    Args:
        windows_ms: window medians of each engine in the order taken.
        latencies: their summaries.
        before, after: facts of the device around the measurement; frequencies are compared when known.
        other_load: cores kept busy by other processes during the measurement; None where unknown.
    """
    found: list[str] = []
    slower = clock_drop(before, after)
    if slower is not None and slower > DRIFT:
        found.append(f"throttled: the clock fell by {slower:.0%} during the measurement")
    drifts = [drift(w) for w in windows_ms.values() if len(w) >= 6]
    # All engines slower together is the machine; one alone is its own behaviour and stays in its interval.
    if drifts and min(drifts) > DRIFT:
        found.append(
            f"throttled: the last windows of every engine are at least {min(drifts):.0%} slower than the first"
        )
    if other_load is not None and other_load > OTHER_LOAD:
        found.append(f"noisy: other processes kept {other_load:.1f} cores busy during the measurement")
    spreads = {name: value.iqr / value.median.value for name, value in latencies.items()}
    wild = [name for name, spread in spreads.items() if spread > SPREAD]
    if wild:
        worst = max(wild, key=lambda name: spreads[name])
        found.append(
            f"noisy: single runs of {len(wild)} of {len(spreads)} engines spread by up to {spreads[worst]:.0%} "
            f"(interquartile range / median, {worst})"
        )
    return tuple(found)


def drift(windows: Sequence[float]) -> float:
    """How much slower the last third of the windows is than the first.

    >>> round(drift([1.0, 1.0, 1.0, 1.1, 1.2, 1.2]), 2)
    0.2
    """
    third = max(1, len(windows) // 3)
    return float(np.median(windows[-third:]) / np.median(windows[:third]) - 1)


def clock_drop(before: Mapping[str, Any], after: Mapping[str, Any]) -> float | None:
    """Relative fall of the highest core frequency between two sets of facts; None where either is unknown."""
    start, end = highest_khz(before), highest_khz(after)
    return None if not start or not end else 1 - end / start


def highest_khz(facts: Mapping[str, Any]) -> float | None:
    """The fastest core's frequency in kHz, from one number or one per core."""
    value = facts.get("frequency_khz")
    if isinstance(value, (list, tuple)):
        known = [v for v in value if v]
        return float(max(known)) if known else None
    return float(value) if value else None
