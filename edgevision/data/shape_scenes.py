"""What is to be seen in one image of `shapes`, drawn at random from a generator, and the pixels each object covers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from edgevision.data.shape_outlines import Outline, outline, rotation

#: Side of every image in pixels.
SIDE = 128
CLASSES = ("arc", "cross", "ell", "ring", "star", "triangle")
DISTRACTORS = ("bar", "disc")
#: Diameter of the circle around an object, in pixels: a factor of six, every octave as often as another.
DIAMETERS = (16.0, 96.0)
#: Most objects and most distractors of an image; every number from 0 is as likely, but few images have no object.
MOST_OBJECTS, MOST_DISTRACTORS, EMPTY_SHARE = 6, 5, 0.03
#: Line width in radii, how much longer one axis may be than the other, and the opening of an arc in radians.
STROKES, STRETCH, OPENINGS = (0.26, 0.42), 1.2, (1.2, 2.0)
#: Objects keep this distance from each other and from the border, and their centres lie at least this far apart.
GAP, CENTRES_APART = 2, 8.0
#: Distance of an object's colour from the background's, in levels of RGB space.
CONTRAST = 90.0
_ATTEMPTS, _COLOURS = 12, 16


@dataclass(frozen=True, eq=False)
class Drawn:
    """One object or distractor.

    Attributes:
        name: its class, or which distractor.
        outline: in pixels of the image.
        coverage: uint8 (h, w), how much of each pixel it covers, 255 for all.
        left, top: where `coverage` lies in the image.
        colour: RGB, float64 (3,).
    """

    name: str
    outline: Outline = field(repr=False)
    coverage: np.ndarray = field(repr=False)
    left: int
    top: int
    colour: np.ndarray = field(repr=False)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 of the pixels it covers by half or more, right and bottom exclusive."""
        rows, columns = (np.flatnonzero((self.coverage >= 128).any(axis)) for axis in (1, 0))
        return (
            self.left + int(columns[0]),
            self.top + int(rows[0]),
            self.left + int(columns[-1]) + 1,
            self.top + int(rows[-1]) + 1,
        )


@dataclass(frozen=True, eq=False)
class Scene:
    """Objects and distractors on a background.

    Attributes:
        background: RGB, float64 (3,).
        distractors: below the objects; they may overlap each other and the border.
        objects: none covers a pixel of another.
    """

    background: np.ndarray = field(repr=False)
    distractors: tuple[Drawn, ...]
    objects: tuple[Drawn, ...]


def draw_scene(draw: np.random.Generator) -> Scene:
    """Return a random scene; classes are equally likely whatever the size."""
    background = draw.uniform(40, 215, 3)
    count = 0 if draw.random() < EMPTY_SHARE else int(draw.integers(1, MOST_OBJECTS + 1))
    taken = np.zeros((SIDE, SIDE), dtype=bool)
    objects: list[Drawn] = []
    for name in draw.choice(CLASSES, count):
        for _ in range(_ATTEMPTS):
            drawn = _drawn(str(name), draw, background, inside=True)
            if _fits(drawn, taken, objects):
                _take(drawn, taken)
                objects.append(drawn)
                break
    number = int(draw.integers(0, MOST_DISTRACTORS + 1))
    distractors = [_drawn(str(name), draw, background, inside=False) for name in draw.choice(DISTRACTORS, number)]
    return Scene(background, tuple(distractors), tuple(objects))


def _drawn(name: str, draw: np.random.Generator, background: np.ndarray, *, inside: bool) -> Drawn:
    low, high = (math.log(diameter) for diameter in DIAMETERS)
    radius = math.exp(draw.uniform(low, high)) / 2
    if name in DISTRACTORS:
        # A large one would hide the background of everything else.
        radius /= 2
    shape = outline(name, draw.uniform(*STROKES), draw.uniform(*OPENINGS))
    stretch = math.sqrt(draw.uniform(1, STRETCH))
    turn = rotation(draw.uniform(0, 2 * math.pi)) @ np.diag([stretch, 1 / stretch]) @ rotation(draw.uniform(0, math.pi))
    shape = shape.moved(radius * turn, np.zeros(2))
    left, top, right, bottom = shape.bounds
    gap = GAP if inside else -radius
    # Anything that is too large for the frame lies in its middle, and is refused by whoever asked for it.
    across, down = (
        draw.uniform(*sorted((gap - low, SIDE - gap - high))) for low, high in ((left, right), (top, bottom))
    )
    shape = shape.moved(np.eye(2), np.array([across, down]))
    coverage, left_pixel, top_pixel = covered(shape)
    colours = draw.uniform(0, 255, (_COLOURS, 3))
    far = np.linalg.norm(colours - background, axis=1)
    colour = colours[np.argmax(far >= CONTRAST) if (far >= CONTRAST).any() else np.argmax(far)]
    return Drawn(name, shape, coverage, left_pixel, top_pixel, colour)


def covered(shape: Outline) -> tuple[np.ndarray, int, int]:
    """Return how much of each pixel an outline covers, uint8 (h, w), 255 for all, and the left and top of that patch.

    Pixels outside the image are part of it. Drawn at twice the size and averaged.
    """
    bounds = shape.bounds
    left, top = math.floor(bounds[0]) - 1, math.floor(bounds[1]) - 1
    width, height = math.ceil(bounds[2]) + 1 - left, math.ceil(bounds[3]) + 1 - top
    mask = Image.new("L", (2 * width, 2 * height))
    pen = ImageDraw.Draw(mask)
    for polygons, ink in ((shape.solid, 255), (shape.holes, 0)):
        for corners in polygons:
            # Pillow's coordinates are those of pixel centres.
            at = (corners - [left, top]) * 2 - 0.5
            pen.polygon(at.ravel().tolist(), fill=ink)
    return np.asarray(mask.reduce(2)), left, top


def _fits(drawn: Drawn, taken: np.ndarray, objects: list[Drawn]) -> bool:
    """Whether it lies inside the image, covers nothing that is taken, and has a centre of its own."""
    x1, y1, x2, y2 = drawn.box
    if x1 < GAP or y1 < GAP or x2 > SIDE - GAP or y2 > SIDE - GAP:
        return False
    for other in objects:
        a1, b1, a2, b2 = other.box
        if math.hypot(x1 + x2 - a1 - a2, y1 + y2 - b1 - b2) < 2 * CENTRES_APART:
            return False
    place, patch = window(drawn)
    return not (taken[place] & (drawn.coverage[patch] > 0)).any()


def _take(drawn: Drawn, taken: np.ndarray) -> None:
    place, patch = window(drawn)
    mask = np.zeros_like(taken)
    mask[place] = drawn.coverage[patch] > 0
    for _ in range(GAP):
        mask[1:] |= mask[:-1]
        mask[:-1] |= mask[1:]
        mask[:, 1:] |= mask[:, :-1]
        mask[:, :-1] |= mask[:, 1:]
    taken |= mask


def window(drawn: Drawn) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of the image that `coverage` lies in, and the part of `coverage` that lies in the image."""
    height, width = drawn.coverage.shape
    top, left = max(0, drawn.top), max(0, drawn.left)
    bottom, right = min(SIDE, drawn.top + height), min(SIDE, drawn.left + width)
    place = slice(top, max(top, bottom)), slice(left, max(left, right))
    patch = (
        slice(top - drawn.top, max(top, bottom) - drawn.top),
        slice(left - drawn.left, max(left, right) - drawn.left),
    )
    return place, patch
