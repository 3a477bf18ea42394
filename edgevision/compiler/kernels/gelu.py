"""GELU of a quantised layer on 16-bit steps of its result (quant/NUMERICS.md section 12).

x - |x| Phi(-|x|) for x below zero and above is max(x, 0) - |x| Phi(-|x|): only a small bump is computed, and 16 bits
are plenty for it. Cores multiply words with rounding in one instruction (`vpmulhrsw`, `sqrdmulh`), two or more of
them for every float they could; elsewhere the same steps run on 32-bit lanes.
"""

from __future__ import annotations

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.emit import Buffer, Expr
from edgevision.compiler.simd import Simd
from edgevision.graph.numerics import GELU_STEPS_P, WORD_BITS

#: Elements of the buffer with a layer's parameters: bound, factor, left shift, fraction bits, offset; int16.
PARAMETERS = 5
_X86 = {8: "llvm.x86.ssse3.pmul.hr.sw.128", 16: "llvm.x86.avx2.pmul.hr.sw", 32: "llvm.x86.avx512.pmul.hr.sw.512"}
_ROUND = 1 << (WORD_BITS - 1)
_MOST = (1 << WORD_BITS) - 1


def words(x: Expr, parameters: Buffer, count: int, simd: Simd) -> Expr:
    """Bytes before their clamp, as int16, of `count` int16 steps of the linear layer's result."""
    bound, factor, left, fraction, offset = (emit.splat(parameters[i], count) for i in range(PARAMETERS))

    def multiply(a: Expr, b: Expr) -> Expr:
        return emit.named(_product(a, b, count, simd))

    def constant(value: int) -> Expr:
        return emit.splat(T.int16(value), count)

    x = emit.named(x)
    size = emit.named(T.max(x, constant(0) - x))
    # The least int16 has no positive: its size wraps, the difference too, and the bump is zero as it should be.
    away = emit.named(T.max(bound - size, constant(0)))
    away = emit.named(T.shift_left(multiply(away, factor), left))
    bump = multiply(size, _share(away, multiply, constant))
    difference = emit.named(T.max(x, constant(0)) - bump)
    total = _call("llvm.sadd.sat", count, difference, offset)
    return emit.named(T.shift_right(total, fraction))


def lanes(x: Expr, parameters: Buffer, width: int) -> Expr:
    """As `words`, of `width` int32 lanes within int16; for cores and widths without the instruction."""
    loaded = [emit.cast(parameters[i], "int32", 1) for i in range(PARAMETERS)]
    bound, factor, left, fraction, offset = (emit.splat(value, width) for value in loaded)

    def constant(value: int) -> Expr:
        return emit.i32(value, width)

    def multiply(a: Expr, b: Expr) -> Expr:
        return emit.named(T.shift_right(a * b + constant(_ROUND), constant(WORD_BITS)))

    x = emit.named(x)
    size = emit.named(T.max(x, constant(0) - x))
    away = emit.named(T.shift_left(multiply(T.max(bound - size, constant(0)), factor), left))
    bump = multiply(size, _share(away, multiply, constant))
    total = T.min(T.max(x, constant(0)) - bump + offset, constant(_MOST))
    return emit.named(T.shift_right(total, fraction))


def _share(away: Expr, multiply, constant) -> Expr:  # type: ignore[no-untyped-def]
    """Phi(-|x|), with 15 fraction bits, of the distance from the bound: the square of a quartic."""
    cubic, square, line, rest = (constant(value) for value in GELU_STEPS_P)
    value = multiply(cubic, away) + square
    value = emit.named(multiply(value, away) + line)
    value = emit.named(T.shift_left(value, constant(2)))
    root = multiply(multiply(value, away) + rest, away)
    return multiply(root, root)


def _product(a: Expr, b: Expr, count: int, simd: Simd) -> Expr:
    """(a b + 2^14) >> 15 of int16 lanes."""
    if simd.neon:
        return _call("llvm.aarch64.neon.sqrdmulh", count, a, b)
    return _call(_X86[count], count, a, b)


def _call(name: str, count: int, *arguments: Expr) -> Expr:
    named = f"{name}.v{count}i16" if name.startswith("llvm.aarch64") else name
    return T.call_llvm_pure_intrin(emit.vector_type("int16", count), T.llvm_lookup_intrinsic_id(named), *arguments)
