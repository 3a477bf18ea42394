"""Geometry of the trade-off scatter: where points, interval bars, ticks and labels go; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgevision.report.tradeoff import Point

#: Pixels between the baselines of two labels, and width of one character of theirs.
LINE = 15
CHARACTER = 6.6


@dataclass(frozen=True)
class Tick:
    """A grid line: its place in pixels and what is written at it."""

    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """One point with its two interval bars and its label, all in pixels."""

    x: float
    y: float
    left: float
    right: float
    top: float
    bottom: float
    label: str
    label_x: float
    label_y: float
    anchor: str
    kind: str


@dataclass(frozen=True)
class Scatter:
    """A chart of a given size; x is latency in milliseconds from zero, y accuracy in percent."""

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]


def scatter(points: Sequence[Point], width: int, height: int) -> Scatter | None:
    """Lay the points out; None when no point has an accuracy."""
    placed = [(p, p.accuracy) for p in points if p.accuracy is not None]
    if not placed:
        return None
    left, right, top, bottom = 46.0, width - 14.0, 16.0, height - 40.0
    slowest = max(p.latency.median.high for p, _ in placed)
    x_values = ticks(0.0, slowest * 1.12, 4 if width < 480 else 7)
    lowest, highest = min(a.low for _, a in placed), max(a.high for _, a in placed)
    y_values = ticks(max(0.0, lowest - 0.5), min(100.0, highest + 0.5), 6)
    x_end = max(x_values[-1], slowest * 1.12)
    y_start, y_end = min(y_values[0], lowest), max(y_values[-1], highest)

    def across(value: float) -> float:
        return round(left + (right - left) * value / x_end, 1)

    def up(value: float) -> float:
        return round(bottom - (bottom - top) * (value - y_start) / ((y_end - y_start) or 1.0), 1)

    marks = [
        Mark(
            x=across(p.latency.median.value),
            y=up(a.value),
            left=across(p.latency.median.low),
            right=across(p.latency.median.high),
            top=up(a.high),
            bottom=up(a.low),
            label=p.engine,
            label_x=0.0,
            label_y=0.0,
            anchor="start",
            kind=f"{'ours' if p.runtime == 'edgevision' else 'rival'}{' dominated' if p.dominated else ''}",
        )
        for p, a in placed
    ]
    return Scatter(
        width,
        height,
        left,
        right,
        top,
        bottom,
        tuple(Tick(across(v), f"{v:g}") for v in x_values),
        tuple(Tick(up(v), f"{v:g}") for v in y_values),
        _labelled(marks, left, right, top, bottom),
    )


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values that span [low, high], at most about `most` of them, steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 1.3, 7)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]
    """
    span = (high - low) or 1.0
    power = 10 ** math.floor(math.log10(span / most))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


#: Where a label may sit beside its mark, best first: offset of its anchor, offset of its baseline, anchor.
PLACES = tuple(
    (dx, dy, anchor)
    for dy in (4, -11, 19, -26, 34, -41, 49)
    for dx, anchor in ((11, "start"), (-11, "end"))
)  # fmt: skip

Box = tuple[float, float, float, float]


def _labelled(marks: Sequence[Mark], left: float, right: float, top: float, bottom: float) -> tuple[Mark, ...]:
    """Give each label the first place inside the chart that covers no mark and no label placed before it."""
    taken: list[Box] = [(m.x - 8, m.y - 8, m.x + 8, m.y + 8) for m in marks]
    done: list[Mark] = []
    for mark in sorted(marks, key=lambda m: m.x):
        width = CHARACTER * len(mark.label)
        inside = []
        for dx, dy, anchor in PLACES:
            begin = mark.x + dx if anchor == "start" else mark.x + dx - width
            box = (begin, mark.y + dy - LINE + 4, begin + width, mark.y + dy + 4)
            if box[0] >= left and box[2] <= right and box[1] >= top - 8 and box[3] <= bottom:
                inside.append((sum(_overlap(box, other) for other in taken), dx, dy, anchor, box))
        if inside:
            _, dx, dy, anchor, box = min(inside, key=lambda place: place[0])
            taken.append(box)
        else:
            dx, dy, anchor = PLACES[0]
        done.append(replace(mark, label_x=round(mark.x + dx, 1), label_y=round(mark.y + dy, 1), anchor=anchor))
    return tuple(done)


def _overlap(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0.0) * max(down, 0.0)
