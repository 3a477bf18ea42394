"""Average precision of detections, by COCO's own evaluation (pycocotools)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from edgevision.data.boxes import box_faults, shortened
from edgevision.data.detection import Objects
from edgevision.errors import ToolMissing, UsageError

#: Detections of one class in one image that are looked at, the best ones.
MOST = 100


class Scored(Protocol):
    """Detections of one image."""

    @property
    def boxes(self) -> np.ndarray:
        """Return (K, 4): x1, y1, x2, y2, right and bottom exclusive."""

    @property
    def scores(self) -> np.ndarray:
        """Return (K,), higher is surer."""

    @property
    def classes(self) -> np.ndarray:
        """Return (K,), indices."""


class ClassPrecision(msgspec.Struct, frozen=True):
    """Average precision of one class, in percent.

    Attributes:
        ap50: at an overlap of 0.5.
        ap: mean over the overlaps 0.5, 0.55 to 0.95.
        objects: of the class that count, in all images.
    """

    ap50: float
    ap: float
    objects: int


class Precision(msgspec.Struct, frozen=True):
    """Means over the classes that have objects, in percent, and the classes by name."""

    ap50: float
    ap: float
    per_class: dict[str, ClassPrecision]


def average_precision(detections: Sequence[Scored], truths: Sequence[Objects], classes: Sequence[str]) -> Precision:
    """Precision over recall, interpolated at 101 recalls, as COCO does it; VOC's own AP50 is a different integral.

    A difficult object counts neither for nor against: what lies on it is left out of the count, as on a COCO crowd
    (the share of the detection that it covers decides, and it covers any number of them). Equal scores rank in the
    order of images, and in an image in the order given.

    Args:
        detections: of each image; the best 100 of each class are looked at. A box may have no area; it is wrong.
        truths: of the same images; boxes of both in pixels of the original image.
        classes: their names.

    Returns:
        Precision; a class whose every object is difficult, or that has none, is left out.

    Raises:
        UsageError: boxes, scores or classes that cannot be right (the first such images are named), different
            numbers of images, or not one object that counts.
        ToolMissing: pycocotools is not installed.
    """
    coco, evaluation = load_pycocotools()
    _check(detections, truths, classes)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluated = evaluation(
            _indexed(coco, len(truths), len(classes), _true(truths)),
            _indexed(coco, len(truths), len(classes), _found(detections)),
            "bbox",
        )
        evaluated.params.maxDets = [MOST]
        evaluated.params.areaRng, evaluated.params.areaRngLbl = [[0, float("inf")]], ["all"]
        evaluated.evaluate()
        evaluated.accumulate()
    # (overlaps, recalls, classes, areas, numbers of detections) to (overlaps, classes).
    precision = 100 * evaluated.eval["precision"][..., 0, 0].mean(axis=1)
    counts = np.bincount(np.concatenate([these.classes[~these.difficult] for these in truths]), minlength=len(classes))
    per_class = {
        name: ClassPrecision(float(column[0]), float(column.mean()), int(count))
        for name, column, count in zip(classes, precision.T, counts, strict=True)
        if count
    }
    ap50, ap = (sum(getattr(one, name) for one in per_class.values()) / len(per_class) for name in ("ap50", "ap"))
    return Precision(ap50, ap, per_class)


def load_pycocotools() -> tuple[Any, Any]:
    """Return the classes COCO and COCOeval; a step that ends with this metric asks before its work starts.

    Raises:
        ToolMissing: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ToolMissing(
            f"the accuracy of a detector needs the Python package 'pycocotools': {error}",
            fix="pip install 'edgevision[detect]'",
        ) from error
    return COCO, COCOeval


def _indexed(coco: Any, images: int, classes: int, annotations: Iterator[dict[str, Any]]) -> Any:
    """A COCO data set in memory. Identifiers begin at 1: COCOeval takes a match with 0 for none."""
    made = coco()
    made.dataset = {
        "images": [{"id": image} for image in range(images)],
        "categories": [{"id": label} for label in range(classes)],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)],
    }
    made.createIndex()
    return made


def _true(truths: Sequence[Objects]) -> Iterator[dict[str, Any]]:
    for image, these in enumerate(truths):
        for box, label, difficult in zip(these.boxes, these.classes, these.difficult, strict=True):
            yield {**_annotation(image, box, label), "iscrowd": int(difficult)}


def _found(detections: Sequence[Scored]) -> Iterator[dict[str, Any]]:
    for image, these in enumerate(detections):
        for box, label, score in zip(these.boxes, these.classes, these.scores, strict=True):
            yield {**_annotation(image, box, label), "score": float(score)}


def _annotation(image: int, box: np.ndarray, label: np.integer[Any]) -> dict[str, Any]:
    left, top, right, bottom = (float(value) for value in box)
    width, height = right - left, bottom - top
    return {"image_id": image, "category_id": int(label), "bbox": [left, top, width, height], "area": width * height}


def _check(detections: Sequence[Scored], truths: Sequence[Objects], classes: Sequence[str]) -> None:
    reasons = []
    if len(detections) != len(truths):
        reasons.append(f"expected detections of {len(truths)} images, got those of {len(detections)}")
    if len(set(classes)) != len(classes):
        reasons.append(f"expected {len(classes)} different names of classes, got {len(set(classes))}")
    for image, these in enumerate(truths):
        faults = box_faults(these.boxes, these.classes, len(classes))
        reasons += [f"objects of image {image}: {fault}" for fault in faults]
    for image, found in enumerate(detections):
        faults = box_faults(found.boxes, found.classes, len(classes), empty_allowed=True)
        if found.scores.shape != found.classes.shape or not np.isfinite(found.scores).all():
            finite = np.count_nonzero(np.isfinite(found.scores))
            faults.append(
                f"expected a finite score for each of {found.classes.size} boxes, got {finite} of {found.scores.size}"
            )
        reasons += [f"detections of image {image}: {fault}" for fault in faults]
    if not reasons and not any((~these.difficult).any() for these in truths):
        reasons.append(f"expected at least one object that is not difficult, got none in {len(truths)} images")
    if reasons:
        raise UsageError("average precision cannot be computed", where="average precision", reasons=shortened(reasons))
