"""Products of two computed matrices, one for each batch entry: what attention is made of when it is not attention.

The right operand is packed at run time; the register tile is that of every dense kernel (quant/NUMERICS.md section 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.kernels.gemm import panel_runs
from edgevision.compiler.kernels.inner import k_group, left_shift, paired
from edgevision.compiler.kernels.panel import packed_lanes, panels
from edgevision.compiler.kernels.repack import pack_columns, row_sum, strided_sum
from edgevision.compiler.kernels.tile import DenseTile, Operands
from edgevision.compiler.simd import Simd


@dataclass(frozen=True)
class Matmul:
    """`batches` products (rows, depth) x (depth, columns).

    Attributes:
        left, right: (offset, stride of batch, of row, of column, elements); columns of the left operand are adjacent.
        dtype: float32, or uint8 with int32 accumulators.
        corrected: whether the zero points of left and right are not what the tile takes off anyway.
        extras: for bytes the multiplier (float32) and what is left of both zero points (int32); then the chain's.
        tasks: parallel tasks, each with its own part of the scratch buffers.
    """

    batches: int
    rows: int
    depth: int
    columns: int
    left: tuple[int, int, int, int, int]
    right: tuple[int, int, int, int, int]
    dtype: str
    tile: tuple[int, int]
    corrected: tuple[bool, bool]
    chain: Chain
    extras: tuple[tuple[int, str], ...]
    tasks: int

    @property
    def integer(self) -> bool:
        """Whether the operands are bytes."""
        return self.dtype != "float32"


def _sizes(spec: Matmul, simd: Simd) -> tuple[int, int]:
    """Packed elements and lanes of one right operand."""
    group = k_group(simd, integer=spec.integer)
    lanes = packed_lanes(spec.columns, simd.lanes, spec.tile[1])
    return -(-lanes * -(-spec.depth // group) * group // 64) * 64, -(-lanes // 64) * 64


def scratch_of(spec: Matmul, simd: Simd) -> list[tuple[int, str]]:
    """(elements, dtype) of the scratch buffers: packed right operands, and for bytes their corrections."""
    packed, lanes = _sizes(spec, simd)
    found = [(spec.tasks * packed, "int8" if spec.integer else "float32")]
    return [*found, (spec.tasks * lanes, "int32")] if spec.integer else found


def build(name: str, spec: Matmul, simd: Simd) -> Any:
    """Return the kernel as a TIR function over (left, right, extras, scratch, output)."""
    parameters = [("left", spec.left[-1], spec.dtype), ("right", spec.right[-1], spec.dtype)]
    parameters += [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters += [(f"scratch{i}", count, dtype) for i, (count, dtype) in enumerate(scratch_of(spec, simd))]
    parameters.append(("output", spec.batches * spec.rows * spec.columns, spec.chain.store.dtype))
    each = -(-spec.batches // spec.tasks)
    with emit.kernel(name, parameters) as (buffers, made):
        extras = buffers[2 : 2 + len(spec.extras)]
        writer = ChainWriter(spec.chain, extras, buffers[-1], pixels_per_image=spec.rows, images=spec.batches)
        body = _Body(spec, simd, buffers[0], buffers[1], extras, buffers[2 + len(spec.extras) : -1], writer)
        with T.parallel(spec.tasks) as task:
            count = each if spec.batches % each == 0 else T.min(each, spec.batches - task * each)
            with T.serial(count) as step:
                body.batch(emit.named(task * each + step), task)
    return made[0]


class _Body:
    def __init__(
        self,
        spec: Matmul,
        simd: Simd,
        left: Any,
        right: Any,
        extras: list[Any],
        scratch: list[Any],
        writer: ChainWriter,
    ) -> None:
        self._spec, self._simd, self._left, self._right = spec, simd, left, right
        self._extras, self._writer, self._packed = extras, writer, scratch[0]
        self._sums = scratch[1] if spec.integer else None
        self._shift = left_shift(simd) if spec.integer else 0
        zeros: Any = extras[1] if spec.integer else None
        self._zeros = [zeros[i] if wanted else None for i, wanted in enumerate(spec.corrected)]

    def batch(self, batch: Any, task: Any) -> None:
        spec, simd = self._spec, self._simd
        group = k_group(simd, integer=spec.integer)
        groups = -(-spec.depth // group)
        packed, lanes = _sizes(spec, simd)
        found = panels(spec.columns, simd.lanes, spec.tile[1])
        source = emit.named(batch * spec.right[1] + spec.right[0])
        depth_stride, key_stride = spec.right[2:4]
        pack_columns(
            self._right, source, key_stride, depth_stride, spec.depth, found, self._packed, task * packed, group,
            paired=paired(simd, integer=spec.integer),
        )  # fmt: skip
        zero_left, zero_right = self._zeros
        if zero_left is not None:
            for panel, count in panel_runs(found):
                with T.serial(count) as p, T.serial(panel.valid) as lane:
                    at = source + (panel.channel + p * panel.valid + lane) * key_stride
                    total = strided_sum(self._right, at, depth_stride, spec.depth, simd.lanes) - 128 * spec.depth
                    both = spec.depth * (T.int32(0) if zero_right is None else zero_right)
                    where = task * lanes + panel.weight_offset + p * panel.lanes + lane
                    T.buffer_store(self._sums, zero_left * (both - total), [where])
        operands = Operands(self._left, self._packed, None if zero_left is None else self._sums, None, spec.integer)
        base = emit.named(batch * spec.left[1] + spec.left[0])
        for first, blocks, size in emit.balanced(spec.rows, spec.tile[0]):
            with T.serial(blocks) as block:
                row = emit.named(first + block * size)

                def address(i: int, k: Any, row: Any = row) -> Any:
                    return base + (row + i) * spec.left[2] + k

                corrections = self._corrections(base, row, size, zero_right)
                for panel, count in panel_runs(found):
                    with T.serial(count) as p:
                        lane = emit.named(panel.weight_offset + p * panel.lanes)
                        tile = DenseTile(operands, simd, panel, task * lanes + lane, size)
                        tile.start()
                        tile.accumulate(
                            range(size),
                            address,
                            task * (packed // group) + lane * groups,
                            groups,
                        )
                        column = panel.channel + p * panel.valid
                        for index, offset, width, value in tile.accumulators():
                            if corrections:
                                value = value + emit.splat(corrections[index], width)
                            valid = min(width, panel.valid - offset)
                            self._finish(value, width, valid, batch * spec.rows + row + index, column + offset)

    def _corrections(self, base: Any, row: Any, size: int, zero_right: Any) -> list[Any]:
        """What each row lacks for the zero point of the right operand."""
        if zero_right is None:
            return []
        spec = self._spec
        held = emit.Tile(size, 1, "int32")
        with T.serial(size) as index:
            total = row_sum(self._left, base + (row + index) * spec.left[2], spec.depth, self._simd.lanes)
            emit.store(held.buffer, index, (0 - zero_right) * (total - spec.depth * self._shift), 1)
        return [emit.named(held.get(index)) for index in range(size)]

    def _finish(self, value: Any, width: int, valid: int, pixel: Any, channel: Any) -> None:
        held = None
        pieces = emit.powers_of_two(valid, width)
        if len(pieces) > 1 or pieces[0][1] != width:
            held = emit.Tile(1, width, "int32" if self._spec.integer else "float32")
            held.set(0, value)
        for piece, count in pieces:
            part = value if held is None else held.get(0, piece, count)
            if self._spec.integer:
                part = emit.fence(emit.cast(part, "float32", count) * emit.splat(self._extras[0][0], count), count)
            self._writer.finish(emit.named(part), pixel, channel + piece, count)
