"""The compiler: an ONNX graph becomes kernels, a plan and constants for one target.

program = compile_graph(onnx.load("model.onnx"), edgevision.target.load("rpi4"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from edgevision.compiler.coverage import Coverage, coverage
from edgevision.compiler.program import Program
from edgevision.graph import ir
from edgevision.graph.integer import integerize
from edgevision.progress import Progress, silent
from edgevision.target import Target

if TYPE_CHECKING:
    from edgevision.graph.ir import Graph

__all__ = ["Coverage", "Program", "check", "compile_graph"]


def check(model: onnx.ModelProto, target: Target) -> Coverage:
    """Say what compiling `model` for `target` would do; builds nothing. Call `.require(target)` to make it binding.

    Raises:
        Unsupported: shapes are not static, or a quantiser cannot be expressed in integers.
    """
    return _coverage(integerize(ir.read(model)))


def compile_graph(model: onnx.ModelProto, target: Target, *, progress: Progress = silent) -> Program:
    """Compile `model` for `target`.

    Every check runs before any kernel is generated.

    Raises:
        Unsupported: operators or quantisers that cannot be compiled, all of them named.
        DoesNotFit: the target has too little memory.
    """
    from edgevision.compiler.build import program_of
    from edgevision.compiler.lower import lower
    from edgevision.compiler.simd import simd_of, tvm_target

    graph = integerize(ir.read(model))
    _coverage(graph).require(target)
    made = tvm_target(target)
    builder = lower(graph, simd_of(target), made, progress)
    progress("compile kernels", 0, 1)
    program = program_of(builder, target, made)
    progress("compile kernels", 1, 1)
    return program


def _coverage(graph: Graph) -> Coverage:
    from tvm.relax.frontend.onnx import onnx_frontend

    from edgevision.compiler.lower import RULES

    return coverage(graph, RULES, set(onnx_frontend._get_convert_map()))
