"""From the pieces to the figures that count: means over seeds and quotients to the dense twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.surrogate.training import DENSE

#: Figures of a run whose mean over seeds is given.
_MEANS = ("test_error", "train_error", "test_over_train", "seconds")


def summary(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """For each form, from its runs: sizes, means and sample deviations over seeds, and what they are to dense.

    Quotients of errors are paired by seed.
    """
    dense = runs[DENSE]
    found = {}
    for form, own in runs.items():
        row: dict[str, Any] = {"parameters": own[0]["parameters"], "macs": own[0]["macs"], "seeds": len(own)}
        for name in _MEANS:
            values = [run[name] for run in own]
            row[name] = float(np.mean(values))
            row[f"{name}_deviation"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        row["rollout_error_at_end"] = float(np.mean([run["rollout_error"][-1] for run in own]))
        row["energy_drift_at_end"] = float(np.mean([run["energy_drift"][-1] for run in own]))
        row["fewer_parameters"] = dense[0]["parameters"] / own[0]["parameters"]
        row["fewer_macs"] = dense[0]["macs"] / own[0]["macs"]
        pairs = zip(own, dense, strict=True)
        row["error_over_dense"] = float(np.mean([run["test_error"] / other["test_error"] for run, other in pairs]))
        found[form] = row
    return found


def against_solver(solver: Mapping[str, Any], deployed: Mapping[str, Any]) -> dict[str, Any]:
    """How many times faster each deployed network is than the solver, by mesh; networks that failed are left out."""
    return {
        recipe: {mesh: 1e3 * cost["seconds"] / one["milliseconds"] for mesh, cost in solver.items()}
        for recipe, one in deployed.items()
        if "milliseconds" in one
    }


def table(result: Mapping[str, Any]) -> str:
    """The summary for people, as Markdown; parts that were not measured are left out."""
    lines = [
        "| network | parameters | fewer | MACs | fewer | error, % | / dense | test / train | roll-out, % | energy, % |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for form, row in result.get("summary", {}).items():
        lines.append(
            f"| {form} | {row['parameters']:,} | {row['fewer_parameters']:.1f}x | {row['macs'] / 1e6:.1f} M "
            f"| {row['fewer_macs']:.1f}x | {100 * row['test_error']:.2f} | {row['error_over_dense']:.3f} "
            f"| {row['test_over_train']:.2f} | {100 * row['rollout_error_at_end']:.1f} "
            f"| {100 * row['energy_drift_at_end']:+.1f} |"
        )
    lines += [f"\nsolver, {mesh}: {1e3 * cost['seconds']:.2f} ms a window, error {100 * cost['error']:.2f} %"
              for mesh, cost in result.get("solver", {}).items()]  # fmt: skip
    for recipe, ratios in result.get("times_faster_than_solver", {}).items():
        lines.append(f"{recipe}: " + ", ".join(f"{value:.1f}x {mesh}" for mesh, value in ratios.items()))
    for form, cost in result.get("training_step", {}).items():
        lines.append(f"training step, {form}: {1e3 * cost['seconds']:.1f} ms, {cost['over_dense']:.3f} of dense")
    return "\n".join(lines)
