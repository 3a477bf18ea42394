"""Whether engines that should compute the same do: accuracy of each, and largest difference to its reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgevision.compress.scoring import Scoring
from edgevision.data.metric import Score
from edgevision.progress import Progress, silent

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Agreement:
    """One engine on images whose labels or objects are known.

    Attributes:
        max_abs_error: largest absolute difference of any output to the reference; None without one.
        differing: images about which it says something else than the reference (`Scoring.differing`).
    """

    accuracy: Score
    max_abs_error: float | None
    differing: int | None


def agreement(
    engines: Mapping[str, Predict],
    references: Mapping[str, str],
    scoring: Scoring,
    *,
    batch: int = 32,
    limit: int | None = None,
    progress: Progress = silent,
) -> dict[str, Agreement]:
    """Show every engine the same images.

    Args:
        engines: float32 (N, C, H, W) to outputs (N, ...), by name.
        references: for an engine, the name of the one it is compared with.
        scoring: the images, and how answers are judged.
        batch: images in memory at a time.
        limit: stop after this many.
    """
    meters = {name: scoring.meter() for name in engines}
    worst = dict.fromkeys(references, 0.0)
    differing = dict.fromkeys(references, 0)
    total = len(scoring) if limit is None else min(limit, len(scoring))
    done = 0
    for images, truths in scoring.batches(batch, limit=limit):
        outputs = {name: predict(images) for name, predict in engines.items()}
        answers = {name: scoring.answers(output) for name, output in outputs.items()}
        for name, meter in meters.items():
            meter.add(answers[name], truths)
        for name, other in references.items():
            gap = np.abs(outputs[name].reshape(len(images), -1) - outputs[other].reshape(len(images), -1))
            worst[name] = max(worst[name], float(gap.max()))
            differing[name] += scoring.differing(answers[name], answers[other])
        done += len(images)
        progress("accuracy", done, total, f"{len(engines)} engines")
    return {name: Agreement(meters[name].score(), worst.get(name), differing.get(name)) for name in engines}
