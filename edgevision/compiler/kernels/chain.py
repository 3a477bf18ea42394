"""Chains: the elementwise tail of a kernel, applied to registers before the one store.

A chain starts from an accumulator or a loaded value, applies operations in order, and stores float or a quantised
byte. In an *exact* chain every float operation is rounded to binary32 in the written order (quant/NUMERICS.md section
5), which is what makes integer networks agree bit for bit between machines with and without fused multiply-add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import arm, emit, gelu, saturate, x86
from edgevision.compiler.kernels.emit import Buffer, Expr
from edgevision.compiler.kernels.functions import FUNCTIONS, Arithmetic
from edgevision.compiler.simd import Simd
from edgevision.graph.numerics import STEP_BOUND

#: How an operand is indexed by (pixel m, channel n): one value per channel, a tensor like the result, one value per
#: pixel, or one per image and channel.
Index = Literal["channel", "tensor", "pixel", "image"]


@dataclass(frozen=True)
class Operand:
    """A second input of a chain operation.

    Attributes:
        parameter: position among the kernel's extra inputs.
        index: how (pixel, channel) find the element.
        pitch, offset: elements from one pixel to the next, and of the first; for views into a wider tensor.
        dtype: float32 or uint8.
        quant: extra input with [scale, zero point] of a uint8 operand that is read as float.
        table: extra input with the int32 address of each pixel's first element, in place of pitch and offset.
    """

    parameter: int
    index: Index
    pitch: int = 0
    offset: int = 0
    dtype: str = "float32"
    quant: int | None = None
    table: int | None = None


@dataclass(frozen=True)
class Apply:
    """One operation: a unary function by name, or `add`/`sub`/`mul`/`div`/`max`/`min` with an operand or a constant."""

    name: str
    operand: Operand | None = None
    constant: float | None = None
    reverse: bool = False


@dataclass(frozen=True)
class Store:
    """How the result leaves the registers.

    Scales and zero points are inputs of the kernel, not constants in it, so layers of one shape share one kernel.

    Attributes:
        dtype: float32 or uint8.
        limits: extra input with [low, high, multiplier, zero point] of the stored byte, float32; relu and clip are
            folded into low and high. Counted in steps from the zero point; from 0 where `zero_points` is given.
        multiplied: whether the value is float and still to be multiplied by the multiplier (1 / scale).
        zero_points: extra input with one int32 zero point per channel, in place of the one in `limits`.
        pitch, offset: elements from one pixel to the next in the output, and of the first.
        zero_offset: of the kernel's first channel among the zero points, when it makes one group of a layer.
        bounded: whether the value, in steps, is known to stay below 2^30.
        gelu: extra input with the parameters of a GELU on 16-bit steps (`gelu.PARAMETERS`), taken last; then the value
            has fraction bits.
    """

    dtype: str = "float32"
    limits: int | None = None
    multiplied: bool = False
    zero_points: int | None = None
    pitch: int = 0
    offset: int = 0
    zero_offset: int = 0
    bounded: bool = False
    gelu: int | None = None


@dataclass(frozen=True)
class Chain:
    """Operations and the store they end in."""

    operations: tuple[Apply, ...] = ()
    store: Store = Store()
    exact: bool = False

    @property
    def operands(self) -> list[Operand]:
        """Second inputs of the operations, in order."""
        return [op.operand for op in self.operations if op.operand is not None]


class ChainWriter:
    """Emits a chain at (pixel, channel) positions of one kernel.

    Args:
        chain: what to emit.
        extras: the kernel's extra input buffers, indexed by `Operand.parameter`.
        output: output buffer.
        pixels_per_image: to find the image of a pixel for "image" operands.
        images: batch size.
    """

    def __init__(
        self, chain: Chain, extras: Sequence[Buffer], output: Buffer, *, pixels_per_image: int, images: int
    ) -> None:
        self._chain = chain
        self._extras = extras
        self.output = output
        self._pixels_per_image = pixels_per_image
        self._images = images
        self._math = Arithmetic(exact=chain.exact)

    def finish(self, value: Expr, pixel: Expr, channel: Expr, width: int) -> None:
        """Apply the chain to `value` (float32, or int32 steps) and store it."""
        self._store(self._applied(value, pixel, channel, width), pixel, channel, width)

    def finish_all(
        self,
        values: Sequence[Expr],
        positions: Sequence[tuple[Expr, Expr]],
        width: int,
        simd: Simd,
        *,
        together: int = 1,
    ) -> None:
        """As `finish` for each vector at its (pixel, channel), four at a time where the core can.

        Args:
            together: how many follow one another in memory.
        """
        fours = len(values) // saturate.VECTORS * saturate.VECTORS if self.packs(simd, width) else 0
        for first in range(0, fours, saturate.VECTORS):
            taken = slice(first, first + saturate.VECTORS)
            self.finish_four(values[taken], positions[taken], width, simd, together)
        rest = values[fours:]
        if rest and self.fills_up and self.packs(simd, width):
            self.finish_four(rest, positions[fours:], width, simd)
            return
        for value, (pixel, channel) in zip(rest, positions[fours:], strict=True):
            self.finish(value, pixel, channel, width)

    @property
    def plain(self) -> bool:
        """Whether nothing that depends on the channel is done to a value before it is stored."""
        return not self._chain.operations and self._chain.store.zero_points is None

    @property
    def fills_up(self) -> bool:
        """Whether vectors that are left over should be finished as four, because one alone is slower than that."""
        return self._chain.store.gelu is not None

    def packs(self, simd: Simd, width: int) -> bool:
        """Whether `finish_four` should take vectors of `width` lanes on this core.

        Functions need the registers for themselves: four at once would spill.
        """
        if any(operation.name in FUNCTIONS for operation in self._chain.operations):
            return False
        how = self._chain.store
        fits = how.dtype == "uint8" and how.limits is not None and width == simd.lanes
        return fits and (x86.group_of(simd) > 0 or (simd.neon and simd.registers >= 32 and how.zero_points is None))

    def finish_four(
        self,
        values: Sequence[Expr],
        positions: Sequence[tuple[Expr, Expr]],
        width: int,
        simd: Simd,
        together: int = 1,
        *,
        by_blocks: bool = False,
    ) -> None:
        """As `finish` for four vectors at (pixel, channel) positions, where `packs` says so.

        Fewer vectors take the time of four.

        Args:
            together: how many follow one another in memory: 1, 2 or 4.
            by_blocks: as of `saturate.packed`; x86 only.
        """
        how = self._chain.store
        assert how.limits is not None
        low, high, multiplier, zero = (self._extras[how.limits][i] for i in range(4))
        ready, zeros = [], []
        for value, (pixel, channel) in zip(values, positions, strict=True):
            value = self._applied(value, pixel, channel, width)
            if how.multiplied:
                value = self._math.mul(value, emit.splat(multiplier, width), width)
            # Arm converts to integers with saturation, whatever the size.
            if not how.bounded and not simd.neon:
                bounds = (emit.splat(high, width), emit.splat(low, width))
                if how.zero_points is not None:
                    bounds = emit.f32(STEP_BOUND, width), emit.f32(-STEP_BOUND, width)
                above, below = bounds if how.gelu is None else _word_range(width)
                value = T.max(T.min(value, above), below)
            ready.append(emit.named(value))
            if how.zero_points is not None:
                zeros.append(emit.load(self._extras[how.zero_points], how.zero_offset + channel, width))
        least, most = (emit.cast(limit + zero, "uint8", 1) for limit in (low, high))
        finish = saturate.shifted_by(emit.cast(zero, "int16", 1))
        if how.gelu is not None:
            finish = partial(gelu.words, parameters=self._extras[how.gelu], simd=simd)
        spare = saturate.VECTORS - len(ready)
        ready, zeros = ready + ready[-1:] * spare, zeros + zeros[-1:] * spare
        if simd.neon:
            quads = arm.packed(ready, finish, least, most)
        else:
            quads = saturate.packed(ready, finish, least, most, width, by_blocks=by_blocks, zeros=zeros)
        for first in range(0, len(values), together):
            self.put(saturate.part(quads, first, together, width), *positions[first], width * together)

    def _applied(self, value: Expr, pixel: Expr, channel: Expr, width: int) -> Expr:
        for operation in self._chain.operations:
            value = emit.named(self._apply(operation, value, pixel, channel, width))
        return value

    def _apply(self, operation: Apply, value: Expr, pixel: Expr, channel: Expr, width: int) -> Expr:
        if operation.name in FUNCTIONS:
            return FUNCTIONS[operation.name](self._math, value, width)
        if operation.operand is not None:
            other = self.operand_value(operation.operand, pixel, channel, width)
        else:
            other = emit.f32(operation.constant or 0.0, width)
        left, right = (other, value) if operation.reverse else (value, other)
        return self._math.binary(operation.name, left, right, width)

    def operand_value(self, operand: Operand, pixel: Expr, channel: Expr, width: int) -> Expr:
        """The operand at a position, as float32."""
        raw, count = self._loaded(operand, pixel, channel, width)
        if operand.dtype != "float32":
            raw = emit.cast(raw, "float32", count)
            if operand.quant is not None:
                quant = self._extras[operand.quant]
                # Both are small integers, so the float difference is exact.
                raw = self._math.mul(raw - emit.splat(quant[1], count), emit.splat(quant[0], count), count)
        return raw if count == width else emit.splat(emit.named(raw), width)

    def operand_bytes(self, operand: Operand, pixel: Expr, channel: Expr, width: int) -> Expr:
        """The bytes of an operand as they are."""
        raw, count = self._loaded(operand, pixel, channel, width)
        raw = emit.named(raw)
        return raw if count == width else emit.splat(raw, width)

    def _loaded(self, operand: Operand, pixel: Expr, channel: Expr, width: int) -> tuple[Expr, int]:
        """The operand at a position as it lies in memory, and how many elements that is: `width`, or 1 for all."""
        count = width if operand.index in ("channel", "tensor", "image") else 1
        return emit.load(self._extras[operand.parameter], self._address(operand, pixel, channel), count), count

    def _address(self, operand: Operand, pixel: Expr, channel: Expr) -> Expr:
        if operand.index == "channel":
            return operand.offset + channel
        if operand.table is not None:
            return self._extras[operand.table][pixel] + channel
        if operand.index == "tensor":
            return pixel * operand.pitch + operand.offset + channel
        if operand.index == "pixel":
            return pixel * operand.pitch + operand.offset
        image = 0 if self._images == 1 else T.floordiv(pixel, self._pixels_per_image)
        return image * operand.pitch + operand.offset + channel

    def _store(self, value: Expr, pixel: Expr, channel: Expr, width: int) -> None:
        if self._chain.store.dtype != "float32":
            value = self._quantised(value, channel, width)
        self.put(value, pixel, channel, width)

    def put(self, value: Expr, pixel: Expr, channel: Expr, width: int) -> None:
        """Write `width` elements of the output from a position on."""
        how = self._chain.store
        emit.store(self.output, pixel * how.pitch + how.offset + channel, value, width)

    def _quantised(self, value: Expr, channel: Expr, width: int) -> Expr:
        how = self._chain.store
        if how.limits is None:
            return emit.cast(value, how.dtype, width)
        low, high, multiplier, zero = (self._extras[how.limits][i] for i in range(4))
        if how.multiplied:
            value = self._math.mul(value, emit.splat(multiplier, width), width)
        if how.gelu is not None:
            most_word, least_word = _word_range(width)
            fine = rounded_steps(value, least_word, most_word, width)
            steps = gelu.lanes(fine, width, parameters=self._extras[how.gelu])
            least, most = (emit.splat(emit.cast(limit + zero, "int32", 1), width) for limit in (low, high))
            steps = T.max(T.min(steps, most), least)
        elif how.zero_points is None:
            steps = rounded_steps(value, emit.splat(low, width), emit.splat(high, width), width)
            steps = steps + emit.splat(emit.cast(zero, "int32", 1), width)
        else:
            zeros = emit.load(self._extras[how.zero_points], how.zero_offset + channel, width)
            bound = emit.f32(STEP_BOUND, width)
            steps = rounded_steps(value, emit.f32(-STEP_BOUND, width), bound, width) + zeros
            least, most = (emit.splat(emit.cast(limit, "int32", 1), width) for limit in (low, high))
            steps = T.max(T.min(steps, most), least)
        return emit.cast(steps, how.dtype, width)


def _word_range(width: int) -> tuple[Expr, Expr]:
    """The largest and the least int16, as float32."""
    return emit.f32(2.0**15 - 1, width), emit.f32(-(2.0**15), width)


def rounded_steps(value: Expr, low: Expr, high: Expr, width: int) -> Expr:
    """Clamp a float to [low, high] and round it half to even, as int32 (NUMERICS.md section 2).

    Clamping first keeps the magic addition in its range; both bounds are integers, so the order does not matter.
    """
    value = T.max(T.min(value, high), low)
    # The fence keeps a multiplication that made `value` from being fused into this addition.
    shifted = emit.fence(value, width) + emit.f32(emit.ROUND_MAGIC, width)
    return emit.reinterpret(shifted, "int32", width) - emit.i32(emit.ROUND_MAGIC_BITS, width)
