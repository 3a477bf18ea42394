"""The loss of a detector of centres (CenterNet, arXiv 1904.07850, equations 1 to 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from edgevision.compress.centre_targets import CentreTargets
from edgevision.errors import UsageError

_ALPHA, _BETA = 2, 4


@dataclass(frozen=True, eq=False)
class CentreLoss:
    """The three terms, each a scalar already multiplied by its weight."""

    focal: Tensor
    size: Tensor
    offset: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.focal + self.size + self.offset


def centre_loss(
    maps: Tensor, targets: CentreTargets, *, size_weight: float = 0.1, offset_weight: float = 1.0
) -> CentreLoss:
    """Compare maps with targets; every term is a sum over the batch divided by its number of objects, at least 1.

    A map that is not finite gives a loss that is not; the training loop stops there.

    Args:
        maps: (N, classes + 4, h, w): logits of centres, then width and height in cells, then offset in x and y.
        targets: of the same batch.
        size_weight: of the absolute error of width plus height, in cells.
        offset_weight: of the absolute error of x plus y, in cells.

    Raises:
        UsageError: maps and targets differ in batch, classes or grid.
    """
    count, classes, rows, columns = targets.heat.shape
    if maps.shape != (count, classes + 4, rows, columns):
        raise UsageError(
            f"expected maps of shape {(count, classes + 4, rows, columns)}: {classes} classes, 2 sizes, 2 offsets; "
            f"got {tuple(maps.shape)}",
            where="centre loss",
        )
    objects = max(1, targets.objects)
    return CentreLoss(
        focal=focal_loss(maps[:, :classes], targets.heat, targets.counted) / objects,
        size=size_weight * _absolute(maps[:, classes:-2], targets.sizes, targets.centres) / objects,
        offset=offset_weight * _absolute(maps[:, -2:], targets.offsets, targets.centres) / objects,
    )


def focal_loss(logits: Tensor, heat: Tensor, counted: Tensor) -> Tensor:
    """Sum of the penalty-reduced focal loss over all places, alpha 2 and beta 4.

    `logsigmoid` of the logits, and never a logarithm of a score: a score of exactly 0 or 1 would give infinite loss.

    Args:
        logits: (N, classes, h, w).
        heat: of the same shape; 1 is an object, less is background of weight (1 - heat)^4.
        counted: bool of the same shape; background counts only where it is true.
    """
    centres = heat == 1
    there = logits[centres]
    missed = -(torch.sigmoid(-there) ** _ALPHA * F.logsigmoid(there)).sum()
    weight = (1 - heat) ** _BETA * counted
    invented = -(weight * torch.sigmoid(logits) ** _ALPHA * F.logsigmoid(-logits)).sum()
    return missed + invented


def _absolute(values: Tensor, wanted: Tensor, centres: Tensor) -> Tensor:
    """Sum of absolute differences of two maps (N, 2, h, w) at `centres` (N, h, w)."""
    return (values.movedim(1, -1)[centres] - wanted.movedim(1, -1)[centres]).abs().sum()
