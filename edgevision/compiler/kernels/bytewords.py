"""Lines and products of bytes on 16-bit words, for x86: four vectors of bytes at a time, twice the lanes of int32.

A line's factor is 128 h + l: `vpmaddubsw` sums the products of two bytes with h, and with l, without ever saturating,
and the carry of the lower sum is its bits from the seventh. A product is `vpmulhrsw` twice. Words are unpacked and
packed block by block of a register, which leaves every byte where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit, x86
from edgevision.compiler.kernels.emit import Buffer, Expr
from edgevision.graph.bytesteps import MOST_SHIFT, WORD, Line, Product

#: Vectors of 32-bit lanes whose bytes fill a register.
VECTORS = 4
#: Bits of a factor's lower part.
LOW_BITS = 7
_BLOCK = 16
_PAIR_SUMS = {32: "llvm.x86.avx2.pmadd.ub.sw", 64: "llvm.x86.avx512.pmaddubs.w.512"}


def fits_line(line: Line) -> bool:
    """Whether words hold every value of the line: shifts beyond the lower part, and terms of 16 bits beyond it."""
    upper = line.term >> LOW_BITS
    return bool(
        (line.shift > LOW_BITS).all() and (line.shift <= MOST_SHIFT).all() and (np.abs(upper) < 1 << WORD).all()
    )


def fits_product(product: Product) -> bool:
    """Whether words hold every value of the product."""
    return not product.left.any()


def line_numbers(line: Line, low: int, high: int) -> np.ndarray:
    """The numbers of a line, int16: low, high; then per channel the term, the factors, and what shifts to steps.

    Term and factors come as upper and lower part, those of the factors as pairs of bytes.
    """
    upper = (line.factors + (1 << (LOW_BITS - 1))) >> LOW_BITS
    lower = line.factors - (upper << LOW_BITS)
    beyond = line.shift - LOW_BITS
    term = (line.term >> LOW_BITS) - (1 << (beyond - 1))
    rows = [term, line.term & ((1 << LOW_BITS) - 1), _pair(upper), _pair(lower), _shifting(beyond)]
    return np.concatenate([[low, high], *rows]).astype(np.int16)


def product_numbers(product: Product, low: int, high: int) -> np.ndarray:
    """As `line_numbers`: low, high, both zero points times 128; then per channel factor, term, and what shifts."""
    zeros = [zero << LOW_BITS for zero in product.zeros]
    rows = [product.factor, product.term - (1 << (product.fraction - 1)), _shifting(product.fraction)]
    return np.concatenate([[low, high, *zeros], *rows]).astype(np.int16)


def _shifting(bits: np.ndarray) -> np.ndarray:
    """Factors with which `vpmulhrsw` shifts right by `bits` and rounds half up, each channel by its own."""
    return 1 << (WORD - bits)


def _pair(part: np.ndarray) -> np.ndarray:
    """Signed bytes of the first and of the second operand, zero where there is none, as one int16."""
    second = part[1] if len(part) > 1 else np.zeros_like(part[0])
    return ((part[0] & 0xFF) | (second << 8)).astype(np.int16)


@dataclass(frozen=True)
class Numbers:
    """What `line_numbers` or `product_numbers` gave, in a kernel.

    Attributes:
        channels: of the four vectors, where there is a number per channel.
        count: channels in all.
        width: lanes of a vector.
    """

    buffer: Buffer
    channels: Sequence[Expr] | None
    count: int
    width: int

    def common(self, index: int) -> Expr:
        """One of the numbers that are the same for all channels."""
        return self.buffer[index]

    def row(self, first: int, row: int, half: int) -> Expr:
        """Words of a row of numbers, in the order of the lower or upper half of the unpacked bytes."""
        lanes = VECTORS * self.width // 2
        if self.channels is None:
            return emit.splat(self.buffer[first + row], lanes)
        pieces = []
        for byte in _order(2 * lanes, half)[:: _BLOCK // 2]:
            channel = self.channels[byte // self.width] + byte % self.width
            pieces.append(emit.load(self.buffer, first + row * self.count + channel, _BLOCK // 2))
        return joined(pieces, _BLOCK // 2)


def _order(count: int, half: int) -> list[int]:
    """Positions of the bytes that unpacking the lower (0) or upper (1) halves of all blocks takes, in its order."""
    return [block + half * _BLOCK // 2 + i for block in range(0, count, _BLOCK) for i in range(_BLOCK // 2)]


def line(operands: Sequence[Expr], numbers: Numbers) -> Expr:
    """The bytes of a line of one or two registers of bytes."""
    count = VECTORS * numbers.width
    a, b = operands if len(operands) > 1 else (operands[0], emit.splat(T.uint8(0), count))

    def word(half: int) -> Expr:
        pairs = emit.named(_unpacked(a, b, half, count))
        term, low_term, upper, lower, shifting = (numbers.row(2, row, half) for row in range(5))
        low = emit.named(_pair_sum(pairs, lower, count) + low_term)
        carry = T.shift_right(low, emit.splat(T.int16(LOW_BITS), count // 2))
        total = emit.named(_pair_sum(pairs, upper, count) + carry)
        return _rounded(_saturated_sum(total, term, count), shifting, count)

    return _packed(word, numbers, count)


def product(operands: Sequence[Expr], numbers: Numbers) -> Expr:
    """The bytes of a product of two registers of bytes."""
    count = VECTORS * numbers.width
    zeros = [emit.splat(numbers.common(2 + i), count // 2) for i in range(2)]
    nothing = emit.splat(T.uint8(0), count)

    def word(half: int) -> Expr:
        steps = []
        for operand, zero in zip(operands, zeros, strict=True):
            wide = emit.reinterpret(_unpacked(operand, nothing, half, count), "int16", count // 2)
            steps.append(emit.named(T.shift_left(wide, emit.splat(T.int16(LOW_BITS), count // 2)) - zero))
        factor, term, shifting = (numbers.row(4, row, half) for row in range(3))
        fine = _rounded(_rounded(steps[0], steps[1], count), factor, count)
        return _rounded(_saturated_sum(fine, term, count), shifting, count)

    return _packed(word, numbers, count)


def _packed(word: Callable[[int], Expr], numbers: Numbers, count: int) -> Expr:
    """Both halves packed with saturation and clamped."""
    halves = [word(half) for half in range(2)]
    stored = emit.named(x86.packed_bytes(halves, count))
    low, high = (emit.splat(emit.cast(numbers.common(i), "uint8", 1), count) for i in range(2))
    return T.max(T.min(stored, high), low)


def joined(pieces: Sequence[Expr], width: int) -> Expr:
    """Vectors of `width` elements, one after another."""
    if len(pieces) == 1:
        return emit.named(pieces[0])
    return emit.named(T.Shuffle(list(pieces), [T.int32(i) for i in range(len(pieces) * width)]))


def part(whole: Expr, first: int, count: int, size: int) -> Expr:
    """`count` bytes from `first` of a register of `size`."""
    return whole if count == size else T.Shuffle([whole], [T.int32(first + i) for i in range(count)])


def _unpacked(a: Expr, b: Expr, half: int, count: int) -> Expr:
    """Bytes of a and b in turn, of the lower or upper half of every block."""
    order = [place for byte in _order(count, half) for place in (byte, count + byte)]
    return T.Shuffle([a, b], [T.int32(i) for i in order])


def _pair_sum(pairs: Expr, factors: Expr, count: int) -> Expr:
    factors = emit.reinterpret(factors, "int8", count)
    return emit.named(emit.intrinsic(_PAIR_SUMS[count], "int16", count // 2, pairs, factors))


def _rounded(a: Expr, b: Expr, count: int) -> Expr:
    return emit.named(x86.rounded_product(a, b, count // 2))


def _saturated_sum(a: Expr, b: Expr, count: int) -> Expr:
    return emit.named(emit.intrinsic("llvm.sadd.sat", "int16", count // 2, a, b))
