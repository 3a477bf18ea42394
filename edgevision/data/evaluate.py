"""Top-1 accuracy of anything that turns images into logits, with the interval its number of images allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from edgevision.data.dataset import Split
from edgevision.errors import UsageError
from edgevision.progress import Progress, silent

_Z95 = 1.959963984540054


class Accuracy(msgspec.Struct, frozen=True):
    """Correct answers out of `total`.

    >>> accuracy = Accuracy(440, 500)
    >>> accuracy.percent, [round(bound, 2) for bound in accuracy.interval]
    (88.0, [84.86, 90.56])
    """

    correct: int
    total: int

    @property
    def percent(self) -> float:
        """Share of correct answers, in percent."""
        return 100 * self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval in percent (Wilson's score interval: right for few images and for shares near 0 and 1)."""
        n, share = self.total, self.correct / self.total
        centre = share + _Z95**2 / (2 * n)
        spread = _Z95 * math.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n * n))
        low, high = ((centre + sign * spread) / (1 + _Z95**2 / n) for sign in (-1, 1))
        # Rounding may put a bound on the wrong side of the share itself when all or none are right.
        return 100 * max(0.0, min(low, share)), 100 * min(1.0, max(high, share))


@dataclass
class Top1:
    """Counts the images whose largest logit is their label, batch by batch."""

    correct: int = 0
    total: int = 0

    def add(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Count one batch: logits (N, classes), labels (N,).

        Raises:
            UsageError: there is not one row for each image, or a value is NaN.
        """
        if logits.ndim != 2 or len(logits) != len(labels):
            raise UsageError(f"expected logits of shape ({len(labels)}, classes), got {logits.shape}")
        if np.isnan(logits).any():
            last = self.total + len(labels) - 1
            raise UsageError("the network's output holds NaN", where=f"images {self.total} to {last}")
        self.correct += int((logits.argmax(1) == labels).sum())
        self.total += len(labels)

    def score(self) -> Accuracy:
        """What was counted so far.

        Raises:
            UsageError: nothing was.
        """
        if not self.total:
            raise UsageError("expected at least one image to evaluate on, got none")
        return Accuracy(self.correct, self.total)


def top1(
    predict: Callable[[np.ndarray], np.ndarray],
    split: Split,
    *,
    batch: int = 32,
    limit: int | None = None,
    progress: Progress = silent,
) -> Accuracy:
    """Count the images whose largest logit is their label.

    Args:
        predict: float32 (N, C, H, W), normalised, to logits (N, classes).
        split: labelled images.
        batch: images for one call of `predict`.
        limit: stop after this many images.
        progress: told after every batch.

    Raises:
        UsageError: the logits do not have one row for each image, or hold NaN.
    """
    total = len(split) if limit is None else min(limit, len(split))
    meter = Top1()
    for images, labels in split.batches(batch, limit=limit):
        meter.add(np.asarray(predict(images)), labels)
        progress("evaluate", meter.total, total)
    return meter.score()
