"""`imagenet:PATH`: wnid folders and a `class_index.json` that maps each wnid to its index, 0 to 999."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from edgevision.data.dataset import DataSet, make_splits
from edgevision.data.folder import PREPROCESSING, read_layout
from edgevision.data.image_files import ImageFiles, open_files
from edgevision.data.preprocess import Preprocessing
from edgevision.errors import UsageError

INDEX = "class_index.json"
_SHOWN = 20


def open_imagenet(path: Path, preprocessing: Preprocessing | None = None) -> DataSet:
    """Open `val/<wnid>/*` (and `train/<wnid>/*`), or `<wnid>/*` alone, beside `class_index.json`.

    Labels are the indices of `class_index.json`, so a network trained on all of ImageNet can be evaluated on images of
    some of its classes. Classes are the wnids in that order.

    Raises:
        UsageError: no images, no index, an index that is not a map of names to 0..n-1, or folders it does not know.
    """
    files = open_files(path)
    classes = _read_index(files)
    layout = read_layout(files)
    position = {name: index for index, name in enumerate(classes)}
    unknown = sorted(set(layout.labels) - set(position))
    if unknown:
        raise UsageError(
            f"{len(unknown)} folders are not in {INDEX}", where=str(path), reasons=unknown[:_SHOWN], fix="rename them"
        )
    labels = np.asarray([position[label] for label in layout.labels], dtype=np.int64)
    parts = np.asarray(layout.parts)
    train = np.flatnonzero(parts == "train")
    test = np.flatnonzero((parts == "test") | (parts == ""))
    notes = layout.notes
    if not len(train):
        notes = (*notes, "no train images: calibration images are test images, their labels unused")
    chosen = preprocessing or PREPROCESSING
    return DataSet(
        spec=f"imagenet:{path}",
        classes=classes,
        sha256=files.sha256,
        preprocessing=chosen,
        default_preprocessing=PREPROCESSING,
        splits=make_splits(files, chosen, files.names, labels, train=train, test=test),
        notes=notes,
    )


def _read_index(files: ImageFiles) -> tuple[str, ...]:
    name = next((other for other in files.others if other.split("/")[-1] == INDEX), None)
    if name is None:
        raise UsageError(
            f"expected {INDEX} beside the images, found none",
            where=str(files.root),
            fix='add it: {"n01440764": 0, ...}, or use folder:PATH when the labels are the folders\' own order',
        )
    try:
        index = msgspec.json.decode(files.read(name), type=dict[str, int])
    except msgspec.DecodeError as error:
        raise UsageError(f"expected a map of wnid to index: {error}", where=f"{files.root}: {name}") from error
    if sorted(index.values()) != list(range(len(index))):
        raise UsageError(
            f"expected each index from 0 to {len(index) - 1} once",
            where=f"{files.root}: {name}",
            fix="number the classes",
        )
    return tuple(sorted(index, key=index.__getitem__))
