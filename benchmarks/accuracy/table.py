"""Rows of arms, and paired differences between two arms on the same test images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.accuracy.run import Result


def paired(ours: Sequence[Result], theirs: Sequence[Result]) -> tuple[float, float]:
    """Mean difference in points of the seeds both arms have, and its standard error over the test images.

    Each image counts once, with the mean over seeds of its difference: seeds share their images. The error does not
    hold what another draw of seeds would change; the rows show each seed.
    """
    right = {result.seed: result for result in theirs}
    differences = [_hits(result) - _hits(right[result.seed]) for result in ours if result.seed in right]
    if not differences:
        raise ValueError("the two arms have no seed in common")
    mean = np.mean(differences, axis=0)
    return 100 * float(mean.mean()), 100 * float(mean.std(ddof=1)) / len(mean) ** 0.5


def _hits(result: Result) -> np.ndarray:
    return np.frombuffer(result.hits.encode(), np.uint8).astype(np.int64) - ord("0")


def lines(results: Sequence[Result], baseline: str = "sign") -> list[str]:
    """A Markdown table: accuracy of each seed, and the paired difference to `baseline` where both were run."""
    arms = {name: [r for r in results if r.arm == name] for name in dict.fromkeys(r.arm for r in results)}
    made = [f"| arm | top-1 by seed, % | to {baseline}, points |", "|---|---:|---:|"]
    for name, rows in arms.items():
        shown = ", ".join(f"{row.top1_percent:.2f}" for row in rows)
        difference = "-"
        seeds = {row.seed for row in arms.get(baseline, [])}
        if name != baseline and seeds & {row.seed for row in rows}:
            points, error = paired(rows, arms[baseline])
            difference = f"{points:+.2f} +- {error:.2f}"
        made.append(f"| {name} | {shown} | {difference} |")
    return made
