"""A small detector with a channel shuffle and a square deformable layer, and maps that say where objects are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from edgevision.data import DetectionSet, Objects, Preprocessing, open_detections
from edgevision.zoo.deform import DeformConv2d
from edgevision.zoo.model import InputSpec, Model, Provenance

SIDE, STRIDE = 64, 4
PREPROCESSING = Preprocessing(height=SIDE, width=SIDE, mean=(0.5,) * 3, std=(0.2,) * 3)


class SmallDetector(nn.Module):
    """Two branches of a shuffled concatenation, one square deformable layer, maps at a quarter of the side."""

    def __init__(self, classes: int = 6, dim: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dim, 3, 4, 1), nn.BatchNorm2d(dim), nn.ReLU())
        self.branch = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(2 * dim, dim, 1), nn.ReLU())
        self.square = DeformConv2d(dim, dim)
        nn.init.normal_(self.square.predictor.weight, std=0.5)
        self.maps = nn.Conv2d(dim, classes + 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        both = torch.cat([x, self.branch(x)], dim=1)
        images, channels, height, width = both.shape
        shuffled = both.view(images, 2, channels // 2, height, width).transpose(1, 2).reshape(both.shape)
        return self.maps(self.square(self.mix(shuffled)))


def small_detector(seed: int = 0) -> Model:
    """Random weights; batch norms with statistics of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = SmallDetector()
        with torch.no_grad():
            module.train()(torch.randn(8, 3, SIDE, SIDE))
    return Model(
        "small", InputSpec("input", (1, 3, SIDE, SIDE)), PREPROCESSING, Provenance("random"), module=module.eval(),
        metric="AP50",
    )  # fmt: skip


def few_shapes(train: int = 16, test: int | None = None, preprocessing: Preprocessing = PREPROCESSING) -> DetectionSet:
    """The first of the shapes; without `test`, what is tested on is what is trained on."""
    whole = open_detections("shapes", preprocessing)
    first = replace(whole.split("train"), indices=whole.split("train").indices[:train])
    last = whole.split("test")
    last = replace(last, indices=last.indices[:test]) if test else replace(first, name="test")
    return replace(whole, splits={"train": first, "calibration": replace(first, name="calibration"), "test": last})


def perfect_maps(objects: Sequence[Objects], classes: int, grid: tuple[int, int]) -> np.ndarray:
    """Maps (N, classes + 4, h, w) with one sharp peak for each object, in pixels of `STRIDE` times the grid."""
    maps = np.full((len(objects), classes + 4, *grid), -9, np.float32)
    for image, these in zip(maps, objects, strict=True):
        for (x1, y1, x2, y2), label in zip(these.boxes / STRIDE, these.classes, strict=True):
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
            row, column = int(y), int(x)
            image[label, row, column] = 5
            image[-4:, row, column] = x2 - x1, y2 - y1, x - column, y - row
    return maps
