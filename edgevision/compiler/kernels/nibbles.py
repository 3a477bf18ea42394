"""Weights of four bits, two to a byte, unpacked to bytes in registers as they are loaded.

A byte holds two neighbouring weights plus 8, the first in its lower half. Widened to 16 bits, each byte gives both in
their order with one shift: whatever a kernel loads, and however wide, is unpacked by the same four instructions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.emit import Buffer, Expr
from edgevision.compiler.simd import Simd

#: Name of the type in specifications of kernels; numpy and TVM's buffers have none.
DTYPE = "int4"
LOW, HIGH = -8, 7


@dataclass(frozen=True)
class Nibbles:
    """A buffer of bytes, seen as twice as many weights."""

    bytes: Buffer
    dtype: str = "int8"


def stored_as(weights: np.ndarray, simd: Simd) -> str:
    """Type in which a dense kernel of a core holds int8 `weights`: "int4" where all of them have four bits.

    >>> neon = Simd(lanes=4, registers=32)
    >>> [stored_as(np.array([[w, 0]], np.int8), neon) for w in (7, 8)]
    ['int4', 'int8']
    """
    narrow = weights.dtype == np.int8 and weights.size > 0 and weights.min() >= LOW and weights.max() <= HIGH
    # Vectors of fewer lanes would begin in the middle of a byte.
    return DTYPE if narrow and simd.lanes >= 4 else str(weights.dtype)


def pack(weights: np.ndarray, dtype: str) -> np.ndarray:
    """`weights` as a kernel of `dtype` reads them: themselves, or uint8 of half as many elements.

    >>> pack(np.array([-8, 7, 0, 1], np.int8), "int4").tolist()
    [240, 152]
    """
    if dtype != DTYPE:
        return weights
    shifted = (weights.reshape(-1).astype(np.int16) - LOW).astype(np.uint8)
    return shifted[0::2] | (shifted[1::2] << 4)


def parameter(elements: int, dtype: str) -> tuple[int, str]:
    """Elements and type of the buffer that holds so many weights of `dtype`."""
    return (elements // 2, "uint8") if dtype == DTYPE else (elements, dtype)


def view(buffer: Buffer, dtype: str) -> Any:
    """What `load` takes of a buffer of weights of `dtype`."""
    return Nibbles(buffer) if dtype == DTYPE else buffer


def load(weights: Any, offset: Expr, width: int) -> Expr:
    """`width` neighbouring weights from `offset`, as int8 where they are packed; both are even then."""
    if not isinstance(weights, Nibbles):
        return emit.load(weights, offset, width)
    half = width // 2
    words = emit.named(emit.cast(emit.load(weights.bytes, T.floordiv(offset, 2), half), "uint16", half))
    apart = T.bitwise_and(
        T.bitwise_or(words, T.shift_left(words, emit.splat(T.uint16(4), half))), emit.splat(T.uint16(0x0F0F), half)
    )
    return emit.reinterpret(apart, "int8", width) + emit.splat(T.int8(LOW), width)
