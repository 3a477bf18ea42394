"""Product with a single output channel: vectors run along the depth, and sums of neighbouring rows become one vector.

Rows are summed four at a time, as one reduces a 4 x 4 block; a vector's worth of rows then goes through the chain
together, so that a sigmoid costs one vector operation for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit, x86
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.kernels.parameters import kernel, weighted
from edgevision.compiler.simd import Simd

#: Rows whose sums across lanes are taken together.
ROWS = 4
#: Rows of one parallel task, about.
TASK_ROWS = 64


@dataclass(frozen=True)
class RowDot:
    """(rows, depth) x (depth, 1); fields as in `gemm.Gemm`, parameters left, weights, bias, [scale], extras, output.

    The weights are those of `pack`.
    """

    rows: int
    depth: int
    dtype: str
    weights: str
    pitch: int
    offset: int
    left_elements: int
    output_elements: int
    chain: Chain
    extras: tuple[tuple[int, str], ...] = ()
    images: int = 1


@dataclass(frozen=True)
class Piece:
    """`count` vectors of `width` lanes, `group` elements each, from element `first` and weight `weight`."""

    first: int
    weight: int
    count: int
    width: int
    group: int

    @property
    def elements(self) -> int:
        """Elements of one vector."""
        return self.width * self.group


def pieces(depth: int, simd: Simd, *, integer: bool) -> list[Piece]:
    """How the depth is cut into vectors.

    Where bytes are summed in groups, the end that fills no vector of four lanes is read together with elements already
    counted, whose weights are zero there.

    >>> [(p.first, p.weight, p.width) for p in pieces(56, Simd(16, 32, "vnni"), integer=True)]
    [(0, 0, 8), (32, 32, 4), (40, 48, 4)]
    """
    group = x86.group_of(simd) if integer else 0
    found: list[Piece] = []
    if not group or depth < 4 * group:
        full, tail = divmod(depth, simd.lanes)
        if full:
            found.append(Piece(0, 0, full, simd.lanes, 1))
        return found + [
            Piece(full * simd.lanes + f, full * simd.lanes + f, 1, w, 1)
            for f, w in emit.powers_of_two(tail, simd.lanes)
        ]
    first, width = 0, simd.lanes
    while width >= 4:
        count = (depth - first) // (width * group)
        if count:
            found.append(Piece(first, first, count, width, group))
        first += count * width * group
        width //= 2
    if first < depth:
        found.append(Piece(depth - 4 * group, first, 1, 4, group))
    return found


def pack(weights: np.ndarray, simd: Simd, *, integer: bool) -> np.ndarray:
    """Weights (depth,) as the vectors of `pieces` read them, one after another."""
    counted, packed = 0, []
    for piece in pieces(len(weights), simd, integer=integer):
        end = piece.first + piece.count * piece.elements
        part = weights[piece.first : end].copy()
        part[: max(0, counted - piece.first)] = 0
        packed.append(part)
        counted = end
    return np.concatenate(packed)


def build(name: str, spec: RowDot, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    integer = spec.dtype != "float32"
    cut = pieces(spec.depth, simd, integer=integer)
    weights = (sum(p.count * p.elements for p in cut), spec.weights)
    with kernel(name, spec, weighted((spec.left_elements, spec.dtype), weights, 1)) as (buffers, made):
        writer = buffers.writer(pixels_per_image=spec.rows // spec.images, images=spec.images)
        body = _Body(spec, list(buffers.operands.values()), writer, cut)
        largest = max(ROWS, simd.lanes) if _rows_are_a_vector(spec) else ROWS
        done = 0
        for size in sorted({largest, ROWS}, reverse=True):
            blocks = (spec.rows - done) // size
            if not blocks:
                continue
            per_task = max(1, TASK_ROWS // size)
            with T.parallel(-(-blocks // per_task)) as task:
                count = per_task if blocks % per_task == 0 else T.min(per_task, blocks - task * per_task)
                with T.serial(count) as block:
                    body.rows(done + (task * per_task + block) * size, size)
            done += blocks * size
        for row in range(done, spec.rows):
            body.rows(row, 1)
    return made[0]


def _rows_are_a_vector(spec: RowDot) -> bool:
    """Whether results of neighbouring rows, and what the chain reads with them, are neighbours in memory."""
    store = spec.chain.store
    dense = all(o.index == "tensor" and o.pitch == 1 and o.table is None for o in spec.chain.operands)
    return dense and store.pitch == 1 and store.zero_points is None


class _Body:
    def __init__(self, spec: RowDot, buffers: list[Any], writer: ChainWriter, cut: list[Piece]) -> None:
        self._spec, self._buffers, self._writer, self._pieces = spec, buffers, writer, cut
        self._integer = spec.dtype != "float32"
        self._kind = "int32" if self._integer else "float32"

    def rows(self, first: Any, count: int) -> None:
        """Rows `first` to `first + count`: one, or a multiple of `ROWS`."""
        sums = emit.Tile(1, count, self._kind)
        for start in range(0, count, ROWS):
            together = min(ROWS, count - start)
            sums.set_part(0, start, self._sums(first + start, together), together)
        width = count if _rows_are_a_vector(self._spec) else 1
        for start in range(0, count, width):
            value = emit.named(self._scaled(sums.get(0, start, width), width))
            # Rows side by side in memory are lanes to the chain, as channels of one pixel are.
            pixel, channel = (0, first) if width > 1 else (first + start, 0)
            self._writer.finish(value, pixel, channel, width)

    def _scaled(self, value: Any, width: int) -> Any:
        bias = emit.splat(self._buffers[2][0], width)
        if self._spec.weights != "int8":
            return value + bias
        scale = emit.splat(self._buffers[3][0], width)
        if self._integer:
            return emit.fence(emit.cast(value + bias, "float32", width) * scale, width)
        return value * scale + bias

    def _sums(self, first: Any, count: int) -> Any:
        """Sums of `count` rows, 1 or `ROWS`, as one vector."""
        start = emit.named(first * self._spec.pitch + self._spec.offset)
        fours, singles = emit.Tile(count, 4, self._kind), emit.Tile(1, count, self._kind)
        zero = T.int32(0) if self._integer else T.float32(0)
        for row in range(count):
            fours.set(row, emit.splat(zero, 4))
        singles.set(0, emit.splat(zero, count))
        for piece in self._pieces:
            acc = emit.Tile(count, piece.width, self._kind)
            for row in range(count):
                acc.set(row, emit.splat(zero, piece.width))
            with T.serial(piece.count) as step:
                self._add_products(acc, start, count, piece, step * piece.elements)
            for row in range(count):
                least = min(piece.width, 4) if piece.width >= 4 else 1
                folded = _folded(acc.get(row), piece.width, least)
                if least == 4:
                    fours.add(row, folded)
                else:
                    singles.set_part(0, row, singles.get(0, row, 1) + folded, 1)
        across = _transposed_sum([fours.get(row) for row in range(count)])
        return emit.named(across + singles.get(0))

    def _add_products(self, acc: emit.Tile, start: Any, count: int, piece: Piece, done: Any) -> None:
        weights = self._operand(self._buffers[1], piece.weight + done, piece)
        for row in range(count):
            address = start + row * self._spec.pitch + piece.first + done
            left = self._operand(self._buffers[0], address, piece)
            if piece.group > 1:
                acc.set(row, x86.add_products(acc.get(row), left, weights, piece.width, piece.group))
            else:
                acc.add(row, left * weights)

    def _operand(self, buffer: Any, address: Any, piece: Piece) -> Any:
        loaded = emit.load(buffer, address, piece.elements)
        if piece.group > 1:
            return x86.operand(loaded, piece.width, piece.group)
        return emit.named(loaded if buffer.dtype == self._kind else emit.cast(loaded, self._kind, piece.width))


def _folded(value: Any, width: int, least: int) -> Any:
    """Lanes of `value` added together until `least` are left, halving each time."""
    while width > least:
        value = emit.named(value)
        width //= 2
        low, high = (T.Shuffle([value], list(range(i * width, i * width + width))) for i in range(2))
        value = low + high
    return emit.named(value)


def _transposed_sum(rows: list[Any]) -> Any:
    """Per row of four lanes, the sum of its lanes; one row, or four as one vector."""
    if len(rows) == 1:
        return _folded(rows[0], 4, 1)
    even, odd = [0, 2, 4, 6], [1, 3, 5, 7]
    while len(rows) > 1:
        rows = [
            emit.named(T.Shuffle([a, b], even) + T.Shuffle([a, b], odd))
            for a, b in zip(rows[::2], rows[1::2], strict=True)
        ]
    return rows[0]
