"""x86 instructions that sum byte products into 32-bit lanes, and the operands they take.

`vpdpbusd` (AVX-512 VNNI) sums four products per lane. Without it `vpmaddwd` sums two, of words: `vpmaddubsw` would take
bytes as they are, but saturates, so it gives other results.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.emit import Expr
from edgevision.compiler.simd import Simd

_PAIR_SUMS = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}
_QUAD_SUM = "llvm.x86.avx512.vpdpbusd.{bits}"
#: By the number of words: (a b + 2^14) >> 15.
_ROUNDED = {8: "llvm.x86.ssse3.pmul.hr.sw.128", 16: "llvm.x86.avx2.pmul.hr.sw", 32: "llvm.x86.avx512.pmul.hr.sw.512"}
#: By the number of bytes: words of two vectors saturated, block by block of 128 bits.
_PACKED = {16: "llvm.x86.sse2.packuswb.128", 32: "llvm.x86.avx2.packuswb", 64: "llvm.x86.avx512.packuswb.512"}


def group_of(simd: Simd) -> int:
    """Byte products one instruction sums per lane; 0 when this core has none of them."""
    return 4 if simd.dot == "vnni" else 2 if simd.sums_two else 0


def add_products(acc: Expr, left: Expr, weights: Expr, width: int, group: int) -> Expr:
    """`acc` plus, in each of `width` lanes, the sum of `group` products.

    Args:
        left, weights: as `operand` makes them.
    """
    if group == 4:
        # LLVM 22 takes the byte vectors as such; older signatures took them as int32 lanes.
        name = _QUAD_SUM.format(bits=width * 32)
        left = T.reinterpret(f"int8x{4 * width}", left)
        return emit.intrinsic(name, "int32", width, acc, left, weights)
    return acc + emit.intrinsic(_PAIR_SUMS[width], "int32", width, left, weights)


def rounded_product(a: Expr, b: Expr, count: int) -> Expr:
    """(a b + 2^14) >> 15 of `count` int16 lanes (`vpmulhrsw`)."""
    return emit.intrinsic(_ROUNDED[count], "int16", count, a, b)


def packed_bytes(words: Sequence[Expr], count: int) -> Expr:
    """`count` bytes from two vectors of int16, saturated; each block of 128 bits holds eight of both (`vpackuswb`)."""
    return emit.intrinsic(_PACKED[count], "uint8", count, *words)


def operand(values: Expr, width: int, group: int) -> Expr:
    """`group` bytes per lane, signed or unsigned, as `add_products` takes them."""
    return emit.named(values if group == 4 else emit.cast(values, "int16", width * group))


def interleaved(vectors: Sequence[Expr], width: int) -> Expr:
    """Lane by lane, the bytes of `vectors`: first lane of each, second lane of each, ..."""
    order = [v * width + lane for lane in range(width) for v in range(len(vectors))]
    return T.Shuffle(list(vectors), order)
