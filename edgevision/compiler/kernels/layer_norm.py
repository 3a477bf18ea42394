"""Layer normalisation over the channels of each row, with the chain that follows it.

y = (x - mean) / sqrt(variance + epsilon) * gamma + beta, in the order of quant/NUMERICS.md section 9.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import bits, emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter, Operand
from edgevision.compiler.kernels.functions import Arithmetic
from edgevision.compiler.kernels.rows import RowReduction
from edgevision.compiler.simd import Simd

#: Rows worked on together.
ROWS = 4


@dataclass(frozen=True)
class LayerNorm:
    """Rows of `channels` elements, each normalised by itself.

    Attributes:
        first: where the rows are.
        gamma, beta: parameters of the factor and of the summand per channel; None where there is none.
        extras: (elements, dtype) of every input, those of `first` ahead.
        signs: whether only the signs of the result are kept, as words of 32 (`bits`); then the chain does nothing.
    """

    rows: int
    channels: int
    images: int
    epsilon: float
    first: Operand
    gamma: int | None
    beta: int | None
    chain: Chain
    extras: tuple[tuple[int, str], ...]
    output_elements: int
    signs: bool = False


def build(name: str, spec: LayerNorm, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    parameters = [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("output", spec.output_elements, "uint32" if spec.signs else spec.chain.store.dtype))
    with emit.kernel(name, parameters) as (buffers, made):
        writer = ChainWriter(
            spec.chain, buffers[:-1], buffers[-1], pixels_per_image=spec.rows // spec.images, images=spec.images
        )
        body = _Body(spec, simd, buffers, writer)
        for first, count, size in emit.balanced(spec.rows, ROWS):
            per_task = max(1, min(count, 8192 // (size * spec.channels) + 1))
            tasks = -(-count // per_task)
            with T.parallel(tasks) as task:
                inner = per_task if count % per_task == 0 else T.min(per_task, count - task * per_task)
                with T.serial(inner) as block:
                    body.rows(emit.named(first + (task * per_task + block) * size), size)
    return made[0]


class _Body:
    def __init__(self, spec: LayerNorm, simd: Simd, buffers: list[Any], writer: ChainWriter) -> None:
        self._spec, self._lanes, self._buffers, self._writer = spec, simd.lanes, buffers, writer
        self._simd = simd
        self._math = Arithmetic(exact=spec.chain.exact)

    def rows(self, first: Any, count: int) -> None:
        spec, math = self._spec, self._math
        share = T.float32(1.0 / spec.channels)

        def loaded(row: int, channel: Any, width: int) -> Any:
            return emit.named(self._writer.operand_value(spec.first, first + row, channel, width))

        def add(a: Any, b: Any, width: int) -> Any:
            return math.add(a, b, width)

        total = RowReduction(count, self._lanes, T.float32(0), add)
        total.over(spec.channels, loaded, count)
        means = [emit.named(math.mul(total.result(row), share, 1)) for row in range(count)]

        def squared(row: int, channel: Any, width: int) -> Any:
            away = emit.named(math.sub(loaded(row, channel, width), emit.splat(means[row], width), width))
            return math.mul(away, away, width)

        spread = RowReduction(count, self._lanes, T.float32(0), add)
        spread.over(spec.channels, squared, count)
        factors = []
        for row in range(count):
            variance = math.mul(spread.result(row), share, 1)
            root = T.sqrt(math.add(variance, T.float32(spec.epsilon), 1))
            factors.append(emit.named(math.div(T.float32(1.0), root, 1)))

        def normal(row: int, channel: Any, width: int, gamma: Any, beta: Any) -> Any:
            value = math.sub(loaded(row, channel, width), emit.splat(means[row], width), width)
            value = math.mul(value, emit.splat(factors[row], width), width)
            value = value if gamma is None else math.mul(value, gamma, width)
            return emit.named(value if beta is None else math.add(value, beta, width))

        if spec.signs:
            for row in range(count):

                def value(at: Any, width: int, row: int = row) -> Any:
                    return normal(row, at, width, *self._parameters(at, width))

                self._signs(first + row, value)
            return

        def normalised(channel: Any, width: int) -> None:
            gamma, beta = self._parameters(channel, width)
            for row in range(count):
                self._writer.finish(normal(row, channel, width, gamma, beta), first + row, channel, width)

        full, tail = divmod(spec.channels, self._lanes)
        if full:
            with T.serial(full) as step:
                normalised(step * self._lanes, self._lanes)
        for offset, width in emit.powers_of_two(tail, self._lanes):
            normalised(full * self._lanes + offset, width)

    def _parameters(self, channel: Any, width: int) -> tuple[Any, Any]:
        places = (self._spec.gamma, self._spec.beta)
        found = [None if at is None else emit.named(emit.load(self._buffers[at], channel, width)) for at in places]
        return found[0], found[1]

    def _signs(self, row: Any, value: Callable[[Any, int], Any]) -> None:
        """Keep the signs of one row."""

        def condition(channel: Any, width: int) -> Any:
            return bits.positive(value(channel, width), width)

        start = row * bits.words(self._spec.channels)
        bits.store_row(condition, self._spec.channels, self._buffers[-1], start, self._simd)
