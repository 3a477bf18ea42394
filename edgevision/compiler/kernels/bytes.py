"""Integer arithmetic on byte tensors: lines, products, and table look-up (NUMERICS.md sections 6 to 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import bytewords, emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter, Operand
from edgevision.compiler.kernels.elementwise import Positions, over_positions
from edgevision.compiler.kernels.emit import Buffer, Expr
from edgevision.compiler.simd import Simd
from edgevision.graph.bytesteps import WORD, Line, Product


@dataclass(frozen=True)
class Bytes:
    """One operation between byte tensors over (pixels, channels), to dense rows of bytes.

    Attributes:
        operation: line, product or lookup.
        inputs: the operands; parameters 0 and 1.
        per_channel: whether the numbers have one value per channel.
        words: whether whole registers are computed on 16-bit words (`bytewords.fits_line`, `bytewords.fits_product`).
        extras: (elements, dtype) of every input: the operands, then what `line_numbers` or `product_numbers` gives, or
            the table (256); with `words`, then what their namesakes in `bytewords` give.
    """

    operation: Literal["line", "product", "lookup"]
    pixels: int
    channels: int
    images: int
    inputs: tuple[Operand, ...]
    per_channel: bool
    words: bool
    extras: tuple[tuple[int, str], ...]


def line_numbers(line: Line, low: int, high: int) -> np.ndarray:
    """The numbers of a line for kernels on 32 bits, int32: low, high, then per channel the factors, term and shift."""
    rows = [*line.factors, line.term, line.shift]
    return np.concatenate([np.array([low, high], np.int32), *rows]).astype(np.int32)


def product_numbers(product: Product, low: int, high: int) -> np.ndarray:
    """As `line_numbers`: low, high, both zero points, then per channel factor, fraction, left shift and term."""
    rows = [product.factor, product.fraction, product.left, product.term]
    return np.concatenate([np.array([low, high, *product.zeros], np.int32), *rows]).astype(np.int32)


def build(name: str, spec: Bytes, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    elements = spec.pixels * spec.channels
    parameters = [(f"extra{i}", count, dtype) for i, (count, dtype) in enumerate(spec.extras)]
    parameters.append(("output", elements, "uint8"))
    with emit.kernel(name, parameters) as (buffers, made):
        writer = ChainWriter(
            Chain(), buffers[:-1], buffers[-1], pixels_per_image=spec.pixels // spec.images, images=spec.images
        )
        body = _Body(spec, buffers, writer, simd)
        over_positions(spec.pixels, spec.channels, simd.lanes, body.points, flat=_flat(spec))
    return made[0]


class _Body:
    def __init__(self, spec: Bytes, buffers: list[Buffer], writer: ChainWriter, simd: Simd) -> None:
        self._spec, self._buffers, self._writer, self._simd = spec, buffers, writer, simd
        self._numbers = buffers[len(spec.inputs)]

    def points(self, positions: Positions, width: int, together: int) -> None:
        """Everything at the positions, of which `together` follow one another in memory."""
        spec = self._spec
        if spec.words and len(positions) == bytewords.VECTORS and width == self._simd.lanes:
            self._on_words(positions, width, together)
        elif together > 1 and spec.operation != "lookup" and not spec.per_channel and self._all_tensors():
            self._store(positions[0], self._value(positions[0], width * together), width * together)
        else:
            for position in positions:
                self._store(position, self._value(position, width), width)

    def _all_tensors(self) -> bool:
        return all(operand.index == "tensor" for operand in self._spec.inputs)

    def _store(self, position: tuple[Any, Any], value: Expr, width: int) -> None:
        pixel, channel = position
        emit.store(self._buffers[-1], pixel * self._spec.channels + channel, value, width)

    def _on_words(self, positions: Positions, width: int, together: int) -> None:
        spec = self._spec
        operands = []
        for operand in spec.inputs:
            size = together if operand.index == "tensor" else 1
            pieces = [self._writer.operand_bytes(operand, *p, size * width) for p in positions[::size]]
            operands.append(bytewords.joined(pieces, size * width))
        channels = [channel for _, channel in positions] if spec.per_channel else None
        numbers = bytewords.Numbers(self._buffers[len(spec.inputs) + 1], channels, spec.channels, width)
        make = bytewords.product if spec.operation == "product" else bytewords.line
        made = emit.named(make(operands, numbers))
        for first in range(0, len(positions), together):
            self._store(
                positions[first],
                bytewords.part(made, first * width, together * width, bytewords.VECTORS * width),
                together * width,
            )

    def _value(self, position: tuple[Any, Any], width: int) -> Expr:
        spec = self._spec
        raw = [self._writer.operand_bytes(o, *position, width) for o in spec.inputs]
        if spec.operation == "lookup":
            return self._numbers[emit.cast(raw[0], "int32", width)]
        steps = [emit.named(emit.cast(value, "int32", width)) for value in raw]
        make = self._product if spec.operation == "product" else self._line
        made = make(steps, position[1], width)
        low, high = (emit.splat(self._numbers[i], width) for i in range(2))
        return emit.cast(T.max(T.min(made, high), low), "uint8", width)

    def _line(self, steps: list[Expr], channel: Expr, width: int) -> Expr:
        *factors, term, shift = (self._number(2, row, channel, width) for row in range(len(steps) + 2))
        total = term
        for value, factor in zip(steps, factors, strict=True):
            total = total + value * factor
        return T.shift_right(total, shift)

    def _product(self, steps: list[Expr], channel: Expr, width: int) -> Expr:
        zeros = [emit.splat(self._numbers[2 + i], width) for i in range(2)]
        factor, fraction, left, term = (self._number(4, row, channel, width) for row in range(4))
        product = (steps[0] - zeros[0]) * (steps[1] - zeros[1])
        half = T.shift_right(T.shift_left(product, left) + emit.i32(1, width), emit.i32(1, width))
        half = T.max(T.min(half, emit.i32((1 << WORD) - 1, width)), emit.i32(-(1 << WORD), width))
        fine = T.shift_right(half * factor + emit.i32(1 << (WORD - 1), width), emit.i32(WORD, width))
        return T.shift_right(fine + term, fraction)

    def _number(self, first: int, row: int, channel: Expr, width: int) -> Expr:
        if self._spec.per_channel:
            return emit.load(self._numbers, first + row * self._spec.channels + channel, width)
        return emit.splat(self._numbers[first + row], width)


def _flat(spec: Bytes) -> bool:
    dense = all(
        o.index == "tensor" and o.pitch == spec.channels and o.offset == 0 and o.table is None for o in spec.inputs
    )
    return dense and not spec.per_channel
