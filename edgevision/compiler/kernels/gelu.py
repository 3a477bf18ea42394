"""GELU of a quantised layer on 16-bit steps of its result (quant/NUMERICS.md section 12).

x - |x| Phi(-|x|) for x below zero and above is max(x, 0) - |x| Phi(-|x|): only a small bump is computed, and 16 bits
are plenty for it. Cores multiply words with rounding in one instruction (`vpmulhrsw`, `sqrdmulh`), two or more of
them for every float they could; elsewhere the same steps run on 32-bit lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit, x86
from edgevision.compiler.kernels.emit import Buffer, Expr
from edgevision.compiler.simd import Simd
from edgevision.graph.numerics import GELU_STEPS_P, WORD_BITS

#: Elements of the buffer with a layer's parameters: bound, factor, left shift, fraction bits, offset; int16.
PARAMETERS = 5
_ROUND = 1 << (WORD_BITS - 1)
_MOST = (1 << WORD_BITS) - 1


def words(x: Expr, count: int, *, parameters: Buffer, simd: Simd) -> Expr:
    """Bytes before their clamp, as int16, of `count` int16 steps of the linear layer's result."""

    def rounded(a: Expr, b: Expr) -> Expr:
        if simd.neon:
            return emit.intrinsic(f"llvm.aarch64.neon.sqrdmulh.v{count}i16", "int16", count, a, b)
        return x86.rounded_product(a, b, count)

    arithmetic = _Arithmetic(
        [parameters[i] for i in range(PARAMETERS)],
        count,
        lambda value: emit.splat(T.int16(value), count),
        rounded,
        lambda a, b: emit.intrinsic("llvm.sadd.sat", "int16", count, a, b),
    )
    return arithmetic.gelu(x)


def lanes(x: Expr, width: int, *, parameters: Buffer) -> Expr:
    """As `words`, of `width` int32 lanes within int16; for cores and widths without the instruction."""
    arithmetic = _Arithmetic(
        [emit.cast(parameters[i], "int32", 1) for i in range(PARAMETERS)],
        width,
        lambda value: emit.i32(value, width),
        lambda a, b: T.shift_right(a * b + emit.i32(_ROUND, width), emit.i32(WORD_BITS, width)),
        lambda a, b: T.min(a + b, emit.i32(_MOST, width)),
    )
    return arithmetic.gelu(x)


@dataclass(frozen=True)
class _Arithmetic:
    """Integers of one width.

    Attributes:
        parameters: of the layer, one of each.
        count: elements of a vector.
        constant: a number in all of them.
        product: (a b + 2^14) >> 15.
        total: a + b, saturated above at int16.
    """

    parameters: Sequence[Expr]
    count: int
    constant: Callable[[int], Expr]
    product: Callable[[Expr, Expr], Expr]
    total: Callable[[Expr, Expr], Expr]

    def gelu(self, x: Expr) -> Expr:
        """The steps of NUMERICS section 12 from x to the byte before its clamp."""
        bound, factor, left, fraction, offset = (emit.splat(value, self.count) for value in self.parameters)
        zero = self.constant(0)
        x = emit.named(x)
        size = emit.named(T.max(x, zero - x))
        # The least int16 has no positive: its size wraps, the difference too, and the bump is zero as it should be.
        away = emit.named(T.max(bound - size, zero))
        away = emit.named(T.shift_left(self._named(away, factor), left))
        bump = self._named(size, self._share(away))
        difference = emit.named(T.max(x, zero) - bump)
        return emit.named(T.shift_right(self.total(difference, offset), fraction))

    def _share(self, away: Expr) -> Expr:
        """Phi(-|x|), with 15 fraction bits, of the distance from the bound: the square of a quartic."""
        cubic, square, line, rest = (self.constant(value) for value in GELU_STEPS_P)
        value = self._named(cubic, away) + square
        value = emit.named(self._named(value, away) + line)
        value = emit.named(T.shift_left(value, self.constant(2)))
        root = self._named(self._named(value, away) + rest, away)
        return self._named(root, root)

    def _named(self, a: Expr, b: Expr) -> Expr:
        return emit.named(self.product(a, b))
