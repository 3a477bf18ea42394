"""Where a network's time goes: ideal time at this machine's peak, the floor memory sets, and what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import progress
from benchmarks.cpu import bundles, peak
from benchmarks.cpu.bundles import Built
from benchmarks.cpu.prepare import Prepared

RUNS, WARMUP, SLOWEST = 30, 3, 5
#: A step that reaches half of what a resource could give is bound by it.
BOUND = 0.5


def measured(made: Prepared, work: Path) -> dict[str, Any]:
    """The waterline of our float and int8 bundle on one thread."""
    limits = peak.measured(work)
    found = {}
    for kind, built in bundles.every_kind(made, work).items():
        found[kind] = _line(built, limits)
        progress(f"waterline {built.folder.name}", 1, 1, f"{found[kind]['measured_ms']:.3g} ms")
    return found


def _line(built: Built, limits: peak.Limits) -> dict[str, Any]:
    engine = bundles.engine("edgevision", built, 1)
    manifest = bundles.manifest_of(engine)
    timed = engine.steps(RUNS, WARMUP)
    traffic = sum(built.step_bytes)
    bandwidth = limits.bandwidth(manifest.weights_bytes + manifest.arena_bytes)
    steps = [
        step(
            info.label, info.family, float(np.median(ns.ns)) / 1e3, info.macs, built.step_bytes[ns.index],
            limits.macs_per_s(integer=info.integer), limits.bandwidth(built.step_bytes[ns.index]),
        )
        for info, ns in zip(manifest.steps, timed.steps, strict=True)
    ]  # fmt: skip
    ideal = [info.macs / rate if (rate := limits.macs_per_s(integer=info.integer)) else None for info in manifest.steps]
    return {
        "ideal_ms": None if None in ideal else 1e3 * sum(x for x in ideal if x is not None),
        "memory_ms": 1e3 * traffic / bandwidth,
        "measured_ms": float(np.median(timed.run_ns)) / 1e6,
        "step_sum_ms": sum(row["us"] for row in steps) / 1e3,
        "traffic_bytes": traffic,
        "macs": manifest.macs,
        "slowest": sorted(steps, key=lambda row: -row["us"])[:SLOWEST],
        "families_us": families(steps),
    }


def step(
    label: str, family: str, us: float, macs: int, touched: int, macs_per_s: float | None, bandwidth: float
) -> dict[str, Any]:
    """One step against both limits: the share of each it reaches, and what bounds it.

    >>> step("a", "gemm", 10.0, 900_000, 100_000, 100e9, 100e9)["bound"]
    'arithmetic'
    """
    of_peak = macs / macs_per_s / (us * 1e-6) if macs_per_s and us else None
    of_bandwidth = touched / bandwidth / (us * 1e-6) if us else 0.0
    shares = {"arithmetic": of_peak or 0.0, "memory": of_bandwidth}
    most = max(shares, key=lambda what: shares[what])
    return {
        "label": label,
        "family": family,
        "us": us,
        "macs": macs,
        "bytes": touched,
        "of_peak": of_peak,
        "of_bandwidth": of_bandwidth,
        "bound": most if shares[most] >= BOUND else "neither: its instructions",
    }


def families(steps: list[dict[str, Any]]) -> dict[str, float]:
    """Microseconds of each kernel family, the most first.

    >>> families([{"family": "gemm", "us": 2.0}, {"family": "pool", "us": 5.0}, {"family": "gemm", "us": 1.0}])
    {'pool': 5.0, 'gemm': 3.0}
    """
    total: dict[str, float] = {}
    for row in steps:
        total[row["family"]] = total.get(row["family"], 0.0) + row["us"]
    return dict(sorted(total.items(), key=lambda item: -item[1]))
