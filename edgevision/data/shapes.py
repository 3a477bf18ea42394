"""`shapes`: a detection set drawn on request, whose classes differ in how lines join and not in the lines themselves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from PIL import Image

from edgevision.data import shape_scenes
from edgevision.data.detection import DetectionSet, Objects, make_detection_splits
from edgevision.data.preprocess import Preprocessing
from edgevision.data.shape_scenes import CLASSES, SIDE, Drawn, Scene, draw_scene, window

#: Raised whenever the same part and number give other pixels or boxes than before.
VERSION = 1
#: Images of each part. Image i of a part is the same however many there are.
TRAIN_IMAGES, TEST_IMAGES = 2000, 400
#: The mean and deviation of the pixels, to one figure.
PREPROCESSING = Preprocessing(height=SIDE, width=SIDE, mean=(0.5,) * 3, std=(0.2,) * 3)
#: Cells of the two textures, and how far each and the noise depart from the colour, in levels.
_TEXTURES = ((3, 30.0), (24, 20.0))
_NOISE = (2.0, 14.0)
_PARTS = {"train": 0, "test": 1}


def open_shapes(preprocessing: Preprocessing | None = None) -> DetectionSet:
    """Open the shapes; nothing is read from a file and nothing is kept.

    Every image has 128x128 pixels, and is enlarged and padded when the network takes another size.

    >>> shapes = open_shapes()
    >>> image, objects = shapes.split("train").read(0)
    >>> image.size, objects.boxes.shape, [shapes.classes[index] for index in objects.classes]
    """
    chosen = preprocessing or PREPROCESSING
    names = [f"train/{i}" for i in range(TRAIN_IMAGES)] + [f"test/{i}" for i in range(TEST_IMAGES)]
    parts = {"train": np.arange(TRAIN_IMAGES), "test": np.arange(TRAIN_IMAGES, len(names))}
    return DetectionSet(
        spec="shapes",
        classes=CLASSES,
        sha256=_specification(),
        preprocessing=chosen,
        default_preprocessing=PREPROCESSING,
        splits=make_detection_splits(_Shapes(tuple(names)), chosen, names, parts),
        notes=("drawn, not photographed: results say that the chain is right, not how well it does on photographs",),
    )


@dataclass(frozen=True)
class _Shapes:
    names: tuple[str, ...]

    def read(self, index: int) -> tuple[Image.Image, Objects]:
        part, number = self.names[index].split("/")
        return shapes_image(part, int(number))


def shapes_image(part: str, number: int) -> tuple[Image.Image, Objects]:
    """Draw image `number` of "train" or "test": 128x128, RGB, with its objects."""
    seed = [VERSION, _PARTS[part], number]
    scene = draw_scene(np.random.default_rng([*seed, 0]))
    boxes = [drawn.box for drawn in scene.objects]
    classes = [CLASSES.index(drawn.name) for drawn in scene.objects]
    return rendered(scene, np.random.default_rng([*seed, 1])), Objects.of(boxes, classes)


def rendered(scene: Scene, draw: np.random.Generator) -> Image.Image:
    """Draw a scene, with texture and noise from `draw`, whatever its objects."""
    canvas = np.broadcast_to(np.float32(scene.background), (SIDE, SIDE, 3)).copy()
    for cells, depth in _TEXTURES:
        canvas += _texture(cells, depth * draw.uniform(0.2, 1), draw)
    noise = draw.standard_normal(canvas.shape, np.float32) * np.float32(draw.uniform(*_NOISE))
    for drawn in (*scene.distractors, *scene.objects):
        _paint(canvas, drawn)
    return Image.fromarray((canvas + noise).round().clip(0, 255).astype(np.uint8))


def _texture(cells: int, depth: float, draw: np.random.Generator) -> np.ndarray:
    """Smooth random colours between -depth and depth, float32 (SIDE, SIDE, 3)."""
    grid = Image.fromarray(draw.integers(0, 256, (cells, cells, 3), np.uint8))
    smooth = np.asarray(grid.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
    return (smooth / np.float32(127.5) - 1) * np.float32(depth)


def _paint(canvas: np.ndarray, drawn: Drawn) -> None:
    place, patch = window(drawn)
    share = drawn.coverage[patch].astype(np.float32)[..., None] / 255
    canvas[place] += share * (drawn.colour.astype(np.float32) - canvas[place])


def _specification() -> str:
    """Hash of everything an image depends on besides its part and number."""
    constants = {name: value for name, value in vars(shape_scenes).items() if name.isupper()}
    text = json.dumps(
        {"version": VERSION, "images": [TRAIN_IMAGES, TEST_IMAGES], "drawing": [_TEXTURES, _NOISE], "scenes": constants},
        sort_keys=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()
