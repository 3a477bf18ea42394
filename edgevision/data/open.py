"""From what a user writes after `--data` to a data set: images with one label each, or with boxes."""

from __future__ import annotations

from pathlib import Path

from edgevision.config import nearest
from edgevision.data.coco import open_coco
from edgevision.data.dataset import DataSet
from edgevision.data.detection import DetectionSet
from edgevision.data.digits import open_digits
from edgevision.data.folder import open_folder
from edgevision.data.imagenet import open_imagenet
from edgevision.data.metric import AnySet
from edgevision.data.preprocess import Preprocessing
from edgevision.data.shapes import open_shapes
from edgevision.data.voc import open_voc
from edgevision.errors import UsageError

_LABELLED = {"folder": open_folder, "imagenet": open_imagenet}
_BOXED = {"voc": open_voc, "coco": open_coco}
_WITH_PATH = frozenset({*_LABELLED, *_BOXED})
_WITHOUT_PATH = frozenset({"digits", "shapes"})
#: What a user may write, by kind of images.
LABELLED_KINDS = "digits, folder:PATH or imagenet:PATH"
BOXED_KINDS = "shapes, voc:PATH or coco:PATH"


def open_set(spec: str, preprocessing: Preprocessing | None = None) -> AnySet:
    """Open data of either kind, as `open_data` or `open_detections` does.

    >>> open_set("shapes").split("test").name
    'test'
    """
    return open_detections(spec, preprocessing) if has_boxes(spec) else open_data(spec, preprocessing)


def open_data(spec: str, preprocessing: Preprocessing | None = None) -> DataSet:
    """Open `digits`, `folder:PATH` or `imagenet:PATH`; a path may be a folder, `.tar`, `.tar.gz` or `.tgz`.

    Args:
        spec: what to open.
        preprocessing: what is done to each image; the data set's own default without it.

    Raises:
        UsageError: an unknown kind (the nearest is given), images with boxes, a missing path, or data that cannot be
            used.

    >>> open_data("digits").classes[:3]
    ('0', '1', '2')
    """
    if has_boxes(spec):
        raise UsageError(f"expected images with one label each, got '{spec}': images with boxes", fix=LABELLED_KINDS)
    kind, _, path = absolute(spec).partition(":")
    return _LABELLED[kind](Path(path), preprocessing) if path else open_digits(preprocessing)


def open_detections(spec: str, preprocessing: Preprocessing | None = None) -> DetectionSet:
    """Open `shapes`, `voc:PATH` or `coco:PATH`; a path may be a folder, `.tar`, `.tar.gz` or `.tgz`.

    Args:
        spec: what to open.
        preprocessing: size images are scaled and padded to, and how they are normalised; the set's own without it.

    Raises:
        UsageError: an unknown kind (the nearest is given), images without boxes, a missing path, or data that cannot be
            used.
    """
    if not has_boxes(spec):
        raise UsageError(f"expected images with boxes, got '{spec}': images with one label each", fix=BOXED_KINDS)
    kind, _, path = absolute(spec).partition(":")
    return _BOXED[kind](Path(path), preprocessing) if path else open_shapes(preprocessing)


def has_boxes(spec: str) -> bool:
    """Whether `spec` is opened with `open_detections`; nothing is read.

    Raises:
        UsageError: an unknown kind.

    >>> has_boxes("voc:VOC2007"), has_boxes("digits")
    (True, False)
    """
    known_data(spec)
    return spec == "shapes" or spec.partition(":")[0] in _BOXED


def known_data(spec: str) -> None:
    """Raise `UsageError`, with the nearest kind, unless `spec` is of a known kind; nothing is read."""
    kind, colon, path = spec.partition(":")
    if (kind in _WITHOUT_PATH and not colon) or (kind in _WITH_PATH and path):
        return
    raise UsageError(
        f"unknown data '{spec}'{nearest(kind, sorted(_WITHOUT_PATH | _WITH_PATH))}",
        fix=f"{LABELLED_KINDS}; with boxes {BOXED_KINDS} (folder or .tar.gz)",
    )


def absolute(spec: str) -> str:
    """`spec` with its path made absolute, so that what records it can be used from any folder.

    >>> absolute("digits"), absolute("folder:/data/pets")
    ('digits', 'folder:/data/pets')
    """
    kind, _, path = spec.partition(":")
    return f"{kind}:{Path(path).expanduser().resolve()}" if kind in _WITH_PATH and path else spec
