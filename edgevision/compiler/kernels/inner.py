"""What the inner loop of a dense kernel works on, and which loop a core gets.

The loops of cores without a way of their own are in `tile`; Arm's are in `lanes`, `pairs` and `matrix`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgevision.compiler.kernels import emit, panel, x86
from edgevision.compiler.kernels.emit import Buffer, Expr
from edgevision.compiler.kernels.panel import Panel
from edgevision.compiler.simd import Simd

#: `scalar`: one value of the left operand at a time, in every lane. `lanes`: a vector of them, taken by element.
#: `pairs`: two byte products summed in 16 bits, then added to the accumulator in pairs. `matrix`: two rows of the left
#: operand by two channels.
Loop = Literal["scalar", "lanes", "pairs", "matrix"]


@dataclass(frozen=True)
class Walk:
    """One run along k of one register tile.

    Attributes:
        left, weights: buffers; the weights packed by `panel.pack` in groups of `k_group`, and read by `nibbles.load`.
        integer: whether the accumulators are int32 sums of byte products.
        accumulators: one tile per vector of the panel, a row of it per row of the left operand.
        rows: which of them take part.
        address: the left element of (row, k).
        weight_base: where the panel's weights start, in lanes.
        pitch: lanes from one k-group to the next.
        groups: k-groups to add.
        full_range: whether a weight may be -128, so that two byte products can leave 16 bits.
    """

    left: Buffer
    weights: Any
    integer: bool
    panel: Panel
    accumulators: Sequence[emit.Tile]
    rows: Sequence[int]
    address: Callable[[int, Expr], Expr]
    weight_base: Expr
    pitch: int
    groups: int
    full_range: bool

    def weight_lanes(self, group: Expr, first: int) -> Expr:
        """Lane `first` of the panel in k-group `group`, counted from the first weight."""
        return self.weight_base + group * self.pitch + first


def loop_of(simd: Simd, *, integer: bool, contiguous: bool = True) -> Loop:
    """The inner loop for a core; `contiguous` says that neighbours along k are neighbours in memory."""
    if not simd.neon or not contiguous:
        return "scalar"
    if integer and simd.multiplies_matrices:
        return "matrix"
    return "lanes" if not integer or simd.sums_four else "pairs"


def k_group(simd: Simd, *, integer: bool) -> int:
    """Values of k one inner step consumes, which is also the packing group of the weights."""
    if not integer:
        return 1
    loop = loop_of(simd, integer=True)
    if loop == "matrix":
        return 8
    if simd.sums_four or loop == "pairs":
        return 4
    return x86.group_of(simd) or 1


def left_shift(simd: Simd) -> int:
    """What the dense kernels subtract from every activation byte; their zero points are less by the same."""
    return 128 if simd.signed_left or loop_of(simd, integer=True) == "pairs" else 0


def pack(simd: Simd, weights: np.ndarray, vectors: int, *, integer: bool) -> np.ndarray:
    """Pack (channels, K) weights in panels of `vectors` as the core's inner loop reads them; K is a k-group's multiple.

    Shapes and layout as `panel.pack`.
    """
    packed = panel.pack(weights, simd.lanes, vectors, k_group(simd, integer=integer))
    return pair_order(packed) if paired(simd, integer=integer) else packed


def paired(simd: Simd, *, integer: bool) -> bool:
    """Whether weights are packed in the order of `pair_order`."""
    return loop_of(simd, integer=integer) == "pairs"


def pair_order(packed: np.ndarray) -> np.ndarray:
    """Reorder weights packed in groups of four: of every four channels the first two bytes, then the last two.

    >>> pair_order(np.arange(16)).tolist()
    [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15]
    """
    return packed.reshape(-1, 4, 2, 2).transpose(0, 2, 1, 3).reshape(-1)


def tile_shape(simd: Simd, rows: int, channels: int, *, integer: bool) -> tuple[int, int]:
    """Rows and vectors of the register tile for a product of `rows` x `channels` on a core.

    On Arm the registers hold rows * vectors accumulators, a vector of every row and one of every column, and what the
    loop of the core needs besides; few enough that LLVM's scheduler spills none of them.

    >>> arm = Simd(lanes=4, registers=32, neon=True)
    >>> [tile_shape(arm, rows, 96, integer=integer) for rows, integer in ((196, True), (196, False), (1, True))]
    [(4, 3), (5, 4), (1, 6)]
    >>> matrix = Simd(lanes=4, registers=32, dot="i8mm", neon=True)
    >>> [tile_shape(matrix, rows, 96, integer=True) for rows in (196, 3, 1)]
    [(4, 4), (3, 4), (1, 8)]
    """
    if not simd.neon:
        return panel.tile_shape(rows, channels, simd.lanes, simd.registers)
    loop = loop_of(simd, integer=integer)
    most_rows, most_vectors = _TILES[loop, simd.registers]
    area = most_rows * most_vectors
    vectors = -(-channels // simd.lanes)
    # Rows that are multiplied in pairs have the registers of a pair.
    step = 2 if loop == "matrix" else 1
    if rows < most_rows:
        most_vectors = min(area // (-(-rows // step) * step), 2 * most_vectors)
    # Panels of one width where that is possible: the last one is as slow as a full one.
    nr = -(-vectors // -(-vectors // min(vectors, most_vectors)))
    return min(rows, area // nr // step * step, 2 * most_rows), nr


#: Rows and vectors by loop and registers, the best of those tried in llvm-mca (benchmarks/arm) that spill nothing,
#: whatever the pitch of the rows: six vectors of matrix products are 4 % faster where they fit, else 20 % slower.
_TILES = {
    ("lanes", 32): (5, 4), ("pairs", 32): (4, 3), ("scalar", 32): (8, 2), ("matrix", 32): (4, 4),
    ("lanes", 16): (4, 2), ("pairs", 16): (2, 2), ("scalar", 16): (4, 2),
}  # fmt: skip
