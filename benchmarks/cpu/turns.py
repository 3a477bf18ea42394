"""Engines taking turns, and what is kept of their windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.common import progress
from edgevision.profile.engines import Engine
from edgevision.profile.interleave import measure
from edgevision.profile.profile import Protocol
from edgevision.profile.statistics import latency


def take_turns(engines: Sequence[Engine], protocol: Protocol, what: str) -> dict[str, Any]:
    """Median, interval and window medians in milliseconds of every engine, by name; window i of all is round i."""
    windows = measure(engines, protocol)
    progress(
        what, 1, 1, ", ".join(f"{n} {np.median([np.median(w) for w in ws]) / 1e6:.3g} ms" for n, ws in windows.items())
    )
    found = {}
    for name, timed in windows.items():
        summary = latency(timed)
        found[name] = {
            "median_ms": summary.median.value,
            "interval_ms": [summary.median.low, summary.median.high],
            "p90_ms": summary.p90,
            "runs": summary.runs,
            "window_ms": [float(np.median(window)) / 1e6 for window in timed],
        }
    return found
