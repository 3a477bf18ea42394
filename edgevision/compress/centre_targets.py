"""What a detector of centres is trained towards: Gaussians at centres, sizes and offsets there (arXiv 1904.07850).

Sizes and offsets are asked of the cells around a centre too, with less weight, where the publication asks the centre
alone: the peak that is found is often the cell beside it, and in an object of four cells an offset that nobody trained
is a quarter of its side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgevision.data.boxes import box_faults, shortened
from edgevision.data.detection import Objects
from edgevision.errors import UsageError

#: A box that overlaps an object by this much (intersection over union) is nearly right.
MIN_OVERLAP = 0.7
#: What the size and offset of a cell beside a centre weigh, the centre being 1.
BESIDE = 0.25


@dataclass(frozen=True, eq=False)
class CentreTargets:
    """Targets of a batch.

    Attributes:
        heat: float32 (N, classes, h, w): 1 at the cell of a centre, falling around it.
        counted: bool (N, classes, h, w): false where a place is neither an object nor background.
        sizes: float32 (N, 2, h, w), width and height in cells, where `weights` are above 0.
        offsets: float32 (N, 2, h, w), x and y of the centre counted from its cell, in [0, 1] where it lies.
        weights: float32 (N, h, w): of a cell's size and offset: 1 with the centre of an object, less beside one.
        objects: how many were drawn.
    """

    heat: Tensor
    counted: Tensor
    sizes: Tensor
    offsets: Tensor
    weights: Tensor
    objects: int


def centre_targets(
    objects: Sequence[Objects],
    classes: int,
    grid: tuple[int, int],
    *,
    stride: int = 4,
    overlap: float = MIN_OVERLAP,
    beside: float = BESIDE,
) -> CentreTargets:
    """Draw the objects of a batch.

    Where several objects of one class reach a cell, it takes the largest value; where several have their centre in
    one cell, its size and offset are those of the smallest; a centre comes before what lies beside another. A difficult
    object is not drawn, and the cells its box touches do not count as background of its class.

    Args:
        objects: of each image, boxes in pixels of the network's input.
        classes: how many there are.
        grid: rows and columns of the maps.
        stride: pixels per cell.
        overlap: see `radius`.
        beside: weight of the eight cells around a centre, from 0 (the publication) to below 1.

    Raises:
        UsageError: boxes without area, not finite or with their centre outside the image, or unknown classes; the
            first such images are named.
    """
    rows, columns = grid
    _check(objects, classes, grid, stride)
    count = len(objects)
    heat = np.zeros((count, classes, rows, columns), np.float32)
    counted = np.ones(heat.shape, bool)
    sizes, offsets = (np.zeros((count, 2, rows, columns), np.float32) for _ in range(2))
    weights = np.zeros((count, rows, columns), np.float32)
    drawn = 0
    for image, these in enumerate(objects):
        cells = these.boxes.astype(np.float64) / stride
        for index in np.flatnonzero(these.difficult):
            left, top = (max(0, math.floor(value)) for value in cells[index, :2])
            right, bottom = (max(0, math.ceil(value)) for value in cells[index, 2:])
            counted[image, these.classes[index], top:bottom, left:right] = False
        extent, middle = cells[:, 2:] - cells[:, :2], (cells[:, :2] + cells[:, 2:]) / 2
        for index in np.argsort(-extent.prod(axis=1), kind="stable"):
            if these.difficult[index]:
                continue
            label, (column, row) = these.classes[index], np.floor(middle[index]).astype(int)
            width, height = extent[index]
            _add_gaussian(heat[image, label], row, column, int(radius(height, width, overlap=overlap)))
            around = _around(row, column, rows, columns) if beside else []
            for y, x in [*((y, x) for y, x in around if weights[image, y, x] < 1), (row, column)]:
                sizes[image, :, y, x] = width, height
                offsets[image, :, y, x] = middle[index] - (x, y)
                weights[image, y, x] = 1 if (y, x) == (row, column) else beside
            drawn += 1
    counted |= heat == 1
    return CentreTargets(
        heat=torch.from_numpy(heat),
        counted=torch.from_numpy(counted),
        sizes=torch.from_numpy(sizes),
        offsets=torch.from_numpy(offsets),
        weights=torch.from_numpy(weights),
        objects=drawn,
    )


def radius(height: float, width: float, *, overlap: float = MIN_OVERLAP) -> float:
    """Radius in cells of the Gaussian of an object of that size in cells.

    CornerNet (arXiv 1808.01244) asks how far corners may move before the overlap with the object falls below
    `overlap`. As released, and in CenterNet and CoDeNet after it, the roots of its quadratics are not divided by
    their leading coefficient. The smallest of the three is then always that of the enlarged box, and 4 * `overlap`
    (2.8) times the distance asked for. Published accuracies were trained with it, so it is what is meant here too.

    >>> round(radius(10, 10), 3)
    2.733
    """
    perimeter, area = height + width, height * width
    return overlap * (math.sqrt(perimeter**2 + 4 * (1 - overlap) / overlap * area) - perimeter)


def _add_gaussian(heat: np.ndarray, row: int, column: int, reach: int) -> None:
    """Raise `heat` (h, w) to a Gaussian of standard deviation a sixth of its diameter, cut off at `reach` cells."""
    top, bottom = max(0, row - reach), min(heat.shape[0], row + reach + 1)
    left, right = max(0, column - reach), min(heat.shape[1], column + reach + 1)
    sigma = (2 * reach + 1) / 6
    down, across = (
        np.exp(-((np.arange(first, last) - middle) ** 2) / (2 * sigma**2))
        for first, last, middle in ((top, bottom, row), (left, right, column))
    )
    part = heat[top:bottom, left:right]
    np.maximum(part, np.outer(down, across).astype(np.float32), out=part)


def _around(row: int, column: int, rows: int, columns: int) -> list[tuple[int, int]]:
    """The cells of the grid that touch one, itself left out."""
    return [
        (y, x)
        for y in range(max(0, row - 1), min(rows, row + 2))
        for x in range(max(0, column - 1), min(columns, column + 2))
        if (y, x) != (row, column)
    ]


def _check(objects: Sequence[Objects], classes: int, grid: tuple[int, int], stride: int) -> None:
    reasons = []
    for image, these in enumerate(objects):
        faults = box_faults(these.boxes, these.classes, classes)
        if not faults:
            middle = (these.boxes[:, :2].astype(np.float64) + these.boxes[:, 2:]) / 2
            outside = ((middle < 0) | (middle >= np.asarray(grid[::-1]) * stride)).any(axis=1) & ~these.difficult
            if outside.any():
                worst = int(np.flatnonzero(outside)[0])
                faults.append(
                    f"expected centres inside {grid[1] * stride}x{grid[0] * stride} pixels, got {outside.sum()} "
                    f"outside, the first of box {worst} at {middle[worst, 0]:g}, {middle[worst, 1]:g}"
                )
        reasons += [f"image {image}: {fault}" for fault in faults]
    if reasons:
        raise UsageError(
            "the objects cannot be drawn into targets",
            where=f"a batch of {len(objects)} images",
            reasons=shortened(reasons),
            fix="clip boxes to the image and leave out those without area",
        )
