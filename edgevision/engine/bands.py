"""Layers whose rows are longer than the line buffer: bands of rows, looked at sideways.

The rows of a band are read as if they were planes, so that the engine sees the map transposed: as many pixels to a row
as the band has rows, and as many rows as the map is wide. A transposed kernel gives the transposed result, whose
columns are stored as rows again. A band begins with rows whose results are wrong because what is above them is missing;
they go to a scratch buffer. A dilation is the same in both directions; its map is transposed by a call of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgevision.engine.calls import IM2COL, Buffer, Call, Pointwise, Spatial
from edgevision.engine.placement import PlaneRef
from edgevision.engine.stages import Shape, thinned
from edgevision.target import Engine


@dataclass(frozen=True)
class Bands:
    """Bands of one layer.

    Attributes:
        useful: rows of the result that a band adds.
        halo: rows of the result before them that are thrown away.
    """

    useful: int
    halo: int


def needs_bands(spatial: Spatial, engine: Engine) -> bool:
    """Whether a row of one plane, or of all planes where all are needed at once, is too long for the line buffer."""
    planes = spatial.planes if spatial.mode == IM2COL else 1
    return spatial.width * planes > engine.line_vectors


def bands_of(spatial: Spatial, planes: int, planes_out: int, engine: Engine) -> Bands | None:
    """Bands of a call that reads `planes` and writes `planes_out` planes; None where not even one row fits."""
    halo = -(-spatial.reach // spatial.row_stride)
    # Bursts are whole as long as a tile holds one of every row.
    whole = engine.tile_vectors * 8 * engine.lanes // (engine.burst_beats * engine.axi_bits)
    for rows in (min(engine.planes, whole), engine.planes):
        limit = min(rows, engine.line_vectors) // planes
        useful = min((limit - spatial.reach - 1) // spatial.row_stride + 1, engine.planes // planes_out) - halo
        if useful > 0:
            return Bands(useful, halo)
    return None


def band_reasons(spatial: Spatial, planes: int, planes_out: int, engine: Engine) -> list[str]:
    """Why bands cannot do this."""
    reasons = []
    if spatial.width * engine.lanes % 16 or spatial.width_out * engine.lanes % 16:
        reasons.append(f"rows of {spatial.width} pixels to {spatial.width_out}, {engine.lanes} bytes each: expected "
                       "multiples of 16 bytes")  # fmt: skip
    if bands_of(spatial, planes, planes_out, engine) is None:
        reasons.append(
            f"a row of {spatial.width} pixels and {planes} planes, the line buffer has room for "
            f"{engine.line_vectors} vectors, and no band of rows that reaches {spatial.reach} rows fits "
            f"{engine.planes} planes"
        )
    return reasons


def without_rows(spatial: Spatial) -> Spatial:
    """A layer that looks at each pixel by itself, with rows of one pixel."""
    pixels = spatial.rows * spatial.width
    return replace(spatial, rows=pixels, width=1, rows_out=pixels, width_out=1)


def banded(
    names: tuple[str, ...], reads: list[PlaneRef], spatial: Spatial, pointwise: Pointwise | None, into: str, first: int,
    dilation: tuple[PlaneRef, int] | None, engine: Engine,
) -> tuple[list[Call], list[Buffer]]:  # fmt: skip
    """The calls of one layer, and buffers they need besides `into`, whose planes from `first` on they write."""
    planes_out = spatial.planes if pointwise is None else pointwise.planes
    bands = bands_of(spatial, len(reads), planes_out, engine)
    assert bands is not None
    scratch = Buffer(f"{into} scratch", planes_out, bands.halo, spatial.width_out)
    # The first band has nothing above it.
    calls, buffers = [], [scratch] if bands.halo and spatial.rows_out > bands.useful else []
    for start in range(0, spatial.rows_out, bands.useful):
        end = min(start + bands.useful, spatial.rows_out)
        begin = max(0, start - bands.halo)
        above = begin * spatial.row_stride
        below = min(spatial.rows, (end - 1) * spatial.row_stride + spatial.reach + 1)
        count = end - begin
        transposed = None
        if dilation is not None:
            turned = Buffer(f"{into} dilations {first} {start}", 1, count, spatial.width_out)
            buffers.append(turned)
            calls.append(_turned(names, dilation[0], begin, turned, engine))
            transposed = (PlaneRef(turned.name, 0), dilation[1])
        writes = [
            PlaneRef(into, first + plane, row=row) if row >= start else PlaneRef(scratch.name, plane, row=row - begin)
            for row in range(begin, end) for plane in range(planes_out)
        ]  # fmt: skip
        calls.append(
            Call(
                names, tuple(plane._replace(row=row) for row in range(above, below) for plane in reads), 1,
                spatial.width, transposed, _transposed(spatial, below - above, count),
                _columns_first(pointwise, spatial, count), False, tuple(writes), spatial.width_out,
            )
        )  # fmt: skip
    return calls, buffers


def _turned(names: tuple[str, ...], plane: PlaneRef, row: int, into: Buffer, engine: Engine) -> Call:
    """The rows of a plane from `row` on, written column by column."""
    reads = tuple(plane._replace(row=row + index) for index in range(into.height))
    shape = Shape(1, into.height * into.width, 1, 0, np.zeros((0, 2), np.int64))
    copy = thinned(shape, 1, engine.lanes)
    return Call(names, reads, 1, into.width, None, copy, None, False, (PlaneRef(into.name, 0),), copy.pixels)


def _transposed(spatial: Spatial, rows: int, rows_out: int) -> Spatial:
    kernel = None if spatial.kernel is None else np.ascontiguousarray(spatial.kernel.swapaxes(1, 2))
    return replace(spatial, rows=spatial.width, width=rows, rows_out=spatial.width_out, width_out=rows_out,
                   kernel=kernel)  # fmt: skip


def _columns_first(pointwise: Pointwise | None, spatial: Spatial, rows_out: int) -> Pointwise | None:
    """The 1x1 part behind it: windows come transposed."""
    if pointwise is None:
        return None
    weight = pointwise.weight
    if spatial.mode == IM2COL:
        out, lanes, _, depth = weight.shape
        weight = weight.reshape(out, lanes, spatial.planes, 3, 3, depth).swapaxes(3, 4).reshape(weight.shape)
    return replace(pointwise, weight=weight, pixels=rows_out * spatial.width_out)
