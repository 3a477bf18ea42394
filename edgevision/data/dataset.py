"""Labelled images in named splits, read one by one so that memory does not grow with their number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from PIL import Image

from edgevision.data.preprocess import Preprocessing
from edgevision.errors import UsageError

#: Images of the calibration split; a method takes as many of them, in order, as it needs.
CALIBRATION_IMAGES = 1024
_DECODERS = 2


class ImageSource(Protocol):
    """Where images come from; decoded on request, never kept."""

    def image(self, index: int) -> Image.Image:
        """Decode image `index`; `UsageError` names a file that cannot be read."""


@dataclass(frozen=True)
class Split:
    """Some images of a source in a fixed order.

    Attributes:
        name: "train", "calibration" or "test".
        labels: class indices, int64, one for each image.
    """

    name: str
    preprocessing: Preprocessing
    source: ImageSource = field(repr=False)
    indices: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    def images(self, index: int) -> tuple[np.ndarray, int]:
        """Return image `index` resized and cropped, uint8 (H, W, C), and its label."""
        return self.preprocessing.resized(self.source.image(int(self.indices[index]))), int(self.labels[index])

    def pixels(self, indices: Sequence[int]) -> np.ndarray:
        """Return several images, uint8 (N, H, W, C)."""
        return np.stack([self.images(int(index))[0] for index in indices])

    def batches(self, batch: int, *, limit: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield normalised images, float32 (N, C, H, W), and labels, int64 (N,); the last batch may be smaller.

        At most two batches are in memory, whatever the size of the split.

        Args:
            batch: images at a time.
            limit: stop after this many images.

        Raises:
            UsageError: an image cannot be read; its file and index are named.
        """
        count = len(self) if limit is None else min(limit, len(self))
        with ThreadPoolExecutor(_DECODERS) as pool:
            for start in range(0, count, batch):
                chosen = range(start, min(start + batch, count))
                pixels = np.stack([pixels for pixels, _ in pool.map(self.images, chosen)])
                yield self.preprocessing.normalised(pixels), self.labels[chosen.start : chosen.stop]


@dataclass(frozen=True)
class DataSet:
    """Images with class names and splits.

    Attributes:
        spec: what it was opened with, as "digits" or "folder:photos".
        classes: names in the order of the labels.
        sha256: of the file names and sizes, or of the arrays.
        default_preprocessing: what it asks for when nobody says otherwise.
        notes: what a reader of a result must know, as where calibration images came from.
    """

    spec: str
    classes: tuple[str, ...]
    sha256: str
    preprocessing: Preprocessing
    default_preprocessing: Preprocessing
    splits: Mapping[str, Split] = field(repr=False)
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> Split:
        """Return "train", "calibration" or "test".

        Raises:
            UsageError: the set has no such split.
        """
        if name not in self.splits:
            raise UsageError(
                f"the data has no '{name}' split, only {', '.join(self.splits)}",
                where=self.spec,
                fix=f"put class folders with images below {name}/",
            )
        return self.splits[name]


def hashed_order(names: Sequence[str], *, salt: str) -> np.ndarray:
    """Return an order of `names` that looks shuffled, and depends on nothing but the names.

    Adding a file moves no other file relative to its neighbours, so a split stays itself as a folder grows.

    >>> names = ["a.png", "b.png", "c.png", "d.png"]
    >>> [names[i] for i in hashed_order(names, salt="s")], [names[i] for i in hashed_order(names[:3], salt="s")]
    (['d.png', 'c.png', 'b.png', 'a.png'], ['c.png', 'b.png', 'a.png'])
    """
    keys = [hashlib.sha256(f"{salt}/{name}".encode()).digest() for name in names]
    return np.asarray(sorted(range(len(names)), key=keys.__getitem__), dtype=np.int64)


def held_out(order: np.ndarray, labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Divide `order` into (kept, held out), `share` of every class held out and at least one image on both sides.

    >>> kept, out = held_out(np.arange(8), np.array([0, 0, 0, 0, 1, 1, 1, 1]), 0.25)
    >>> kept.tolist(), out.tolist()
    ([1, 2, 3, 5, 6, 7], [0, 4])
    """
    out = np.zeros(len(order), dtype=bool)
    ordered = labels[order]
    for label in np.unique(ordered):
        places = np.flatnonzero(ordered == label)
        out[places[: min(max(1, round(share * len(places))), len(places) - 1)]] = True
    return order[~out], order[out]


def make_splits(
    source: ImageSource,
    preprocessing: Preprocessing,
    names: Sequence[str],
    labels: np.ndarray,
    *,
    train: np.ndarray,
    test: np.ndarray,
) -> dict[str, Split]:
    """Make the splits; calibration images are the first of the train images in hashed order, or of the test images.

    The test split is in hashed order too, so that the first images of it are a fair sample of its classes.
    """

    def shuffled(indices: np.ndarray, salt: str) -> np.ndarray:
        return indices[hashed_order([names[i] for i in indices], salt=salt)]

    calibration = shuffled(train if len(train) else test, "calibration")[:CALIBRATION_IMAGES]
    parts = {"train": train, "calibration": calibration, "test": shuffled(test, "test")}
    return {
        name: Split(name, preprocessing, source, indices, labels[indices])
        for name, indices in parts.items()
        if len(indices)
    }
