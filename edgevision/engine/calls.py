"""One pass through the engine: what is read, what the two units do in which order, what is written."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgevision.engine.placement import PlaneRef

DEPTHWISE, MAXIMUM, IM2COL = 0, 1, 2


@dataclass(frozen=True)
class Buffer:
    """Planes of (height, width) pixels that live and die together."""

    name: str
    planes: int
    height: int
    width: int


@dataclass(frozen=True)
class Scale:
    """Requantisation: clamp(((P multiplier + 2^(shift-1)) >> shift) + bias - offset, low, high).

    Attributes:
        multiplier, bias: int16 (planes, lanes), of the planes that follow one another.
    """

    multiplier: np.ndarray = field(repr=False)
    bias: np.ndarray = field(repr=False)
    shift: int
    offset: int
    low: int
    high: int


@dataclass(frozen=True)
class Spatial:
    """The line buffer's part of a call.

    Attributes:
        mode: DEPTHWISE, MAXIMUM or IM2COL.
        planes, rows, width: of what it reads.
        rows_out, width_out, row_stride, column_stride: of what it makes.
        reach: rows above and below the centre that may be asked for.
        columns: of the window, from the left; 2 or 3.
        outside: the byte outside the frame.
        kernel: int8 (planes, 3, 3, lanes) where mode is DEPTHWISE: row, column of the window.
        scale: of `planes` planes; of one where mode is IM2COL.
    """

    mode: int
    planes: int
    rows: int
    width: int
    rows_out: int
    width_out: int
    row_stride: int
    column_stride: int
    reach: int
    columns: int
    outside: int
    kernel: np.ndarray | None = field(repr=False)
    scale: Scale

    @property
    def groups(self) -> int:
        """Vectors it makes of one pixel."""
        return self.planes * (3 * self.columns if self.mode == IM2COL else 1)

    @property
    def pixels(self) -> int:
        """Pixels it makes."""
        return self.rows_out * self.width_out


@dataclass(frozen=True)
class Pointwise:
    """The 1x1 array's part of a call.

    Attributes:
        weight: int8 (planes of the result, lanes, groups, lanes): result, then input.
        halves: whether weights have 8 bits and take two passes.
        pixels: how often.
        scale: of the planes of the result.
    """

    weight: np.ndarray = field(repr=False)
    halves: bool
    pixels: int
    scale: Scale

    @property
    def planes(self) -> int:
        """Planes of the result."""
        return self.weight.shape[0]

    @property
    def groups(self) -> int:
        """Vectors of one pixel it reads."""
        return self.weight.shape[2]


@dataclass(frozen=True)
class Call:
    """One pass.

    Attributes:
        layers: names of the layers it does.
        reads: planes, (rows, width) pixels each, after reading twice where a plane is read so.
        dilation: plane and lane of the map of dilations.
        pointwise_first: order where both units work.
        writes: planes of the result; their pixels are in the order they are made.
    """

    layers: tuple[str, ...]
    reads: tuple[PlaneRef, ...]
    rows: int
    width: int
    dilation: tuple[PlaneRef, int] | None
    spatial: Spatial | None
    pointwise: Pointwise | None
    pointwise_first: bool
    writes: tuple[PlaneRef, ...]
    pixels: int
