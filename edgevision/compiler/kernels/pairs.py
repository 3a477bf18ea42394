"""Byte products on Arm cores without a dot product: two sums in 16 bits, then a pairwise addition into 32.

A k-group is four bytes. Of each row its first two stand in the four lower places of a register, its last two in the
upper ones, shifted to signed; `inner.pair_order` lays the weights of four channels out alike. `smull` multiplies the
lower half, `smlal2` adds the products of the upper half in 16 bits, `sadalp` adds neighbours to the int32 accumulator
of their channel: three instructions for sixteen products. |a| <= 128 and |w| <= 127, so two products stay within
2 * 128 * 127 = 32512; where a weight is -128 they would not, and each half is added alone.
"""

from __future__ import annotations

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit, nibbles
from edgevision.compiler.kernels.emit import Expr
from edgevision.compiler.kernels.inner import Walk

#: Bytes of k in one step of a channel, and such steps in one load of a row.
GROUP = 4
GROUPS = 2


def accumulate(walk: Walk, registers: int) -> None:
    """Add the walk's products; `registers` tells 64-bit Arm (32) from 32-bit (16)."""
    full, rest = divmod(walk.groups, GROUPS)
    if full:
        with T.serial(full) as step:
            _steps(walk, step * GROUPS, GROUPS, registers)
    if rest:
        _steps(walk, full * GROUPS, rest, registers)


def _steps(walk: Walk, first: Expr, groups: int, registers: int) -> None:
    loaded = [_load(walk, walk.address(row, first * GROUP), groups, registers) for row in walk.rows]
    for group in range(groups):
        weights = [
            _halves(nibbles.load(walk.weights, walk.weight_lanes(first + group, 4 * vector) * GROUP, 16))
            for vector in range(len(walk.panel.widths))
        ]
        for row, vector in zip(walk.rows, loaded, strict=True):
            left = _spread(vector, group, registers)
            for tile, weight in zip(walk.accumulators, weights, strict=True):
                products = [a * w for a, w in zip(left, weight, strict=True)]
                for product in products if walk.full_range else [products[0] + products[1]]:
                    tile.set(row, _added(tile.get(row), emit.named(product), registers))


def _added(accumulator: Expr, sums: Expr, registers: int) -> Expr:
    """int32 accumulator + neighbouring int16 sums, in one instruction."""
    if registers < 32:
        return T.call_llvm_pure_intrin(
            "int32x4", T.llvm_lookup_intrinsic_id("llvm.arm.neon.vpadals.v4i32.v8i16"), accumulator, sums
        )
    pairwise = T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.saddlp.v4i32.v8i16")
    return accumulator + T.call_llvm_pure_intrin("int32x4", pairwise, sums)


def _load(walk: Walk, address: Expr, groups: int, registers: int) -> Expr:
    """`groups` times four bytes of a row, shifted to signed: flipping the top bit subtracts 128.

    As int16 lanes on 32-bit Arm; else as a full register of bytes, which a table look-up reads.
    """
    size = GROUP * groups
    loaded = emit.load(walk.left, address, size)
    if registers == 32 and size < 16:
        loaded = emit.reinterpret(emit.splat(emit.reinterpret(loaded, f"int{8 * size}", 1), 16 // size), "uint8", 16)
        size = 16
    flipped = loaded ^ emit.splat(T.uint8(128), size)
    return emit.named(
        emit.reinterpret(flipped, "int8", 16) if size == 16 else emit.reinterpret(flipped, "int16", size // 2)
    )


def _spread(loaded: Expr, group: int, registers: int) -> list[Expr]:
    """The group's first two bytes four times over, and its last two."""
    first = 2 * group
    if registers < 32:
        # Twice over, because a shuffle may not have more lanes than its operands.
        found = [T.Shuffle([loaded, loaded], [T.int32(first + half)] * 4) for half in (0, 1)]
        return [emit.named(emit.cast(emit.reinterpret(v, "int8", 8), "int16", 8)) for v in found]
    # By table, because LLVM makes a splat of each half, and then cannot multiply upper halves.
    words = [emit.splat(T.int16(0x0100 + 0x0202 * (first + half)), 4) for half in (0, 1)]
    index = emit.reinterpret(T.Shuffle(words, [T.int32(i) for i in range(8)]), "int8", 16)
    table = T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.tbl1.v16i8")
    return _halves(T.call_llvm_pure_intrin("int8x16", table, loaded, index))


def _halves(sixteen: Expr) -> list[Expr]:
    """Lower and upper eight bytes, widened; the multiplication takes them narrow."""
    sixteen = emit.named(sixteen)
    halves = [T.Shuffle([sixteen], [T.int32(8 * half + i) for i in range(8)]) for half in (0, 1)]
    return [emit.named(emit.cast(half, "int16", 8)) for half in halves]
