"""Run many generated kernels for another architecture in one start of its emulator."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from helpers.execution import run_on
from tvm.script.ir_builder import tirx as T

from edgevision import compiler
from edgevision.compiler.kernels import emit
from edgevision.compiler.plan import aligned
from edgevision.compiler.program import PlanStep, Program, Tensor
from edgevision.compiler.simd import tvm_target
from edgevision.target import Target


@dataclass(frozen=True)
class Call:
    """One kernel: its TIR function, its inputs and its output's shape and dtype."""

    function: Any
    inputs: Sequence[np.ndarray]
    elements: int
    dtype: str


def outputs_of(calls: Sequence[Call], target: Target) -> list[np.ndarray]:
    """Run the kernels on the default device of `target`; their outputs, bytes as float32 too.

    Every kernel writes into the arena, and one more copies each result into the only output a program has.
    """
    kernels, steps, tensors = {}, [], [Tensor("input", 0, (1,), "float32")]
    constants, arena = b"", 0
    starts = np.cumsum([0, *(call.elements for call in calls)])
    output = len(tensors)
    tensors.append(Tensor("output", 0, (int(starts[-1]),), "float32"))
    for index, call in enumerate(calls):
        name = f"k{index}"
        kernels[name] = call.function.with_attr("global_symbol", name)
        used = []
        for array in call.inputs:
            flat = np.ascontiguousarray(array).reshape(-1)
            tensors.append(Tensor("constant", len(constants), flat.shape, flat.dtype.name))
            # What lies behind a tensor is not zero: a kernel that used it would be found.
            raw = flat.tobytes()
            constants += raw + b"\xab" * (aligned(len(raw)) - len(raw))
            used.append(len(tensors) - 1)
        made = Tensor("arena", arena, (call.elements,), call.dtype)
        arena += aligned(made.nbytes)
        tensors.append(made)
        used.append(len(tensors) - 1)
        kernels[f"c{index}"] = _copy(f"c{index}", call.elements, call.dtype, int(starts[index]), int(starts[-1]))
        steps.append(PlanStep(name, tuple(used), name, "gemm"))
        steps.append(PlanStep(f"c{index}", (used[-1], output), f"copy {name}", "move"))
    program = Program(
        target, (_object(kernels, target),), tuple(tensors), tuple(steps), arena, arena, constants, (0,), (output,)
    )
    got = run_on(program, np.zeros(1, np.float32)).reshape(-1)
    return [got[a:b] for a, b in itertools.pairwise(starts)]


def emulated(model: Any, *inputs: np.ndarray, target: Target) -> list[np.ndarray]:
    """Compile a float-to-float network of any number of inputs and outputs and run it once; every output, flat.

    A bundle has one input and one output: the images become constants, and the results are copied into one.
    """
    program = compiler.compile_graph(model, target)
    constants, arena = program.constants, program.arena_bytes
    starts = {"input": [], "output": []}
    for array in inputs:
        starts["input"].append(len(constants))
        constants += array.tobytes() + b"\xab" * (aligned(array.nbytes) - array.nbytes)
    sizes = [math.prod(program.tensors[index].shape) for index in program.outputs]
    for size in sizes:
        starts["output"].append(arena)
        arena += aligned(4 * size)
    places = {"input": "constant", "output": "arena"}
    tensors = [
        replace(t, place=places[t.place], offset=starts[t.place][t.offset]) if t.place in places else t
        for t in program.tensors
    ]
    ends = np.cumsum([0, *sizes])
    one, all_of_them = len(tensors), len(tensors) + 1
    tensors += [Tensor("input", 0, (1,), "float32"), Tensor("output", 0, (int(ends[-1]),), "float32")]
    kernels, steps = {}, list(program.steps)
    for index, (output, size) in enumerate(zip(program.outputs, sizes, strict=True)):
        name = f"joined{index}"
        kernels[name] = _copy(name, size, "float32", int(ends[index]), int(ends[-1]))
        # A kernel takes its tensors flat; the network's own views of an output may have other shapes.
        tensors.append(replace(tensors[output], shape=(size,)))
        steps.append(PlanStep(name, (len(tensors) - 1, all_of_them), name, "move"))
    joined = replace(
        program, objects=(*program.objects, _object(kernels, target)), tensors=tuple(tensors), steps=tuple(steps),
        arena_bytes=arena, live_bytes=arena, constants=constants, inputs=(one,), outputs=(all_of_them,),
    )  # fmt: skip
    got = run_on(joined, np.zeros(1, np.float32)).reshape(-1)
    return [got[a:b] for a, b in itertools.pairwise(ends)]


def _object(kernels: dict[str, Any], target: Target) -> bytes:
    built = tvm.tirx.build(tvm.IRModule(kernels), target=tvm_target(target))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernels.o")
        built.write_to_file(str(path), "o")
        return path.read_bytes()


def _copied(buffers: list[Any], elements: int, start: int) -> None:
    with T.serial(elements) as i:
        T.buffer_store(buffers[1], emit.cast(buffers[0][i], "float32", 1), [start + i])


def _copy(name: str, elements: int, dtype: str, start: int, total: int) -> Any:
    with emit.kernel(name, [("source", elements, dtype), ("output", total, "float32")]) as (buffers, made):
        _copied(buffers, elements, start)
    return made[0]
