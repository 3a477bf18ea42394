"""What a network is trained for: the images and targets of a step, the loss, and the score. The loop knows no more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgevision.compress.augment import augment
from edgevision.compress.detection_task import Detection
from edgevision.compress.field_task import FieldPrediction
from edgevision.compress.pixels import fits, normalised, scaled
from edgevision.compress.train_settings import TrainSettings
from edgevision.data.dataset import DataSet, Split
from edgevision.data.detection import DetectionSet
from edgevision.data.metric import AnySet, Metric
from edgevision.data.wave import WaveSet


class Task(Protocol):
    """What `train` asks of a task."""

    @property
    def metric(self) -> Metric:
        """What the score is called."""

    def batch(self, chosen: np.ndarray, size: int | None, generator: torch.Generator) -> tuple[Tensor, Any]:
        """Augmented and normalised training images, float32 (N, C, H, W), channels last, and their targets.

        Args:
            chosen: indices into the train split.
            size: side in pixels; None for that of the preprocessing.
            generator: every random number comes from it.
        """

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """The mean loss of a batch, a scalar."""


@dataclass
class Classification:
    """One label for each image: cross entropy with label smoothing."""

    dataset: DataSet
    settings: TrainSettings
    metric: Metric = "top-1"
    split: Split = field(init=False)

    def __post_init__(self) -> None:
        self.split = self.dataset.split("train")
        keep = fits(len(self.split), self.split.preprocessing)
        self._pixels = self.split.pixels(range(len(self.split))) if keep else None

    def batch(self, chosen: np.ndarray, size: int | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images and labels, int64 (N,)."""
        raw = self._pixels[chosen] if self._pixels is not None else self.split.pixels(chosen.tolist())
        changed = augment(scaled(raw), self.settings.augmentation, generator)
        if size is not None and size != changed.shape[-1]:
            changed = F.interpolate(changed, (size, size), mode="bilinear", antialias=True, align_corners=False)
        return normalised(changed, self.split.preprocessing), torch.from_numpy(self.split.labels[chosen])

    def loss(self, outputs: Tensor | tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """Mean over the heads; outputs are the logits of one or of several."""
        heads = outputs if isinstance(outputs, tuple) else (outputs,)
        smoothing = self.settings.label_smoothing
        return torch.stack([F.cross_entropy(head, targets, label_smoothing=smoothing) for head in heads]).mean()


def task_of(dataset: AnySet, settings: TrainSettings) -> Task:
    """What networks are trained for on `dataset`.

    Raises:
        UsageError: it has no train split.
    """
    if isinstance(dataset, WaveSet):
        return FieldPrediction(dataset, settings)
    return Detection(dataset, settings) if isinstance(dataset, DetectionSet) else Classification(dataset, settings)
