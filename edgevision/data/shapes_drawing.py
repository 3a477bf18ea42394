"""From outlines to the pixels of an image of `shapes`, and the boxes of what was drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw

from edgevision.data.shapes_outline import Outline

#: Side of every image in pixels.
SIDE = 128
#: Cells along a side of each texture of the background, and how far it may depart from the colour, in levels.
FINE = 24
TEXTURES = ((3, 25.0), (FINE, 18.0))
#: Least and largest deviation of the noise, in levels.
NOISE = (2.0, 14.0)
#: A pixel belongs to an object when this much of it, of 255, is covered.
HALF = 128
#: Fine pixels along a side of a pixel, when coverage is drawn.
_FINER = 4


@dataclass(frozen=True, eq=False)
class Drawn:
    """One object or distractor.

    Attributes:
        name: its class, or which distractor.
        outline: in pixels of the image.
        coverage: uint8 (h, w), how much of each pixel it covers, 255 for all.
        left, top: where `coverage` lies in the image; parts may lie outside.
        colour: RGB in levels, float64 (3,).
    """

    name: str
    outline: Outline = field(repr=False)
    coverage: np.ndarray = field(repr=False)
    left: int
    top: int
    colour: np.ndarray = field(repr=False)

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 of the pixels that belong to it, right and bottom exclusive."""
        own = self.coverage >= HALF
        columns, rows = (np.flatnonzero(own.any(axis)).tolist() for axis in (0, 1))
        return self.left + columns[0], self.top + rows[0], self.left + columns[-1] + 1, self.top + rows[-1] + 1

    @property
    def window(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The part of the image where `coverage` lies, and the part of `coverage` that lies in the image."""
        rows, columns = (
            (max(0, start), max(0, min(SIDE, start + length)))
            for start, length in zip((self.top, self.left), self.coverage.shape, strict=True)
        )
        place = slice(*rows), slice(*columns)
        patch = tuple(slice(a - start, b - start) for (a, b), start in ((rows, self.top), (columns, self.left)))
        return place, (patch[0], patch[1])

    def shifted(self, across: int, down: int) -> Drawn:
        """The same, some pixels further to the right and down."""
        outline = self.outline.moved(np.eye(2), np.array([across, down], np.float64))
        return replace(self, outline=outline, left=self.left + across, top=self.top + down)


def covered(shape: Outline, margin: int) -> tuple[np.ndarray, int, int]:
    """Return how much of each pixel an outline covers, uint8 (h, w), 255 for all, and the left and top of that patch.

    Drawn larger and averaged. Pillow fills every pixel that an edge touches, half a fine pixel too much on each side.

    Args:
        shape: in pixels, wherever it lies.
        margin: empty pixels on every side of the patch.
    """
    x1, y1, x2, y2 = shape.bounds
    left, top = math.floor(x1) - margin, math.floor(y1) - margin
    mask = Image.new("L", (_FINER * (math.ceil(x2) + margin - left), _FINER * (math.ceil(y2) + margin - top)))
    pen = ImageDraw.Draw(mask)
    for polygons, ink in ((shape.solid, 255), (shape.holes, 0)):
        for corners in polygons:
            pen.polygon(((corners - [left, top]) * _FINER).ravel().tolist(), fill=ink)
    return np.asarray(mask.reduce(_FINER)), left, top


def rendered(background: np.ndarray, drawn: tuple[Drawn, ...], draw: np.random.Generator) -> Image.Image:
    """Return a textured and noisy image, RGB, SIDE by SIDE.

    Args:
        background: RGB in levels, (3,).
        drawn: painted in this order; the numbers taken from `draw` do not depend on it.
        draw: of texture and noise.
    """
    canvas = np.array(_background(background, draw), np.float32)
    noise = draw.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8).sum(0, dtype=np.float32)
    noise -= 255
    # The sum of two bytes has a deviation of 256 / sqrt(6).
    noise *= np.float32(draw.uniform(*NOISE) * math.sqrt(6) / 256)
    for each in drawn:
        place, patch = each.window
        share = np.float32(each.coverage[patch])[..., None] / 255
        canvas[place] += share * (np.float32(each.colour) - canvas[place])
    canvas += noise
    return Image.fromarray(np.clip(np.rint(canvas, out=canvas), 0, 255, out=canvas).astype(np.uint8))


def _background(colour: np.ndarray, draw: np.random.Generator) -> Image.Image:
    """A colour with random departures, smooth at two scales."""
    fine = np.broadcast_to(colour, (FINE, FINE, 3))
    for cells, depth in TEXTURES:
        grid = Image.fromarray(draw.integers(0, 256, (cells, cells, 3), np.uint8))
        smooth = np.asarray(grid.resize((FINE, FINE), Image.Resampling.BICUBIC))
        fine = fine + (smooth / 127.5 - 1) * depth * draw.uniform(0.2, 1)
    rounded = Image.fromarray(fine.round().clip(0, 255).astype(np.uint8))
    return rounded.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
