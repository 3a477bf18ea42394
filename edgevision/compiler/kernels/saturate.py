"""Four vectors of floats become bytes together on x86: rounded, packed with saturation, and put back in order.

The packing instructions saturate, so they are the clamp, and one store takes what four narrowing stores would. The
result is that of `chain.rounded_steps` plus the zero point, for values below 2^30 in magnitude.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit, x86
from edgevision.compiler.kernels.emit import Expr

#: Vectors packed together.
VECTORS = 4
_WORDS = {4: "llvm.x86.sse2.packssdw.128", 8: "llvm.x86.avx2.packssdw", 16: "llvm.x86.avx512.packssdw.512"}


#: From saturated int16 steps and their number of lanes to int16 bytes that may still leave 0..255.
Words = Callable[[Expr, int], Expr]


def shifted_by(zero: Expr) -> Words:
    """Steps plus the zero point, one int16: a saturated word plus a zero point still saturates the byte."""
    return lambda words, count: emit.intrinsic("llvm.sadd.sat", "int16", count, words, emit.splat(zero, count))


def packed(
    values: Sequence[Expr], finish: Words, low: Expr, high: Expr, width: int, *, by_blocks: bool = False,
    zeros: Sequence[Expr] = (),
) -> Expr:  # fmt: skip
    """Bytes clamp(finish(rint(value)), low, high) of four vectors, one after another, as int32 lanes of four bytes.

    Args:
        values: float32 vectors of `width` lanes, below 2^30 in magnitude.
        finish: what is done on words, such as `shifted_by`.
        low, high: bounds, one uint8 each.
        zeros: added to the steps of each vector, int32 lanes below 2^30 in magnitude; none where empty.
        by_blocks: whether the four vectors hold, block by block, four neighbours each of what is stored.
    """
    words = []
    for first in range(0, VECTORS, 2):
        steps = [emit.intrinsic("llvm.lrint", "int32", width, v) for v in values[first : first + 2]]
        steps = [step + zero for step, zero in zip(steps, zeros[first : first + 2], strict=True)] if zeros else steps
        pair = emit.intrinsic(_WORDS[width], "int16", 2 * width, *steps)
        words.append(emit.named(finish(emit.named(pair), 2 * width)))
    count = VECTORS * width
    stored = x86.packed_bytes(words, count)
    stored = emit.named(T.max(T.min(stored, emit.splat(high, count)), emit.splat(low, count)))
    # Packing goes by blocks of four lanes: block b of vector v is at 4 b + v, and belongs at v blocks + b.
    blocks = width // 4
    quads = emit.named(emit.reinterpret(stored, "int32", width))
    if by_blocks:
        return quads
    order = [VECTORS * block + vector for vector in range(VECTORS) for block in range(blocks)]
    return emit.named(quads if blocks == 1 else T.Shuffle([quads], order))


def part(quads: Expr, first: int, count: int, width: int) -> Expr:
    """Vectors `first` to `first + count` of what `packed` gave, as bytes."""
    lanes = width // 4
    taken = quads
    if count < VECTORS:
        order = list(range(first * lanes, (first + count) * lanes))
        taken = T.Shuffle([quads], order)
    return T.reinterpret(f"uint8x{count * width}", taken)
