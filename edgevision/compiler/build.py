"""From calls to a program: liveness, offsets, constants laid out, kernels compiled ahead of time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.plan import Span, aligned, live_bound, place
from edgevision.compiler.program import PlanStep, Program, Tensor
from edgevision.compiler.source import KernelSource
from edgevision.target import Target


def program_of(builder: Builder, target: Target, tvm_target: Any) -> Program:
    """Plan the memory of a lowered graph and compile its kernels."""
    used = sorted({s for call in builder.calls for s in call.storages})
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
        )
        for call in builder.calls
    )
    input_indices = tuple(tensors.index(s, graph.shape(n)) for s, n in zip(builder.inputs, graph.inputs, strict=True))
    output_indices = tuple(
        tensors.index(s, graph.shape(n)) for s, n in zip(builder.outputs, graph.outputs, strict=True)
    )
    return Program(
        target=target,
        objects=compile_kernels(builder.kernels, tvm_target),
        tensors=tuple(tensors.found),
        steps=steps,
        arena_bytes=arena_bytes,
        live_bytes=live_bound([spans[s] for s in arena]),
        constants=constants,
        inputs=input_indices,
        outputs=output_indices,
    )


def compile_kernels(kernels: dict[str, KernelSource], tvm_target: Any) -> bytes:
    """Generate kernels and compile them to one relocatable object file."""
    import tvm

    module = tvm.IRModule({name: kernels[name].function() for name in sorted(kernels)})
    built = tvm.tirx.build(module, target=tvm_target)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.o"
        built.write_to_file(str(path), "o")
        return path.read_bytes()


def _spans(builder: Builder, used: list[int]) -> dict[int, Span]:
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for step, call in enumerate(builder.calls):
        for storage in call.storages:
            first.setdefault(storage, step)
            last[storage] = step
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
