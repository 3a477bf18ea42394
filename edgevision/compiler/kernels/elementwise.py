"""Elementwise kernels: one input through a chain, for what could not be fused into the kernel that made it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter, Operand
from edgevision.compiler.simd import Simd

Positions = list[tuple[Any, Any]]

#: Elements one parallel task covers at least; below this a launch costs more than it saves.
TASK_ELEMENTS = 8192


@dataclass(frozen=True)
class Elementwise:
    """A chain over (pixels, channels), starting from `first`.

    Attributes:
        extras: (elements, dtype) of every input, `first` included.
    """

    pixels: int
    channels: int
    images: int
    first: Operand
    chain: Chain
    extras: tuple[tuple[int, str], ...]
    output_elements: int


def build(name: str, spec: Elementwise, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    parameters = [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("output", spec.output_elements, spec.chain.store.dtype))
    with emit.kernel(name, parameters) as (buffers, made):
        writer = ChainWriter(
            spec.chain,
            buffers[:-1],
            buffers[-1],
            pixels_per_image=spec.pixels // spec.images,
            images=spec.images,
        )

        def points(positions: Positions, width: int, together: int) -> None:
            values = [emit.named(writer.operand_value(spec.first, *position, width)) for position in positions]
            writer.finish_all(values, positions, width, simd, together=together)

        over_positions(spec.pixels, spec.channels, simd.lanes, points, flat=_flat(spec))
    return made[0]


def over_positions(
    pixels: int, channels: int, lanes: int, points: Callable[[Positions, int, int], None], *, flat: bool
) -> None:
    """Call `points(positions, width, together)` over every position, tasks along pixels.

    One to four positions of vectors are given at a time; `together` says whether all follow one another in memory, by
    their number, or none, by 1. When `flat`, rows follow one another without a gap in every tensor, so the whole is
    one long row.
    """
    if flat:
        pixels, channels = 1, pixels * channels
    fours, rest = divmod(channels // lanes, 4)
    pieces = [(fours * 4 + i) * lanes for i in range(rest)]
    tail = emit.powers_of_two(channels % lanes, lanes)
    tail = [(channels - channels % lanes + first, width) for first, width in tail]

    def run(pixel: Any, first: Any, count: Any) -> None:
        with T.serial(count) as v:
            start = emit.named((first + v) * (4 * lanes))
            points([(pixel, start + i * lanes) for i in range(4)], lanes, 4)

    def end(block: list[Any]) -> None:
        for channel in pieces:
            points([(pixel, channel) for pixel in block], lanes, 1)
        for channel, width in tail:
            for pixel in block:
                points([(pixel, channel)], width, 1)

    if pixels == 1:
        if fours:
            tasks, per_task = _tasks(fours, TASK_ELEMENTS // (4 * lanes))
            with T.parallel(tasks) as task:
                run(0, task * per_task, _count(task, per_task, fours))
        end([0])
        return
    blocks = -(-pixels // 4)
    tasks, per_task = _tasks(blocks, TASK_ELEMENTS // (4 * channels))
    with T.parallel(tasks) as task, T.serial(_count(task, per_task, blocks)) as b:
        # The last block overlaps its neighbour rather than be short; what is written twice is the same.
        size = min(4, pixels)
        start = emit.named(T.min((task * per_task + b) * 4, pixels - size))
        if fours:
            with T.serial(size) as p:
                run(start + p, 0, fours)
        end([start + i for i in range(size)])


def _tasks(count: int, most: int) -> tuple[int, int]:
    """Tasks of nearly equal size for `count` items, `most` at most in each: (tasks, items of all but the last)."""
    tasks = -(-count // max(1, most))
    per_task = -(-count // tasks)
    return -(-count // per_task), per_task


def _count(task: Any, per_task: int, count: int) -> Any:
    return per_task if count % per_task == 0 else T.min(per_task, count - task * per_task)


def _flat(spec: Elementwise) -> bool:
    operands = [spec.first, *spec.chain.operands]
    dense = all(
        o.index == "tensor" and o.pitch == spec.channels and o.offset == 0 and o.table is None for o in operands
    )
    how = spec.chain.store
    return dense and how.pitch == spec.channels and how.offset == 0 and how.zero_points is None
