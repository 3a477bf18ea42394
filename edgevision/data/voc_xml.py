"""One Pascal VOC annotation file: the size of an image and its objects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

#: About ten thousand objects; the largest file of VOC2012 has 56.
MAX_XML_BYTES = 4 << 20
_EDGES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, eq=False)
class VocAnnotation:
    """What an annotation file says.

    Attributes:
        size: width and height in pixels; None where the file does not say or says 0.
        boxes: float64 (N, 4) x1, y1, x2, y2, counted from 0, right and bottom exclusive.
        classes: names as written.
        difficult: one for each box.
    """

    size: tuple[int, int] | None
    boxes: np.ndarray
    classes: tuple[str, ...]
    difficult: tuple[bool, ...]


class BadAnnotation(Exception):
    """Why a file is no VOC annotation; one line for each reason."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def read_voc_xml(content: bytes) -> VocAnnotation:
    """Read one file of `Annotations/` (VOC2007 development kit, section 4.2).

    VOC counts pixels from 1 and includes the last one, so x1 and y1 are one less than written, x2 and y2 as written.

    Raises:
        BadAnnotation: it is not UTF-8 or not XML, declares a document type or entities, its root is no annotation, or
            an object has no name or no four numbers.
    """
    root = _root(content)
    reasons: list[str] = []
    boxes, classes, difficult = [], [], []
    for index, entry in enumerate(root.findall("object"), start=1):
        name = (entry.findtext("name") or "").strip()
        if not name:
            reasons.append(f"object {index} has no name")
        marked = (entry.findtext("difficult") or "0").strip()
        if marked not in ("0", "1"):
            reasons.append(f"object {index} ('{name[:40]}'): difficult is '{marked[:20]}', expected 0 or 1")
        box = _box(entry.find("bndbox"))
        if isinstance(box, str):
            reasons.append(f"object {index} ('{name[:40]}'): {box}")
            continue
        boxes.append(box)
        classes.append(name)
        difficult.append(marked == "1")
    if reasons:
        raise BadAnnotation(*reasons)
    edges = np.asarray(boxes, np.float64).reshape(-1, 4) - np.asarray([1, 1, 0, 0])
    return VocAnnotation(_size(root.find("size")), edges, tuple(classes), tuple(difficult))


def _root(content: bytes) -> ElementTree.Element:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadAnnotation(f"not UTF-8 at byte {error.start}") from error
    # Entities can stand for gigabytes or for other files; a VOC annotation has no use for them.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise BadAnnotation("a document type or entities, which are refused")
    # The encoding is given from outside, so what the file declares cannot hide a document type from the check above.
    parser = ElementTree.XMLParser(encoding="utf-8")
    try:
        parser.feed(text.encode())
        root = parser.close()
    except ElementTree.ParseError as error:
        raise BadAnnotation(f"not XML: {error}") from error
    if root.tag != "annotation":
        raise BadAnnotation(f"expected <annotation> outermost, got <{root.tag[:40]}>")
    return root


def _box(entry: ElementTree.Element | None) -> list[float] | str:
    """The four edges as written, or what is wrong with them."""
    if entry is None:
        return "no bndbox"
    edges = []
    for name in _EDGES:
        written = (entry.findtext(name) or "").strip()
        try:
            edges.append(float(written))
        except ValueError:
            return f"{name} is '{written[:20]}', expected a number"
    return edges if all(map(math.isfinite, edges)) else f"{', '.join(map(str, edges))} are not four finite numbers"


def _size(entry: ElementTree.Element | None) -> tuple[int, int] | None:
    try:
        width, height = (int(float(entry.findtext(side) or "0")) for side in ("width", "height"))  # type: ignore[union-attr]
    except (AttributeError, ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None
