"""The engine's program: a network of integers as words, and what a driver needs around them (hw/PROGRAM.md)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import msgspec
import numpy as np

from edgevision.engine.hardware import fingerprint
from edgevision.engine.lower import Lowered, lower
from edgevision.engine.memory import MemoryPlan, planned
from edgevision.engine.network import INPUT, IntegerNetwork
from edgevision.engine.packets import ahead_of, words_of
from edgevision.engine.placement import Placement
from edgevision.engine.stages import CELL_SLOTS
from edgevision.target import Engine

SCHEMA = "edgevision.engine_program/1"


class Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A tensor in the region of feature maps.

    Attributes:
        shape: (channels, height, width).
        dilations: whether it is a map of dilations, uint8, rather than int8 activations.
        planes: address of each plane, and whether each of its pixels stands for two by two.
        channels: plane, by index in `planes`, and lane of each channel.
    """

    name: str
    shape: tuple[int, int, int]
    dilations: bool
    planes: tuple[tuple[int, bool], ...]
    channels: tuple[tuple[int, int], ...]


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the image goes.

    Attributes:
        cells: pixels that share a vector, four slots each; 0 where it lies in planes as any tensor does.
        outside: the byte that fills a row's last cell.
    """

    stored: Stored
    cells: int
    outside: int


class CallRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The words of one call, and the layers it does."""

    layers: tuple[str, ...]
    first: int
    count: int


class ProgramHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of a program but its words.

    Attributes:
        engine: fingerprint of the engine it runs on.
        lanes: channels of a plane.
        map_bytes: of the region of feature maps.
        words, check: number of words, and CRC-32 of their bytes.
    """

    schema: str = SCHEMA
    engine: str
    lanes: int
    map_bytes: int
    image: Image
    outputs: tuple[Stored, ...]
    calls: tuple[CallRange, ...]
    words: int
    check: int


@dataclass(frozen=True)
class Program:
    """A header and its words, uint64."""

    header: ProgramHeader
    words: np.ndarray = field(repr=False)


def compiled(network: IntegerNetwork, engine: Engine, *, fuse: bool = True, keep: bool = False) -> Program:
    """The program that runs `network` on `engine`.

    Args:
        fuse: whether layers share calls; without it every tensor reaches memory.
        keep: keep every tensor that reaches memory until the end, as an output, for comparison layer by layer.

    Raises:
        UsageError: the network contradicts itself.
        Unsupported: layers do not fit the engine; all are named.
    """
    lowered = lower(network, engine, fuse=fuse)
    names = [name for name in lowered.tensors if name != INPUT] if keep else list(network.header.outputs)
    names = list(dict.fromkeys(names))
    kept = {plane.buffer for name in names for plane, _ in lowered.tensors[name].channels}
    memory = planned(lowered.buffers, lowered.calls, kept, engine.lanes)
    calls, parts, first = [], [], 0
    for index, call in enumerate(lowered.calls):
        words = words_of(call, ahead_of(lowered.calls, index), memory, engine)
        calls.append(CallRange(layers=call.layers, first=first, count=len(words)))
        parts.append(words)
        first += len(words)
    joined = np.concatenate([np.zeros(0, np.uint64), *parts])
    header = ProgramHeader(
        engine=fingerprint(engine), lanes=engine.lanes, map_bytes=memory.bytes,
        image=_image(lowered, memory, engine), calls=tuple(calls), words=len(joined),
        check=zlib.crc32(joined.tobytes()),
        outputs=tuple(_stored(name, lowered.tensors[name], memory, _is_map(network, name)) for name in names),
    )  # fmt: skip
    return Program(header, joined)


def _stored(name: str, placement: Placement, memory: MemoryPlan, dilations: bool) -> Stored:
    refs = list(dict.fromkeys(plane for plane, _ in placement.channels))
    index = {plane: at for at, plane in enumerate(refs)}
    return Stored(
        name=name, shape=(len(placement.channels), placement.height, placement.width), dilations=dilations,
        planes=tuple((memory.address(plane), plane.twice) for plane in refs),
        channels=tuple((index[plane], lane) for plane, lane in placement.channels),
    )  # fmt: skip


def _image(lowered: Lowered, memory: MemoryPlan, engine: Engine) -> Image:
    placement = lowered.tensors[INPUT]
    cells = engine.lanes // CELL_SLOTS if lowered.cells else 0
    return Image(stored=_stored(INPUT, placement, memory, False), cells=cells, outside=placement.outside)


def _is_map(network: IntegerNetwork, name: str) -> bool:
    return any(layer.name == name and getattr(layer, "limits", None) is not None for layer in network.header.layers)
