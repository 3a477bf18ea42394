"""Attention of one block of queries at a time: Q K^T, scale, bias and mask, softmax, and the product with V.

The scores of a block never leave the first-level cache. K is packed once per head, transposed, as the weights of the
register tile; V is read as it lies in float, and packed in integer attention, where four keys share a lane's word
(quant/NUMERICS.md section 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter, rounded_steps
from edgevision.compiler.kernels.functions import Arithmetic
from edgevision.compiler.kernels.gemm import panel_runs
from edgevision.compiler.kernels.inner import k_group, left_shift, paired, tile_shape
from edgevision.compiler.kernels.panel import packed_lanes, panels
from edgevision.compiler.kernels.repack import column_sums, pack_columns, pack_rows, row_sum
from edgevision.compiler.kernels.softmax import RowSoftmax, over_row
from edgevision.compiler.kernels.tile import DenseTile, Operands
from edgevision.compiler.simd import Simd


@dataclass(frozen=True)
class Strided:
    """Where a (batch, head, row, column) operand lies in its buffer.

    Attributes:
        offset, strides: elements to the first one, and along the four axes.
        elements: of the whole buffer.
    """

    offset: int
    strides: tuple[int, int, int, int]
    elements: int

    def at(self, batch: Any, head: Any, row: Any = 0, column: Any = 0) -> Any:
        """Address of an element."""
        b, h, r, c = self.strides
        return batch * b + head * h + row * r + column * c + self.offset


@dataclass(frozen=True)
class Attention:
    """Attention of `batches` x `heads` problems of `queries` x `keys` with depths `depth` (of Q, K) and `width` (of V).

    Attributes:
        q, k, v: operands; `k` has the axes (batch, head, key, depth). Columns of q and v are adjacent.
        output_pitch: elements from one token of the output to the next; head h writes channels from h * width.
        dtype: float32, or uint8 with int32 accumulators.
        adds: strides of what is added to the scores (batch, head, query, key), parameters 3 + i.
        chain: from the weighted values to the output.
        extras: (elements, dtype) of: scores' scale; each of `adds`; for bytes also the limits of a stored share, the
            scale of the weighted values, and what is left of the four zero points (int32); then the chain's.
        tasks: parallel tasks; each has its own part of the scratch buffers.
        unit_shares: whether shares are stored from 0 in steps of a power of two, which multiplies exactly.
        corrected: which zero points are not what the tile takes off anyway: those of q, k, the shares, v.
        parts: blocks of queries one head is cut into for the threads.
    """

    batches: int
    heads: int
    queries: int
    keys: int
    depth: int
    width: int
    q: Strided
    k: Strided
    v: Strided
    dtype: str
    adds: tuple[Strided, ...]
    chain: Chain
    extras: tuple[tuple[int, str], ...]
    output_pitch: int
    output_elements: int
    parts: int
    tasks: int
    corrected: tuple[bool, bool, bool, bool] = (False, False, False, False)
    unit_shares: bool = False

    @property
    def integer(self) -> bool:
        """Whether the operands are bytes."""
        return self.dtype != "float32"


@dataclass(frozen=True)
class Shapes:
    """Sizes the kernel and who reserves its scratch agree on, for one task."""

    row_tile: tuple[int, int]
    value_tile: tuple[int, int]
    key_lanes: int
    value_lanes: int
    pitch: int
    key_elements: int
    value_elements: int


def shapes_of(spec: Attention, simd: Simd) -> Shapes:
    """Tiles and scratch sizes of one task."""
    group = k_group(simd, integer=spec.integer)
    rows, keys = tile_shape(simd, spec.queries, spec.keys, integer=spec.integer)
    _, values = tile_shape(simd, rows, spec.width, integer=spec.integer)
    key_lanes = packed_lanes(spec.keys, simd.lanes, keys)
    value_lanes = packed_lanes(spec.width, simd.lanes, values)
    return Shapes(
        row_tile=(rows, keys),
        value_tile=(rows, values),
        key_lanes=key_lanes,
        value_lanes=value_lanes,
        pitch=-(-spec.keys // 16) * 16,
        key_elements=_whole(key_lanes * -(-spec.depth // group) * group),
        # Float rows that fill whole vectors are read where they lie.
        value_elements=_whole(value_lanes * -(-spec.keys // group) * group)
        if spec.integer or value_lanes != spec.width
        else 0,
    )


def _or_zero(value: Any) -> Any:
    return T.int32(0) if value is None else value


def _whole(elements: int) -> int:
    return -(-elements // 64) * 64


def scratch_of(spec: Attention, simd: Simd) -> list[tuple[int, str]]:
    """(elements, dtype) of the scratch buffers: packed keys, scores, values; for bytes shares and corrections."""
    shapes = shapes_of(spec, simd)
    rows = shapes.row_tile[0]
    found = [
        (spec.tasks * shapes.key_elements, "int8" if spec.integer else "float32"),
        (spec.tasks * rows * shapes.pitch, "float32"),
    ]
    if shapes.value_elements:
        found.append((spec.tasks * shapes.value_elements, "int8" if spec.integer else "float32"))
    if spec.integer:
        found += [
            (spec.tasks * rows * shapes.pitch, "uint8"),
            (spec.tasks * _whole(shapes.key_lanes), "int32"),
            (spec.tasks * _whole(shapes.value_lanes), "int32"),
        ]
    return found


def build(name: str, spec: Attention, simd: Simd) -> Any:
    """Return the kernel as a TIR function over (q, k, v, extras, scratch, output)."""
    parameters = [("q", spec.q.elements, spec.dtype), ("k", spec.k.elements, spec.dtype)]
    parameters.append(("v", spec.v.elements, spec.dtype))
    parameters += [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    scratch = scratch_of(spec, simd)
    parameters += [(f"scratch{i}", elements, dtype) for i, (elements, dtype) in enumerate(scratch)]
    parameters.append(("output", spec.output_elements, spec.chain.store.dtype))
    with emit.kernel(name, parameters) as (buffers, made):
        extras = buffers[3 : 3 + len(spec.extras)]
        writer = ChainWriter(spec.chain, extras, buffers[-1], pixels_per_image=spec.queries, images=spec.batches)
        body = _Body(spec, simd, buffers[:3], extras, buffers[3 + len(spec.extras) : -1], writer)
        jobs = spec.batches * spec.heads * spec.parts
        each = -(-jobs // spec.tasks)
        with T.parallel(spec.tasks) as task:
            count = each if jobs % each == 0 else T.min(each, jobs - task * each)
            with T.serial(count) as step:
                body.job(emit.named(task * each + step), task)
    return made[0]


class _Body:
    """Emits one job: a part of the queries of one head."""

    def __init__(
        self,
        spec: Attention,
        simd: Simd,
        operands: list[Any],
        extras: list[Any],
        scratch: list[Any],
        writer: ChainWriter,
    ) -> None:
        self._spec, self._simd, self._extras, self._writer = spec, simd, extras, writer
        self._q, self._k, self._v = operands
        self._keys, self._scores = scratch[:2]
        self._key_sums: Any = None
        self._value_sums: Any = None
        self._values = scratch[2] if len(scratch) > 2 else self._v
        self._shares = self._scores
        if spec.integer:
            self._shares, self._key_sums, self._value_sums = scratch[3:]
        self._shapes = shapes_of(spec, simd)
        self._math = Arithmetic(exact=spec.chain.exact)
        self._shift = left_shift(simd) if spec.integer else 0
        zeros: Any = extras[3 + len(spec.adds)] if spec.integer else None
        # What the tile still has to take off each operand after it has made bytes signed; None where that is nothing.
        self._query_zero, self._key_zero, self._share_zero, self._value_zero = (
            zeros[index] if wanted else None for index, wanted in enumerate(spec.corrected)
        )

    def job(self, job: Any, task: Any) -> None:
        spec = self._spec
        head = emit.named(T.floordiv(job, spec.parts))
        part = emit.named(job - head * spec.parts)
        batch = emit.named(T.floordiv(head, spec.heads))
        head = emit.named(head - batch * spec.heads)
        self._pack(batch, head, task)
        self._blocks(batch, head, part, task)

    def _pack(self, batch: Any, head: Any, task: Any) -> None:
        spec, shapes, lanes = self._spec, self._shapes, self._simd.lanes
        group = k_group(self._simd, integer=spec.integer)
        in_pairs = paired(self._simd, integer=spec.integer)
        keys = panels(spec.keys, lanes, shapes.row_tile[1])
        source = emit.named(spec.k.at(batch, head))
        _, _, key_stride, depth_stride = spec.k.strides
        pack_columns(
            self._k, source, key_stride, depth_stride, spec.depth, keys, self._keys, task * shapes.key_elements, group,
            paired=in_pairs,
        )  # fmt: skip
        values = panels(spec.width, lanes, shapes.value_tile[1])
        if not spec.integer:
            if shapes.value_elements:
                source = emit.named(spec.v.at(batch, head))
                pack_columns(
                    self._v, source, spec.v.strides[3], spec.v.strides[2], spec.keys, values, self._values,
                    task * shapes.value_elements, group,
                )  # fmt: skip
            return
        if self._query_zero is not None:
            base = task * _whole(shapes.key_lanes)
            for panel, count in panel_runs(keys):
                with T.serial(count) as p, T.serial(panel.valid) as lane:
                    key = panel.channel + p * panel.valid + lane
                    total = row_sum(self._k, source + key * key_stride, spec.depth, lanes) - 128 * spec.depth
                    value = self._query_zero * (spec.depth * _or_zero(self._key_zero) - total)
                    T.buffer_store(self._key_sums, value, [base + panel.weight_offset + p * panel.lanes + lane])
        source = emit.named(spec.v.at(batch, head))
        pack_rows(
            self._v, source, spec.v.strides[2], spec.keys, values, self._values, task * shapes.value_elements, group,
            paired=in_pairs,
        )  # fmt: skip
        if self._share_zero is not None:
            column_sums(
                self._v, source, spec.v.strides[2], spec.keys, values, self._value_sums,
                task * _whole(shapes.value_lanes), 0 - self._share_zero,
                spec.keys * self._share_zero * _or_zero(self._value_zero),
            )  # fmt: skip

    def _blocks(self, batch: Any, head: Any, part: Any, task: Any) -> None:
        rows, pitch, parts = self._shapes.row_tile[0], self._shapes.pitch, self._spec.parts
        for start, blocks, size in emit.balanced(self._spec.queries, rows):
            begin = emit.named(T.floordiv(part * blocks, parts)) if parts > 1 else 0
            count = T.floordiv((part + 1) * blocks, parts) - begin if parts > 1 else blocks
            with T.serial(count) as block:
                query = emit.named(start + (begin + block) * size)
                scores = emit.named(task * (rows * pitch))
                self._scored(batch, head, query, size, scores, task)
                # What the end needs of each row: the sum of its quantised shares, or the factor its shares still lack.
                ends = emit.Tile(size, 1, "int32" if self._spec.integer else "float32")
                with T.serial(size) as row:
                    end = self._shared(batch, head, query + row, emit.named(scores + row * pitch))
                    if end is not None:
                        emit.store(ends.buffer, row, end, 1)
                self._weighted(batch, head, query, size, scores, task, ends)

    def _scored(self, batch: Any, head: Any, query: Any, size: int, scores: Any, task: Any) -> None:
        """Q K^T of a block of queries, scaled, into the scratch rows."""
        spec, shapes, math = self._spec, self._shapes, self._math
        group = k_group(self._simd, integer=spec.integer)
        groups = -(-spec.depth // group)
        operands = Operands(
            self._q, self._keys, self._key_sums if self._query_zero is not None else None, None, spec.integer
        )
        base = emit.named(spec.q.at(batch, head, query))
        corrections: list[Any] = []
        if self._key_zero is not None:
            held = emit.Tile(size, 1, "int32")
            with T.serial(size) as row:
                total = row_sum(self._q, base + row * spec.q.strides[2], spec.depth, self._simd.lanes)
                emit.store(held.buffer, row, (0 - self._key_zero) * (total - spec.depth * self._shift), 1)
            corrections = [emit.named(held.get(row)) for row in range(size)]
        for panel, count in panel_runs(panels(spec.keys, self._simd.lanes, shapes.row_tile[1])):
            with T.serial(count) as p:
                lane = emit.named(panel.weight_offset + p * panel.lanes)
                key = emit.named(panel.channel + p * panel.valid)
                tile = DenseTile(operands, self._simd, panel, task * _whole(shapes.key_lanes) + lane, size)
                tile.start()
                tile.accumulate(
                    range(size),
                    lambda i, k: base + i * spec.q.strides[2] + k,
                    task * (shapes.key_elements // group) + lane * groups,
                    groups,
                )
                for row, first, width, value in tile.accumulators():
                    if corrections:
                        value = value + emit.splat(corrections[row], width)
                    value = emit.cast(value, "float32", width) if spec.integer else value
                    value = math.mul(value, emit.splat(self._extras[0][0], width), width)
                    emit.store(self._scores, scores + row * shapes.pitch + key + first, value, width)

    def _shared(self, batch: Any, head: Any, query: Any, row: Any) -> Any:
        """Softmax of one row of scores after what is added to them; bytes are quantised, and their sum is returned."""
        spec, lanes = self._spec, self._simd.lanes
        for index, strided in enumerate(spec.adds):
            base = emit.named(strided.at(batch, head, query))

            def add(column: Any, width: int, index: int = index, base: Any = base) -> None:
                known = emit.load(self._scores, row + column, width)
                other = emit.load(self._extras[1 + index], base + column, width)
                emit.store(self._scores, row + column, self._math.add(known, other, width), width)

            over_row(spec.keys, lanes, add)
        shares = RowSoftmax(self._scores, spec.keys, lanes, exact=spec.chain.exact)
        shares.run(row)
        if not spec.integer:
            return shares.factor
        limits = self._extras[1 + len(spec.adds)]
        low, high, factor, zero = (limits[i] for i in range(4))
        if spec.unit_shares:
            shares.factor = emit.named(shares.factor * factor)

        def quantise(column: Any, width: int) -> None:
            value = shares.share(row, column, width)
            if spec.unit_shares:
                shifted = emit.fence(T.min(value, emit.splat(high, width)), width) + emit.f32(emit.ROUND_MAGIC, width)
                # The low byte of the sum is the rounded share: the magic number's own is zero.
                steps = emit.reinterpret(shifted, "int32", width)
                emit.store(self._shares, row + column, emit.cast(steps, "uint8", width), width)
                return
            value = self._math.mul(value, emit.splat(factor, width), width)
            steps = rounded_steps(value, emit.splat(low, width), emit.splat(high, width), width)
            steps = steps + emit.splat(emit.cast(zero, "int32", 1), width)
            emit.store(self._shares, row + column, emit.cast(steps, "uint8", width), width)

        over_row(-(-spec.keys // lanes) * lanes, lanes, quantise)
        return None if self._value_zero is None else row_sum(self._shares, row, spec.keys, lanes)

    def _weighted(self, batch: Any, head: Any, query: Any, size: int, scores: Any, task: Any, ends: emit.Tile) -> None:
        """Shares times V, through the chain, to the output."""
        spec, shapes = self._spec, self._shapes
        group = k_group(self._simd, integer=spec.integer)
        groups = -(-spec.keys // group)
        bias = self._value_sums if self._share_zero is not None else None
        operands = Operands(self._shares, self._values, bias, None, spec.integer)
        source = emit.named(spec.v.at(batch, head))
        for panel, count in panel_runs(panels(spec.width, self._simd.lanes, shapes.value_tile[1])):
            with T.serial(count) as p:
                lane = emit.named(panel.weight_offset + p * panel.lanes)
                column = emit.named(panel.channel + p * panel.valid)
                tile = DenseTile(operands, self._simd, panel, task * _whole(shapes.value_lanes) + lane, size)
                tile.start()
                if shapes.value_elements:
                    weights, pitch = task * (shapes.value_elements // group) + lane * groups, None
                else:
                    weights, pitch = source + column, spec.v.strides[2]
                tile.accumulate(range(size), lambda i, k: scores + i * shapes.pitch + k, weights, groups, pitch=pitch)
                for row, first, width, value in tile.accumulators():
                    if self._value_zero is not None:
                        away = ends.get(row) - spec.keys * self._shift
                        value = value + emit.splat((0 - self._value_zero) * away, width)
                    for piece, part in emit.powers_of_two(min(width, panel.valid - first), width):
                        self._finish(value, piece, part, width, ends.get(row), batch, head, query + row, column + first)

    def _finish(
        self, value: Any, piece: int, part: int, width: int, factor: Any, batch: Any, head: Any, query: Any, column: Any
    ) -> None:
        spec = self._spec
        if part != width:
            held = emit.Tile(1, width, "int32" if spec.integer else "float32")
            held.set(0, value)
            value = held.get(0, piece, part)
        if spec.integer:
            scale = self._extras[2 + len(spec.adds)]
            value = emit.fence(emit.cast(value, "float32", part) * emit.splat(scale[0], part), part)
        else:
            value = value * emit.splat(factor, part)
        channel = head * spec.width + column + piece
        self._writer.finish(emit.named(value), batch * spec.queries + query, channel, part)
