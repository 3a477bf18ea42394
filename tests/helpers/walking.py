"""Run a program in this process, over an arena full of rubbish, so that a wrong offset or a read too early shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm

from edgevision import compiler
from edgevision import target as targets
from edgevision.compiler import build
from edgevision.machine import resolve

HOST = resolve(targets.load("host"))
RUBBISH = 0xAB
#: Bytes watched behind the end of a buffer; what runs further than a few vectors crashes.
BEHIND = 512


def walk(model: Any, *inputs: np.ndarray, target: Any = HOST) -> list[np.ndarray]:
    """Compile `model` for this machine, or another this one can stand in for, and run it; every output."""
    made: dict[str, Any] = {}
    kept = build.compile_kernels

    def keep(kernels: dict[str, Any], described: Any, **_: Any) -> tuple[bytes, ...]:
        functions = {name: source.function() for name, source in kernels.items()}
        made["module"] = tvm.tirx.build(tvm.IRModule(functions), target=described)
        return ()

    build.compile_kernels = keep
    try:
        program = compiler.compile_graph(model, target)
    finally:
        build.compile_kernels = kept
    places = {
        "arena": rubbish(program.arena_bytes),
        "constant": rubbish(len(program.constants)),
        **{("input", i): rubbish(program.tensors[t].nbytes) for i, t in enumerate(program.inputs)},
        **{("output", i): rubbish(program.tensors[t].nbytes) for i, t in enumerate(program.outputs)},
    }
    places["constant"][: len(program.constants)] = np.frombuffer(program.constants, np.uint8)

    def view(index: int) -> np.ndarray:
        tensor = program.tensors[index]
        outside = tensor.place in ("input", "output")
        place, first = (places[tensor.place, tensor.offset], 0) if outside else (places[tensor.place], tensor.offset)
        return place[first : first + tensor.nbytes].view(tensor.dtype).reshape(tensor.shape)

    for index, array in zip(program.inputs, inputs, strict=True):
        view(index)[...] = array
    tensors = [tvm.runtime.from_dlpack(view(index)) for index in range(len(program.tensors))]
    for step in program.steps:
        made["module"][step.kernel](*[tensors[index] for index in step.tensors])
    sizes = [program.arena_bytes, len(program.constants)]
    sizes += [program.tensors[index].nbytes for index in (*program.inputs, *program.outputs)]
    for (name, place), size in zip(places.items(), sizes, strict=True):
        assert np.all(place[size:] == RUBBISH), f"a kernel wrote behind the end of the {name}"
    return [view(index).copy() for index in program.outputs]


def rubbish(size: int) -> np.ndarray:
    """`size` aligned bytes with no meaning, and some more behind them that nothing may write."""
    raw = np.full(size + 64 + BEHIND, RUBBISH, np.uint8)
    first = -raw.ctypes.data % 64
    return raw[first:]
