"""Labelled images in named splits, read one by one so that memory does not grow with their number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image

from edgevision.data.preprocess import Preprocessing
from edgevision.errors import UsageError

#: Images of the calibration split; a method takes as many of them, in order, as it needs.
CALIBRATION_IMAGES = 1024
_DECODERS = 2
T = TypeVar("T")


class ImageSource(Protocol):
    """Where images come from; decoded on request, never kept."""

    def image(self, index: int) -> Image.Image:
        """Decode image `index`; `UsageError` names a file that cannot be read."""


def in_batches(read: Callable[[int], T], count: int, batch: int, limit: int | None) -> Iterator[list[T]]:
    """What `read` gives for 0 to `count`, or to `limit` if that is less, `batch` at a time, decoded side by side."""
    count = count if limit is None else min(limit, count)
    with ThreadPoolExecutor(_DECODERS) as pool:
        for start in range(0, count, batch):
            yield list(pool.map(read, range(start, min(start + batch, count))))


def named_split(splits: Mapping[str, T], name: str, spec: str, *, fix: str | None = None) -> T:
    """Split `name` of the data `spec`; `UsageError`, with `fix`, where there is none."""
    if name not in splits:
        raise UsageError(f"the data has no '{name}' split, only {', '.join(splits)}", where=spec, fix=fix)
    return splits[name]


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
        for taken in in_batches(self.images, len(self), batch, limit):
            pixels, labels = zip(*taken, strict=True)
            yield self.preprocessing.normalised(np.stack(pixels)), np.array(labels, self.labels.dtype)


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
        return named_split(self.splits, name, self.spec, fix=f"put class folders with images below {name}/")


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


def in_order(parts: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Indices of "train", "test" and others of `parts`, those with images, and of "calibration".

    Calibration images are the first of the train images in hashed order, or of the test images where there are none.
    The test split is in hashed order too, so that its first images are a fair sample.

    Args:
        names: of all images, by index.
    """

    def shuffled(indices: np.ndarray, salt: str) -> np.ndarray:
        return indices[hashed_order([names[i] for i in indices], salt=salt)]

    train, test = parts["train"], parts["test"]
    calibration = shuffled(train if len(train) else test, "calibration")[:CALIBRATION_IMAGES]
    ordered = {"train": train, "calibration": calibration, **parts, "test": shuffled(test, "test")}
    return {name: indices for name, indices in ordered.items() if len(indices)}


def make_splits(
    source: ImageSource,
    preprocessing: Preprocessing,
    names: Sequence[str],
    labels: np.ndarray,
    *,
    train: np.ndarray,
    test: np.ndarray,
) -> dict[str, Split]:
    """Make the splits of the images there are; see `in_order` for their order."""
    parts = in_order({"train": train, "test": test}, names)
    return {name: Split(name, preprocessing, source, indices, labels[indices]) for name, indices in parts.items()}
