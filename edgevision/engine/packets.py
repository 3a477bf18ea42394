"""Calls as the words the engine reads: one packet for each process that takes part (hw/PROGRAM.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from edgevision.engine.calls import Call, Pointwise, Scale, Spatial
from edgevision.engine.limits import padded_planes, weight_blocks
from edgevision.engine.memory import MemoryPlan
from edgevision.engine.placement import PlaneRef
from edgevision.target import Engine

#: Most calls that may be under way; the engine counts those that ended in a FIFO of twice as many.
MOST_AHEAD = 8


class Receiver(IntEnum):
    """Who a packet is for; the order of hw/engine/program.h."""

    LOAD = 0
    ARRANGE = 1
    DILATION = 2
    SPATIAL = 3
    SPATIAL_SCALE = 4
    POINTWISE = 5
    WEIGHTS = 6
    POINTWISE_SCALE = 7
    COLLECT = 8
    STORE = 9


def words_of(call: Call, ahead: int, memory: MemoryPlan, engine: Engine) -> np.ndarray:
    """uint64 words of one call.

    Args:
        ahead: how many of the calls before it may still be under way when it begins to read.
    """
    spatial, pointwise, dilation = call.spatial, call.pointwise, call.dilation
    spatial_ends = spatial is not None and (pointwise is None or call.pointwise_first)
    spatial_begins = spatial is not None and not (pointwise is not None and call.pointwise_first)
    packets: list[tuple[Receiver, list[np.ndarray | list[int]]]] = []
    packets += _loading(call, spatial_begins, ahead, memory, engine)
    if dilation is not None:
        plane, lane = dilation
        assert spatial is not None
        head = _head() | lane << 8 | _burst_pixels(engine) << 32
        packets.append((Receiver.DILATION, [[head, spatial.pixels | memory.address(plane) << 32]]))
    # Before the weights: what the 1x1 array does not know of, it does not make room for.
    if pointwise is not None:
        outputs = padded_planes(pointwise.planes, engine) * engine.lanes // engine.columns
        head = _head(spatial is not None and not call.pointwise_first, pointwise.halves)
        head |= pointwise.groups << 16 | outputs << 32
        packets.append((Receiver.POINTWISE, [[head, pointwise.pixels]]))
        packets.append((Receiver.WEIGHTS, [_weights(pointwise, engine)]))
    if spatial is not None:
        packets.append((Receiver.SPATIAL, _spatial(spatial, dilation is not None, not spatial_begins)))
        vectors = spatial.pixels * spatial.groups
        planes = len(spatial.scale.bias)
        packets.append((Receiver.SPATIAL_SCALE, _scale(spatial.scale, planes, vectors, spatial_ends)))
    if pointwise is not None:
        planes = padded_planes(pointwise.planes, engine)
        scale = _scale(pointwise.scale, planes, pointwise.pixels * planes, not spatial_ends)
        packets.append((Receiver.POINTWISE_SCALE, scale))
    tile = tile_pixels(len(call.writes), engine)
    shape = len(call.writes) << 16 | tile << 32
    packets.append((Receiver.COLLECT, [[_head(spatial_ends) | shape, call.pixels]]))
    table = _table(call.writes, memory)
    packets.append((Receiver.STORE, [[_head() | shape, call.pixels], table]))
    return np.concatenate([_packet(receiver, parts) for receiver, parts in packets])


def ahead_of(calls: list[Call], index: int) -> int:
    """Calls before `index` that may be under way when it begins: those behind the last one whose result it reads."""
    call = calls[index]
    read = {plane.buffer for plane in call.reads} | ({call.dilation[0].buffer} if call.dilation is not None else set())
    last = max((at for at in range(index) if {plane.buffer for plane in calls[at].writes} & read), default=-1)
    return min(index - 1 - last, MOST_AHEAD)


def tile_pixels(planes: int, engine: Engine) -> int:
    """Pixels of one plane that are moved at once."""
    return min(_burst_pixels(engine), engine.tile_vectors // planes)


def _burst_pixels(engine: Engine) -> int:
    return engine.burst_beats * engine.axi_bits // (8 * engine.lanes)


def _loading(
    call: Call, to_spatial: bool, ahead: int, memory: MemoryPlan, engine: Engine
) -> list[tuple[Receiver, list[np.ndarray | list[int]]]]:
    planes, rows, width = len(call.reads), call.rows, call.width
    tile = tile_pixels(planes, engine)
    if not any(plane.twice for plane in call.reads):
        # Rows follow one another in memory, so that tiles need not end with them.
        rows, width = 1, rows * width
    else:
        if all(plane.twice for plane in call.reads):
            tile = min(2 * tile, engine.tile_vectors // planes)
        tile -= tile % 2
    shape, size = planes << 16 | tile << 32, rows | width << 32
    flags = np.zeros(-(-planes // 64) * 64, np.uint8)
    flags[:planes] = [plane.twice for plane in call.reads]
    load: list[np.ndarray | list[int]] = [
        [_head(call.dilation is not None) | shape | ahead << 48, size],
        _table(call.reads, memory),
    ]
    arrange: list[np.ndarray | list[int]] = [
        [_head(to_spatial) | shape, size],
        np.packbits(flags, bitorder="little").view("<u8"),
    ]
    return [(Receiver.LOAD, load), (Receiver.ARRANGE, arrange)]


def _packet(receiver: Receiver, parts: Sequence[np.ndarray | list[int]]) -> np.ndarray:
    payload = np.concatenate([np.asarray(part, np.uint64) for part in parts])
    return np.concatenate([np.array([int(receiver) | len(payload) << 32], np.uint64), payload])


def _head(bit1: bool = False, bit2: bool = False) -> int:
    return 1 | bit1 << 1 | bit2 << 2


def _table(planes: Sequence[PlaneRef], memory: MemoryPlan) -> np.ndarray:
    entries = np.zeros(-(-len(planes) // 2) * 2, "<u4")
    entries[: len(planes)] = [memory.address(plane) | plane.twice for plane in planes]
    return entries.view("<u8")


def _spatial(spatial: Spatial, deformable: bool, from_pointwise: bool) -> list[np.ndarray | list[int]]:
    head = _head(from_pointwise, deformable) | spatial.mode << 4 | (spatial.outside & 255) << 8 | spatial.planes << 16
    head |= spatial.reach << 32 | spatial.columns << 36 | spatial.row_stride << 40 | spatial.column_stride << 44
    words: list[np.ndarray | list[int]] = [
        [head, spatial.rows | spatial.width << 32, spatial.rows_out | spatial.width_out << 32]
    ]
    if spatial.kernel is not None:
        # Plane, column of the window, row of the window.
        words.append(np.ascontiguousarray(spatial.kernel.swapaxes(1, 2)).reshape(-1).view("<u8"))
    return words


def _scale(scale: Scale, planes: int, vectors: int, to_store: bool) -> list[np.ndarray | list[int]]:
    kept, lanes = scale.bias.shape
    numbers = np.zeros((planes, 2, lanes), "<i2")
    numbers[:kept, 0], numbers[:kept, 1] = scale.multiplier, scale.bias
    more = scale.shift | scale.offset << 8 | (scale.low & 255) << 16 | (scale.high & 255) << 24 | kept << 32
    return [[_head(to_store) | planes << 16 | vectors << 32, more], numbers.reshape(-1).view("<u8")]


def _weights(pointwise: Pointwise, engine: Engine) -> np.ndarray:
    """Blocks by output columns, half, group; in each one row of `lanes` nibbles for each column."""
    planes, lanes, groups, _ = pointwise.weight.shape
    padded = np.zeros((padded_planes(planes, engine), lanes, groups, lanes), np.int8)
    padded[:planes] = pointwise.weight
    blocks = padded.reshape(-1, engine.columns, groups, lanes)
    halves = np.stack([blocks >> 4, blocks & 15] if pointwise.halves else [blocks], axis=1)
    # (outputs, half, columns, groups, lanes) to (outputs, half, groups, columns, lanes)
    nibbles = halves.swapaxes(2, 3).astype(np.uint8) & 15
    packed = nibbles[..., ::2] | nibbles[..., 1::2] << 4
    rows = packed.reshape(-1, lanes // 2)
    padded_rows = np.zeros((len(rows), -(-lanes // 16) * 8), np.uint8)
    padded_rows[:, : lanes // 2] = rows
    words = padded_rows.reshape(-1).view("<u8")
    assert len(words) == weight_blocks(pointwise, engine) * engine.columns * math.ceil(lanes / 16)
    return words
