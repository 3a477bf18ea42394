"""From the maps of a detector of centres to objects (CenterNet, arXiv 1904.07850): peaks, and no suppression of boxes.

numpy only, because the maps may come from a board as well as from torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgevision.errors import UsageError

#: Channels after those of the classes: width, height, offset in x, offset in y.
GEOMETRY = 4


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one image, the best first.

    Attributes:
        boxes: float32 (K, 4): x1, y1, x2, y2 in pixels, right and bottom exclusive; they may reach outside the image.
        scores: float32 (K,), in [0, 1].
        classes: int64 (K,).
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


def decode(maps: np.ndarray, *, top: int = 100, stride: int = 4, logits: bool = True) -> list[Detections]:
    """Take the places that no neighbour of their class exceeds, and put a box around each.

    Of equal neighbours the first in reading order is taken, the publication takes all. For floats that is the same; in
    maps of 8 bits the peak of an object is often two cells wide, and a second box on it would be a wrong one (measured
    on a little trained detector of blood cells: rounding its maps took AP50 from 20.0 to 16.6, and with the first alone
    to 20.8). Equal scores are in the order of class, row and column. A negative width or height counts as 0.

    Args:
        maps: (N, classes + 4, h, w): centres, then width and height in cells, then offset of the centre in x and y.
        top: the most objects of an image, over all classes.
        stride: pixels of the network's input per cell.
        logits: whether the centres are logits; if not, they are scores in [0, 1].

    Returns:
        One for each image, boxes in pixels of the network's input.

    Raises:
        UsageError: another shape, values that are not finite, or scores outside [0, 1].

    >>> maps = np.full((1, 5, 3, 3), -9.0, np.float32)
    >>> maps[0, :, 1, 2] = 0, 2, 1, 0.5, 0.25
    >>> maps[0, 0, [0, 2], 0] = -10
    >>> found = decode(maps, top=1)[0]
    >>> found.boxes.tolist(), found.scores.tolist(), found.classes.tolist()
    ([[6.0, 3.0, 14.0, 7.0]], [0.5], [0])
    """
    maps = _checked(maps, top, stride, logits)
    return [_strongest(image, top, stride, logits) for image in maps]


def _strongest(maps: np.ndarray, top: int, stride: int, logits: bool) -> Detections:
    centres = maps[:-GEOMETRY]
    places = np.flatnonzero(_peaks(centres))
    # Logits are compared and not scores: a sigmoid rounds different large logits to the same 1.
    heights = centres.ravel()[places]
    if len(places) > top:
        # Noise has a peak in every ninth place; most are set aside before the rest are sorted.
        kept = heights >= np.partition(heights, -top)[-top]
        places, heights = places[kept], heights[kept]
    order = np.argsort(-heights, kind="stable")[:top]
    classes, rows, columns = np.unravel_index(places[order], centres.shape)
    width, height, right, down = maps[-GEOMETRY:, rows, columns].astype(np.float64)
    half = np.stack([width, height], axis=1).clip(min=0) / 2
    centre = np.stack([columns + right, rows + down], axis=1)
    values = centres[classes, rows, columns].astype(np.float64)
    return Detections(
        boxes=(np.concatenate([centre - half, centre + half], axis=1) * stride).astype(np.float32),
        scores=(np.exp(-np.logaddexp(0, -values)) if logits else values).astype(np.float32),
        classes=classes.astype(np.int64),
    )


def _peaks(maps: np.ndarray) -> np.ndarray:
    """Where no neighbour of the eight is larger, and none before it in reading order is equal; bool (C, h, w)."""
    # A border that is smaller than everything, so that every place has eight neighbours.
    framed = np.pad(maps, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    of_three = np.maximum(np.maximum(framed[..., :-2], framed[..., 1:-1]), framed[..., 2:])
    before = np.maximum(of_three[..., :-2, :], framed[..., 1:-1, :-2])
    after = np.maximum(of_three[..., 2:, :], framed[..., 1:-1, 2:])
    return (maps > before) & (maps >= after)


def _checked(maps: np.ndarray, top: int, stride: int, logits: bool) -> np.ndarray:
    """`maps` as float32, or an error with all that is wrong with the arguments."""
    reasons = [
        f"expected a positive {name}, got {value}" for name, value in (("top", top), ("stride", stride)) if value < 1
    ]
    maps = np.asarray(maps)
    if maps.ndim != 4 or maps.shape[1] <= GEOMETRY or 0 in maps.shape[2:] or maps.dtype.kind not in "fiu":
        reasons.append(
            f"expected numbers of shape (N, classes + {GEOMETRY}, h, w) with at least one class, "
            f"got {maps.dtype} of shape {maps.shape}"
        )
    else:
        maps = maps.astype(np.float32, copy=False)
        finite = np.isfinite(maps)
        if not finite.all():
            first = tuple(int(i) for i in np.argwhere(~finite)[0])
            reasons.append(
                f"expected finite maps, got {np.size(finite) - np.count_nonzero(finite)} of {maps.size} values "
                f"that are not, the first at (image, channel, row, column) {first}"
            )
        elif not logits and maps.size and not (maps[:, :-GEOMETRY].min() >= 0 and maps[:, :-GEOMETRY].max() <= 1):
            low, high = maps[:, :-GEOMETRY].min(), maps[:, :-GEOMETRY].max()
            reasons.append(f"expected scores in [0, 1] where logits is false, got {low:g} to {high:g}")
    if reasons:
        raise UsageError("the maps cannot be decoded into objects", where="decode", reasons=reasons)
    return maps
