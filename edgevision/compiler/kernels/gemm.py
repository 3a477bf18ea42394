"""Matrix product with packed weights: pointwise convolutions in NHWC and linear layers.

Rows are pixels or tokens. The loop over panels is inside the loop over row chunks when there are rows enough for the
threads, so a chunk of activations stays in the cache while the weights stream by; otherwise panels are shared out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit, nibbles
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.kernels.inner import k_group
from edgevision.compiler.kernels.panel import Panel, packed_lanes, panels
from edgevision.compiler.kernels.parameters import kernel, weighted
from edgevision.compiler.kernels.tile import DenseTile, Operands
from edgevision.compiler.simd import Simd

#: Bytes of activations one row chunk may hold: about half a first-level cache.
CHUNK_BYTES = 16384


@dataclass(frozen=True)
class Gemm:
    """Shape and views of one product: (rows, depth) x (depth, channels).

    Attributes:
        pitch, offset: elements from one row of the left operand to the next, and of the first.
        left_elements, output_elements: sizes of the whole buffers.
        dtype: float32 or uint8 (then the accumulator is int32).
        weights: float32, or int8 or int4 (`nibbles`) with one float32 scale per channel.
        tile: rows and vectors of the register tile (`panel.tile_shape`).
        images, rows_per_image: for operands with one value per image.
        extras: (elements, dtype) of the chain's operand buffers.
        table: extra input with the address of each row's first element, in place of pitch and offset.
        full_range: whether a byte weight may be -128; without it Arm cores add byte products in 16 bits.
    """

    rows: int
    depth: int
    channels: int
    dtype: str
    weights: str
    tile: tuple[int, int]
    pitch: int
    offset: int
    left_elements: int
    output_elements: int
    chain: Chain
    extras: tuple[tuple[int, str], ...] = ()
    images: int = 1
    table: int | None = None
    full_range: bool = True


def dense_operands(spec: Any, operands: dict[str, Any], *, contiguous: bool = True) -> Operands:
    """What the register tile takes of a dense kernel's operands."""
    return Operands(
        left=operands["left"],
        weights=nibbles.view(operands["weights"], spec.weights),
        bias=operands["bias"],
        scale=operands.get("scale"),
        integer=spec.dtype != "float32",
        correction=operands.get("correction"),
        contiguous=contiguous,
        full_range=spec.full_range,
    )


def build(name: str, spec: Gemm, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    group = k_group(simd, integer=spec.dtype != "float32")
    groups = -(-spec.depth // group)
    mr, nr = spec.tile
    lanes = packed_lanes(spec.channels, simd.lanes, nr)
    operands = weighted((spec.left_elements, spec.dtype), (lanes * groups * group, spec.weights), lanes)
    with kernel(name, spec, operands) as (buffers, made):
        writer = buffers.writer(pixels_per_image=spec.rows // spec.images, images=spec.images)
        table = None if spec.table is None else buffers.extras[spec.table]
        body = _Body(spec, simd, dense_operands(spec, buffers.operands), writer, groups, table)
        _loops(spec, mr, panels(spec.channels, simd.lanes, nr), body)
    return made[0]


class _Body:
    def __init__(
        self, spec: Gemm, simd: Simd, operands: Operands, writer: ChainWriter, groups: int, table: Any
    ) -> None:
        self._spec, self._simd, self._operands, self._writer, self._groups = spec, simd, operands, writer, groups
        self._table = table

    def tile(self, panel: Panel, lane_offset: Any, channel: Any, row: Any, rows: int) -> None:
        spec = self._spec
        tile = DenseTile(self._operands, self._simd, panel, lane_offset, rows)
        tile.start()
        if self._table is None:
            starts = [(row + i) * spec.pitch + spec.offset for i in range(rows)]
        else:
            starts = [emit.named(self._table[row + i]) for i in range(rows)]
        tile.accumulate(
            range(rows),
            lambda i, k: starts[i] + k,
            lane_offset * self._groups,
            self._groups,
        )
        tile.finish(self._writer, lambda i: row + i, channel)


def panel_runs(found: list[Panel]) -> list[tuple[Panel, int]]:
    """Neighbouring panels of equal widths as (first, count), so that they share one loop."""
    runs: list[tuple[Panel, int]] = []
    for panel in found:
        if runs and runs[-1][0].widths == panel.widths and runs[-1][0].valid == panel.valid:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((panel, 1))
    return runs


def in_chunks(
    runs: list[tuple[Panel, int]], first: int, count: int, size: int, per_chunk: int, tile: Callable[..., None]
) -> None:
    """Chunks of blocks of rows outside, panels inside them: a chunk stays near while the weights stream by.

    Args:
        runs: see `panel_runs`.
        first: row of the first block.
        count: blocks of `size` rows.
        per_chunk: blocks of a chunk.
        tile: emits one tile: panel, offset of its weights, channel, row, rows.
    """
    chunks, rest = divmod(count, per_chunk)
    with T.parallel(chunks + (1 if rest else 0)) as chunk:
        start = emit.named(chunk * per_chunk)
        inner = per_chunk if not rest else T.min(per_chunk, count - start)
        for panel, repeated in runs:
            with T.serial(repeated) as p, T.serial(inner) as block:
                tile(
                    panel,
                    panel.weight_offset + p * panel.lanes,
                    panel.channel + p * panel.valid,
                    first + (start + block) * size,
                    size,
                )


def _loops(spec: Gemm, mr: int, found: list[Panel], body: _Body) -> None:
    runs = panel_runs(found)
    itemsize = 4 if spec.dtype == "float32" else 1
    blocks = emit.balanced(spec.rows, mr)
    total_blocks = sum(count for _, count, _ in blocks)
    if total_blocks < 8 and len(found) > total_blocks:
        for panel, count in runs:
            with T.parallel(count) as p:
                for first, block_count, size in blocks:
                    with T.serial(block_count) as block:
                        body.tile(
                            panel,
                            panel.weight_offset + p * panel.lanes,
                            panel.channel + p * panel.valid,
                            first + block * size,
                            size,
                        )
        return
    for first, block_count, size in blocks:
        per_chunk = max(1, min(CHUNK_BYTES // max(1, size * spec.depth * itemsize), -(-block_count // 4)))
        in_chunks(runs, first, block_count, size, per_chunk, body.tile)
