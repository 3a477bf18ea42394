"""What is wrong with boxes and their classes, in words; one place for training and for the metric."""

from __future__ import annotations

import numpy as np

_SHOWN = 5


def box_faults(boxes: np.ndarray, classes: np.ndarray, known: int, *, empty_allowed: bool = False) -> list[str]:
    """Return one line for each kind of fault; none when the boxes can be used.

    Args:
        boxes: (N, 4): x1, y1, x2, y2, right and bottom exclusive.
        classes: (N,), each below `known`.
        known: number of classes.
        empty_allowed: whether a box may have no area; never may it have a negative side.

    >>> box_faults(np.array([[0, 0, 4, 2], [3, 3, 3, 5]]), np.array([0, 2]), 2)
    ['expected x1 < x2 and y1 < y2, got box 1: 3, 3, 3, 5', 'expected classes from 0 to 1, got 2 for box 1']
    """
    if classes.ndim != 1 or boxes.shape != (len(classes), 4) or classes.dtype.kind not in "iu":
        return [
            f"expected boxes of shape (N, 4) and N integer classes, got shape {boxes.shape} and "
            f"{classes.dtype} of shape {classes.shape}"
        ]
    finite = np.isfinite(boxes).all(axis=1)
    sides = np.where(finite[:, None], boxes[:, 2:] - boxes[:, :2], 1)
    small = np.any(sides < 0 if empty_allowed else sides <= 0, axis=1)
    sign = "<=" if empty_allowed else "<"
    faults = []
    if not finite.all():
        faults.append(f"expected finite coordinates, got {_named(boxes, ~finite)}")
    if small.any():
        faults.append(f"expected x1 {sign} x2 and y1 {sign} y2, got {_named(boxes, small)}")
    unknown = np.flatnonzero((classes < 0) | (classes >= known))
    if len(unknown):
        shown = ", ".join(f"{classes[i]} for box {i}" for i in unknown[:_SHOWN])
        faults.append(f"expected classes from 0 to {known - 1}, got {shown}{_more(len(unknown))}")
    return faults


def shortened(faults: list[str], most: int = 20) -> list[str]:
    """Return the first `most` faults, and how many there are besides; a network that diverged has one in every image.

    >>> shortened(["a", "b", "c"], most=1), shortened(["a"], most=1)
    (['a', 'and 2 more like these'], ['a'])
    """
    return faults if len(faults) <= most else [*faults[:most], f"and {len(faults) - most} more like these"]


def _named(boxes: np.ndarray, bad: np.ndarray) -> str:
    places = np.flatnonzero(bad)
    shown = "; ".join(f"box {i}: {', '.join(f'{value:g}' for value in boxes[i])}" for i in places[:_SHOWN])
    return f"{shown}{_more(len(places))}"


def _more(count: int) -> str:
    return f" and {count - _SHOWN} more" if count > _SHOWN else ""
