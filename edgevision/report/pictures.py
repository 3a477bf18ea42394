"""Test images of a detector as networks see them, for people to look at."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from edgevision.compress.box_scoring import confident
from edgevision.compress.compressed import Compressed
from edgevision.compress.session import predictor
from edgevision.data.detection import DetectionSet
from edgevision.report.tradeoff import Box, Picture, Seen
from edgevision.zoo.centres import Detections, decode

#: Pictures, and networks in each: the float one and one or two others.
PICTURES, NETWORKS = 4, 3
_JPEG_QUALITY = 85


def pictures(networks: Sequence[Compressed], data: DetectionSet, *, count: int = PICTURES) -> tuple[Picture, ...]:
    """Run the networks' ONNX files in onnxruntime on the first `count` images of the test split.

    Args:
        networks: of one preprocessing, that of `data`; the first `NETWORKS` are shown.
        data: what they were measured on.

    Raises:
        UsageError: there is no test split, or an image cannot be read.
        Unsupported: onnxruntime refuses a graph.
    """
    split = data.split("test")
    pixels, truths, _ = next(split.letterboxed_batches(min(count, len(split))))
    images = split.preprocessing.normalised(pixels)
    shown = networks[:NETWORKS]
    found = [decode(predictor(network.graph())(images)) for network in shown]
    height, width = pixels.shape[1:3]
    return tuple(
        Picture(
            image=_data_url(image),
            width=width,
            height=height,
            truths=_boxes(truths[index].boxes, truths[index].classes, None, data.classes, (width, height)),
            seen=tuple(
                Seen(network.info.recipe.name, _shown(answers[index], data.classes, (width, height)))
                for network, answers in zip(shown, found, strict=True)
            ),
        )
        for index, image in enumerate(pixels)
    )


def _shown(found: Detections, names: Sequence[str], size: tuple[int, int]) -> tuple[Box, ...]:
    kept = confident(found)
    return _boxes(kept.boxes, kept.classes, kept.scores, names, size)


def _boxes(
    boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray | None, names: Sequence[str], size: tuple[int, int]
) -> tuple[Box, ...]:
    """Boxes clipped to the picture, tenths of a pixel."""
    clipped = np.clip(boxes.astype(np.float64), 0, [*size, *size]).round(1)
    return tuple(
        Box(
            left=float(left),
            top=float(top),
            width=round(float(right - left), 1),
            height=round(float(bottom - top), 1),
            name=names[label],
            score=None if scores is None else round(float(scores[index]), 3),
        )
        for index, ((left, top, right, bottom), label) in enumerate(zip(clipped, classes, strict=True))
    )


def _data_url(pixels: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(out, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
