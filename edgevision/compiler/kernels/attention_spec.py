"""What an attention kernel is made for: operands as they lie, and the scratch a task needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgevision.compiler.kernels.chain import Chain
from edgevision.compiler.kernels.computed import Right
from edgevision.compiler.kernels.inner import tile_shape
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
    """Sizes the kernel and who reserves its scratch agree on, for one task.

    Attributes:
        rows: queries worked on together.
        keys, values: how K and V are packed.
        packs_values: whether V is packed at all; float rows that fill whole vectors are read where they lie.
        pitch: elements from one row of scores to the next.
    """

    rows: int
    keys: Right
    values: Right
    packs_values: bool
    pitch: int


def shapes_of(spec: Attention, simd: Simd) -> Shapes:
    """Tiles and scratch sizes of one task."""
    rows, vectors = tile_shape(simd, spec.queries, spec.keys, integer=spec.integer)
    keys = Right(spec.depth, spec.keys, vectors, simd, spec.integer)
    _, vectors = tile_shape(simd, rows, spec.width, integer=spec.integer)
    values = Right(spec.keys, spec.width, vectors, simd, spec.integer)
    return Shapes(
        rows=rows,
        keys=keys,
        values=values,
        packs_values=spec.integer or values.lanes != spec.width,
        pitch=-(-spec.keys // 16) * 16,
    )


def scratch_of(spec: Attention, simd: Simd) -> list[tuple[int, str]]:
    """(elements, dtype) of the scratch buffers: packed keys, scores, values; for bytes shares and corrections."""
    shapes = shapes_of(spec, simd)
    packed = "int8" if spec.integer else "float32"
    found = [(shapes.keys.elements, packed), (shapes.rows * shapes.pitch, "float32")]
    if shapes.packs_values:
        found.append((shapes.values.elements, packed))
    if spec.integer:
        found += [
            (shapes.rows * shapes.pitch, "uint8"),
            (shapes.keys.sums, "int32"),
            (shapes.values.sums, "int32"),
        ]
    return [(spec.tasks * elements, dtype) for elements, dtype in found]
