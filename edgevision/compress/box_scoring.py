"""AP50: objects found by a detector of centres, against those that are there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from edgevision.data.average_precision import Precision, average_precision
from edgevision.data.detection import DetectionSplit, Objects
from edgevision.data.letterbox import Letterbox
from edgevision.data.metric import Metric
from edgevision.errors import UsageError
from edgevision.zoo.centres import GEOMETRY, Detections, decode

#: Detections below this score are not shown, and do not count when two networks are compared.
CONFIDENT = 0.3
#: Least intersection over union of two boxes that are said to be the same.
SAME = 0.5
#: Groups of images left out one at a time for an interval, and the 97.5 % point of Student's t for one fewer.
GROUPS, _T95 = 10, 2.262157

#: Objects of a batch in pixels of the network's input, and the ways back to the images.
Truths = tuple[Sequence[Objects], Sequence[Letterbox]]


@dataclass(frozen=True)
class BoxScore:
    """Average precision, and what it was taken from.

    Attributes:
        precision: means and classes, in percent.
        detections, truths: of each image, boxes in pixels of that image.
    """

    precision: Precision
    classes: tuple[str, ...]
    detections: tuple[Detections, ...] = field(repr=False)
    truths: tuple[Objects, ...] = field(repr=False)

    @property
    def percent(self) -> float:
        """AP50."""
        return self.precision.ap50

    @property
    def total(self) -> int:
        """Images."""
        return len(self.truths)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval by the delete-a-group jackknife over images (Kott, 2001); 0 to 100 where it cannot be known."""
        values = []
        for group in range(GROUPS):
            kept = [image for image in range(self.total) if image % GROUPS != group]
            truths = [self.truths[image] for image in kept]
            if self.total < 2 * GROUPS or all(these.difficult.all() for these in truths):
                return 0.0, 100.0
            values.append(average_precision([self.detections[image] for image in kept], truths, self.classes).ap50)
        spread = _T95 * math.sqrt((GROUPS - 1) / GROUPS * sum((value - np.mean(values)) ** 2 for value in values))
        return max(0.0, self.percent - spread), min(100.0, self.percent + spread)


@dataclass
class BoxMeter:
    """Gathers detections and objects, boxes in pixels of the images as stored."""

    classes: tuple[str, ...]
    detections: list[Detections] = field(default_factory=list)
    truths: list[Objects] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Images so far."""
        return len(self.truths)

    def add(self, answers: Sequence[Detections], truths: Truths) -> None:
        """Take in one batch; what lies in the padding is cut off."""
        for found, objects, box in zip(answers, *truths, strict=True):
            self.detections.append(Detections(box.back(found.boxes), found.scores, found.classes))
            self.truths.append(Objects(box.back(objects.boxes), objects.classes, objects.difficult))

    def score(self) -> BoxScore:
        """Average precision of all batches.

        Raises:
            UsageError: there was no image, or none with an object that counts.
            ToolMissing: pycocotools is not installed.
        """
        if not self.total:
            raise UsageError("expected at least one image to evaluate on, got none")
        precision = average_precision(self.detections, self.truths, self.classes)
        return BoxScore(precision, self.classes, tuple(self.detections), tuple(self.truths))


@dataclass(frozen=True)
class BoxScoring:
    """AP50 on a split (the protocol is `scoring.Scoring`)."""

    split: DetectionSplit
    classes: tuple[str, ...]
    metric: Metric = "AP50"

    def __len__(self) -> int:
        return len(self.split)

    def refuse(self, shape: tuple[int, ...], where: str) -> None:
        """Raise unless the outputs are maps of these classes; a detector has an output for each class, and no more."""
        if len(shape) != 4 or shape[1] != len(self.classes) + GEOMETRY:
            raise UsageError(
                f"expected maps of shape (1, {len(self.classes)} classes + {GEOMETRY}, rows, columns), got {shape}",
                where=where,
                fix="use the data the detector was trained on",
            )

    def batches(self, batch: int, *, limit: int | None = None) -> Iterator[tuple[np.ndarray, Truths]]:
        """Images, their objects and the ways back."""
        for pixels, objects, boxes in self.split.letterboxed_batches(batch, limit=limit):
            yield self.split.preprocessing.normalised(pixels), (objects, boxes)

    def answers(self, outputs: np.ndarray) -> list[Detections]:
        """Objects found in each image, boxes in pixels of the network's input."""
        return decode(outputs)

    def meter(self) -> BoxMeter:
        """Gathers them."""
        return BoxMeter(self.classes)

    def differing(self, answers: Sequence[Detections], others: Sequence[Detections]) -> int:
        """Images whose confident detections do not go together one by one, by class and place."""
        return sum(not alike(one, other) for one, other in zip(answers, others, strict=True))


def alike(one: Detections, other: Detections) -> bool:
    """Whether each confident detection of `one` has a confident one of the same class and place in `other`, and back.

    >>> box = np.float32([[0, 0, 4, 4]])
    >>> found, moved = (Detections(box + by, np.float32([0.9]), np.array([1])) for by in (0, 3))
    >>> alike(found, found), alike(found, moved)
    (True, False)
    """
    one, other = confident(one), confident(other)
    if len(one.scores) != len(other.scores):
        return False
    left = list(range(len(other.scores)))
    for box, label in zip(one.boxes, one.classes, strict=True):
        fitting = [index for index in left if other.classes[index] == label]
        overlaps = [_overlap(box, other.boxes[index]) for index in fitting]
        if not overlaps or max(overlaps) < SAME:
            return False
        left.remove(fitting[int(np.argmax(overlaps))])
    return True


def confident(found: Detections) -> Detections:
    """Those of at least the score `CONFIDENT`, but boxes without area, which are nothing to look at."""
    kept = (found.scores >= CONFIDENT) & (found.boxes[:, 2:] > found.boxes[:, :2]).all(axis=1)
    return Detections(found.boxes[kept], found.scores[kept], found.classes[kept])


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of boxes that have an area."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    both = float(sides.clip(0).prod())
    return both / (float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - both)
