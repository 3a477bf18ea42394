"""Elementwise kernels: one input through a chain, for what could not be fused into the kernel that made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter, Operand
from edgevision.compiler.simd import Simd

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

        def point(pixel: Any, channel: Any, width: int) -> None:
            writer.finish(emit.named(writer.operand_value(spec.first, pixel, channel, width)), pixel, channel, width)

        over_positions(spec.pixels, spec.channels, simd.lanes, point, flat=_flat(spec))
    return made[0]


def over_positions(pixels: int, channels: int, lanes: int, point: Any, *, flat: bool) -> None:
    """Call `point(pixel, channel, width)` over every position, vectors along channels, tasks along pixels.

    When `flat`, rows follow one another without a gap in every tensor, so the whole is one long row.
    """
    if flat:
        pixels, channels = 1, pixels * channels
    full, tail = divmod(channels, lanes)
    if pixels == 1 and full:
        per_task = max(1, TASK_ELEMENTS // lanes)
        tasks, rest = divmod(full, per_task)
        if tasks:
            with T.parallel(tasks) as task, T.serial(per_task) as v:
                point(0, (task * per_task + v) * lanes, lanes)
        if rest:
            with T.serial(rest) as v:
                point(0, (tasks * per_task + v) * lanes, lanes)
        for first, width in emit.powers_of_two(tail, lanes):
            point(0, full * lanes + first, width)
        return
    per_task = max(1, min(pixels, TASK_ELEMENTS // channels))
    tasks = -(-pixels // per_task)
    with T.parallel(tasks) as task:
        count = per_task if pixels % per_task == 0 else T.min(per_task, pixels - task * per_task)
        with T.serial(count) as p:
            pixel = emit.named(task * per_task + p)
            if full:
                with T.serial(full) as v:
                    point(pixel, v * lanes, lanes)
            for first, width in emit.powers_of_two(tail, lanes):
                point(pixel, full * lanes + first, width)


def _flat(spec: Elementwise) -> bool:
    operands = [spec.first, *spec.chain.operands]
    dense = all(
        o.index == "tensor" and o.pitch == spec.channels and o.offset == 0 and o.table is None for o in operands
    )
    how = spec.chain.store
    return dense and how.pitch == spec.channels and how.offset == 0 and how.zero_points is None
