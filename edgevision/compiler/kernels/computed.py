"""A product with a computed right operand: packed at run time, with what both zero points still have to take off.

What a product of two tensors and both products of attention share (quant/NUMERICS.md section 10). The register tile
makes bytes of the left operand signed, or leaves them (`inner.left_shift`), and packing takes 128 off those of the
right one; the rest of a zero point is its multiple of the other operand's sum along the depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.gemm import panel_runs
from edgevision.compiler.kernels.inner import k_group, left_shift, paired
from edgevision.compiler.kernels.panel import Panel, packed_lanes, panels
from edgevision.compiler.kernels.repack import column_sums, pack_columns, pack_rows, row_sum, strided_sum
from edgevision.compiler.kernels.tile import DenseTile, Operands
from edgevision.compiler.simd import Simd


@dataclass(frozen=True)
class Right:
    """How a right operand of `depth` rows and `columns` is packed, in panels of `vectors`."""

    depth: int
    columns: int
    vectors: int
    simd: Simd
    integer: bool

    @property
    def panels(self) -> list[Panel]:
        """Its columns, cut."""
        return panels(self.columns, self.simd.lanes, self.vectors)

    @property
    def group(self) -> int:
        """Elements of one k-group."""
        return k_group(self.simd, integer=self.integer)

    @property
    def groups(self) -> int:
        """k-groups."""
        return -(-self.depth // self.group)

    @property
    def lanes(self) -> int:
        """Columns with the padding of the panels."""
        return packed_lanes(self.columns, self.simd.lanes, self.vectors)

    @property
    def elements(self) -> int:
        """Elements one task reserves for it."""
        return _whole(self.lanes * self.groups * self.group)

    @property
    def sums(self) -> int:
        """Elements one task reserves for one value per column."""
        return _whole(self.lanes)


def _whole(elements: int) -> int:
    """`elements`, and what it takes for the next task's to be aligned whatever their type."""
    return -(-elements // 64) * 64


class Product:
    """One task's product of rows of `left` with `right`.

    Args:
        packed: scratch buffer of packed right operands, one part per task; or the operand itself, never packed.
        sums: scratch buffer of what each column starts from; for bytes.
        zeros: what the tile does not take off left and right by itself, int32; None where that is nothing.
    """

    def __init__(self, right: Right, left: Any, packed: Any, sums: Any, zeros: tuple[Any, Any], task: Any) -> None:
        self._right, self._left, self._packed, self._sums = right, left, packed, sums
        self._left_zero, self._right_zero = zeros
        self._packed_base, self._sums_base = task * right.elements, task * right.sums
        self._weights_base = task * (right.elements // right.group)
        self._operands = Operands(left, packed, sums if self._left_zero is not None else None, None, right.integer)

    def pack_columns(self, source: Any, base: Any, column_stride: int, depth_stride: int) -> None:
        """Pack from `source`, whose columns begin `column_stride` apart, and sum them where that is needed."""
        right = self._right
        pack_columns(
            source, base, column_stride, depth_stride, right.depth, right.panels, self._packed, self._packed_base,
            right.group, paired=paired(right.simd, integer=right.integer),
        )  # fmt: skip
        if self._left_zero is None:
            return
        for panel, count in panel_runs(right.panels):
            with T.serial(count) as p, T.serial(panel.valid) as lane:
                at = base + (panel.channel + p * panel.valid + lane) * column_stride
                total = strided_sum(source, at, depth_stride, right.depth, right.simd.lanes) - 128 * right.depth
                both = right.depth * (T.int32(0) if self._right_zero is None else self._right_zero)
                where = self._sums_base + panel.weight_offset + p * panel.lanes + lane
                T.buffer_store(self._sums, self._left_zero * (both - total), [where])

    def pack_rows(self, source: Any, base: Any, depth_stride: int) -> None:
        """Pack bytes from `source`, whose columns are adjacent, and sum them where that is needed."""
        right = self._right
        pack_rows(
            source, base, depth_stride, right.depth, right.panels, self._packed, self._packed_base, right.group,
            paired=paired(right.simd, integer=True),
        )  # fmt: skip
        if self._left_zero is not None:
            both = right.depth * self._left_zero * (T.int32(0) if self._right_zero is None else self._right_zero)
            column_sums(
                source, base, depth_stride, right.depth, right.panels, self._sums, self._sums_base,
                0 - self._left_zero, both,
            )  # fmt: skip

    def row_corrections(self, base: Any, pitch: int, count: int) -> list[Any]:
        """What `count` rows `pitch` apart lack for the zero point of the right operand; none where that is nothing."""
        if self._right_zero is None:
            return []
        right = self._right
        held = emit.Tile(count, 1, "int32")
        with T.serial(count) as row:
            total = row_sum(self._left, base + row * pitch, right.depth, right.simd.lanes)
            emit.store(held.buffer, row, self.correction_of(total), 1)
        return [emit.named(held.get(row)) for row in range(count)]

    def correction_of(self, total: Any) -> Any:
        """As `row_corrections`, of a row whose bytes' sum is `total`; the right operand has to have a zero point."""
        return (0 - self._right_zero) * (total - self._right.depth * left_shift(self._right.simd))

    def each(
        self,
        rows: int,
        address: Callable[[int, Any], Any],
        corrections: list[Any],
        finish: Callable[[int, Any, int, int, Any], None],
        *,
        unpacked: tuple[Any, int] | None = None,
    ) -> None:
        """Call `finish(row, column, width, valid, value)` on vectors of sums, of which `valid` lanes are columns.

        Args:
            address: of element (row, k) of the left operand.
            corrections: added to the sums of each row; none for nothing.
            unpacked: (first element, pitch of its rows) of a float right operand that is read where it lies.
        """
        right = self._right
        for panel, count in panel_runs(right.panels):
            with T.serial(count) as p:
                lane = emit.named(panel.weight_offset + p * panel.lanes)
                column = emit.named(panel.channel + p * panel.valid)
                tile = DenseTile(self._operands, right.simd, panel, self._sums_base + lane, rows)
                tile.start()
                if unpacked is None:
                    tile.accumulate(range(rows), address, self._weights_base + lane * right.groups, right.groups)
                else:
                    tile.accumulate(range(rows), address, unpacked[0] + column, right.groups, pitch=unpacked[1])
                for row, first, width, value in tile.accumulators():
                    if corrections:
                        value = value + emit.splat(corrections[row], width)
                    finish(row, column + first, width, min(width, panel.valid - first), value)


def valid_pieces(value: Any, width: int, valid: int, dtype: str) -> list[tuple[int, int, Any]]:
    """(first lane, width, value) of the pieces `valid` lanes of a vector are stored in."""
    pieces = emit.powers_of_two(valid, width)
    if pieces == [(0, width)]:
        return [(0, width, value)]
    held = emit.Tile(1, width, dtype)
    held.set(0, value)
    return [(piece, count, held.get(0, piece, count)) for piece, count in pieces]
