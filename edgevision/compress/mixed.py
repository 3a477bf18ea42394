"""Bits layer by layer: the cheapest network whose accuracy, measured, stays within a bound.

Noise of each layer alone, in each width, is measured once (and kept); an integer programme then gives the cheapest
assignment for a bound on their sum. Which bound on the noise the bound on accuracy means, only data can tell: it is
halved in decibels between the tightest that missed and the loosest that held, every assignment measured.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
import onnx

from edgevision.compress.allocation import Choice, least_cost, total
from edgevision.compress.bypass import left_in_float
from edgevision.compress.compressed import MixedPoint
from edgevision.compress.costs import FLOAT, Costs
from edgevision.compress.few_bits import chosen
from edgevision.compress.measure import measure
from edgevision.progress import Progress, silent

#: Assignments measured between the first two, at most.
ROUNDS = 8
#: Noise over signal of a layer no worse than float32 itself.
_LEAST = 1e-12
#: Where only float holds, the least noise that is searched, as a share of the least that misses.
_FLOAT_SHARE = 1e-3

Options = Mapping[str, tuple[Choice, ...]]


def options_of(noise: Mapping[int, Mapping[str, float]], costs: Costs, widths: tuple[int, ...]) -> Options:
    """The widths each layer can have: those it has a noise for, and float.

    Args:
        noise: noise over signal at the output by width and layer, each layer quantised alone.
        widths: that may be chosen; 8 bits stay where nothing else was measured.
    """
    found: dict[str, tuple[Choice, ...]] = {}
    for name, cost in costs.of.items():
        known = {bits: max(noise[bits][name], _LEAST) for bits in noise if name in noise[bits]} | {FLOAT: 0.0}
        able = tuple(Choice(bits, known[bits], cost[bits]) for bits in cost if bits in widths and bits in known)
        found[name] = able if 8 in known and able else (Choice(8, known.get(8, _LEAST), cost[8]),)
    return found


@dataclass
class Search:
    """A search over assignments; `graph_of` makes the graph of one.

    Args:
        eight, four: canonical QDQ graphs of the same nodes with weights of 8 and of 4 bits.
        original: the float graph.
        target: accuracy to reach in percent.
        evaluate: accuracy in percent of a graph, given a name for it.
        deadline: value of `time.monotonic()` after which no evaluation starts.
        progress: told after each evaluation.
    """

    eight: onnx.ModelProto
    four: onnx.ModelProto
    original: onnx.ModelProto
    options: Options
    target: float
    evaluate: Callable[[str, onnx.ModelProto], float]
    deadline: float = math.inf
    progress: Progress = silent
    points: list[MixedPoint] = field(default_factory=list)
    finished: bool = True

    def run(self) -> MixedPoint:
        """The cheapest point that meets the target, else the most accurate."""
        ends = [self._uniform("8 bit", 8), self._uniform("cheapest", None), self._uniform("float", FLOAT)]
        held = [self._tried(name, bits) for name, bits in ends[:2]]
        if not any(held):
            held.append(self._tried(*ends[2]))
        if any(held) and not held[1]:
            # Among what misses, the least noise bounds the search; float holds without any.
            missed = min(self._noise(point.bits) for point in self.points if not self._meets(point))
            quiet = max(self._noise(point.bits) for point in self.points if self._meets(point))
            self._halved(max(quiet or missed * _FLOAT_SHARE, _LEAST), max(missed, _LEAST))
        return self.best

    @property
    def best(self) -> MixedPoint:
        """Of the points so far."""
        held = [point for point in self.points if self._meets(point)]
        if held:
            return min(held, key=lambda point: (point.cost, -point.accuracy))
        return max(self.points, key=lambda point: (point.accuracy, -point.cost))

    def graph_of(self, bits: Mapping[str, int]) -> onnx.ModelProto:
        """The graph with these bits."""
        graph = chosen(self.eight, self.four, bits)
        floats = [name for name, count in bits.items() if count == FLOAT]
        return left_in_float(graph, self.original, floats) if floats else graph

    def _halved(self, low: float, high: float) -> None:
        """Measure between noise `low`, which holds, and `high`, which does not."""
        known = {_key(point.bits) for point in self.points}
        for _ in range(ROUNDS):
            middle = math.sqrt(low * high)
            bits = least_cost(self.options, middle)
            if bits is None or high / low < 1.02:
                return
            if _key(bits) in known:
                point = next(point for point in self.points if _key(point.bits) == _key(bits))
                low, high = (middle, high) if self._meets(point) else (low, middle)
                continue
            if time.monotonic() > self.deadline:
                self.finished = False
                return
            known.add(_key(bits))
            low, high = (
                (middle, high) if self._tried(f"noise {10 * math.log10(middle):.1f} dB", bits) else (low, middle)
            )

    def _uniform(self, name: str, bits: int | None) -> tuple[str, dict[str, int]]:
        """Every layer in `bits` where it can have them, else in 8 or the nearest; None takes the cheapest."""
        taken = {}
        for layer, choices in self.options.items():
            widths = {choice.bits: choice for choice in choices}
            if bits is None:
                taken[layer] = min(choices, key=lambda choice: (choice.cost, choice.noise)).bits
            else:
                taken[layer] = bits if bits in widths else max(widths) if bits == FLOAT else min(widths)
        return name, taken

    def _tried(self, name: str, bits: dict[str, int]) -> bool:
        for point in self.points:
            if _key(point.bits) == _key(bits):
                return self._meets(point)
        graph = self.graph_of(bits)
        accuracy = self.evaluate(f"mixed {_key(bits)}", graph)
        counts = {width: sum(b == width for b in bits.values()) for width in sorted(set(bits.values()))}
        point = MixedPoint(
            name=name,
            accuracy=accuracy,
            cost=total(self.options, bits, "cost"),
            weight_bytes=measure(graph).weight_bytes,
            noise_db=10 * math.log10(max(self._noise(bits), _LEAST)),
            bits=bits,
        )
        self.points.append(point)
        told = ", ".join(
            f"{count} in {'float' if width == FLOAT else f'{width} bit'}" for width, count in counts.items()
        )
        self.progress("mixed precision", len(self.points), ROUNDS + 3, f"{told}: {accuracy:.2f} %")
        return self._meets(point)

    def _meets(self, point: MixedPoint) -> bool:
        return point.accuracy >= self.target

    def _noise(self, bits: Mapping[str, int]) -> float:
        return total(self.options, bits, "noise")


def _key(bits: Mapping[str, int]) -> str:
    return hashlib.sha256(msgspec.json.encode(sorted(bits.items()))).hexdigest()[:16]
