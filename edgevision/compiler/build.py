"""From calls to a program: liveness, offsets, constants laid out, kernels compiled ahead of time."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.objects import compile_kernels
from edgevision.compiler.plan import Span, aligned, live_bound, place
from edgevision.compiler.program import PlanStep, Program, Tensor
from edgevision.progress import Progress, silent
from edgevision.target import Target


def program_of(builder: Builder, target: Target, tvm_target: Any, progress: Progress = silent) -> Program:
    """Plan the memory of a lowered graph and compile its kernels."""
    calls = [*builder.prepared, *builder.calls]
    used = sorted({s for call in calls for s in call.storages})
    spans = _spans(builder, used)
    arena = [s for s in used if builder.storages[s].place == "arena"]
    offsets, arena_bytes = place([spans[s] for s in arena])
    where = dict(zip(arena, offsets, strict=True))
    constants, constant_offsets = _lay_out(builder, used)
    where.update(constant_offsets)
    graph = builder.graph
    for side in (builder.inputs, builder.outputs):
        where.update((storage, index) for index, storage in enumerate(side))
    tensors = _Tensors(builder, where)
    steps = tuple(
        PlanStep(
            call.kernel,
            tuple(tensors.index(s, shape) for s, shape in zip(call.storages, call.shapes, strict=True)),
            call.label,
            call.family,
            call.macs,
            call.integer,
            builder.kernels[call.kernel].operations,
        )
        for call in calls
    )
    input_indices = tuple(tensors.index(s, graph.shape(n)) for s, n in zip(builder.inputs, graph.inputs, strict=True))
    output_indices = tuple(
        tensors.index(s, graph.shape(n)) for s, n in zip(builder.outputs, graph.outputs, strict=True)
    )
    return Program(
        target=target,
        objects=compile_kernels(builder.kernels, tvm_target, layers=_layers(builder), progress=progress),
        tensors=tuple(tensors.found),
        steps=steps,
        arena_bytes=arena_bytes,
        live_bytes=live_bound([spans[s] for s in arena]),
        constants=constants,
        inputs=input_indices,
        outputs=output_indices,
        prepared=len(builder.prepared),
    )


def _layers(builder: Builder) -> dict[str, list[str]]:
    layers: dict[str, list[str]] = {}
    for call in [*builder.prepared, *builder.calls]:
        layers.setdefault(call.kernel, []).append(call.label)
    return layers


def _spans(builder: Builder, used: list[int]) -> dict[int, Span]:
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for step, call in enumerate([*builder.prepared, *builder.calls]):
        for storage in call.storages:
            first.setdefault(storage, step)
            last[storage] = step
    # Made once, and read by every run: alive from the first step to the end.
    for call in builder.prepared:
        first[call.storages[-1]], last[call.storages[-1]] = 0, len(builder.prepared) + len(builder.calls) - 1
    return {s: Span(builder.storages[s].nbytes, first[s], last[s]) for s in used}


def _lay_out(builder: Builder, used: list[int]) -> tuple[bytes, dict[int, int]]:
    pieces: list[bytes] = []
    offsets: dict[int, int] = {}
    total = 0
    for storage in used:
        array = builder.storages[storage].array
        if array is None:
            continue
        raw = np.ascontiguousarray(array).tobytes()
        offsets[storage] = total
        pieces.append(raw + bytes(aligned(len(raw)) - len(raw)))
        total += aligned(len(raw))
    return b"".join(pieces), offsets


class _Tensors:
    """Plan tensors, one per storage and shape it is passed under."""

    def __init__(self, builder: Builder, where: dict[int, int]) -> None:
        self._builder, self._where = builder, where
        self._known: dict[tuple[int, tuple[int, ...]], int] = {}
        self.found: list[Tensor] = []

    def index(self, storage: int, shape: tuple[int, ...] | None) -> int:
        made = self._builder.storages[storage]
        shape = (made.elements,) if shape is None else shape
        key = (storage, shape)
        if key not in self._known:
            self._known[key] = len(self.found)
            self.found.append(Tensor(made.place, self._where[storage], shape, made.dtype))
        return self._known[key]
