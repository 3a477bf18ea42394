"""Images with boxes around their objects, in named splits, read one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from PIL import Image

from edgevision.data.dataset import in_batches, in_order, named_split
from edgevision.data.letterbox import Letterbox
from edgevision.data.preprocess import Preprocessing
from edgevision.errors import UsageError


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one image; there may be none.

    Attributes:
        boxes: float32 (N, 4): x1, y1, x2, y2 in pixels of its image, counted from 0, right and bottom exclusive.
        classes: int64 (N,), indices into the classes of the set.
        difficult: bool (N,): neither trained on nor counted in a metric (VOC `difficult`, COCO `iscrowd`).
    """

    boxes: np.ndarray
    classes: np.ndarray
    difficult: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    @classmethod
    def of(
        cls,
        boxes: Sequence[Sequence[float]] | np.ndarray,
        classes: Sequence[int] | np.ndarray,
        difficult: Sequence[bool] | np.ndarray | None = None,
    ) -> Objects:
        """Make them from anything that can be turned into the three arrays; none is difficult unless said so.

        >>> Objects.of([], []).boxes.shape, len(Objects.of([[0, 0, 4, 2]], [1]))
        ((0, 4), 1)
        """
        labels = np.asarray(classes, np.int64).reshape(-1)
        marked = np.zeros(len(labels), bool) if difficult is None else np.asarray(difficult, bool).reshape(-1)
        return cls(np.asarray(boxes, np.float32).reshape(-1, 4), labels, marked)


class DetectionSource(Protocol):
    """Where images with objects come from; decoded on request, never kept."""

    def read(self, index: int) -> tuple[Image.Image, Objects]:
        """Decode image `index` as RGB, with its objects; `UsageError` names a file that cannot be read."""


@dataclass(frozen=True)
class DetectionSplit:
    """Some images of a source in a fixed order.

    Attributes:
        name: "train", "calibration", "validation" or "test".
        preprocessing: its height and width are what images are padded to; nothing is cropped.
    """

    name: str
    preprocessing: Preprocessing
    source: DetectionSource = field(repr=False)
    indices: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> tuple[Image.Image, Objects]:
        """Return image `index` of the split as stored, RGB, and its objects in its own pixels."""
        return self.source.read(int(self.indices[index]))

    def letterboxed(self, index: int) -> tuple[np.ndarray, Objects, Letterbox]:
        """Return image `index` as the network takes it, uint8 (H, W, C), its objects in those pixels, and the way back.

        The padding has the mean colour, which becomes nearly zero: what a convolution pads with.
        """
        asked = self.preprocessing
        image, objects = self.read(index)
        box = Letterbox.fitting(image.width, image.height, asked.height, asked.width)
        fill = [min(255, max(0, round(255 * mean))) for mean in asked.mean]
        pixels = box.image(
            image if asked.channels == 3 else image.convert("L"), interpolation=asked.interpolation, fill=fill
        )
        return pixels, Objects(box.boxes(objects.boxes), objects.classes, objects.difficult), box

    def letterboxed_batches(
        self, batch: int, *, limit: int | None = None
    ) -> Iterator[tuple[np.ndarray, tuple[Objects, ...], tuple[Letterbox, ...]]]:
        """Yield what `letterboxed` returns, `batch` images at a time: uint8 (N, H, W, C), objects, ways back."""
        for taken in in_batches(self.letterboxed, len(self), batch, limit):
            pixels, objects, boxes = zip(*taken, strict=True)
            yield np.stack(pixels), objects, boxes

    def batches(self, batch: int, *, limit: int | None = None) -> Iterator[tuple[np.ndarray, tuple[Objects, ...]]]:
        """Yield normalised images, float32 (N, C, H, W), and their objects in pixels of these; the last may be smaller.

        At most two batches are in memory, whatever the size of the split.

        Args:
            batch: images at a time.
            limit: stop after this many images.

        Raises:
            UsageError: an image cannot be read; its file and index are named.
        """
        for pixels, objects, _ in self.letterboxed_batches(batch, limit=limit):
            yield self.preprocessing.normalised(pixels), objects


@dataclass(frozen=True)
class DetectionSet:
    """Images with objects, class names and splits.

    Attributes:
        spec: what it was opened with, as "voc:VOC2007".
        classes: names in the order of the class indices.
        sha256: of the file names and sizes and of what the annotations say.
        default_preprocessing: what it asks for when nobody says otherwise.
        notes: what a reader of a result must know, as how many boxes were clipped.
    """

    spec: str
    classes: tuple[str, ...]
    sha256: str
    preprocessing: Preprocessing
    default_preprocessing: Preprocessing
    splits: Mapping[str, DetectionSplit] = field(repr=False)
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> DetectionSplit:
        """Return "train", "calibration", "test", or "validation" where there is one.

        Raises:
            UsageError: the set has no such split.
        """
        return named_split(self.splits, name, self.spec)

    def trained_on_validation(self) -> DetectionSet:
        """The same set with its validation images among the train images, after them; VOC calls that trainval.

        Raises:
            UsageError: it has no validation images, or nothing to train on.
        """
        train, validation = self.split("train"), self.split("validation")
        joined = replace(train, indices=np.concatenate([train.indices, validation.indices]))
        rest = {name: split for name, split in self.splits.items() if name != "validation"}
        return replace(
            self,
            sha256=hashlib.sha256(f"{self.sha256} train+validation".encode()).hexdigest(),
            splits={**rest, "train": joined},
            notes=(*self.notes, f"trained on {len(train):,} train and {len(validation):,} validation images"),
        )


def make_detection_splits(
    source: DetectionSource,
    preprocessing: Preprocessing,
    names: Sequence[str],
    parts: Mapping[str, np.ndarray],
) -> dict[str, DetectionSplit]:
    """Make the splits of `parts` that hold images, and "calibration"; see `in_order` for their order.

    Args:
        source: where the images are read.
        preprocessing: for every split.
        names: of all images, by index.
        parts: indices of "train", "test" and, where there are such, "validation" images.

    Raises:
        UsageError: the preprocessing crops, which cuts objects off.
    """
    if preprocessing.resize_short is not None:
        raise UsageError(
            f"expected preprocessing that keeps the whole image, got a crop from {preprocessing.resize_short} pixels",
            fix="leave resize_short out: images with boxes are scaled and padded",
        )

    ordered = in_order(parts, names)
    return {name: DetectionSplit(name, preprocessing, source, indices) for name, indices in ordered.items()}
