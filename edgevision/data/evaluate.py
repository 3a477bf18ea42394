"""Top-1 accuracy of anything that turns images into logits, with the interval its number of images allows."""

from __future__ import annotations

import math
from collections.abc import Callable

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
    correct = done = 0
    for images, labels in split.batches(batch, limit=limit):
        logits = np.asarray(predict(images))
        if logits.ndim != 2 or len(logits) != len(labels):
            raise UsageError(f"expected logits of shape ({len(labels)}, classes), got {logits.shape}")
        if np.isnan(logits).any():
            raise UsageError("the network's output holds NaN", where=f"images {done} to {done + len(labels) - 1}")
        correct += int((logits.argmax(1) == labels).sum())
        done += len(labels)
        progress("evaluate", done, total)
    if not total:
        raise UsageError("expected at least one image to evaluate on, got none")
    return Accuracy(correct, total)
