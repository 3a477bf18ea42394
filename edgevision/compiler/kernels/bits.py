"""Bits in vectors: signs gathered into words, and words counted.

A word holds 32 signs, the least significant first. Cores with `vpopcntd` count whole lanes; the others count bytes
(`cnt`, or tables of sixteen by `vpshufb`), sum at most 31 words in bytes, and bytes into lanes only then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.emit import Buffer, Expr
from edgevision.compiler.simd import Simd

WORD = 32
#: Words whose counts fit a byte: 31 * 8 = 248.
BYTE_WORDS = 31


def words(depth: int) -> int:
    """Words that hold `depth` signs."""
    return -(-depth // WORD)


def gathered(conditions: Sequence[Expr], width: int, simd: Simd) -> Expr:
    """A uint32 whose bits are the lanes of `conditions`, each of `width` lanes, in order; the rest are zero.

    Args:
        conditions: comparisons; 32 lanes together at most.
    """
    count = width * len(conditions)
    if not simd.neon and count in (16, WORD):
        return _by_sign_bytes(conditions, width)
    total: Expr = None
    for index, condition in enumerate(conditions):
        values = [T.uint32(1 << (index * width + lane)) for lane in range(width)]
        bits = values[0] if width == 1 else T.Shuffle(values, list(range(width)))
        chosen = T.Select(condition, bits, emit.splat(T.uint32(0), width))
        total = chosen if total is None else total | chosen
    if width == 1:
        return total
    # No bit is set twice, so a sum is the same as a union; cores have the sum.
    return T.call_llvm_pure_intrin("uint32", T.llvm_lookup_intrinsic_id("llvm.vector.reduce.add"), total)


def word_of(condition: Callable[[Expr, int], Expr], first: Expr, count: int, simd: Simd) -> Expr:
    """The word of `count` elements from `first`; `condition(element, width)` says which bits are set."""
    if count == WORD:
        width = simd.lanes if simd.neon else WORD
        return gathered([condition(first + at, width) for at in range(0, WORD, width)], width, simd)
    total: Expr = None
    for at, width in emit.powers_of_two(count, simd.lanes):
        part = gathered([condition(first + at, width)], width, simd)
        part = part if at == 0 else T.shift_left(part, T.uint32(at))
        total = part if total is None else total | part
    return total


def store_row(condition: Callable[[Expr, int], Expr], count: int, buffer: Buffer, start: Expr, simd: Simd) -> None:
    """Write the words of a row of `count` elements to `buffer` from `start`; `condition` as of `word_of`."""
    full, rest = divmod(count, WORD)
    if full:
        with T.serial(full) as word:
            T.buffer_store(buffer, word_of(condition, word * WORD, WORD, simd), [start + word])
    if rest:
        T.buffer_store(buffer, word_of(condition, full * WORD, rest, simd), [start + full])


def _by_sign_bytes(conditions: Sequence[Expr], width: int) -> Expr:
    """x86: the top bits of bytes; LLVM sees through it where comparisons make masks (`kmovd`)."""
    count = width * len(conditions)
    marks = [T.Select(c, emit.splat(T.int8(-1), width), emit.splat(T.int8(0), width)) for c in conditions]
    together = marks[0] if len(marks) == 1 else T.Shuffle(marks, list(range(count)))
    name = "llvm.x86.avx2.pmovmskb" if count == WORD else "llvm.x86.sse2.pmovmskb.128"
    return T.reinterpret("uint32", T.call_llvm_pure_intrin("int32", T.llvm_lookup_intrinsic_id(name), together))


def positive(value: Expr, width: int) -> Expr:
    """Where `value` >= 0: of a negative zero, not of a NaN."""
    return value >= emit.f32(0.0, width)


class Counter:
    """Counts of set bits in 32-bit lanes, for several rows: `start`, any number of `add`s, `result`.

    Args:
        most: words added to each row.
    """

    def __init__(self, rows: int, width: int, most: int, simd: Simd) -> None:
        self._rows, self._width, self._words = rows, width, simd.counts_words
        self._flushes = not self._words and most > BYTE_WORDS
        kind = (width, "uint32") if self._words else (4 * width, "uint8")
        self._acc = emit.Tile(rows, *kind)
        self._wide = emit.Tile(rows, width, "uint32") if self._flushes else None

    def start(self) -> None:
        """Set every count to zero."""
        self._clear(self._acc)
        if self._wide is not None:
            self._clear(self._wide)

    def add(self, row: int, value: Expr) -> None:
        """Count the bits of `value`, uint32 lanes, into `row`."""
        if not self._words:
            value = emit.reinterpret(value, "uint8", 4 * self._width)
        self._acc.add(row, T.popcount(value))

    def flush(self) -> None:
        """Empty the bytes, after `BYTE_WORDS` words at the latest."""
        if self._wide is None:
            return
        for row in range(self._rows):
            self._wide.add(row, self._summed(row))
        self._clear(self._acc)

    def result(self, row: int) -> Expr:
        """The count of `row`, int32 lanes; flush first."""
        if self._wide is not None:
            found = self._wide.get(row)
        else:
            found = self._acc.get(row) if self._words else self._summed(row)
        return emit.reinterpret(found, "int32", self._width)

    def _summed(self, row: int) -> Expr:
        """The four bytes of each lane together."""
        width = self._width
        lanes = emit.named(emit.reinterpret(self._acc.get(row), "uint32", width))
        even = emit.splat(T.uint32(0x00FF00FF), width)
        pairs = emit.named((lanes & even) + (T.shift_right(lanes, emit.splat(T.uint32(8), width)) & even))
        return (pairs & emit.splat(T.uint32(0xFFFF), width)) + T.shift_right(pairs, emit.splat(T.uint32(16), width))

    def _clear(self, tile: emit.Tile) -> None:
        zero = T.uint32(0) if tile.dtype == "uint32" else T.uint8(0)
        for row in range(self._rows):
            tile.set(row, emit.splat(zero, tile.width))


def over_words(count: int, counters: Sequence[Counter], step: Callable[[Expr], None]) -> None:
    """Call `step(word)` for every word, emptying the counters' bytes in time."""
    flushes = any(counter._flushes for counter in counters)
    for first in range(0, count, BYTE_WORDS if flushes else count):
        size = min(BYTE_WORDS, count - first) if flushes else count
        with T.serial(size) as word:
            step(first + word)
        for counter in counters:
            counter.flush()
