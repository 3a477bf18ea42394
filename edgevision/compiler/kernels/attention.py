"""Attention of one block of queries at a time: Q K^T, scale, bias and mask, softmax, and the product with V.

The scores of a block never leave the first-level cache. K is packed once per head, transposed, as the weights of the
register tile; V is read as it lies in float, and packed in integer attention, where four keys share a lane's word
(quant/NUMERICS.md section 10).
"""

from __future__ import annotations

from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.attention_shares import Shares
from edgevision.compiler.kernels.attention_spec import Attention, scratch_of, shapes_of
from edgevision.compiler.kernels.chain import ChainWriter
from edgevision.compiler.kernels.computed import Product, valid_pieces
from edgevision.compiler.kernels.functions import Arithmetic
from edgevision.compiler.kernels.parameters import Buffers, kernel
from edgevision.compiler.simd import Simd


def build(name: str, spec: Attention, simd: Simd) -> Any:
    """Return the kernel as a TIR function over (q, k, v, extras, scratch, output)."""
    operands = [(which, getattr(spec, which).elements, spec.dtype) for which in ("q", "k", "v")]
    jobs = spec.batches * spec.heads * spec.parts
    each = -(-jobs // spec.tasks)
    with kernel(name, spec, operands, scratch_of(spec, simd)) as (buffers, made):
        writer = buffers.writer(pixels_per_image=spec.queries, images=spec.batches)
        with T.parallel(spec.tasks) as task:
            body = _Body(spec, simd, buffers, writer, task)
            count = each if jobs % each == 0 else T.min(each, jobs - task * each)
            with T.serial(count) as step:
                body.job(emit.named(task * each + step))
    return made[0]


class _Body:
    """Emits the jobs of one task, each a part of the queries of one head."""

    def __init__(self, spec: Attention, simd: Simd, buffers: Buffers, writer: ChainWriter, task: Any) -> None:
        self._spec, self._extras, self._writer = spec, buffers.extras, writer
        self._q, self._k, self._v = buffers.operands.values()
        self._shapes = shapes_of(spec, simd)
        self._math = Arithmetic(exact=spec.chain.exact)
        self._first_score = task * (self._shapes.rows * self._shapes.pitch)
        keys, self._scores, *more = buffers.scratch
        values = more[0] if self._shapes.packs_values else self._v
        shares, key_sums, value_sums = more[1:] if spec.integer else (self._scores, None, None)
        rest = [buffers.extras[3 + len(spec.adds)][i] if wanted else None for i, wanted in enumerate(spec.corrected)]
        self._scoring = Product(self._shapes.keys, self._q, keys, key_sums, (rest[0], rest[1]), task)
        self._weighting = Product(self._shapes.values, shares, values, value_sums, (rest[2], rest[3]), task)
        self._shares = Shares(spec, simd.lanes, self._scores, shares, buffers.extras)

    def job(self, job: Any) -> None:
        spec = self._spec
        head = emit.named(T.floordiv(job, spec.parts))
        part = emit.named(job - head * spec.parts)
        batch = emit.named(T.floordiv(head, spec.heads))
        head = emit.named(head - batch * spec.heads)
        self._pack(batch, head)
        self._blocks(batch, head, part)

    def _pack(self, batch: Any, head: Any) -> None:
        spec = self._spec
        _, _, row, column = spec.k.strides
        self._scoring.pack_columns(self._k, emit.named(spec.k.at(batch, head)), row, column)
        source = emit.named(spec.v.at(batch, head))
        _, _, row, column = spec.v.strides
        if spec.integer:
            self._weighting.pack_rows(self._v, source, row)
        elif self._shapes.packs_values:
            self._weighting.pack_columns(self._v, source, column, row)

    def _blocks(self, batch: Any, head: Any, part: Any) -> None:
        rows, pitch, parts = self._shapes.rows, self._shapes.pitch, self._spec.parts
        for start, blocks, size in emit.balanced(self._spec.queries, rows):
            begin = emit.named(T.floordiv(part * blocks, parts)) if parts > 1 else 0
            count = T.floordiv((part + 1) * blocks, parts) - begin if parts > 1 else blocks
            with T.serial(count) as block:
                query = emit.named(start + (begin + block) * size)
                scores = emit.named(self._first_score)
                self._score(batch, head, query, size, scores)
                # What the end needs of each row: the sum of its quantised shares, or the factor its shares still lack.
                ends = emit.Tile(size, 1, "int32" if self._spec.integer else "float32")
                with T.serial(size) as row:
                    end = self._shares.run(batch, head, query + row, emit.named(scores + row * pitch))
                    if end is not None:
                        emit.store(ends.buffer, row, end, 1)
                self._weight(batch, head, query, size, scores, ends)

    def _score(self, batch: Any, head: Any, query: Any, size: int, scores: Any) -> None:
        """Q K^T of a block of queries, scaled, into the scratch rows."""
        spec, pitch = self._spec, self._shapes.pitch
        base = emit.named(spec.q.at(batch, head, query))
        apart = spec.q.strides[2]

        def finish(row: int, key: Any, width: int, _valid: int, value: Any) -> None:
            value = emit.cast(value, "float32", width) if spec.integer else value
            value = self._math.mul(value, emit.splat(self._extras[0][0], width), width)
            emit.store(self._scores, scores + row * pitch + key, value, width)

        corrections = self._scoring.row_corrections(base, apart, size)
        self._scoring.each(size, lambda i, k: base + i * apart + k, corrections, finish)

    def _weight(self, batch: Any, head: Any, query: Any, size: int, scores: Any, ends: emit.Tile) -> None:
        """Shares times V, through the chain, to the output."""
        spec, pitch = self._spec, self._shapes.pitch
        kind = "int32" if spec.integer else "float32"

        def finish(row: int, column: Any, width: int, valid: int, value: Any) -> None:
            for piece, count, part in valid_pieces(value, width, valid, kind):
                if spec.integer:
                    scale = emit.splat(self._extras[2 + len(spec.adds)][0], count)
                    part = emit.fence(emit.cast(part, "float32", count) * scale, count)
                else:
                    part = part * emit.splat(ends.get(row), count)
                channel = head * spec.width + column + piece
                self._writer.finish(emit.named(part), batch * spec.queries + query + row, channel, count)

        corrections = []
        if spec.corrected[3]:
            corrections = [self._weighting.correction_of(ends.get(row)) for row in range(size)]
        unpacked = None if self._shapes.packs_values else (emit.named(spec.v.at(batch, head)), spec.v.strides[2])
        self._weighting.each(size, lambda i, k: scores + i * pitch + k, corrections, finish, unpacked=unpacked)
