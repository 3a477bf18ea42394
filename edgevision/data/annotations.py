"""What readers of annotations share: an image's objects by class name, checked boxes, and lists of what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

#: How many files are named for each kind of problem; the others are counted.
SHOWN = 10


@dataclass
class Problems:
    """What is wrong with annotations, by kind, so that one frequent mistake hides no other."""

    _places: dict[str, list[str]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, kind: str, place: str) -> None:
        """Note `kind` at `place`: a file, with the object in it where there is one."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        places = self._places.setdefault(kind, [])
        if len(places) < SHOWN:
            places.append(place)

    def lines(self) -> list[str]:
        """Return one line for each of the first ten places of a kind, and one that counts the rest.

        >>> problems = Problems()
        >>> for index in range(12): problems.add("no area", f"{index}.xml")
        >>> problems.lines()[9:]
        ['no area: 9.xml', 'no area: and 2 more']
        """
        lines = []
        for kind, places in self._places.items():
            lines += [f"{kind}: {place}" for place in places]
            if self._counts[kind] > len(places):
                lines.append(f"{kind}: and {self._counts[kind] - len(places):,} more")
        return lines


@dataclass
class Remarks:
    """What was mended on the way, for the notes of the set: how often, and the first place."""

    _first: dict[str, str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, place: str, count: int = 1) -> None:
        """Count `what`; only the first place is kept."""
        self._first.setdefault(what, place)
        self._counts[what] = self._counts.get(what, 0) + count

    def lines(self) -> list[str]:
        """Return one line for each.

        >>> remarks = Remarks()
        >>> remarks.add("boxes clipped", "a.xml", 2)
        >>> remarks.lines()
        ['2 boxes clipped, first in a.xml']
        """
        return [f"{count:,} {what}, first in {self._first[what]}" for what, count in self._counts.items()]


@dataclass(frozen=True, eq=False)
class Annotated:
    """One image as its annotation describes it.

    Attributes:
        image: index among the image files.
        place: the annotation, for messages: "Annotations/1.xml", or a JSON file and the image's name.
        size: width and height in pixels; None where the annotation does not say.
        boxes: float64 (N, 4) x1, y1, x2, y2, counted from 0, right and bottom exclusive; not checked yet.
        classes: names, one for each box.
        difficult: one for each box.
    """

    image: int
    place: str
    size: tuple[int, int] | None
    boxes: np.ndarray
    classes: Sequence[str]
    difficult: Sequence[bool]


def checked_boxes(
    boxes: np.ndarray, size: tuple[int, int], classes: Sequence[str], place: str, problems: Problems, remarks: Remarks
) -> np.ndarray:
    """Return boxes as float32 (N, 4), clipped to an image of `size` (width, height).

    A box over the edge is clipped and remarked on. One that is wholly outside, turned inside out, without area, or not
    of numbers is a problem; its row means nothing then.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = boxes.astype(np.float32)
        clipped = np.clip(rounded, 0, [*size, *size]).astype(np.float32)
        finite = np.isfinite(rounded).all(1)
        area = (rounded[:, 2:] > rounded[:, :2]).all(1)
        inside = (clipped[:, 2:] > clipped[:, :2]).all(1)
    for fine, kind in ((finite, "box that is not of numbers"), (area | ~finite, "box without area")):
        for index in np.flatnonzero(~fine).tolist():
            problems.add(kind, f"{place}: {_described(index, classes, boxes)}")
    for index in np.flatnonzero(finite & area & ~inside).tolist():
        problems.add("box outside its image", f"{place} ({size[0]} x {size[1]}): {_described(index, classes, boxes)}")
    over = finite & area & inside & (clipped != rounded).any(1)
    if over.any():
        remarks.add("boxes over the edge of their image clipped to it", place, int(over.sum()))
    return clipped


def _described(index: int, classes: Sequence[str], boxes: np.ndarray) -> str:
    numbers = ", ".join(f"{value:g}" for value in boxes[index])
    return f"object {index + 1} ('{classes[index][:40]}'): x1, y1, x2, y2 = {numbers}"
