"""A copy in any order: nested strided loops, behind a table of starts where loops alone cannot say the order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.simd import Simd

#: Elements one parallel task moves at least.
TASK_ELEMENTS = 8192


@dataclass(frozen=True)
class Move:
    """Dense output, element by element from where the loops say.

    Attributes:
        starts: entries of the table (int32 source addresses); one when there is none.
        loops: (extent, stride) inside each start, outermost first (`graph.movement.loops`).
        source_elements: of the whole source buffer.
        output_elements, output_offset: of the whole output buffer, and where the copy begins in it.
    """

    starts: int
    first: int
    loops: tuple[tuple[int, int], ...]
    dtype: str
    source_elements: int
    output_elements: int
    output_offset: int = 0


def build(name: str, spec: Move, simd: Simd) -> Any:
    """Return the kernel as a TIR function over (source, [table], output)."""
    parameters = [("source", spec.source_elements, spec.dtype)]
    if spec.starts > 1:
        parameters.append(("table", spec.starts, "int32"))
    parameters.append(("output", spec.output_elements, spec.dtype))
    inner = spec.loops if spec.starts > 1 else spec.loops[1:]
    outer = spec.starts if spec.starts > 1 else (spec.loops[0][0] if spec.loops else 1)
    block = 1
    for extent, _ in inner:
        block *= extent
    per_task = max(1, min(outer, TASK_ELEMENTS // block))
    tasks = -(-outer // per_task)
    with emit.kernel(name, parameters) as (buffers, made), T.parallel(tasks) as task:
        count = per_task if outer % per_task == 0 else T.min(per_task, outer - task * per_task)
        with T.serial(count) as step:
            index = emit.named(task * per_task + step)
            source = (
                buffers[1][index] if spec.starts > 1 else spec.first + index * (spec.loops[0][1] if spec.loops else 0)
            )
            _copy(
                buffers[0], buffers[-1], emit.named(source), emit.named(index * block + spec.output_offset), inner, simd
            )
    return made[0]


def _copy(source: Any, output: Any, read: Any, write: Any, loops: tuple[tuple[int, int], ...], simd: Simd) -> None:
    if not loops:
        T.buffer_store(output, source[read], [write])
        return
    (extent, stride), inner = loops[0], loops[1:]
    if inner:
        block = 1
        for count, _ in inner:
            block *= count
        with T.serial(extent) as i:
            _copy(source, output, emit.named(read + i * stride), emit.named(write + i * block), inner, simd)
        return
    full, tail = divmod(extent, simd.lanes)
    if full:
        with T.serial(full) as v:
            _vector(source, output, read + v * simd.lanes * stride, write + v * simd.lanes, stride, simd.lanes)
    for offset, width in emit.powers_of_two(tail, simd.lanes):
        at = full * simd.lanes + offset
        _vector(source, output, read + at * stride, write + at, stride, width)


def _vector(source: Any, output: Any, read: Any, write: Any, stride: int, width: int) -> None:
    index = read if width == 1 else T.ramp(read, stride, width)
    value = emit.splat(source[read], width) if stride == 0 else source[index]
    emit.store(output, write, value, width)
