"""Signs of rows as words of 32 bits: what a layer of one-bit activations reads (`graph.binary`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import bits, emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter, Operand
from edgevision.compiler.simd import Simd

#: Elements one parallel task covers at least.
TASK_ELEMENTS = 16384


@dataclass(frozen=True)
class SignPack:
    """Rows of `channels` elements, each to `bits.words(channels)` words whose unused bits are zero.

    Attributes:
        first: where the rows are.
        extras: (elements, dtype) of every input.
    """

    rows: int
    channels: int
    images: int
    first: Operand
    extras: tuple[tuple[int, str], ...]


def build(name: str, spec: SignPack, simd: Simd) -> Any:
    """Return the kernel as a TIR function over (extras, words)."""
    count = bits.words(spec.channels)
    parameters = [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("output", spec.rows * count, "uint32"))
    with emit.kernel(name, parameters) as (buffers, made):
        writer = ChainWriter(
            Chain(), buffers[:-1], buffers[-1], pixels_per_image=spec.rows // spec.images, images=spec.images
        )
        per_task = max(1, min(spec.rows, TASK_ELEMENTS // spec.channels))
        tasks = -(-spec.rows // per_task)
        with T.parallel(tasks) as task:
            inner = per_task if spec.rows % per_task == 0 else T.min(per_task, spec.rows - task * per_task)
            with T.serial(inner) as step:
                row = emit.named(task * per_task + step)
                _row(spec, simd, writer, row, count)
    return made[0]


def _row(spec: SignPack, simd: Simd, writer: ChainWriter, row: Any, count: int) -> None:
    def value(channel: Any, width: int) -> Any:
        return bits.positive(writer.operand_value(spec.first, row, channel, width), width)

    bits.store_row(value, spec.channels, writer.output, row * count, simd)
