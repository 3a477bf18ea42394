"""The loss of a detector of centres (CenterNet, arXiv 1904.07850, equations 1 to 3), and one term for the overlap.

An absolute error of sizes counts a pixel of a large box like a pixel of a small one; the overlap is what detections are
judged by, so its loss (arXiv 1902.09630) stands beside it.
"""

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
    """The terms, each a scalar already multiplied by its weight."""

    focal: Tensor
    size: Tensor
    offset: Tensor
    overlap: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.focal + self.size + self.offset + self.overlap


def centre_loss(
    maps: Tensor,
    targets: CentreTargets,
    *,
    size_weight: float = 0.1,
    offset_weight: float = 1.0,
    overlap_weight: float = 1.0,
) -> CentreLoss:
    """Compare maps with targets: a sum over the batch divided by its number of objects, at least 1, for the centres.

    The other terms are means over cells, weighted as the targets say.

    A map that is not finite gives a loss that is not; the training loop stops there.

    Args:
        maps: (N, classes + 4, h, w): logits of centres, then width and height in cells, then offset in x and y.
        targets: of the same batch.
        size_weight: of the absolute error of width plus height, in cells.
        offset_weight: of the absolute error of x plus y, in cells.
        overlap_weight: of 1 minus the generalised intersection over union of box and object, 0 to 2.

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
    # Masked before anything is computed: most cells have no box, and what they hold must not reach the gradient.
    chosen = targets.weights > 0
    weights = targets.weights[chosen]
    values, wanted = (_at(each, chosen) for each in (maps[:, classes:], torch.cat([targets.sizes, targets.offsets], 1)))
    total = weights.sum().clamp(min=1)
    error = weights[:, None] * (values - wanted).abs()
    return CentreLoss(
        focal=focal_loss(maps[:, :classes], targets.heat, targets.counted) / max(1, targets.objects),
        size=size_weight * error[:, :2].sum() / total,
        offset=offset_weight * error[:, 2:].sum() / total,
        overlap=overlap_weight * (weights * (1 - generalised_overlap(values, wanted))).sum() / total,
    )


def generalised_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Generalised intersection over union of boxes (K, 4): width, height, x and y of the middle; (K,) in (-1, 1].

    Intersection over union, less the share of the smallest box around both that neither covers. A width or height below
    a thousandth counts as one.

    >>> boxes = torch.tensor([[2.0, 2.0, 0.0, 0.0], [2.0, 2.0, 4.0, 0.0]])
    >>> [round(value, 3) for value in generalised_overlap(boxes, boxes[[0, 0]]).tolist()]
    [1.0, -0.333]
    """
    sides = [boxes[:, :2].clamp(min=1e-3) for boxes in (first, second)]
    low = [boxes[:, 2:] - side / 2 for boxes, side in zip((first, second), sides, strict=True)]
    high = [boxes[:, 2:] + side / 2 for boxes, side in zip((first, second), sides, strict=True)]
    inside = (torch.minimum(*high) - torch.maximum(*low)).clamp(min=0).prod(1)
    around = (torch.maximum(*high) - torch.minimum(*low)).prod(1)
    union = sides[0].prod(1) + sides[1].prod(1) - inside
    return inside / union - (around - union) / around


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


def _at(maps: Tensor, chosen: Tensor) -> Tensor:
    """Values of maps (N, C, h, w) at the K cells `chosen` (N, h, w): (K, C)."""
    return maps.movedim(1, -1)[chosen]
