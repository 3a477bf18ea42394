"""One row of an attention's scores becomes the shares of its keys, as float or as bytes."""

from __future__ import annotations

from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.attention_spec import Attention
from edgevision.compiler.kernels.chain import rounded_steps
from edgevision.compiler.kernels.functions import Arithmetic
from edgevision.compiler.kernels.repack import row_sum
from edgevision.compiler.kernels.softmax import RowSoftmax, over_row


class Shares:
    """Softmax after what is added to the scores, quantised where attention is of bytes.

    Args:
        scores: scratch rows of float32.
        shares: where bytes go, at the addresses of the scores.
        extras: as of `Attention`.
    """

    def __init__(self, spec: Attention, lanes: int, scores: Any, shares: Any, extras: list[Any]) -> None:
        self._spec, self._lanes, self._extras = spec, lanes, extras
        self._scores, self._shares = scores, shares
        self._math = Arithmetic(exact=spec.chain.exact)

    def run(self, batch: Any, head: Any, query: Any, row: Any) -> Any:
        """Work on the scores of one query from `row` on.

        Returns what the end needs of it: the factor that float shares still lack, or the sum of bytes where the zero
        point of V needs it, else None.
        """
        spec, lanes = self._spec, self._lanes
        for index, strided in enumerate(spec.adds):
            self._add(index, emit.named(strided.at(batch, head, query)), row)
        softmax = RowSoftmax(self._scores, spec.keys, lanes, exact=spec.chain.exact)
        softmax.run(row)
        if not spec.integer:
            return softmax.factor
        self._quantise(softmax, row)
        return row_sum(self._shares, row, spec.keys, lanes) if spec.corrected[3] else None

    def _add(self, index: int, base: Any, row: Any) -> None:
        def add(column: Any, width: int) -> None:
            known = emit.load(self._scores, row + column, width)
            other = emit.load(self._extras[1 + index], base + column, width)
            emit.store(self._scores, row + column, self._math.add(known, other, width), width)

        over_row(self._spec.keys, self._lanes, add)

    def _quantise(self, softmax: RowSoftmax, row: Any) -> None:
        spec, lanes = self._spec, self._lanes
        limits = self._extras[1 + len(spec.adds)]
        low, high, factor, zero = (limits[i] for i in range(4))
        if spec.unit_shares:
            softmax.factor = emit.named(softmax.factor * factor)

        def quantise(column: Any, width: int) -> None:
            value = softmax.share(row, column, width)
            if spec.unit_shares:
                shifted = emit.fence(T.min(value, emit.splat(high, width)), width) + emit.f32(emit.ROUND_MAGIC, width)
                # The low byte of the sum is the rounded share: the magic number's own is zero.
                steps = emit.reinterpret(shifted, "int32", width)
            else:
                value = self._math.mul(value, emit.splat(factor, width), width)
                steps = rounded_steps(value, emit.splat(low, width), emit.splat(high, width), width)
                steps = steps + emit.splat(emit.cast(zero, "int32", 1), width)
            emit.store(self._shares, row + column, emit.cast(steps, "uint8", width), width)

        over_row(-(-spec.keys // lanes) * lanes, lanes, quantise)
