"""Square deformable convolution of bytes where the core sums four byte products (AVX-512 VNNI).

The bytes of four taps are interleaved by unpacking, which leaves the channels of each block of sixteen in four
registers of sums. Weights, bias and scale lie in that order, and the instructions that pack sums to bytes undo it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit, saturate, x86
from edgevision.compiler.kernels.chain import ChainWriter
from edgevision.compiler.simd import Simd

#: Taps (vertical, horizontal), row by row.
TAPS = [(u, v) for u in (-1, 0, 1) for v in (-1, 0, 1)]
#: Taps an instruction sums, and weights stored of a channel: three groups of them.
GROUP, DEPTH = 4, 12
#: Channels whose bytes one unpacking keeps together.
BLOCK = 16


class Samples:
    """The nine samples of one output pixel.

    Args:
        left: the image.
        addresses: element before channel 0 of each tap.
        masks: bits of each tap to keep; None where all are inside the frame.
        zero: byte of each channel outside the frame; None for floats.
    """

    def __init__(self, left: Any, addresses: list[Any], masks: list[Any] | None = None, zero: Any = None) -> None:
        self._left, self._addresses, self._masks, self._zero = left, addresses, masks, zero

    def load(self, tap: int, channel: Any, width: int) -> Any:
        """`width` channels of a tap."""
        loaded = emit.load(self._left, self._addresses[tap] + channel, width)
        # The middle of the nine is always inside.
        if self._masks is None or TAPS[tap] == (0, 0):
            return loaded
        kept = emit.splat(self._masks[tap], width)
        if self._zero is not None:
            return (loaded & kept) | (emit.load(self._zero, channel, width) & ~kept)
        return emit.reinterpret(emit.reinterpret(loaded, "int32", width) & kept, "float32", width)


def suits(channels: int, simd: Simd) -> bool:
    """Whether this core sums four products, and the channels fill a block."""
    return simd.dot == "vnni" and simd.lanes == 16 and channels >= BLOCK


def pieces(channels: int) -> list[tuple[int, int, int]]:
    """(first channel, count, channels of each): the last overlaps its neighbour rather than be short.

    >>> pieces(116), pieces(24)
    ([(0, 1, 64), (52, 1, 64)], [(0, 1, 16), (8, 1, 16)])
    """
    size = next(s for s in (64, 32, 16) if s <= channels)
    rest = [(channels - size, 1, size)] if channels % size else []
    return [(0, channels // size, size), *rest]


def stored(channels: int) -> int:
    """Channels as they are stored, those twice that two pieces share."""
    return sum(count * size for _, count, size in pieces(channels))


def packed(values: np.ndarray, channels: int) -> np.ndarray:
    """Values of each channel, (channels,) or (channels, 9 taps), as the kernel reads them, flat.

    [piece][four registers][lane], and of taps [piece][group of taps][register][lane][tap of the group].
    """
    found = []
    for first, count, size in pieces(channels):
        order = np.arange(size).reshape(size // BLOCK, 4, 4).transpose(1, 0, 2).reshape(-1)
        for piece in range(count):
            cut = values[first + piece * size :][order]
            if cut.ndim == 2:
                padded = np.zeros((size, DEPTH), cut.dtype)
                padded[:, : cut.shape[1]] = cut
                cut = padded.reshape(size, DEPTH // GROUP, GROUP).transpose(1, 0, 2)
            found.append(cut.reshape(-1))
    return np.concatenate(found)


class Quads:
    """Sums of four products at once.

    Args:
        buffers: weights, bias and scale as `packed`.
    """

    def __init__(self, channels: int, simd: Simd, buffers: list[Any], writer: ChainWriter) -> None:
        self._channels, self._simd, self._writer = channels, simd, writer
        self._weights, self._bias, self._scale = buffers

    def channels(self, samples: Samples, pixel: Any) -> None:
        """All channels of one pixel."""
        done = 0
        for first, count, size in pieces(self._channels):
            with T.serial(count) as piece:
                self._piece(samples, pixel, first + piece * size, done + piece * size, size)
            done += count * size

    def _piece(self, samples: Samples, pixel: Any, channel: Any, place: Any, size: int) -> None:
        """Channels `channel` and following; their constants begin at `place`."""
        lanes = size // 4
        sums = [emit.named(emit.load(self._bias, place + r * lanes, lanes)) for r in range(4)]
        for group in range(DEPTH // GROUP):
            for r, left in enumerate(_interleaved(samples, group, channel, size)):
                weight = emit.load(self._weights, place * DEPTH + (group * size + r * lanes) * GROUP, size)
                sums[r] = emit.named(x86.add_products(sums[r], left, weight, lanes, GROUP))
        values = []
        for r, total in enumerate(sums):
            scale = emit.load(self._scale, place + r * lanes, lanes)
            values.append(emit.named(emit.fence(emit.cast(total, "float32", lanes) * scale, lanes)))
        if self._writer.plain and self._writer.packs(self._simd, lanes):
            self._writer.finish_four(
                values, [(pixel, channel)] * 4, lanes, self._simd, together=saturate.VECTORS, by_blocks=True
            )
            return
        line = emit.Tile(1, size, "float32")
        for r, value in enumerate(values):
            for block in range(size // BLOCK):
                line.set_part(0, BLOCK * block + 4 * r, T.Shuffle([value], list(range(4 * block, 4 * block + 4))), 4)
        parts = [(first, line.get(0, first, lanes)) for first in range(0, size, lanes)]
        self._writer.finish_all(
            [emit.named(value) for _, value in parts], [(pixel, channel + first) for first, _ in parts], lanes,
            self._simd, together=4,
        )  # fmt: skip


def _interleaved(samples: Samples, group: int, channel: Any, size: int) -> list[Any]:
    """Four registers of the group's bytes, four taps of each channel side by side."""
    taps = range(group * GROUP, min((group + 1) * GROUP, len(TAPS)))
    loaded = [emit.named(samples.load(tap, channel, size)) for tap in taps]
    # The weights of the taps that fill the group are zero, so any bytes do for them.
    loaded += [loaded[-1]] * (GROUP - len(loaded))
    halves = []
    for pair in (loaded[:2], loaded[2:]):
        halves.append([emit.named(emit.reinterpret(v, "int16", size // 2)) for v in _unpacked(pair, size, 1)])
    return [
        emit.named(emit.reinterpret(v, "int8", size))
        for half in (0, 1)
        for v in _unpacked([halves[0][half], halves[1][half]], size // 2, 2)
    ]


def _unpacked(pair: list[Any], lanes: int, nbytes: int) -> list[Any]:
    """Lower and upper halves of each 128 bits of two vectors, element by element in turn (`punpckl`, `punpckh`)."""
    block = BLOCK // nbytes
    found = []
    for half in (0, block // 2):
        order = [v * lanes + first + half + i for first in range(0, lanes, block) for i in range(block // 2)
                 for v in (0, 1)]  # fmt: skip
        found.append(T.Shuffle(pair, order))
    return found
