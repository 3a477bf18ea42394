"""How good a network's outputs are, whatever it is for: images with their truths, a meter, and when two answers differ.

Outputs are arrays, so the same code judges torch, onnxruntime and a board.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgevision.compress.box_scoring import BoxScoring
from edgevision.compress.field_scoring import FieldScoring
from edgevision.data.dataset import Split
from edgevision.data.detection import DetectionSet
from edgevision.data.evaluate import Top1
from edgevision.data.metric import AnySet, Metric, Score
from edgevision.data.wave import WaveSet
from edgevision.errors import UsageError
from edgevision.progress import Progress, silent


class Meter(Protocol):
    """Gathers what a network answered, batch by batch."""

    @property
    def total(self) -> int:
        """Images so far."""

    def add(self, answers: Any, truths: Any) -> None:
        """Take in the answers to one batch; `UsageError` where they cannot be judged."""

    def score(self) -> Score:
        """How good the answers so far are; `UsageError` when there are none."""


class Scoring(Protocol):
    """Images of one split and how answers about them are judged."""

    @property
    def metric(self) -> Metric:
        """What the score is called."""

    def __len__(self) -> int:
        """Images there are."""

    def refuse(self, shape: tuple[int, ...], where: str) -> None:
        """Raise `UsageError` unless a network with outputs of `shape` can be judged here."""

    def batches(self, batch: int, *, limit: int | None = None) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield images, float32 (N, C, H, W), and what `Meter.add` wants to know of them."""

    def answers(self, outputs: np.ndarray) -> Any:
        """What the outputs of a batch, (N, ...), say."""

    def meter(self) -> Meter:
        """A new meter."""

    def differing(self, answers: Any, others: Any) -> int:
        """Images of a batch about which two networks say different things."""


@dataclass(frozen=True)
class LabelScoring:
    """Top-1: one label for each image."""

    split: Split
    classes: tuple[str, ...]
    metric: Metric = "top-1"

    def __len__(self) -> int:
        return len(self.split)

    def refuse(self, shape: tuple[int, ...], where: str) -> None:
        """Raise unless there is an output for each class; a network may tell more classes apart."""
        if shape[-1] < len(self.classes):
            raise UsageError(
                f"expected at least {len(self.classes)} outputs, one for each class, got {shape[-1]}",
                where=where,
                fix="use the data the network was trained on",
            )

    def batches(self, batch: int, *, limit: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images and labels, int64 (N,)."""
        return self.split.batches(batch, limit=limit)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """Logits (N, classes)."""
        return outputs.reshape(len(outputs), -1)

    def meter(self) -> Top1:
        """Counts what is right."""
        return Top1()

    def differing(self, answers: np.ndarray, others: np.ndarray) -> int:
        """Images whose largest logit is another class's."""
        return int((answers.argmax(1) != others.argmax(1)).sum())


def scoring_of(data: AnySet, split: str = "test") -> Scoring:
    """How networks are judged on a split of `data`.

    Raises:
        UsageError: there is no such split.
    """
    if isinstance(data, WaveSet):
        return FieldScoring(data.split(split))
    if isinstance(data, DetectionSet):
        return BoxScoring(data.split(split), data.classes)
    return LabelScoring(data.split(split), data.classes)


def score(
    scoring: Scoring,
    predict: Callable[[np.ndarray], np.ndarray],
    *,
    batch: int = 32,
    limit: int | None = None,
    progress: Progress = silent,
) -> Score:
    """Judge `predict`, from float32 images (N, C, H, W) to outputs (N, ...), on the first `limit` images.

    Raises:
        UsageError: the outputs hold NaN or are not those of such a network, or there are no images.
    """
    total = len(scoring) if limit is None else min(limit, len(scoring))
    meter = scoring.meter()
    for images, truths in scoring.batches(batch, limit=limit):
        meter.add(scoring.answers(np.asarray(predict(images))), truths)
        progress("evaluate", meter.total, total)
    return meter.score()
