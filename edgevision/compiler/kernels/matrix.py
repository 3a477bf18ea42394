"""Byte products on Arm cores with the matrix multiply: `usmmla` multiplies 2 x 8 by 8 x 2 bytes into 2 x 2 sums.

Twice the products of `usdot` in one instruction. A k-group is eight bytes; two neighbouring channels of a panel stand
side by side as it is packed, and are one operand. The other is two rows of the left operand, put side by side as they
are loaded: 16 bytes of each give the operands of two k-groups. Activations stay unsigned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit, nibbles
from edgevision.compiler.kernels.emit import Expr
from edgevision.compiler.kernels.inner import Walk

#: Bytes of k one instruction sums per accumulator, and such groups in one load of a row.
GROUP = 8
GROUPS = 2
#: Channels of a vector of a panel; each of its halves is one operand.
LANES = 4
_INSTRUCTION = "llvm.aarch64.neon.usmmla.v4i32.v16i8"


class PairTile(emit.Tile):
    """Accumulators of one vector of channels, as `emit.Tile`, of which registers hold 2 rows x 2 channels each."""

    def __init__(self, rows: int) -> None:
        super().__init__(-(-rows // 2) * 2, LANES, "int32")

    def block(self, pair: int, half: int) -> Expr:
        """Sums of rows 2 `pair` and 2 `pair` + 1: channels 2 `half` and 2 `half` + 1 of the first, then the second."""
        return super().get(2 * pair + half)

    def set_block(self, pair: int, half: int, value: Expr) -> None:
        """Replace what `block` gives."""
        super().set(2 * pair + half, value)

    def get(self, index: int, first: int = 0, width: int | None = None) -> Expr:
        """As of `emit.Tile`."""
        pair, second = divmod(index, 2)
        if width is None or width == LANES:
            order = [2 * second, 2 * second + 1, LANES + 2 * second, LANES + 2 * second + 1]
            return T.Shuffle([self.block(pair, half) for half in (0, 1)], order)
        return emit.load(self.buffer, self._place(index, first), width)

    def set(self, index: int, value: Expr) -> None:
        """As of `emit.Tile`."""
        value = emit.named(value)
        for first in (0, 2):
            emit.store(self.buffer, self._place(index, first), T.Shuffle([value], [first, first + 1]), 2)

    def set_part(self, index: int, first: int, value: Expr, width: int) -> None:
        """As of `emit.Tile`, for up to two lanes."""
        emit.store(self.buffer, self._place(index, first), value, width)

    def _place(self, row: int, lane: int) -> int:
        """Where a sum lies in the buffer; lanes of one half follow one another."""
        pair, second = divmod(row, 2)
        half, rest = divmod(lane, 2)
        return (2 * pair + half) * LANES + 2 * second + rest


def accumulate(walk: Walk) -> None:
    """Add the walk's products; its accumulators are `PairTile`s."""
    full, rest = divmod(walk.groups, GROUPS)
    if full:
        with T.serial(full) as step:
            _steps(walk, step * GROUPS, GROUPS)
    if rest:
        _steps(walk, full * GROUPS, rest)


def _steps(walk: Walk, first: Expr, groups: int) -> None:
    pairs = sorted({row // 2 for row in walk.rows})
    left = [_pair(walk, pair, first, groups) for pair in pairs]
    tiles = cast("Sequence[PairTile]", walk.accumulators)
    for group in range(groups):
        for vector, tile in enumerate(tiles):
            for half in (0, 1):
                lane = walk.weight_lanes(first + group, LANES * vector + 2 * half)
                weights = emit.named(nibbles.load(walk.weights, lane * GROUP, 2 * GROUP))
                for pair, operands in zip(pairs, left, strict=True):
                    tile.set_block(pair, half, _multiplied(tile.block(pair, half), operands[group], weights))


def _multiplied(acc: Expr, left: Expr, weights: Expr) -> Expr:
    return emit.intrinsic(_INSTRUCTION, "int32", 4, acc, left, weights)


def _pair(walk: Walk, pair: int, first: Expr, groups: int) -> list[Expr]:
    """For each k-group, the bytes of two rows side by side; zeros for a row that takes no part."""
    rows = []
    for row in (2 * pair, 2 * pair + 1):
        if row not in walk.rows:
            rows.append(emit.splat(T.int64(0), groups))
            continue
        loaded = emit.load(walk.left, walk.address(row, first * GROUP), groups * GROUP)
        rows.append(emit.named(emit.reinterpret(loaded, "int64", groups)))
    return [
        emit.named(emit.reinterpret(T.Shuffle(rows, [group, groups + group]), "int8", 2 * GROUP))
        for group in range(groups)
    ]
