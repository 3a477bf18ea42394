"""Training against a teacher: the divergence of its answers from the student's (ReActNet's distribution loss)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgevision.compress.augment import mixed
from edgevision.compress.task import Classification
from edgevision.data.metric import Metric


@dataclass
class Distillation:
    """mean over images of KL(teacher || student) of the classes' probabilities; labels are not used.

    Attributes:
        images: gives the augmented images of a step, which teacher and student both see.
        teacher: the float network in eval mode: float32 (N, C, H, W) to logits (N, classes).
    """

    images: Classification
    teacher: nn.Module
    metric: Metric = "top-1"

    def batch(self, chosen: np.ndarray, size: int | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images, and the teacher's log-probabilities, float32 (N, classes)."""
        images, _ = self.images.batch(chosen, size, generator)
        images = mixed(images, self.images.settings.augmentation, generator)
        with torch.no_grad():
            return images, self.teacher(images).log_softmax(-1)

    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """Mean over the heads; outputs are the logits of one or of several."""
        heads = outputs if isinstance(outputs, tuple) else (outputs,)
        losses = [F.kl_div(head.log_softmax(-1), targets, reduction="batchmean", log_target=True) for head in heads]
        return torch.stack(losses).mean()
