"""Where every tensor lives: one arena, offsets by liveness, as small as the largest set of tensors alive at once."""

from __future__ import annotations

from dataclasses import dataclass

from edgevision.compiler.program import ALIGNMENT


@dataclass(frozen=True)
class Span:
    """A tensor's size and the steps it is alive, both ends included."""

    size: int
    first: int
    last: int

    def overlaps(self, other: Span) -> bool:
        """Whether both are alive at some step."""
        return self.first <= other.last and other.first <= self.last


def aligned(size: int) -> int:
    """Size rounded up to the arena's alignment.

    >>> aligned(1), aligned(64)
    (64, 64)
    """
    return -(-size // ALIGNMENT) * ALIGNMENT


def live_bound(spans: list[Span]) -> int:
    """The largest sum of sizes alive at one step: no plan can be smaller."""
    steps = {span.first for span in spans}
    return max((sum(aligned(s.size) for s in spans if s.first <= step <= s.last) for step in steps), default=0)


def place(spans: list[Span]) -> tuple[list[int], int]:
    """Offsets for every span and the size of the arena.

    Greedy placement in several orders (largest first, longest first, in time order, ...); the first that meets the
    live-set bound is taken, otherwise the smallest found is improved by moving the tensors at the top to the front of
    the order, which is what usually closes the gap.

    >>> place([Span(64, 0, 1), Span(64, 1, 2), Span(64, 2, 3)])
    ([0, 64, 0], 128)
    """
    bound = live_bound(spans)
    orders = [
        sorted(range(len(spans)), key=lambda i: (-spans[i].size, spans[i].first)),
        sorted(range(len(spans)), key=lambda i: (-(spans[i].last - spans[i].first) * spans[i].size, spans[i].first)),
        sorted(range(len(spans)), key=lambda i: (-(spans[i].last - spans[i].first), -spans[i].size)),
        sorted(range(len(spans)), key=lambda i: (spans[i].first, -spans[i].size)),
    ]
    best: tuple[list[int], int] | None = None
    for order in orders:
        for _ in range(64):
            offsets, size = _greedy(spans, order)
            if best is None or size < best[1]:
                best = (offsets, size)
            if size == bound:
                return offsets, size
            top = [i for i in order if offsets[i] + aligned(spans[i].size) == size]
            moved = [*top, *(i for i in order if i not in top)]
            if moved == order:
                break
            order = moved
    return best if best is not None else ([], 0)


def _greedy(spans: list[Span], order: list[int]) -> tuple[list[int], int]:
    offsets = [0] * len(spans)
    placed: list[int] = []
    size = 0
    for index in order:
        span = spans[index]
        need, candidate = aligned(span.size), 0
        taken = sorted((offsets[i], aligned(spans[i].size)) for i in placed if spans[i].overlaps(span))
        for offset, used in taken:
            if candidate + need <= offset:
                break
            candidate = max(candidate, offset + used)
        offsets[index] = candidate
        placed.append(index)
        size = max(size, candidate + need)
    return offsets, size
