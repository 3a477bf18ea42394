"""The register tile of every dense kernel: rows of the left operand times one panel of packed weights.

float32 multiplies and adds; u8 x s8 accumulates in int32: by matrices where the core has an instruction for them
(`usmmla`), four products at a time where it sums four (`vpdpbusd`, `sdot`), two of words (`vpmaddwd`), else one at a
time on widened bytes. The accumulators start at the bias, so the tail of the kernel is only the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit, lanes, matrix, nibbles, pairs, saturate, x86
from edgevision.compiler.kernels.chain import ChainWriter
from edgevision.compiler.kernels.emit import Buffer, Expr
from edgevision.compiler.kernels.inner import Walk, k_group, loop_of
from edgevision.compiler.kernels.panel import Panel
from edgevision.compiler.simd import DOT_INSTRUCTIONS, Simd

#: The top bit of each of four bytes.
SIGN_BITS = -0x7F7F7F80


@dataclass(frozen=True)
class Operands:
    """Buffers of a dense kernel.

    Attributes:
        left: activations, float32 or uint8, flat.
        weights: packed by `inner.pack`; a view of `nibbles` where they have four bits.
        bias: int32 where the accumulator is, else float32; per channel, packed by `panel.pack_channels`; None for zero.
        scale: float32 multiplier of the accumulator per channel, packed alike; None for float32 weights.
        correction: int32 per (tap, channel), zero point times the tap's weight sum, added for a tap that falls
            outside the frame; None where nothing falls outside or the zero point is 0.
        contiguous: whether neighbours along k are neighbours in memory.
        full_range: whether a weight may be -128.
    """

    left: Buffer
    weights: Any
    bias: Buffer | None
    scale: Buffer | None
    integer: bool
    correction: Buffer | None = None
    contiguous: bool = True
    full_range: bool = True


class DenseTile:
    """Emits one tile: `start`, any number of `accumulate`, `finish`."""

    def __init__(self, operands: Operands, simd: Simd, panel: Panel, panel_offset: Expr, rows: int) -> None:
        self._operands = operands
        self._simd = simd
        self._panel = panel
        self._channels = panel_offset
        self._rows = rows
        self._integer = operands.integer
        #: int8 weights of a float layer are scaled after the sum, and the bias added after that.
        self._scaled_float = operands.scale is not None and not operands.integer
        self._loop = loop_of(simd, integer=self._integer, contiguous=operands.contiguous)
        kind = "int32" if self._integer else "float32"
        self._acc = [
            matrix.PairTile(rows) if self._loop == "matrix" else emit.Tile(rows, width, kind) for width in panel.widths
        ]

    @property
    def group(self) -> int:
        """Values of k consumed by one inner step."""
        return k_group(self._simd, integer=self._integer)

    def start(self) -> None:
        """Set every accumulator to its channel's bias."""
        for vector, first in self._vectors():
            width = self._panel.widths[vector]
            if self._operands.bias is None or self._scaled_float:
                bias = emit.i32(0, width) if self._integer else emit.f32(0.0, width)
            else:
                bias = emit.named(emit.load(self._operands.bias, self._channels + first, width))
            for row in range(self._rows):
                self._acc[vector].set(row, bias)

    def accumulate(
        self,
        rows: Sequence[int],
        address: Callable[[int, Expr], Expr],
        weight_base: Expr,
        groups: int,
        *,
        pitch: int | None = None,
    ) -> None:
        """Add `groups` k-groups of the rows; `address(row, k)` is the left element, weights start at `weight_base`.

        `weight_base` counts lanes; the panel stores `group` elements per lane. `pitch` is the lanes from one k-group to
        the next, those of the panel where it is packed.
        """
        pitch = self._panel.lanes if pitch is None else pitch
        if self._loop != "scalar":
            walk = Walk(
                self._operands.left, self._operands.weights, self._integer, self._panel, self._acc, rows, address,
                weight_base, pitch, groups, self._operands.full_range,
            )  # fmt: skip
            if self._loop == "lanes":
                lanes.accumulate(walk, self._simd)
            elif self._loop == "matrix":
                matrix.accumulate(walk)
            else:
                pairs.accumulate(walk, self._simd.registers)
            return
        with T.serial(groups) as step:
            weights = []
            for vector, first in self._vectors():
                width = self._panel.widths[vector]
                offset = (weight_base + step * pitch + first) * self.group
                weights.append(self._weights(offset, width))
            for row in rows:
                left = self._left(address(row, step * self.group))
                for vector, _first in self._vectors():
                    self._multiply(vector, row, left, weights[vector])

    def correct(self, rows: Sequence[int], tap: Expr, tap_pitch: int) -> None:
        """Add the zero-point correction of a tap outside the frame to `rows`."""
        if self._operands.correction is None:
            return
        for vector, first in self._vectors():
            offset = tap * tap_pitch + self._channels + first
            value = emit.named(emit.load(self._operands.correction, offset, self._panel.widths[vector]))
            for row in rows:
                self._acc[vector].add(row, value)

    def finish(self, writer: ChainWriter, pixel: Callable[[int], Expr], channel: Expr) -> None:
        """Run the chain on every accumulator and store; `channel` is the first output channel of the panel."""
        taken = self._finish_packed(writer, pixel, channel)
        for row in range(taken, self._rows):
            for vector, first in self._vectors():
                valid = min(self._panel.widths[vector], self._panel.valid - first)
                for piece, width in emit.powers_of_two(valid, self._panel.widths[vector]):
                    value = self._scaled(vector, row, first, piece, width)
                    writer.finish(emit.named(value), pixel(row), channel + first + piece, width)

    def accumulators(self) -> list[tuple[int, int, int, Expr]]:
        """(row, first lane, width, value) of every accumulator."""
        return [
            (row, first, self._panel.widths[vector], self._acc[vector].get(row))
            for row in range(self._rows)
            for vector, first in self._vectors()
        ]

    def _finish_packed(self, writer: ChainWriter, pixel: Callable[[int], Expr], channel: Expr) -> int:
        """Finish rows whose vectors go out four at a time; returns how many rows that was."""
        vectors, lanes = self._vectors(), self._simd.lanes
        whole = self._panel.valid == self._panel.lanes and set(self._panel.widths) == {lanes}
        if not whole or not writer.packs(self._simd, lanes):
            return 0
        together = 2 if len(vectors) % 2 == 0 else 1
        rows = saturate.VECTORS // together
        for start in range(0, self._rows - rows + 1, rows):
            for pair in range(0, len(vectors), together):
                at = [(start + r, *vectors[pair + v]) for r in range(rows) for v in range(together)]
                values = [emit.named(self._scaled(vector, row, first, 0, lanes)) for row, vector, first in at]
                positions = [(pixel(row), channel + first) for row, _, first in at]
                writer.finish_four(values, positions, lanes, self._simd, together)
        done = self._rows // rows * rows
        if not writer.fills_up:
            return done
        for row in range(done, self._rows):
            for start in range(0, len(vectors), saturate.VECTORS):
                some = vectors[start : start + saturate.VECTORS]
                values = [emit.named(self._scaled(vector, row, first, 0, lanes)) for vector, first in some]
                writer.finish_four(values, [(pixel(row), channel + first) for _, first in some], lanes, self._simd)
        return self._rows

    def _scaled(self, vector: int, row: int, first: int, piece: int, width: int) -> Expr:
        """Lanes `piece` to `piece + width` of an accumulator, times the scale where there is one."""
        value = self._acc[vector].get(row, piece, width)
        if self._operands.scale is None:
            return value
        scale = emit.load(self._operands.scale, self._channels + first + piece, width)
        if self._integer:
            return emit.fence(emit.cast(value, "float32", width) * scale, width)
        return value * scale + emit.load(self._operands.bias, self._channels + first + piece, width)

    def _vectors(self) -> list[tuple[int, int]]:
        first, found = 0, []
        for index, width in enumerate(self._panel.widths):
            found.append((index, first))
            first += width
        return found

    def _weights(self, offset: Expr, width: int) -> Expr:
        loaded = nibbles.load(self._operands.weights, offset, width * self.group)
        if not self._integer:
            return emit.named(emit.cast(loaded, "float32", width) if self._scaled_float else loaded)
        if x86.group_of(self._simd):
            return x86.operand(loaded, width, self.group)
        return emit.named(loaded if self._simd.sums_four else emit.cast(loaded, "int32", width))

    def _left(self, address: Expr) -> Expr:
        if not self._integer:
            return emit.named(self._operands.left[address])
        if self._simd.sums_two:
            return emit.named(emit.reinterpret(emit.load(self._operands.left, address, 2), "int16", 1))
        if self._simd.sums_four:
            four = emit.reinterpret(emit.load(self._operands.left, address, 4), "int32", 1)
            # Flipping the top bit of a byte subtracts 128 from it, read as signed.
            return emit.named(four ^ T.int32(SIGN_BITS) if self._simd.signed_left else four)
        return emit.named(emit.cast(self._operands.left[address], "int32", 1))

    def _multiply(self, vector: int, row: int, left: Expr, weights: Expr) -> None:
        width = self._panel.widths[vector]
        group = x86.group_of(self._simd) if self._integer else 0
        if group:
            repeated = T.reinterpret(f"uint8x{group * width}", emit.splat(left, width))
            products = x86.operand(repeated, width, group)
            self._acc[vector].set(row, x86.add_products(self._acc[vector].get(row), products, weights, width, group))
        elif self._integer and self._simd.sums_four:
            name = DOT_INSTRUCTIONS[self._simd.dot].format(bits=width * 32)
            bytes_left = T.reinterpret(f"int8x{4 * width}", emit.splat(left, width))
            dot = T.call_llvm_pure_intrin(
                f"int32x{width}", T.llvm_lookup_intrinsic_id(name), self._acc[vector].get(row), bytes_left, weights
            )
            self._acc[vector].set(row, dot)
        else:
            self._acc[vector].add(row, emit.splat(left, width) * weights)
