"""The fewest layers to put back into float so that accuracy drops by no more than was allowed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx

from edgevision.compress.bypass import left_in_float
from edgevision.progress import Progress, silent


@dataclass(frozen=True)
class Point:
    """A graph tried: the layers in float and the accuracy it has, in percent."""

    layers: tuple[str, ...]
    accuracy: float


@dataclass(frozen=True)
class Outcome:
    """How a search ended.

    Attributes:
        best: the point with the fewest layers in float that meets the target, else the one with the best accuracy.
        tried: every point, in the order they were tried.
        met: whether `best` meets the target.
        finished: false when time ran out first.
    """

    best: Point
    tried: tuple[Point, ...]
    met: bool
    finished: bool


def hold_accuracy(
    quantised: onnx.ModelProto,
    original: onnx.ModelProto,
    ranked: Sequence[str],
    *,
    start: float,
    target: float,
    evaluate: Callable[[str, onnx.ModelProto], float],
    deadline: float,
    progress: Progress = silent,
) -> Outcome:
    """Put layers back into float, the most sensitive first, until accuracy is at least `target`.

    The number of layers doubles until the target is met, then is halved between the last miss and the first hit, which
    takes 2 log2 n evaluations for n layers. Accuracy need not grow with every layer, so the answer is the smallest
    number tried that meets the target, not a proof that no smaller one does.

    Args:
        quantised: a canonical QDQ graph.
        original: the float graph it was made from.
        ranked: layers by falling sensitivity.
        start: accuracy of `quantised` in percent.
        target: accuracy to reach in percent.
        evaluate: accuracy of a graph in percent, given a name for the attempt.
        deadline: value of `time.monotonic()` after which no evaluation starts.
        progress: told after each evaluation.
    """
    tried = [Point((), start)]

    def reaches(count: int) -> bool:
        layers = tuple(ranked[:count])
        accuracy = evaluate(f"float {count}", left_in_float(quantised, original, layers))
        tried.append(Point(layers, accuracy))
        progress("hold accuracy", count, len(ranked), f"{count} operators in float: {accuracy:.2f} %")
        return accuracy >= target

    low, high, finished = 0, 0 if start >= target else None, True
    while finished and high is None and low < len(ranked):
        count = min(max(1, 2 * low), len(ranked))
        if time.monotonic() > deadline:
            finished = False
        elif reaches(count):
            high = count
        else:
            low = count
    while finished and high is not None and high - low > 1:
        middle = (low + high) // 2
        if time.monotonic() > deadline:
            finished = False
        elif reaches(middle):
            high = middle
        else:
            low = middle
    hits = [point for point in tried if point.accuracy >= target]
    if hits:
        return Outcome(min(hits, key=lambda p: len(p.layers)), tuple(tried), met=True, finished=finished)
    best = max(tried, key=lambda p: (p.accuracy, -len(p.layers)))
    return Outcome(best, tuple(tried), met=False, finished=finished)
