"""`shapes`: a detection set drawn on request, whose classes differ in how lines join, not in the lines themselves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from PIL import Image

from edgevision.data import shapes_drawing, shapes_scene
from edgevision.data.detection import DetectionSet, Objects, make_detection_splits
from edgevision.data.preprocess import Preprocessing
from edgevision.data.shapes_drawing import SIDE, rendered
from edgevision.data.shapes_scene import CLASSES, draw_scene

#: Part of every seed and of the hash; raised whenever a part and number give other pixels or boxes than before.
VERSION = 1
#: Images of each part.
TRAIN_IMAGES, TEST_IMAGES = 2000, 400
#: The mean and deviation of the pixels, nearly.
PREPROCESSING = Preprocessing(height=SIDE, width=SIDE, mean=(0.35,) * 3, std=(0.25,) * 3)
_PARTS = ("train", "test")


def open_shapes(preprocessing: Preprocessing | None = None) -> DetectionSet:
    """Open the shapes; no file is read and no image kept.

    An image has 128x128 pixels, and is enlarged and padded when the network takes another size: the data are the same
    whatever they are prepared for.

    Raises:
        UsageError: the preprocessing crops.

    >>> shapes = open_shapes()
    >>> image, objects = shapes.split("train").read(0)
    >>> image.size, [shapes.classes[index] for index in objects.classes]
    ((128, 128), ['ring', 'triangle', 'ring'])
    """
    chosen = preprocessing or PREPROCESSING
    numbered = [("train", i) for i in range(TRAIN_IMAGES)] + [("test", i) for i in range(TEST_IMAGES)]
    names = [f"{part}/{i}" for part, i in numbered]
    parts = {"train": np.arange(TRAIN_IMAGES), "test": np.arange(TRAIN_IMAGES, len(names))}
    return DetectionSet(
        spec="shapes",
        classes=CLASSES,
        sha256=_specification(),
        preprocessing=chosen,
        default_preprocessing=PREPROCESSING,
        splits=make_detection_splits(_Shapes(tuple(numbered)), chosen, names, parts),
        notes=("drawn, not photographed",),
    )


def draw_image(part: str, number: int) -> tuple[Image.Image, Objects]:
    """Draw image `number` of "train" or "test", RGB, with its objects; the same whatever else has been drawn."""
    seed = [VERSION, _PARTS.index(part), number]
    scene = draw_scene(np.random.default_rng([*seed, 0]))
    image = rendered(scene.background, (*scene.distractors, *scene.objects), np.random.default_rng([*seed, 1]))
    boxes = [drawn.box for drawn in scene.objects]
    return image, Objects.of(boxes, [CLASSES.index(drawn.name) for drawn in scene.objects])


@dataclass(frozen=True)
class _Shapes:
    numbered: tuple[tuple[str, int], ...]

    def read(self, index: int) -> tuple[Image.Image, Objects]:
        return draw_image(*self.numbered[index])


def _specification() -> str:
    """Hash of what the images depend on."""
    constants = {
        module.__name__: {name: value for name, value in vars(module).items() if name.isupper()}
        for module in (shapes_drawing, shapes_scene)
    }
    text = json.dumps([VERSION, TRAIN_IMAGES, TEST_IMAGES, constants], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
