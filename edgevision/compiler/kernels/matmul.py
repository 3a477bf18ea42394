"""Products of two computed matrices, one for each batch entry: what attention is made of when it is not attention.

The right operand is packed at run time; the register tile is that of every dense kernel (quant/NUMERICS.md section 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.kernels.computed import Product, Right, valid_pieces
from edgevision.compiler.kernels.parameters import Buffers, kernel
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

    @property
    def output_elements(self) -> int:
        """Elements of the result."""
        return self.batches * self.rows * self.columns


def _right(spec: Matmul, simd: Simd) -> Right:
    return Right(spec.depth, spec.columns, spec.tile[1], simd, spec.integer)


def scratch_of(spec: Matmul, simd: Simd) -> list[tuple[int, str]]:
    """(elements, dtype) of the scratch buffers: packed right operands, and for bytes their corrections."""
    right = _right(spec, simd)
    found = [(spec.tasks * right.elements, "int8" if spec.integer else "float32")]
    return [*found, (spec.tasks * right.sums, "int32")] if spec.integer else found


def build(name: str, spec: Matmul, simd: Simd) -> Any:
    """Return the kernel as a TIR function over (left, right, extras, scratch, output)."""
    operands = [("left", spec.left[-1], spec.dtype), ("right", spec.right[-1], spec.dtype)]
    each = -(-spec.batches // spec.tasks)
    with kernel(name, spec, operands, scratch_of(spec, simd)) as (buffers, made):
        writer = buffers.writer(pixels_per_image=spec.rows, images=spec.batches)
        with T.parallel(spec.tasks) as task:
            body = _Body(spec, simd, buffers, writer, task)
            count = each if spec.batches % each == 0 else T.min(each, spec.batches - task * each)
            with T.serial(count) as step:
                body.batch(emit.named(task * each + step))
    return made[0]


class _Body:
    """Emits the batch entries of one task."""

    def __init__(self, spec: Matmul, simd: Simd, buffers: Buffers, writer: ChainWriter, task: Any) -> None:
        self._spec, self._extras, self._writer = spec, buffers.extras, writer
        self._source = buffers.operands["right"]
        packed, *sums = buffers.scratch
        left, right = (buffers.extras[1][i] if wanted else None for i, wanted in enumerate(spec.corrected))
        self._product = Product(
            _right(spec, simd), buffers.operands["left"], packed, sums[0] if sums else None, (left, right), task
        )

    def batch(self, batch: Any) -> None:
        spec, product = self._spec, self._product
        source = emit.named(batch * spec.right[1] + spec.right[0])
        depth_stride, column_stride = spec.right[2:4]
        product.pack_columns(self._source, source, column_stride, depth_stride)
        base = emit.named(batch * spec.left[1] + spec.left[0])
        for first, blocks, size in emit.balanced(spec.rows, spec.tile[0]):
            with T.serial(blocks) as block:
                row = emit.named(first + block * size)

                def address(i: int, k: Any, row: Any = row) -> Any:
                    return base + (row + i) * spec.left[2] + k

                def finish(i: int, column: Any, width: int, valid: int, value: Any, row: Any = row) -> None:
                    self._finish(value, width, valid, batch * spec.rows + row + i, column)

                corrections = product.row_corrections(base + row * spec.left[2], spec.left[2], size)
                product.each(size, address, corrections, finish)

    def _finish(self, value: Any, width: int, valid: int, pixel: Any, channel: Any) -> None:
        integer = self._spec.integer
        for piece, count, part in valid_pieces(value, width, valid, "int32" if integer else "float32"):
            if integer:
                part = emit.fence(emit.cast(part, "float32", count) * emit.splat(self._extras[0][0], count), count)
            self._writer.finish(emit.named(part), pixel, channel + piece, count)
