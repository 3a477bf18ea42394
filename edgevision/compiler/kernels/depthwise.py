"""Depthwise convolution in NHWC: one vector of channels, a run of output columns in registers.

Padding is inside the kernel, as in `conv`: nothing is copied first. A loaded input vector is used by every output
column of the block it touches.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import arm, emit, nibbles
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.kernels.conv import Block, column_blocks
from edgevision.compiler.kernels.grid import Grid, pixel, pixels_per_image
from edgevision.compiler.kernels.parameters import kernel, weighted
from edgevision.compiler.simd import Simd
from edgevision.graph.geometry import Window


@dataclass(frozen=True)
class Depthwise:
    """One depthwise convolution.

    Attributes:
        channels: of input and output.
        dtype: float32, or uint8 with an int32 accumulator.
        weights: float32, or int4 (an even number of channels), int8 or int16 with one float32 scale per channel.
        pitch, offset: elements from one input pixel to the next, and of the first.
        corrected: whether the zero-point correction of taps outside the frame is passed.
        grid: where the output pixels go, when they are not an image of their own.
    """

    window: Window
    channels: int
    dtype: str
    weights: str
    pitch: int
    offset: int
    left_elements: int
    output_elements: int
    chain: Chain
    extras: tuple[tuple[int, str], ...] = ()
    corrected: bool = False
    grid: Grid | None = None


def build(name: str, spec: Depthwise, simd: Simd) -> Any:
    """Return the kernel as a TIR function; weights are (kernel rows * kernel columns, channels), flat."""
    window = spec.window
    elements = window.kernel[0] * window.kernel[1] * spec.channels
    rest = [("correction", elements, "int32")] if spec.corrected else []
    operands = weighted((spec.left_elements, spec.dtype), (elements, spec.weights), spec.channels, *rest)
    with kernel(name, spec, operands) as (buffers, made):
        writer = buffers.writer(pixels_per_image=pixels_per_image(window, spec.grid), images=window.images)
        body = _Body(spec, buffers.operands, writer, simd)
        columns, lanes = _tile(spec, simd)
        written = arm.written_out(simd) if body.written else contextlib.nullcontext()
        with written, T.parallel(window.images * window.out_height) as line:
            for block in column_blocks(window, columns):
                with T.serial(block.count) as b:
                    full, tail = divmod(spec.channels, lanes)
                    if full:
                        with T.serial(full) as c:
                            body.tile(line, block, b, c * lanes, lanes)
                    for first, width in emit.powers_of_two(tail, lanes):
                        body.tile(line, block, b, full * lanes + first, width)
    return made[0]


def _tile(spec: Depthwise, simd: Simd) -> tuple[int, int]:
    """Output columns and channels worked on together."""
    if not simd.neon:
        return max(1, min(8, simd.registers - spec.window.kernel[1] - 4)), simd.lanes
    wide = simd.registers >= 32
    if spec.dtype == "float32":
        return 8 if wide else 4, simd.lanes
    # Eight bytes are widened at once, and multiplied as words into two registers of sums.
    return 8 if wide else 2, 2 * simd.lanes


class _Body:
    def __init__(self, spec: Depthwise, operands: dict[str, Any], writer: ChainWriter, simd: Simd) -> None:
        self._spec, self._writer, self._simd = spec, writer, simd
        #: Whether multiplications of whole vectors are written out.
        self.written = spec.dtype == "float32" and arm.writes_out(simd)
        self._integer = spec.dtype != "float32"
        self._left, self._bias = operands["left"], operands["bias"]
        self._weights = nibbles.view(operands["weights"], spec.weights)
        self._scale, self._correction = operands.get("scale"), operands.get("correction")

    def tile(self, line: Any, block: Block, b: Any, channel: Any, width: int) -> None:
        window = self._spec.window
        dtype = "int32" if self._integer else "float32"
        acc = emit.Tile(block.size, width, dtype)
        bias = emit.named(emit.load(self._bias, channel, width))
        scaled_float = self._scale is not None and not self._integer
        for i in range(block.size):
            acc.set(i, emit.f32(0.0, width) if scaled_float else bias)
        image = emit.named(T.floordiv(line, window.out_height)) if window.images > 1 else 0
        row = line - image * window.out_height
        column = emit.named(block.first + b * block.size)
        for ky in range(window.kernel[0]):
            source = emit.named(row * window.stride[0] + (ky * window.dilation[0] - window.top))
            if window.rows_always_inside:
                self._kernel_row(acc, block, column, image, source, ky, channel, width)
                continue
            with T.If(T.And(source >= 0, source < window.height)):
                with T.Then():
                    self._kernel_row(acc, block, column, image, source, ky, channel, width)
                with T.Else():
                    for kx in range(window.kernel[1]):
                        self._correct(acc, range(block.size), ky, kx, channel, width)
                    T.evaluate(0)
        values, positions = [], []
        parts = emit.powers_of_two(width, self._simd.lanes)
        for i in range(block.size):
            for first, part in parts:
                values.append(emit.named(self._scaled(acc.get(i, first, part), channel + first, part)))
                positions.append((pixel(window, self._spec.grid, line, image, column + i), channel + first))
        self._writer.finish_all(values, positions, parts[0][1], self._simd, together=len(parts))

    def _scaled(self, value: Any, channel: Any, width: int) -> Any:
        if self._scale is None:
            return value
        scale = emit.load(self._scale, channel, width)
        if self._integer:
            return emit.fence(emit.cast(value, "float32", width) * scale, width)
        return value * scale + emit.load(self._bias, channel, width)

    def _correct(self, acc: emit.Tile, columns: Any, ky: int, kx: int, channel: Any, width: int) -> None:
        if self._correction is None:
            return
        tap = ky * self._spec.window.kernel[1] + kx
        value = emit.named(emit.load(self._correction, tap * self._spec.channels + channel, width))
        for i in columns:
            acc.add(i, value)

    def _kernel_row(
        self, acc: emit.Tile, block: Block, column: Any, image: Any, source: Any, ky: int, channel: Any, width: int
    ) -> None:
        spec, window = self._spec, self._spec.window
        weights = []
        for kx in range(window.kernel[1]):
            tap = ky * window.kernel[1] + kx
            weight = nibbles.load(self._weights, tap * spec.channels + channel, width)
            if spec.weights != "float32":
                weight = emit.cast(weight, self._words(width) if self._integer else "float32", width)
            weights.append(emit.named(weight))
        # Input columns this block reads, relative to the first output column times the stride.
        uses: dict[int, list[tuple[int, int]]] = {}
        for kx in range(window.kernel[1]):
            outside = []
            for i in range(block.size):
                if block.count > 1 or window.columns_inside(block.first + i, kx):
                    uses.setdefault(i * window.stride[1] + kx * window.dilation[1], []).append((i, kx))
                else:
                    outside.append(i)
            self._correct(acc, outside, ky, kx, channel, width)
        if self.written and width == arm.LANES:
            self._written_row(acc, column, source, image, channel, uses, weights)
            return
        for position in sorted(uses):
            value = self._input(column, source, image, channel, position, width)
            for i, kx in uses[position]:
                if self._words(width) == "int16" and self._integer:
                    for first in range(0, width, arm.LANES):
                        total = acc.get(i, first, arm.LANES) + arm.product(value, weights[kx], first)
                        emit.store(acc.buffer, i * width + first, total, arm.LANES)
                else:
                    acc.add(i, value * weights[kx])

    def _words(self, width: int) -> str:
        """Type that bytes are widened to: LLVM finds `smlal` by itself, on 32-bit Arm its `vmlal` needs to be told."""
        return "int16" if self._simd.neon and self._simd.registers < 32 and width == 2 * arm.LANES else "int32"

    def _written_row(
        self, acc: emit.Tile, column: Any, source: Any, image: Any, channel: Any, uses: dict[int, Any], weights: Any
    ) -> None:
        """As written-out instructions, column after column, so that a sum is left alone while it is being made."""
        held = {p: self._input(column, source, image, channel, p, arm.LANES) for p in sorted(uses)}
        order = [(i, kx, position) for position in sorted(uses) for i, kx in uses[position]]
        if len(held) + len(weights) + len({i for i, _, _ in order}) < self._simd.registers:
            order.sort(key=lambda use: (use[1], use[0]))
        for i, kx, position in order:
            acc.set(i, arm.multiply_add(acc.get(i), weights[kx], held[position]))

    def _input(self, column: Any, source: Any, image: Any, channel: Any, position: int, width: int) -> Any:
        """The input vector `position` columns after where the block begins, without padding."""
        spec, window = self._spec, self._spec.window
        x = column * window.stride[1] + (position - window.left)
        pixel = (image * window.height + source) * window.width + x
        loaded = emit.load(self._left, pixel * spec.pitch + spec.offset + channel, width)
        return emit.named(emit.cast(loaded, self._words(width), width) if self._integer else loaded)
