"""What is to be seen in one image of `shapes`: a random choice of objects, distractors, places and colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgevision.data.shapes_drawing import SIDE, Drawn, covered
from edgevision.data.shapes_outline import outline, rotation

CLASSES = ("arc", "cross", "ell", "ring", "star", "triangle")
DISTRACTORS = ("bar", "disc")
#: Diameter of the circle around an object, in pixels: a factor of six, every octave as often as another.
DIAMETERS = (16.0, 96.0)
#: Of distractors: a larger one would hide the background of everything else.
DISTRACTOR_DIAMETERS = (8.0, 48.0)
#: Objects and distractors of an image: from 1 and from 0 to this, each number as often; some images have no object.
MOST_OBJECTS, MOST_DISTRACTORS, EMPTY_SHARE = 6, 5, 0.03
#: Width of lines in radii, how much longer one axis may be than the other, and the opening of an arc in radians.
STROKES, STRETCH, OPENINGS = (0.26, 0.42), 1.2, (1.2, 2.0)
#: Pixels between objects, and to the border; and between the centres of their boxes.
GAP, CENTRES_APART = 2, 8.0
#: Levels of each channel. Objects and distractors are light on dark, so that what has to be learnt is where lines lead.
DARK, LIGHT = (20.0, 110.0), (150.0, 255.0)
#: Distance of an object's colour from those of the distractors it may lie on, in levels of RGB space.
CONTRAST = 60.0
_PLACES, _COLOURS = 40, 16


@dataclass(frozen=True, eq=False)
class Scene:
    """Objects and distractors on a background.

    Attributes:
        background: RGB in levels, float64 (3,).
        distractors: parts that objects are made of, and blobs; below the objects, also across the border.
        objects: inside the image; no two share a pixel.
    """

    background: np.ndarray = field(repr=False)
    distractors: tuple[Drawn, ...]
    objects: tuple[Drawn, ...]


def draw_scene(draw: np.random.Generator) -> Scene:
    """Return a random scene.

    Large objects are placed first, and one that finds no place is left out. Classes are drawn apart from sizes.
    """
    background = draw.uniform(*DARK, 3)
    distractors = []
    for name in draw.choice(DISTRACTORS, draw.integers(0, MOST_DISTRACTORS + 1)):
        drawn = _drawn(str(name), _diameter(DISTRACTOR_DIAMETERS, draw), [background], draw)
        across, down = draw.integers(0, SIDE, 2)
        distractors.append(drawn.shifted(int(across), int(down)))
    count = 0 if draw.random() < EMPTY_SHARE else int(draw.integers(1, MOST_OBJECTS + 1))
    diameters = sorted((_diameter(DIAMETERS, draw) for _ in range(count)), reverse=True)
    colours = [background, *(drawn.colour for drawn in distractors)]
    taken = np.zeros((SIDE, SIDE), bool)
    objects: list[Drawn] = []
    for name, diameter in zip(draw.choice(CLASSES, count), diameters, strict=True):
        placed = _placed(_drawn(str(name), diameter, colours, draw), objects, taken, draw)
        if placed is not None:
            objects.append(placed)
    return Scene(background, tuple(distractors), tuple(objects))


def _diameter(span: tuple[float, float], draw: np.random.Generator) -> float:
    return math.exp(draw.uniform(math.log(span[0]), math.log(span[1])))


def _drawn(name: str, diameter: float, against: Sequence[np.ndarray], draw: np.random.Generator) -> Drawn:
    """Draw one about the origin, turned, a little stretched, and of a colour unlike those of `against`."""
    shape = outline(name, draw.uniform(*STROKES), draw.uniform(*OPENINGS))
    longer = math.sqrt(draw.uniform(1, STRETCH))
    axes = rotation(draw.uniform(0, math.pi))
    turn = rotation(draw.uniform(0, 2 * math.pi)) @ axes @ np.diag([longer, 1 / longer]) @ axes.T
    shape = shape.moved(diameter / 2 * turn, draw.uniform(0, 1, 2))
    colours = draw.uniform(*LIGHT, (_COLOURS, 3))
    far = np.linalg.norm(colours[:, None] - np.stack(against), axis=2).min(1)
    # The first that is far enough: the farthest would always be a corner of the colour space.
    colour = colours[int((far >= CONTRAST).argmax() if far.max() >= CONTRAST else far.argmax())]
    coverage, left, top = covered(shape, GAP)
    return Drawn(name, shape, coverage, left, top, colour)


def _placed(drawn: Drawn, others: Sequence[Drawn], taken: np.ndarray, draw: np.random.Generator) -> Drawn | None:
    """Shift to a random free place and mark it as taken; None when none of those tried is free."""
    wide = _widened(drawn.coverage > 0, GAP)
    height, width = wide.shape
    corners = draw.integers(0, [SIDE - width + 1, SIDE - height + 1], (_PLACES, 2))
    shifts = corners - [drawn.left, drawn.top]
    centres = np.array([_centre(other) for other in others]).reshape(-1, 2)
    apart = np.linalg.norm((shifts + _centre(drawn))[:, None] - centres, axis=2) >= CENTRES_APART
    for (left, top), (across, down) in zip(corners[apart.all(1)].tolist(), shifts[apart.all(1)].tolist(), strict=True):
        place = taken[top : top + height, left : left + width]
        if not (place & wide).any():
            place |= drawn.coverage > 0
            return drawn.shifted(across, down)
    return None


def _centre(drawn: Drawn) -> np.ndarray:
    x1, y1, x2, y2 = drawn.box
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2])


def _widened(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Add every pixel whose row and column are at most `pixels` from one of `mask`."""
    wide = mask.copy()
    for _ in range(pixels):
        wide[1:] |= wide[:-1].copy()
        wide[:-1] |= wide[1:].copy()
        wide[:, 1:] |= wide[:, :-1].copy()
        wide[:, :-1] |= wide[:, 1:].copy()
    return wide
