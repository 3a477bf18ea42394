"""How output channels are cut into register tiles, and how weights are packed to match.

A *panel* is up to `NR` neighbouring vectors of output channels whose weights are stored together, k outermost, so the
inner loop reads them as one stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Panel:
    """Vectors of one panel.

    Attributes:
        channel: first output channel.
        widths: lanes of each vector as computed.
        valid: channels the panel really holds; lanes beyond are zero weights.
        weight_offset: first weight of the panel, in units of (k-group x lane).
    """

    channel: int
    widths: tuple[int, ...]
    valid: int
    weight_offset: int

    @property
    def lanes(self) -> int:
        """Lanes of all vectors together."""
        return sum(self.widths)


def panels(channels: int, lanes: int, vectors: int) -> list[Panel]:
    """Cut `channels` into panels of `vectors` full vectors, then one narrower panel for what is left.

    >>> [(p.channel, p.widths, p.valid) for p in panels(56, 16, 2)]
    [(0, (16, 16), 32), (32, (16, 8), 24)]
    >>> [(p.channel, p.widths, p.valid) for p in panels(3, 16, 2)]
    [(0, (4,), 3)]
    """
    found: list[Panel] = []
    channel = offset = 0
    while channel < channels:
        widths: list[int] = []
        left = min(channels - channel, lanes * vectors)
        valid = left
        while left > 0:
            width = lanes
            while width > 4 and width // 2 >= left:
                width //= 2
            width = min(width, lanes)
            widths.append(width)
            left -= width
        panel = Panel(channel, tuple(widths), valid, offset)
        found.append(panel)
        channel += valid
        offset += panel.lanes
    return found


def packed_lanes(channels: int, lanes: int, vectors: int) -> int:
    """Lanes of all panels together, padding included."""
    return sum(p.lanes for p in panels(channels, lanes, vectors))


def pack(weights: np.ndarray, lanes: int, vectors: int, group: int = 1) -> np.ndarray:
    """Pack (channels, K) weights panel by panel as [K/group][lane][group], flat; K is padded with zeros.

    >>> pack(np.arange(6).reshape(2, 3), 4, 1).tolist()
    [0, 3, 0, 0, 1, 4, 0, 0, 2, 5, 0, 0]
    """
    channels, depth = weights.shape
    groups = -(-depth // group)
    pieces = []
    for panel in panels(channels, lanes, vectors):
        block = np.zeros((panel.lanes, groups * group), weights.dtype)
        block[: panel.valid, :depth] = weights[panel.channel : panel.channel + panel.valid]
        pieces.append(block.reshape(panel.lanes, groups, group).transpose(1, 0, 2).reshape(-1))
    return np.concatenate(pieces)


def pack_channels(values: np.ndarray, lanes: int, vectors: int) -> np.ndarray:
    """Pad per-channel values to the lanes of the panels, so full vectors can be loaded.

    >>> pack_channels(np.array([1, 2, 3]), 4, 1).tolist()
    [1, 2, 3, 0]
    """
    padded = np.zeros(packed_lanes(len(values), lanes, vectors), values.dtype)
    for panel in panels(len(values), lanes, vectors):
        padded[panel.weight_offset : panel.weight_offset + panel.valid] = values[
            panel.channel : panel.channel + panel.valid
        ]
    return padded


def tile_shape(rows: int, channels: int, lanes: int, registers: int) -> tuple[int, int]:
    """Rows and vectors (MR, NR) of the register tile for a product of `rows` x `channels`.

    NR * MR accumulators, NR weight vectors and two spare registers must fit. Three vectors are taken when they cut the
    channels with less padding than two; many when there are too few rows to hide the latency of the multiplier.

    >>> tile_shape(3136, 48, 16, 32), tile_shape(1, 220, 16, 32), tile_shape(196, 112, 4, 16)
    ((9, 3), (1, 7), (6, 2))
    """
    vectors = -(-channels // lanes)
    if rows <= 3:
        nr = min(vectors, 8 if registers >= 32 else 4)
        nr = -(-vectors // -(-vectors // nr))
    elif vectors == 1:
        nr = 1
    elif registers >= 32 and vectors % 3 == 0 and vectors % 2:
        nr = 3
    else:
        nr = 2
    # Past 12 rows the broadcasts of the left operand no longer fit in the load ports' shadow.
    return max(1, min(rows, 14 if nr == 1 else 12, (registers - nr - 2) // nr)), nr
