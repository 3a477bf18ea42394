"""Square deformable convolution of bytes where the core sums four byte products (AVX-512 VNNI).

The bytes of four taps are interleaved by unpacking, which leaves the channels of each block of sixteen in four
registers of sums. Weights, bias and scale lie in that order, and the instructions that pack sums to bytes undo it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
        masks: bits of each tap to keep, None of one that is always inside; None where all are inside the frame.
        zero: byte of each channel outside the frame; None for floats.
    """

    def __init__(self, left: Any, addresses: list[Any], masks: list[Any] | None = None, zero: Any = None) -> None:
        self._left, self._addresses, self._masks, self._zero = left, addresses, masks, zero

    def load(self, tap: int, channel: Any, width: int) -> Any:
        """`width` channels of a tap."""
        loaded = emit.load(self._left, self._addresses[tap] + channel, width)
        mask = None if self._masks is None else self._masks[tap]
        if mask is None:
            return loaded
        kept = emit.splat(mask, width)
        if self._zero is not None:
            return (loaded & kept) | (emit.load(self._zero, channel, width) & ~kept)
        return emit.reinterpret(emit.reinterpret(loaded, "int32", width) & kept, "float32", width)


def suits(channels: int, simd: Simd) -> bool:
    """Whether this core sums four products, and the channels fill a block."""
    return simd.dot == "vnni" and simd.lanes == 16 and channels >= BLOCK


@dataclass(frozen=True)
class Run:
    """`count` neighbouring blocks of `size` channels from `first`; their constants begin at `place`."""

    first: int
    count: int
    size: int
    place: int


def runs(channels: int) -> list[Run]:
    """Blocks of all channels; the last overlaps its neighbour rather than be short.

    >>> [(run.first, run.count, run.size) for run in runs(180)]
    [(0, 2, 64), (116, 1, 64)]
    """
    size = next(s for s in (64, 32, 16) if s <= channels)
    count = channels // size
    return [Run(0, count, size, 0), *([Run(channels - size, 1, size, count * size)] if channels % size else [])]


def stored(channels: int) -> int:
    """Channels as they are stored, those twice that two pieces share."""
    return sum(run.count * run.size for run in runs(channels))


def packed(values: np.ndarray, channels: int) -> np.ndarray:
    """Values of each channel, (channels,) or (channels, 9 taps), as the kernel reads them, flat.

    [block][four registers][lane], and of taps [block][group of taps][register][lane][tap of the group].
    """
    found = []
    for run in runs(channels):
        order = np.arange(run.size).reshape(run.size // BLOCK, 4, 4).transpose(1, 0, 2).reshape(-1)
        for index in range(run.count):
            cut = values[run.first + index * run.size :][order]
            if cut.ndim == 2:
                padded = np.zeros((run.size, DEPTH), cut.dtype)
                padded[:, : cut.shape[1]] = cut
                cut = padded.reshape(run.size, DEPTH // GROUP, GROUP).transpose(1, 0, 2)
            found.append(cut.reshape(-1))
    return np.concatenate(found)


class Quads:
    """Sums of four products at once.

    Args:
        buffers: weights, bias and scale as `packed`.
    """

    def __init__(self, channels: int, simd: Simd, buffers: list[Any], writer: ChainWriter) -> None:
        self.runs = runs(channels)
        self._simd, self._writer = simd, writer
        self._weights, self._bias, self._scale = buffers

    def block(self, run: Run, index: Any) -> Callable[[Samples, Any], None]:
        """What computes block `index` of a run for one pixel."""
        channel, place = (start + index * run.size for start in (run.first, run.place))
        return lambda samples, pixel: self._pixel(samples, pixel, channel, place, run.size)

    def _pixel(self, samples: Samples, pixel: Any, channel: Any, place: Any, size: int) -> None:
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
