"""Training a detector of centres (CenterNet, arXiv 1904.07850; CoDeNet, arXiv 2006.08357)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgevision.compress.augment_boxes import augment_with_boxes, check_box_augmentation
from edgevision.compress.centre_loss import centre_loss
from edgevision.compress.centre_targets import centre_targets
from edgevision.compress.pixels import fits, normalised, scaled
from edgevision.compress.train_settings import TrainSettings
from edgevision.data.average_precision import load_pycocotools
from edgevision.data.detection import DetectionSet, DetectionSplit, Objects
from edgevision.data.metric import Metric


@dataclass
class Detection:
    """Boxes around objects: focal loss at the centres, absolute errors of size and offset.

    Raises:
        UsageError: there is no train split, or the augmentation would make boxes wrong.
        ToolMissing: pycocotools, which the score at the end needs, is not installed.
    """

    dataset: DetectionSet
    settings: TrainSettings
    metric: Metric = "AP50"
    split: DetectionSplit = field(init=False)

    def __post_init__(self) -> None:
        load_pycocotools()
        check_box_augmentation(self.settings.augmentation)
        self.split = self.dataset.split("train")
        self._kept: dict[int, tuple[np.ndarray, Objects]] = {}
        self._keeps = fits(len(self.split), self.split.preprocessing)

    def batch(
        self, chosen: np.ndarray, size: int | None, generator: torch.Generator
    ) -> tuple[Tensor, tuple[Objects, ...]]:
        """Letterboxed images, and their objects in pixels of these."""
        pairs = [
            augment_with_boxes(*self._image(int(index)), self.settings.augmentation, generator) for index in chosen
        ]
        images, objects = scaled(np.stack([pixels for pixels, _ in pairs])), tuple(these for _, these in pairs)
        if size is not None and size != images.shape[-1]:
            shares = np.asarray([size / images.shape[-1], size / images.shape[-2]] * 2, np.float32)
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
            objects = tuple(Objects(these.boxes * shares, these.classes, these.difficult) for these in objects)
        return normalised(images, self.split.preprocessing), objects

    def loss(self, outputs: Tensor, targets: Sequence[Objects]) -> Tensor:
        """The sum of the three terms; outputs are the maps (N, classes + 4, rows, columns)."""
        rows, columns = outputs.shape[2:]
        return centre_loss(outputs, centre_targets(targets, len(self.dataset.classes), (rows, columns))).total

    def _image(self, index: int) -> tuple[np.ndarray, Objects]:
        """Image and objects before augmentation; decoded once where all of them are small enough to keep."""
        if index not in self._kept:
            pixels, objects, _ = self.split.letterboxed(index)
            if not self._keeps:
                return pixels, objects
            self._kept[index] = pixels, objects
        return self._kept[index]
