"""Where buffers of feature maps lie: fixed addresses in one region, shared by buffers that do not live together."""

from __future__ import annotations

from dataclasses import dataclass

from edgevision.engine.calls import Buffer, Call, PlaneRef
from edgevision.engine.network import INPUT

#: Planes begin at multiples of this many bytes: a burst of the PYNQ-Z2.
ALIGNMENT = 128


@dataclass(frozen=True)
class MemoryPlan:
    """Address of each buffer, in bytes from the start of the region, and the bytes of the region.

    Attributes:
        pitches, rows: bytes from plane to plane and from row to row of each buffer.
    """

    addresses: dict[str, int]
    pitches: dict[str, int]
    rows: dict[str, int]
    bytes: int

    def address(self, plane: PlaneRef) -> int:
        """Of a plane."""
        name = plane.buffer
        return self.addresses[name] + plane.plane * self.pitches[name] + plane.row * self.rows[name]


def planned(buffers: dict[str, Buffer], calls: list[Call], kept: set[str], lanes: int) -> MemoryPlan:
    """Addresses for `buffers`.

    Args:
        kept: buffers that are there when the last call has ended.

    A call's result is never where that call still reads: both live during it.
    """
    born: dict[str, int] = {INPUT: -1}
    dead: dict[str, int] = {INPUT: -1}
    for index, call in enumerate(calls):
        read = [*call.reads, *([call.dilation[0]] if call.dilation is not None else [])]
        for plane in (*read, *call.writes):
            born.setdefault(plane.buffer, index)
            dead[plane.buffer] = index
    for name in kept:
        dead[name] = len(calls)
    pitches = {
        name: -(-buffer.height * buffer.width * lanes // ALIGNMENT) * ALIGNMENT for name, buffer in buffers.items()
    }
    sizes = {name: pitches[name] * buffer.planes for name, buffer in buffers.items()}
    addresses: dict[str, int] = {}
    for name in sorted(buffers, key=lambda one: (-sizes[one], one)):
        taken = sorted(
            (addresses[other], addresses[other] + sizes[other])
            for other in addresses
            if born[other] <= dead[name] and born[name] <= dead[other]
        )
        at = 0
        for begin, end in taken:
            if at + sizes[name] <= begin:
                break
            at = max(at, end)
        addresses[name] = at
    rows = {name: buffer.width * lanes for name, buffer in buffers.items()}
    return MemoryPlan(addresses, pitches, rows, max(addresses[name] + sizes[name] for name in buffers))
