"""Words the kernel generators are written in: vectors, registers and exact arithmetic over TVM's TIR builder.

A kernel takes flat one-dimensional buffers; shapes live in the generator, so a reshape costs nothing. A *vector* is an
expression of `width` lanes; width 1 is a plain scalar.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

Expr = Any
Buffer = Any

#: 1.5 * 2**23: adding it to |x| < 2**22 leaves rint(x) in the low mantissa bits, on every IEEE machine.
ROUND_MAGIC = 12582912.0
ROUND_MAGIC_BITS = 0x4B400000


def vector_type(dtype: str, width: int) -> str:
    """Name of the type of `width` lanes.

    >>> vector_type("uint8", 16), vector_type("float32", 1)
    ('uint8x16', 'float32')
    """
    return dtype if width == 1 else f"{dtype}x{width}"


@contextlib.contextmanager
def kernel(name: str, parameters: Sequence[tuple[str, int, str]]) -> Iterator[tuple[list[Buffer], list[Any]]]:
    """Build a kernel `name` over flat buffers `(name, elements, dtype)`.

    Yields the buffers and an empty list that holds the finished function when the block ends.
    """
    made: list[Any] = []
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name(name)
            buffers = [T.arg(p, T.Buffer((elements,), dtype)) for p, elements, dtype in parameters]
            T.func_attr({"tirx.noalias": True})
            yield buffers, made
        made.append(builder.get().with_attr("global_symbol", name))


def lanes(offset: Expr, width: int) -> Expr:
    """Index of `width` consecutive elements from `offset`."""
    return offset if width == 1 else T.ramp(offset, 1, width)


def load(buffer: Buffer, offset: Expr, width: int) -> Expr:
    """`width` consecutive elements of `buffer` from `offset`."""
    return buffer[lanes(offset, width)]


def store(buffer: Buffer, offset: Expr, value: Expr, width: int) -> None:
    """Write `width` consecutive elements of `buffer` from `offset`."""
    T.buffer_store(buffer, value, [lanes(offset, width)])


def splat(value: Expr, width: int) -> Expr:
    """The scalar `value` in every lane."""
    return value if width == 1 else T.broadcast(value, width)


def f32(value: float, width: int) -> Expr:
    """A float constant in every lane."""
    return splat(T.float32(value), width)


def i32(value: int, width: int) -> Expr:
    """An integer constant in every lane."""
    return splat(T.int32(value), width)


def cast(value: Expr, dtype: str, width: int) -> Expr:
    """Convert each lane to `dtype`."""
    return T.Cast(vector_type(dtype, width), value)


def named(value: Expr) -> Expr:
    """Compute `value` once and refer to it afterwards; without this an expression is spelled out at each use."""
    return T.bind(value)


def reinterpret(value: Expr, dtype: str, width: int) -> Expr:
    """The same bits read as `dtype`."""
    return T.reinterpret(vector_type(dtype, width), value)


def intrinsic(name: str, dtype: str, width: int, *arguments: Expr) -> Expr:
    """The result, `width` lanes of `dtype`, of an LLVM intrinsic without side effects."""
    return T.call_llvm_pure_intrin(vector_type(dtype, width), T.llvm_lookup_intrinsic_id(name), *arguments)


def fence(value: Expr, width: int) -> Expr:
    """Round `value` to binary32 here: no later operation may be fused with the one that made it."""
    return intrinsic("llvm.arithmetic.fence", "float32", width, value)


class Tile:
    """Accumulators that live in registers: a local buffer only ever indexed by constants, so LLVM promotes it."""

    def __init__(self, count: int, width: int, dtype: str) -> None:
        self.width = width
        self.dtype = dtype
        # Of all scopes only "global" buffers under 1 KiB become stack variables, which LLVM then keeps in registers;
        # "local" ones are fetched from the runtime's heap workspace on every tile.
        self.buffer = T.alloc_buffer((count * width,), dtype, scope="global")

    def get(self, index: int, first: int = 0, width: int | None = None) -> Expr:
        """Accumulator `index`, or its lanes `first` to `first + width`."""
        return load(self.buffer, index * self.width + first, self.width if width is None else width)

    def set(self, index: int, value: Expr) -> None:
        """Replace accumulator `index`."""
        store(self.buffer, index * self.width, value, self.width)

    def set_part(self, index: int, first: int, value: Expr, width: int) -> None:
        """Replace `width` lanes of accumulator `index` from `first`."""
        store(self.buffer, index * self.width + first, value, width)

    def add(self, index: int, value: Expr) -> None:
        """Add to accumulator `index`."""
        self.set(index, self.get(index) + value)


def powers_of_two(count: int, largest: int) -> list[tuple[int, int]]:
    """Cut `count` elements into (offset, width) pieces with power-of-two widths up to `largest`.

    >>> powers_of_two(44, 16)
    [(0, 16), (16, 16), (32, 8), (40, 4)]
    """
    pieces, offset, width = [], 0, largest
    while offset < count:
        while width > count - offset:
            width //= 2
        pieces.append((offset, width))
        offset += width
    return pieces


def balanced(count: int, largest: int) -> list[tuple[int, int, int]]:
    """Cut `count` rows into blocks of nearly equal size <= `largest`: (first row, number of blocks, block size).

    Two sizes at most, so no row is left for a slow tail.

    >>> balanced(197, 12)
    [(0, 10, 12), (120, 7, 11)]
    """
    blocks = -(-count // largest)
    small, extra = divmod(count, blocks)
    runs = [(0, extra, small + 1), (extra * (small + 1), blocks - extra, small)]
    return [run for run in runs if run[1] and run[2]]
