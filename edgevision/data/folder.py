"""`folder:PATH`: one folder of images per class, with or without train and test above them, also inside a tar."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from edgevision.data.dataset import DataSet, hashed_order, held_out, make_splits
from edgevision.data.image_files import ImageFiles, open_files
from edgevision.data.preprocess import Preprocessing
from edgevision.errors import UsageError

PREPROCESSING = Preprocessing(height=224, width=224, resize_short=256, interpolation="bicubic")
TEST_SHARE = 0.2
_TRAIN = frozenset({"train"})
_TEST = ("test", "val", "valid", "validation")
_SHOWN = 20


@dataclass(frozen=True)
class Layout:
    """Which part and class each file belongs to, by index into the listing.

    Attributes:
        parts: "train" or "test" for each file, "" where there are no such folders, "unused" for a second test folder.
        labels: class folder of each file.
    """

    parts: tuple[str, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def open_folder(path: Path, preprocessing: Preprocessing | None = None) -> DataSet:
    """Open a folder or archive of class folders.

    Without train and test folders a fifth of every class is held out for testing, chosen by the hash of the file names.

    Raises:
        UsageError: no images, images outside class folders, one class, empty class folders, or classes that only the
            test folder has; all reasons at once.
    """
    files = open_files(path)
    layout = read_layout(files)
    train_classes = {label for label, part in zip(layout.labels, layout.parts, strict=True) if part != "test"}
    classes = sorted(train_classes or set(layout.labels))
    reasons = _reasons(files, layout, classes)
    if reasons:
        raise UsageError(
            "the image folder cannot be used", where=str(path), reasons=reasons, fix="one folder of images per class"
        )
    labels = np.asarray([classes.index(label) for label in layout.labels], dtype=np.int64)
    parts = np.asarray(layout.parts)
    train, test = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test")
    notes = list(layout.notes)
    if not len(train) and not len(test):
        train, test = held_out(hashed_order(files.names, salt="folder"), labels, TEST_SHARE)
        train, test = np.sort(train), np.sort(test)
        notes.append(f"no train and test folders: {len(test)} of {len(labels)} images held out, by hash of their names")
    if not len(train):
        notes.append("no train images: calibration images are test images, their labels unused")
    if not len(test):
        notes.append("no test images: accuracy cannot be measured")
    chosen = preprocessing or PREPROCESSING
    return DataSet(
        spec=f"folder:{path}",
        classes=tuple(classes),
        sha256=files.sha256,
        preprocessing=chosen,
        default_preprocessing=PREPROCESSING,
        splits=make_splits(files, chosen, files.names, labels, train=train, test=test),
        notes=tuple(notes),
    )


def read_layout(files: ImageFiles) -> Layout:
    """Recognise `<class>/x.jpg` and `train/<class>/x.jpg`; one folder around everything is looked through.

    Raises:
        UsageError: images that lie in no class folder.
    """
    paths = [PurePosixPath(name).parts for name in files.names]
    around = {parts[0] for parts in paths}
    if len(around) == 1 and all(len(parts) > 2 for parts in paths) and not around & {*_TRAIN, *_TEST}:
        paths = [parts[1:] for parts in paths]
    loose = [name for name, parts in zip(files.names, paths, strict=True) if len(parts) < 2]
    if loose:
        raise UsageError(
            f"expected every image in a class folder, got {len(loose)} that lie outside",
            where=str(files.root),
            reasons=loose[:_SHOWN],
            fix="move them into the folder of their class",
        )
    top = {parts[0] for parts in paths}
    if not top <= {*_TRAIN, *_TEST}:
        return Layout(("",) * len(paths), tuple(parts[0] for parts in paths), ())
    shallow = [name for name, parts in zip(files.names, paths, strict=True) if len(parts) < 3]
    if shallow:
        raise UsageError(
            f"expected class folders below {', '.join(sorted(top))}, got {len(shallow)} images directly in them",
            where=str(files.root),
            reasons=shallow[:_SHOWN],
        )
    tested = next((name for name in _TEST if name in top), None)
    role = {name: "train" if name in _TRAIN else "test" if name == tested else "unused" for name in top}
    unused = sorted(name for name in top if role[name] == "unused")
    notes = (f"{', '.join(unused)} not used: {tested} is the test split",) if unused else ()
    return Layout(tuple(role[parts[0]] for parts in paths), tuple(parts[1] for parts in paths), notes)


def _reasons(files: ImageFiles, layout: Layout, classes: list[str]) -> list[str]:
    reasons = []
    if len(classes) < 2:
        reasons.append(f"expected at least two classes, got {', '.join(classes)}: there is nothing to tell apart")
    unknown = sorted(set(layout.labels) - set(classes))
    reasons += [f"class '{label}' has test images and no train images" for label in unknown[:_SHOWN]]
    reasons += [f"class folder '{name}' holds no image" for name in _empty_folders(files, classes)[:_SHOWN]]
    counts = {label: layout.labels.count(label) for label in classes} if "" in layout.parts else {}
    reasons += [f"class '{label}' has one image, expected two or more" for label, n in counts.items() if n < 2]
    return reasons


def _empty_folders(files: ImageFiles, classes: list[str]) -> list[str]:
    """Folders beside the class folders that hold no image; an archive cannot be asked."""
    if not files.root.is_dir():
        return []
    parents = {(files.root / name).parent for name in files.names}
    beside = {folder for parent in {p.parent for p in parents} for folder in parent.iterdir() if folder.is_dir()}
    named = [folder for folder in beside - parents if not folder.name.startswith(".")]
    return sorted(str(f.relative_to(files.root)) for f in named if not any(f in parent.parents for parent in parents))
