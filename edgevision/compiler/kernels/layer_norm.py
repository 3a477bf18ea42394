"""Layer normalisation over the channels of each row, with the chain that follows it.

y = (x - mean) / sqrt(variance + epsilon) * gamma + beta, in the order of quant/NUMERICS.md section 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
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


def build(name: str, spec: LayerNorm, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    parameters = [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("output", spec.output_elements, spec.chain.store.dtype))
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

        def normalised(channel: Any, width: int) -> None:
            gamma = None if spec.gamma is None else emit.named(emit.load(self._buffers[spec.gamma], channel, width))
            beta = None if spec.beta is None else emit.named(emit.load(self._buffers[spec.beta], channel, width))
            for row in range(count):
                value = math.sub(loaded(row, channel, width), emit.splat(means[row], width), width)
                value = math.mul(value, emit.splat(factors[row], width), width)
                value = value if gamma is None else math.mul(value, gamma, width)
                value = value if beta is None else math.add(value, beta, width)
                self._writer.finish(emit.named(value), first + row, channel, width)

        full, tail = divmod(spec.channels, self._lanes)
        if full:
            with T.serial(full) as step:
                normalised(step * self._lanes, self._lanes)
        for offset, width in emit.powers_of_two(tail, self._lanes):
            normalised(full * self._lanes + offset, width)
