"""Softmax over the channels of each row, with the chain that follows it (quant/NUMERICS.md section 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter, Operand
from edgevision.compiler.kernels.functions import Arithmetic, exp
from edgevision.compiler.kernels.rows import RowReduction
from edgevision.compiler.simd import Simd
from edgevision.graph import numerics as N

#: Below every float32 score; what stands in the lanes behind the last element of a row.
LOWEST = -3.0e38


@dataclass(frozen=True)
class Softmax:
    """Rows of `channels` scores; parameters as in `layer_norm.LayerNorm`.

    The kernel keeps the exponentials of a row in `scratch`, `tasks` rows at once.
    """

    rows: int
    channels: int
    images: int
    first: Operand
    chain: Chain
    extras: tuple[tuple[int, str], ...]
    output_elements: int
    tasks: int

    @property
    def pitch(self) -> int:
        """Elements from one scratch row to the next."""
        return -(-self.channels // 16) * 16


def build(name: str, spec: Softmax, simd: Simd) -> Any:
    """Return the kernel as a TIR function over (extras, scratch, output)."""
    parameters = [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("scratch", spec.tasks * spec.pitch, "float32"))
    parameters.append(("output", spec.output_elements, spec.chain.store.dtype))
    per_task = -(-spec.rows // spec.tasks)
    with emit.kernel(name, parameters) as (buffers, made):
        writer = ChainWriter(
            spec.chain, buffers[:-2], buffers[-1], pixels_per_image=spec.rows // spec.images, images=spec.images
        )
        scratch = buffers[-2]
        with T.parallel(spec.tasks) as task:
            inner = per_task if spec.rows % per_task == 0 else T.min(per_task, spec.rows - task * per_task)
            with T.serial(inner) as step:
                row = emit.named(task * per_task + step)
                base = emit.named(task * spec.pitch)

                def copy(column: Any, width: int, row: Any = row, base: Any = base) -> None:
                    value = writer.operand_value(spec.first, row, column, width)
                    emit.store(scratch, base + column, value, width)

                over_row(spec.channels, simd.lanes, copy)
                shares = RowSoftmax(scratch, spec.channels, simd.lanes, exact=spec.chain.exact)
                shares.run(base)

                def finish(column: Any, width: int, row: Any = row, base: Any = base, shares: Any = shares) -> None:
                    writer.finish(emit.named(shares.share(base, column, width)), row, column, width)

                over_row(spec.channels, simd.lanes, finish)
    return made[0]


def over_row(channels: int, lanes: int, point: Any) -> None:
    """Call `point(column, width)` over a row, whole vectors first."""
    full, tail = divmod(channels, lanes)
    if full:
        with T.serial(full) as step:
            point(step * lanes, lanes)
    for offset, width in emit.powers_of_two(tail, lanes):
        point(full * lanes + offset, width)


class RowSoftmax:
    """Softmax of rows of scores in a scratch buffer whose rows are padded to whole vectors.

    Exact: e^(x - max) in steps of 2^-k, whose sum is an integer and so the same in any order; the share of an element
    is its steps times the binary32 reciprocal of their sum.
    """

    def __init__(self, buffer: Any, channels: int, lanes: int, *, exact: bool) -> None:
        self._buffer, self._channels, self._lanes, self._exact = buffer, channels, lanes, exact
        self._vectors = -(-channels // lanes)
        self._math = Arithmetic(exact=exact)
        self.factor: Any = None

    def run(self, base: Any) -> None:
        """Turn the scores from `base` into numerators; afterwards `share` gives an element's share."""
        lanes, rest = self._lanes, self._channels % self._lanes
        if rest:
            last = base + (self._vectors - 1) * lanes
            inside = T.ramp(T.int32(0), 1, lanes) < T.broadcast(T.int32(rest), lanes)
            kept = T.Select(inside, emit.load(self._buffer, last, lanes), emit.f32(LOWEST, lanes))
            emit.store(self._buffer, last, kept, lanes)
        largest = RowReduction(1, lanes, T.float32(LOWEST), lambda a, b, _w: T.max(a, b))
        largest.over(self._vectors * lanes, lambda _r, c, w: emit.load(self._buffer, base + c, w), 1)
        top = emit.named(largest.result(0))
        kind = "int32" if self._exact else "float32"
        zero = T.int32(0) if self._exact else T.float32(0)
        total = RowReduction(1, lanes, zero, lambda a, b, _w: a + b, kind)
        total.over(self._vectors * lanes, lambda _r, c, w: self._numerator(base + c, top, w), 1)
        whole = total.result(0)
        whole = emit.cast(whole, "float32", 1) if self._exact else whole
        self.factor = emit.named(self._math.div(T.float32(1.0), whole, 1))

    def _numerator(self, address: Any, top: Any, width: int) -> Any:
        math = self._math
        score = math.sub(emit.load(self._buffer, address, width), emit.splat(top, width), width)
        if not self._exact:
            power = exp(math, score, width)
            emit.store(self._buffer, address, power, width)
            return power
        scaled = T.max(math.mul(score, emit.f32(N.LOG2_E, width), width), emit.f32(N.SOFTMAX_LOW, width))
        magic = emit.f32(emit.ROUND_MAGIC, width)
        whole = emit.named(emit.fence(scaled + magic, width))
        rest = emit.named(math.sub(scaled, math.sub(whole, magic, width), width))
        unit = 2.0 ** N.softmax_bits(self._channels)
        power = math.polynomial(rest, [c * unit for c in N.EXP2_P], width)
        # The magic number is a multiple of 2^9 as bits, so that shifting leaves the rounded exponent alone.
        exponent = T.shift_left(emit.reinterpret(whole, "int32", width), emit.i32(23, width))
        numerator = emit.reinterpret(emit.reinterpret(power, "int32", width) + exponent, "float32", width)
        shifted = emit.named(emit.fence(numerator + magic, width))
        steps = emit.named(emit.reinterpret(shifted, "int32", width) - emit.i32(emit.ROUND_MAGIC_BITS, width))
        emit.store(self._buffer, address, math.sub(shifted, magic, width), width)
        return steps

    def share(self, base: Any, column: Any, width: int) -> Any:
        """The softmax of `width` elements from `column`."""
        return self._math.mul(emit.load(self._buffer, base + column, width), emit.splat(self.factor, width), width)
