"""One case: a network in one arithmetic with some threads, measured beside what the calibration says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cpu.bundles import Built, engine
from edgevision import bundle as bundles
from edgevision.profile.against_model import beside
from edgevision.profile.calibration import Calibration
from edgevision.profile.interleave import measure
from edgevision.profile.measure import steps
from edgevision.profile.profile import Protocol, StepProfile
from edgevision.profile.work import works_of

#: Timed runs of the steps, after some warm-up.
RUNS, WARMUP = 30, 3


def case(built: Built, model: Calibration, threads: int, protocol: Protocol) -> dict[str, Any]:
    """Latency and steps of a bundle, measured and predicted."""
    opened = engine("edgevision", built, threads)
    bundle = bundles.load(Path(built.folder))
    windows = measure([opened], protocol)["edgevision"]
    timed = steps(opened.steps(RUNS, WARMUP), bundle.manifest.steps)
    predicted_ms, rows = beside(model, works_of(bundle), timed)
    measured_ms = float(np.median([np.median(window) for window in windows])) / 1e6
    return {
        "measured_ms": measured_ms,
        "predicted_ms": predicted_ms,
        "error": predicted_ms / measured_ms - 1,
        "steps": errors(rows),
        "worst": [
            {"label": row.label, "family": row.family, "predicted_us": row.predicted_us, "measured_us": row.median_us,
             "cause": row.cause}
            for row in sorted(rows, key=lambda row: -abs((row.predicted_us or 0.0) - row.median_us))[:5]
        ],
    }  # fmt: skip


def errors(rows: tuple[StepProfile, ...]) -> dict[str, float]:
    """Over all steps, short ones too: mean absolute error, the same weighted by time, shares within 5 and 10 %.

    >>> row = StepProfile(0, "a", "gemm", 0, False, 10.0, 1.0, predicted_us=11.0)
    >>> round(errors((row,))["mape"], 3)
    0.1
    """
    error = np.abs([row.error or 0.0 for row in rows])
    weight = np.array([row.median_us for row in rows])
    return {
        "count": len(rows),
        "mape": float(error.mean()),
        "weighted": float((error * weight).sum() / weight.sum()),
        "within_5": float((error <= 0.05).mean()),
        "within_10": float((error <= 0.1).mean()),
    }


def summary(cases: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Over all cases: signed error of the latency, shares within 5 and 10 %, mean over steps."""
    signed = np.array([one["error"] for one in cases.values()])
    return {
        "cases": len(cases),
        "latency_mean_error": float(signed.mean()),
        "latency_mape": float(np.abs(signed).mean()),
        "latency_within_5": float((np.abs(signed) <= 0.05).mean()),
        "latency_within_10": float((np.abs(signed) <= 0.1).mean()),
        "worst_case": max(cases, key=lambda name: abs(cases[name]["error"])),
        "step_mape": float(np.mean([one["steps"]["mape"] for one in cases.values()])),
        "step_within_5": float(np.mean([one["steps"]["within_5"] for one in cases.values()])),
        "step_within_10": float(np.mean([one["steps"]["within_10"] for one in cases.values()])),
    }
