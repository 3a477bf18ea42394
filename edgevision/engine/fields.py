"""Fields of the packets' first words, for reading a program back (hw/PROGRAM.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgevision.engine.packets import Receiver

#: For each receiver its fields: name, word, lowest bit, number of bits. Bit 0 of word 0 is always set.
FIELDS: dict[Receiver, tuple[tuple[str, int, int, int], ...]] = {
    Receiver.LOAD: (("dilation", 0, 1, 1), ("planes", 0, 16, 16), ("tile", 0, 32, 16), ("ahead", 0, 48, 16),
                    ("rows", 1, 0, 32), ("width", 1, 32, 32)),
    Receiver.ARRANGE: (("to_spatial", 0, 1, 1), ("planes", 0, 16, 16), ("tile", 0, 32, 16),
                       ("rows", 1, 0, 32), ("width", 1, 32, 32)),
    Receiver.DILATION: (("lane", 0, 8, 8), ("tile", 0, 32, 16), ("pixels", 1, 0, 32), ("address", 1, 32, 32)),
    Receiver.SPATIAL: (("from_pointwise", 0, 1, 1), ("deformable", 0, 2, 1), ("mode", 0, 4, 2), ("outside", 0, 8, 8),
                       ("planes", 0, 16, 16), ("reach", 0, 32, 4), ("columns", 0, 36, 2), ("row_stride", 0, 40, 4),
                       ("column_stride", 0, 44, 4), ("rows", 1, 0, 32), ("width", 1, 32, 32), ("rows_out", 2, 0, 32),
                       ("width_out", 2, 32, 32)),
    Receiver.SPATIAL_SCALE: (("to_store", 0, 1, 1), ("planes", 0, 16, 16), ("vectors", 0, 32, 32), ("shift", 1, 0, 8),
                             ("offset", 1, 8, 8), ("low", 1, 16, 8), ("high", 1, 24, 8), ("kept", 1, 32, 16)),
    Receiver.POINTWISE: (("from_spatial", 0, 1, 1), ("halves", 0, 2, 1), ("groups", 0, 16, 16), ("outputs", 0, 32, 16),
                         ("pixels", 1, 0, 32)),
    Receiver.WEIGHTS: (),
    Receiver.COLLECT: (("from_spatial", 0, 1, 1), ("planes", 0, 16, 16), ("tile", 0, 32, 16), ("pixels", 1, 0, 32)),
    Receiver.STORE: (("planes", 0, 16, 16), ("tile", 0, 32, 16), ("pixels", 1, 0, 32)),
}  # fmt: skip
FIELDS[Receiver.POINTWISE_SCALE] = FIELDS[Receiver.SPATIAL_SCALE]


@dataclass(frozen=True)
class Packet:
    """One packet: its fields by name, and the words behind the fields."""

    receiver: Receiver
    fields: dict[str, int]
    rest: np.ndarray

    def __getitem__(self, name: str) -> int:
        return self.fields[name]

    @property
    def words(self) -> int:
        """Words of it, its head among them."""
        layout = FIELDS[self.receiver]
        return 1 + (1 + max((word for _, word, _, _ in layout), default=-1)) + len(self.rest)

    def table(self) -> list[int]:
        """The 32-bit entries of a table of planes."""
        entries = np.ascontiguousarray(self.rest).view("<u4")
        return [int(entry) for entry in entries[: self["planes"]]]


def packets(words: np.ndarray) -> Iterator[Packet | str]:
    """The packets of `words`, or what is wrong, after which nothing follows."""
    at = 0
    while at < len(words):
        head = int(words[at])
        count, receiver = head >> 32, head & 15
        if head & 0xFFFFFFF0 or receiver > max(Receiver):
            yield f"word {at}: expected the head of a packet, got 0x{head:016x}"
            return
        if at + 1 + count > len(words):
            yield f"word {at}: a packet of {count} words, {len(words) - at - 1} are left"
            return
        found = _packet(Receiver(receiver), words[at + 1 : at + 1 + count])
        if found is None:
            yield f"word {at}: a packet for {Receiver(receiver).name} of {count} words with bits that mean nothing"
            return
        yield found
        at += 1 + count


def _packet(receiver: Receiver, payload: np.ndarray) -> Packet | None:
    layout = FIELDS[receiver]
    own = 1 + max((word for _, word, _, _ in layout), default=-1)
    if len(payload) < own:
        return None
    known = [1, 0, 0] if layout else []
    fields = {}
    for name, word, low, bits in layout:
        mask = (1 << bits) - 1
        fields[name] = int(payload[word]) >> low & mask
        known[word] |= mask << low
    if any(int(payload[word]) & ~known[word] for word in range(own)) or (layout and not int(payload[0]) & 1):
        return None
    return Packet(receiver, fields, payload[own:])
