"""How long the engine takes: a model of every call, modelled and never measured.

Each process hands on vectors at times t[k] = max(t_in[what k needs], t[k - 1]) + cycles of one, which is what a
pipelined loop behind a FIFO does; numpy does it for all vectors of a call at once. FIFOs never hold up who writes to
them in the model: what is held up waits for the slowest process anyway.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgevision.engine.calls import IM2COL, Call, Pointwise, Spatial
from edgevision.engine.fields import Packet, packets
from edgevision.engine.limits import padded_planes, weight_blocks
from edgevision.engine.lower import lower
from edgevision.engine.network import IntegerNetwork
from edgevision.engine.packets import Receiver, ahead_of, tile_pixels
from edgevision.engine.program import compiled
from edgevision.target import Engine

#: Assumed cycles from asking the memory to its first beat, from the last beat to its acknowledgement, and through the
#: pipelines of one call.
READ_LATENCY, WRITE_LATENCY, PIPELINE_DEPTH = 40, 20, 40
#: Bytes a nanosecond that all ports together get from the memory of a PYNQ-Z2: an assumption, half of its peak.
GB_S = 1.0
#: Words of packets that wait in the FIFOs for a process that is busy, and vectors that wait in those before a unit.
_PACKET_FIFO, _VECTOR_FIFO = 512, 64


@dataclass(frozen=True)
class CallCycles:
    """Cycles of one call, modelled.

    Attributes:
        pointwise, spatial, read, write, parameters: of each by itself, without waiting; 0 where it has no part.
        fill: from the first beat asked for to the first vector that reaches the last unit's result.
        first, last: cycle in which it begins to read, and in which its result is in memory.
        added: cycles by which it makes the network longer.
        bytes: it moves from and to memory.
    """

    layers: tuple[str, ...]
    pointwise: int
    spatial: int
    read: int
    write: int
    parameters: int
    fill: int
    first: int
    last: int
    added: int
    bytes: int

    @property
    def bound(self) -> str:
        """What takes longest."""
        parts = {"1x1": self.pointwise, "spatial": self.spatial, "read": self.read, "write": self.write}
        return max(parts, key=lambda name: parts[name])


def modelled(network: IntegerNetwork, engine: Engine, *, gb_s: float = GB_S, fuse: bool = True) -> list[CallCycles]:
    """The model of every call of the program for `network`.

    Args:
        gb_s: bytes that the memory moves in a nanosecond, all ports together.

    Raises:
        UsageError, Unsupported: as of `compiled`.
    """
    calls, program = lower(network, engine, fuse=fuse).calls, compiled(network, engine, fuse=fuse)
    sizes = []
    for one in program.header.calls:
        found = packets(program.words[one.first : one.first + one.count])
        sizes.append({item.receiver: item.words for item in found if isinstance(item, Packet)})
    return cycles_of(calls, sizes, engine, gb_s)


def cycles_of(calls: list[Call], words: list[dict[Receiver, int]], engine: Engine, gb_s: float) -> list[CallCycles]:
    """The model of every call.

    Args:
        words: of each packet of each call, its head among them.
        gb_s: as of `modelled`.
    """
    per_byte = engine.clock_mhz * 1e6 / (gb_s * 1e9)
    state = _State(engine, per_byte)
    found: list[CallCycles] = []
    total = 0
    for index, (call, sizes) in enumerate(zip(calls, words, strict=True)):
        may_read = [one.last for one in found[: index - ahead_of(calls, index)]]
        times = state.run(call, sizes, max(may_read, default=0))
        moved = _bytes(call, sizes, engine)
        # All ports share one memory.
        last = max(times.last, times.first + math.ceil(moved * per_byte))
        state.delay(last - times.last)
        found.append(
            CallCycles(
                layers=call.layers,
                pointwise=times.pointwise,
                spatial=times.spatial,
                read=_read_cycles(call, engine),
                write=_write_cycles(call, engine),
                parameters=sum(sizes.values()),
                fill=times.fill,
                first=times.first,
                last=last,
                added=max(0, last - total),
                bytes=moved,
            )
        )
        total = max(total, last)
    return found


@dataclass
class _Times:
    first: int
    last: int
    fill: int
    pointwise: int
    spatial: int


class _State:
    """When each process ended the call before."""

    def __init__(self, engine: Engine, per_byte: float) -> None:
        self.engine = engine
        # Cycles more that a beat takes while the program and a map are read at once.
        self.contended = max(0.0, (engine.axi_bits // 8 + 8) * per_byte - 1)
        self.loader = self.spatial = self.pointwise = self.collect = 0
        self.program = READ_LATENCY
        self.blocks = 0

    def delay(self, cycles: int) -> None:
        """Move everything by what the memory took longer."""
        if cycles > 0:
            self.loader += cycles
            self.spatial += cycles
            self.pointwise += cycles
            self.collect += cycles

    def run(self, call: Call, sizes: dict[Receiver, int], may_read: int) -> _Times:
        first = max(self.loader, may_read, self.program + sizes[Receiver.LOAD])
        arrived = self._parameters(call, sizes)
        # What is left of the program when reading begins shares the memory with it, while there is room for vectors.
        shared = min(max(0, self.program - first), _read_cycles(call, self.engine))
        if call.spatial is not None and not call.pointwise_first:
            shared = min(shared, self._held(call) * _beats(self.engine))
        arrived = {one: time + self._shared(time - first, shared) for one, time in arrived.items()}
        self.program += self._shared(shared, shared)
        at = _loaded(call, self.engine, first + READ_LATENCY)
        at += np.ceil(self.contended * np.minimum(at - first - READ_LATENCY, shared)).astype(np.int64)
        self.loader = int(at[-1])
        at = _tiled(at, call.rows * call.width, len(call.reads), call, self.engine)
        spatial_cycles = pointwise_cycles = 0
        units = ["pointwise", "spatial"] if call.pointwise_first else ["spatial", "pointwise"]
        begins = first
        for unit in units:
            if unit == "spatial" and call.spatial is not None:
                at = self._entered(at, max(self.spatial, arrived[Receiver.SPATIAL] - sizes[Receiver.SPATIAL]), call)
                at, spatial_cycles = _spatial(call.spatial, at, arrived[Receiver.SPATIAL], self.engine)
                self.spatial = int(at[-1])
            if unit == "pointwise" and call.pointwise is not None:
                weights_at = arrived[Receiver.WEIGHTS]
                at, pointwise_cycles = _pointwise(call.pointwise, at, self.pointwise, weights_at, self.engine)
                self.pointwise = int(at[-1])
            begins = int(at[0])
        at = np.maximum(at, self.collect)
        self.collect = int(at[-1])
        last = _stored(at, call, self.engine)
        return _Times(first, last, begins - first, pointwise_cycles, spatial_cycles)

    def _shared(self, words: int, most: int) -> int:
        return math.ceil(self.contended * min(max(0, words), most))

    def _held(self, call: Call) -> int:
        planes = len(call.reads)
        return 2 * tile_pixels(planes, self.engine) * planes + _VECTOR_FIFO

    def _entered(self, at: np.ndarray, start: int, call: Call) -> np.ndarray:
        """When each vector is in a unit that takes one a cycle from `start` on; what has no room comes late."""
        held = min(self._held(call), len(at))
        late = max(0, start - int(at[held - 1]))
        self.loader += late
        return _chained(np.maximum(np.concatenate([at[:held], at[held:] + late]), start), 1)

    def _parameters(self, call: Call, sizes: dict[Receiver, int]) -> dict[Receiver, int]:
        """When the last word of each packet with numbers has arrived."""
        ready = self.program + sum(sizes.get(one, 0) for one in (Receiver.LOAD, Receiver.ARRANGE, Receiver.DILATION,
                                                                   Receiver.POINTWISE, Receiver.WEIGHTS))  # fmt: skip
        if call.pointwise is not None:
            blocks = weight_blocks(call.pointwise, self.engine)
            over = max(0, blocks + self.blocks - self.engine.weight_blocks)
            if over:
                # The rest of the ring is in use until the call before has ended.
                ready = max(ready, self.pointwise + over * sizes[Receiver.WEIGHTS] // blocks)
            self.blocks = blocks
        arrived = {Receiver.WEIGHTS: ready}
        for receiver, busy in ((Receiver.SPATIAL, self.spatial), (Receiver.SPATIAL_SCALE, self.spatial),
                               (Receiver.POINTWISE_SCALE, self.pointwise)):  # fmt: skip
            size = sizes.get(receiver, 0)
            ready += size
            if size > _PACKET_FIFO:
                ready = max(ready, busy + size - _PACKET_FIFO)
            arrived[receiver] = ready
        self.program = ready + sizes[Receiver.COLLECT] + sizes[Receiver.STORE]
        return arrived


def _chained(earliest: np.ndarray, cycles: int) -> np.ndarray:
    """t[k] = max(earliest[k], t[k - 1]) + cycles."""
    steps = np.arange(len(earliest), dtype=np.int64) * cycles
    return np.maximum.accumulate(earliest - steps) + steps + cycles


def _beats(engine: Engine) -> int:
    return engine.lanes * 8 // engine.axi_bits


def _loaded(call: Call, engine: Engine, start: int) -> np.ndarray:
    """When each vector, in the order of memory, has arrived; a plane that is read twice brings half of them."""
    beats = sum(_beats(engine) / (2 if plane.twice else 1) for plane in call.reads) / len(call.reads)
    count = call.rows * call.width * len(call.reads)
    return start + np.ceil(np.arange(1, count + 1) * beats).astype(np.int64)


def _tiled(at: np.ndarray, pixels: int, planes: int, call: Call, engine: Engine) -> np.ndarray:
    """Pixel by pixel, when the tile has been filled."""
    tile = tile_pixels(planes, engine) * planes
    ends = np.minimum((np.arange(pixels * planes) // tile + 1) * tile, pixels * planes) - 1
    return _chained(at[ends], 1)


def _spatial(spatial: Spatial, at: np.ndarray, start: int, engine: Engine) -> tuple[np.ndarray, int]:
    cost = 3 * spatial.columns if spatial.mode == IM2COL else 3
    pixel = np.arange(spatial.pixels * spatial.planes) // spatial.planes
    newest = np.minimum(pixel // spatial.width_out * spatial.row_stride + spatial.reach, spatial.rows - 1)
    row = spatial.width * spatial.planes
    earliest = np.maximum(at[(newest + 1) * row - 1], start)
    done = _chained(earliest, cost)
    if spatial.mode == IM2COL:
        done = (done[:, None] - cost + np.arange(1, cost + 1)).reshape(-1)
    return _chained(done, engine.lanes // engine.scale_lanes), len(pixel) * cost


def _pointwise(
    pointwise: Pointwise, at: np.ndarray, start: int, weights_at: int, engine: Engine
) -> tuple[np.ndarray, int]:
    steps = weight_blocks(pointwise, engine)
    whole = np.maximum(at.reshape(pointwise.pixels, -1)[:, -1], start)
    # The first pixel is computed while the weights come in.
    whole[0] = max(whole[0], weights_at - steps)
    done = _chained(whole, steps)
    step = engine.columns // engine.lanes
    outputs = padded_planes(pointwise.planes, engine) // step
    each = steps // outputs
    groups = done[:, None] - steps + np.arange(1, outputs + 1) * each
    vectors = _chained(np.repeat(groups, step, axis=1).reshape(-1), engine.lanes // engine.scale_lanes)
    kept = vectors.reshape(pointwise.pixels, -1)[:, : pointwise.planes]
    return kept.reshape(-1), pointwise.pixels * steps


def _stored(at: np.ndarray, call: Call, engine: Engine) -> int:
    planes = len(call.writes)
    tile = tile_pixels(planes, engine) * planes
    ends = np.minimum((np.arange(len(at)) // tile + 1) * tile, len(at)) - 1
    return int(_chained(at[ends], _beats(engine))[-1]) + PIPELINE_DEPTH + WRITE_LATENCY


def _read_cycles(call: Call, engine: Engine) -> int:
    pixels = call.rows * call.width
    return sum(pixels // (2 if plane.twice else 1) for plane in call.reads) * _beats(engine)


def _write_cycles(call: Call, engine: Engine) -> int:
    return call.pixels * len(call.writes) * _beats(engine)


def _bytes(call: Call, sizes: dict[Receiver, int], engine: Engine) -> int:
    beats = _read_cycles(call, engine) + _write_cycles(call, engine)
    dilations = call.spatial.pixels * engine.lanes if call.dilation is not None and call.spatial is not None else 0
    return beats * engine.axi_bits // 8 + dilations + 8 * sum(sizes.values())
