"""Random changes of one training image together with the boxes of its objects."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from edgevision.compress.augment import drawn_turn, recoloured
from edgevision.compress.train_settings import Augmentation
from edgevision.data.detection import Objects
from edgevision.data.letterbox import Letterbox
from edgevision.errors import UsageError


def check_box_augmentation(how: Augmentation) -> None:
    """Raise `UsageError` for changes after which a box would no longer be tight, or that leave nothing of an image."""
    reasons = [
        f"{name} = {value}: turned or sheared, an object's box is larger than the object"
        for name, value in (("rotate", how.rotate), ("shear", how.shear))
        if value
    ]
    reasons += [
        f"{name} = {value}: expected 0 to below 1"
        for name, value in (("shift", how.shift), ("scale", how.scale))
        if not 0 <= value < 1
    ]
    if reasons:
        raise UsageError(
            "the augmentation cannot be used with boxes", reasons=reasons, fix="change these fields of Augmentation"
        )


def augment_with_boxes(
    image: np.ndarray, objects: Objects, how: Augmentation, generator: torch.Generator
) -> tuple[np.ndarray, Objects]:
    """Flip, turn, scale, shift and recolour an image; its objects follow.

    The image is scaled about its centre and shifted inside a frame of its own size: what leaves the frame is cut off,
    what stays empty gets the mean colour of the image. Objects whose centre leaves are dropped, others clipped.

    Args:
        image: uint8 (H, W, C), C 1 or 3.
        objects: in pixels of `image`.
        how: which changes, and how large; `check_box_augmentation` says which it can be.
        generator: every random number comes from it, so a seed repeats a run.

    Returns:
        An image of the same shape, and the objects that are left, every box inside it and larger than nothing.
    """
    draws = torch.rand(4, generator=generator, dtype=torch.float64)
    applied = torch.rand(2, generator=generator) < how.probability
    scale, across, down = (2 * draws[:3] - 1).tolist()
    scale = 1 + scale * how.scale * bool(applied[0])
    across, down = (value * how.shift * bool(applied[1]) for value in (across, down))
    if scale != 1 or across or down:
        image, objects = placed(image, objects, scale, across, down)
    if how.flip and draws[3] < 0.5:
        image, objects = flipped(image, objects)
    if how.turns:
        quarters, mirrored = drawn_turn(image.shape[0], image.shape[1], generator)
        image, objects = turned(*(flipped(image, objects) if mirrored else (image, objects)), quarters)
    if how.brightness or how.contrast or how.saturation:
        image = _recoloured(image, how, generator)
    return image, clipped(objects, image.shape[1], image.shape[0])


def flipped(image: np.ndarray, objects: Objects) -> tuple[np.ndarray, Objects]:
    """Mirror left and right."""
    x1, y1, x2, y2 = objects.boxes.T
    width = np.float32(image.shape[1])
    boxes = np.stack([width - x2, y1, width - x1, y2], axis=1)
    return np.ascontiguousarray(image[:, ::-1]), Objects(boxes, objects.classes, objects.difficult)


def turned(image: np.ndarray, objects: Objects, quarters: int) -> tuple[np.ndarray, Objects]:
    """Turn against the clock by quarters; height and width change places with each."""
    for _ in range(quarters):
        x1, y1, x2, y2 = objects.boxes.T
        width = np.float32(image.shape[1])
        image = np.rot90(image)
        objects = Objects(np.stack([y1, width - x2, y2, width - x1], axis=1), objects.classes, objects.difficult)
    return np.ascontiguousarray(image), objects


def placed(image: np.ndarray, objects: Objects, scale: float, across: float, down: float) -> tuple[np.ndarray, Objects]:
    """Scale about the centre and shift, in a frame of the image's own size; boxes may lie outside it.

    Args:
        scale: above 1 enlarges.
        across, down: to the right and downwards, shares of the sides.
    """
    height, width, bands = image.shape
    # Whole pixels, so that the edges of the image and of its boxes are mapped alike.
    to_width, to_height = max(1, round(width * scale)), max(1, round(height * scale))
    left = round((width - to_width) / 2 + across * width)
    top = round((height - to_height) / 2 + down * height)
    picture = Image.fromarray(image if bands == 3 else image[..., 0])
    fill = tuple(int(level) for level in image.mean((0, 1)).round())
    frame = Image.new(picture.mode, (width, height), fill if bands == 3 else fill[0])
    frame.paste(picture.resize((to_width, to_height), Image.Resampling.BILINEAR), (left, top))
    box = Letterbox(width, height, to_width, to_height, left, top, width, height)
    moved = Objects(box.boxes(objects.boxes), objects.classes, objects.difficult)
    return np.asarray(frame).reshape(image.shape), moved


def clipped(objects: Objects, width: int, height: int) -> Objects:
    """Drop objects whose centre lies outside a frame of `width` by `height` pixels; clip the other boxes."""
    centre = (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2
    boxes = np.clip(objects.boxes, 0, np.array([width, height] * 2, np.float32))
    kept = ((centre >= 0) & (centre < [width, height]) & (boxes[:, :2] < boxes[:, 2:])).all(1)
    return Objects(boxes[kept], objects.classes[kept], objects.difficult[kept])


def _recoloured(image: np.ndarray, how: Augmentation, generator: torch.Generator) -> np.ndarray:
    pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0))[None]).float() / 255
    changed = recoloured(pixels, how, generator)[0]
    return np.ascontiguousarray(np.moveaxis((changed * 255).round().byte().numpy(), 0, -1))
