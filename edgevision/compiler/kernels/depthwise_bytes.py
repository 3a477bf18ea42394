"""Depthwise convolution of bytes where the core sums byte products: kernel rows are the summed dimension.

The bytes of one column from up to four rows are interleaved once, and every output column that touches it adds all
those taps in one instruction. A tap outside the frame reads the zero point, whose share the bias already takes off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit, nibbles, x86
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.kernels.conv import Block, column_blocks
from edgevision.compiler.kernels.parameters import kernel, weighted
from edgevision.compiler.simd import Simd
from edgevision.graph.geometry import Window


@dataclass(frozen=True)
class DepthwiseBytes:
    """One depthwise convolution of bytes with int8 or int4 weights; fields as in `depthwise.Depthwise`.

    Parameters of the kernel: left, weights (`pack`), bias, scale, [zero: uint8 per channel, if a tap can leave the
    frame], extras, output.
    """

    window: Window
    channels: int
    pitch: int
    offset: int
    left_elements: int
    output_elements: int
    chain: Chain
    extras: tuple[tuple[int, str], ...] = ()
    weights: str = "int8"


def suits(channels: int, simd: Simd) -> bool:
    """Whether this kernel can be generated for so many channels on this core."""
    return x86.group_of(simd) > 0 and all(width >= 4 for _, width in _pieces(channels, simd.lanes))


def pack(weights: np.ndarray, simd: Simd) -> np.ndarray:
    """Weights (channels, kernel rows, kernel columns) as [group of rows][kernel column][channel][row of the group].

    Rows that fill the last group are zero.
    """
    channels, height, width = weights.shape
    group = x86.group_of(simd)
    groups = -(-height // group)
    padded = np.zeros((channels, groups * group, width), weights.dtype)
    padded[:, :height] = weights
    return padded.reshape(channels, groups, group, width).transpose(1, 3, 0, 2).reshape(-1)


def build(name: str, spec: DepthwiseBytes, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    window, group = spec.window, x86.group_of(simd)
    groups = -(-window.kernel[0] // group)
    rest = [("zero", spec.channels, "uint8")] if window.leaves_frame else []
    weights = (groups * group * window.kernel[1] * spec.channels, spec.weights)
    operands = weighted((spec.left_elements, "uint8"), weights, spec.channels, *rest)
    with kernel(name, spec, operands) as (buffers, made):
        writer = buffers.writer(pixels_per_image=window.out_height * window.out_width, images=window.images)
        columns = 8 if simd.registers >= 32 else 4
        with T.parallel(window.images * window.out_height) as line:
            body = _Body(spec, simd, list(buffers.operands.values()), writer, line)
            for first, width in _pieces(spec.channels, simd.lanes):
                count = spec.channels // width if first == 0 else 1
                with T.serial(count) as c:
                    for block in column_blocks(window, columns):
                        with T.serial(block.count) as b:
                            body.tile(block, b, first + c * width, width)
    return made[0]


def _pieces(channels: int, lanes: int) -> list[tuple[int, int]]:
    """First channel and width of every run of vectors; the last vector overlaps its neighbour rather than be short.

    >>> _pieces(220, 16), _pieces(12, 16)
    ([(0, 16), (204, 16)], [(0, 8), (8, 4)])
    """
    if channels < lanes:
        return emit.powers_of_two(channels, lanes)
    return [(0, lanes), *([(channels - lanes, lanes)] if channels % lanes else [])]


class _Body:
    """One output line; the addresses and masks of its kernel rows are computed once."""

    def __init__(self, spec: DepthwiseBytes, simd: Simd, buffers: list[Any], writer: ChainWriter, line: Any) -> None:
        self._spec, self._simd, self._writer, self._line = spec, simd, writer, line
        self._left, weights, self._bias, self._scale = buffers[:4]
        self._weights = nibbles.view(weights, spec.weights)
        self._zero = buffers[4] if len(buffers) > 4 else None
        self._group = x86.group_of(simd)
        window = spec.window
        image = emit.named(T.floordiv(line, window.out_height)) if window.images > 1 else 0
        row = line - image * window.out_height
        self._rows: list[Any] = []
        self._kept: list[Any] = []
        for ky in range(window.kernel[0]):
            shift = ky * window.dilation[0] - window.top
            source = row * window.stride[0] + shift
            if shift >= 0 and (window.out_height - 1) * window.stride[0] + shift < window.height:
                kept = None
            else:
                source = emit.named(source)
                inside = T.And(source >= 0, source < window.height)
                kept = emit.named(T.Select(inside, T.uint8(255), T.uint8(0)))
                source = T.max(T.min(source, window.height - 1), 0)
            self._rows.append(emit.named((image * window.height + source) * window.width))
            self._kept.append(kept)

    def tile(self, block: Block, b: Any, channel: Any, width: int) -> None:
        window = self._spec.window
        column = emit.named(block.first + b * block.size)
        acc = emit.Tile(block.size, width, "int32")
        bias = emit.named(emit.load(self._bias, channel, width))
        for i in range(block.size):
            acc.set(i, bias)
        for first in range(0, window.kernel[0], self._group):
            self._add_rows(acc, block, column, first, channel, width)
        scale = emit.named(emit.load(self._scale, channel, width))
        values = [
            emit.named(emit.fence(emit.cast(acc.get(i), "float32", width) * scale, width)) for i in range(block.size)
        ]
        first = emit.named(self._line * window.out_width + column)
        self._writer.finish_all(values, [(first + i, channel) for i in range(block.size)], width, self._simd)

    def _add_rows(self, acc: emit.Tile, block: Block, column: Any, first: int, channel: Any, width: int) -> None:
        spec, window, group = self._spec, self._spec.window, self._group
        rows = list(range(first, min(first + group, window.kernel[0])))
        weights = []
        for kx in range(window.kernel[1]):
            offset = (first // group * window.kernel[1] + kx) * spec.channels + channel
            loaded = nibbles.load(self._weights, offset * group, width * group)
            weights.append(x86.operand(loaded, width, group))
        outside = None
        if self._zero is not None:
            zero = emit.named(emit.load(self._zero, channel, width))
            outside = lambda: x86.operand(x86.interleaved([zero] * group, width), width, group)  # noqa: E731
        kept = self._masks(rows, channel, width)
        uses: dict[int, list[tuple[int, int, bool]]] = {}
        for kx in range(window.kernel[1]):
            for i in range(block.size):
                inside = block.count > 1 or window.columns_inside(block.first + i, kx)
                uses.setdefault(i * window.stride[1] + kx * window.dilation[1], []).append((i, kx, inside))
        for position in sorted(uses):
            if uses[position][0][2]:
                x = column * window.stride[1] + (position - window.left)
                left = x86.operand(self._column(x, rows, kept, channel, width), width, group)
            else:
                assert outside is not None
                left = outside()
            for i, kx, _ in uses[position]:
                acc.set(i, x86.add_products(acc.get(i), left, weights[kx], width, group))

    def _masks(self, rows: list[int], channel: Any, width: int) -> list[tuple[Any, Any] | None]:
        """Per row (bytes to keep, bytes to put in their place), or None where the row is always inside."""
        found: list[tuple[Any, Any] | None] = []
        for row in rows:
            if self._kept[row] is None:
                found.append(None)
                continue
            mask = emit.named(emit.splat(self._kept[row], width))
            zero = emit.load(self._zero, channel, width)
            found.append((mask, emit.named(zero & ~mask)))
        return found

    def _column(self, x: Any, rows: list[int], kept: list[Any], channel: Any, width: int) -> Any:
        spec = self._spec
        vectors = []
        for row, mask in zip(rows, kept, strict=True):
            loaded = emit.load(self._left, (self._rows[row] + x) * spec.pitch + spec.offset + channel, width)
            vectors.append(emit.named(loaded if mask is None else (loaded & mask[0]) | mask[1]))
        # The weights of the rows that fill the group are zero, so any bytes do for them.
        vectors += [vectors[-1]] * (self._group - len(vectors))
        return x86.interleaved(vectors, width)
