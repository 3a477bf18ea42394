"""Where channels are: planes of the engine's memory, and the lane of each channel in them.

A plane is `lanes` channels of every pixel, one pixel after another. Channels may lie in any order over any planes,
since whoever reads them has weights of its own for every lane: concatenation, slices, shuffles and upsampling change
what a name stands for and move nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class PlaneRef(NamedTuple):
    """One plane of a buffer from `row` on; `twice` where every pixel is read twice in each direction."""

    buffer: str
    plane: int
    twice: bool = False
    row: int = 0


@dataclass(frozen=True)
class Placement:
    """A tensor in memory.

    Attributes:
        height, width: as read, so after `twice`.
        outside: the byte that stands outside the frame.
        channels: plane and lane of each channel.
    """

    height: int
    width: int
    outside: int
    channels: tuple[tuple[PlaneRef, int], ...]

    def gathered(self) -> tuple[list[PlaneRef], np.ndarray]:
        """The planes to read, and (channels, 2): index among them and lane of each channel.

        A channel that occurs twice in the tensor is read twice.
        """
        planes: dict[tuple[PlaneRef, int], int] = {}
        seen: dict[tuple[PlaneRef, int], int] = {}
        where = []
        for plane, lane in self.channels:
            occurrence = seen.get((plane, lane), 0)
            seen[plane, lane] = occurrence + 1
            where.append((planes.setdefault((plane, occurrence), len(planes)), lane))
        return [plane for plane, _ in planes], np.array(where, np.int64).reshape(-1, 2)


def packed(kinds: Sequence[Hashable], lanes: int) -> list[tuple[int, int]]:
    """Plane and lane of channels so that those of one kind share few planes, in no more planes than needed.

    Args:
        kinds: for each channel who will read it; equal kinds are put together, the most frequent first.

    >>> packed("aabbbb", 4)
    [(1, 0), (1, 1), (0, 0), (0, 1), (0, 2), (0, 3)]
    >>> packed("abbbbbbb", 4)
    [(1, 3), (0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]
    """
    together: dict[Hashable, list[int]] = {}
    for channel, kind in enumerate(kinds):
        together.setdefault(kind, []).append(channel)
    spare = -len(kinds) % lanes
    found: list[tuple[int, int]] = [(0, 0)] * len(kinds)
    position = 0
    for members in sorted(together.values(), key=len, reverse=True):
        gap = -position % lanes
        # A plane of its own, as long as the gaps fit into what the last plane leaves over anyway.
        if gap <= spare:
            spare -= gap
            position += gap
        for channel in members:
            found[channel] = divmod(position, lanes)
            position += 1
    return found
