"""The roofline of one device: what a step takes at least, from peaks and bandwidths seen on it.

Williams, Waterman and Patterson, Roofline: An Insightful Visual Performance Model, CACM 52 (4), 2009. Every figure is
the best that some kernel of ours reached while the device was calibrated, so the line is one that can be reached.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgevision.profile.work import StepWork
from edgevision.target import Cpu

#: Steps that only move or combine elements: their rate is a bandwidth.
STREAMING = ("elementwise", "layout", "move", "bytes")
#: Calls as long as this many of the shortest; in shorter ones little but the call is timed.
_LONG = 4.0
#: Share of a cache that one step can have for itself.
_SHARE = 0.75


class Level(msgspec.Struct, frozen=True):
    """A cache, or memory: bytes that stay in it, and bytes per second through it."""

    name: str
    size: float
    bytes_per_s: float


class Roofline(msgspec.Struct, frozen=True):
    """Limits of a device with some number of threads.

    Attributes:
        float_macs_per_s, integer_macs_per_s: multiply-accumulates per second.
        levels: from the first cache to memory, whose size is infinite.
        call_us: what the shortest call takes.
    """

    float_macs_per_s: float
    integer_macs_per_s: float
    levels: tuple[Level, ...]
    call_us: float

    def arithmetic_us(self, work: StepWork) -> float:
        """Time of the multiply-accumulates at the peak of their type."""
        return 1e6 * work.macs / (self.integer_macs_per_s if work.integer else self.float_macs_per_s)

    def memory_us(self, work: StepWork) -> float:
        """Time of the bytes at the bandwidth of the smallest level that holds them."""
        return 1e6 * work.touched / self.level(work).bytes_per_s

    def level(self, work: StepWork) -> Level:
        """Where the tensors of a step stay while it runs."""
        return next((level for level in self.levels if work.touched <= level.size), self.levels[-1])

    def floor_us(self, work: StepWork) -> float:
        """What a step takes at least: the call, and arithmetic or memory, whichever is longer."""
        return self.call_us + max(self.arithmetic_us(work), self.memory_us(work))

    def bound(self, work: StepWork) -> str:
        """What sets the floor of a step: "arithmetic", "memory" or "call"."""
        parts = {"arithmetic": self.arithmetic_us(work), "memory": self.memory_us(work), "call": self.call_us}
        return max(parts, key=lambda name: parts[name])


def roofline(steps: Sequence[tuple[StepWork, float]], cpu: Cpu) -> Roofline:
    """The roofline under some timed steps (work, microseconds).

    Args:
        cpu: of the target, for the sizes of its caches; an unknown one counts as one that is not there.

    Raises:
        ValueError: no step is given.
    """
    call = min(us for _, us in steps)
    steps = [(work, us - call) for work, us in steps if us >= _LONG * call]

    def peak(*, integer: bool) -> float:
        rates = [work.macs / us for work, us in steps if work.integer == integer and work.macs]
        return 1e6 * max(rates, default=0.0)

    floats, integers = peak(integer=False), peak(integer=True)
    sizes = [("L1", cpu.l1d_kib), ("L2", cpu.l2_kib), ("L3", cpu.l3_kib)]
    edges = [(name, _SHARE * 1024 * kib) for name, kib in sizes if kib]
    levels: list[Level] = []
    below = 0.0
    for name, edge in [*edges, ("memory", float("inf"))]:
        rates = [w.touched / us for w, us in steps if w.family in STREAMING and below < w.touched <= edge]
        # A level nothing streamed through is taken for as fast as the one above it.
        known = 1e6 * max(rates) if rates else (levels[-1].bytes_per_s if levels else 1e10)
        # A cache is at least as fast as what is behind it.
        levels = [msgspec.structs.replace(one, bytes_per_s=max(one.bytes_per_s, known)) for one in levels]
        levels.append(Level(name, edge, known))
        below = edge
    fallback = floats or integers or 1e9
    return Roofline(floats or fallback, integers or fallback, tuple(levels), call)
