"""The compiler: an ONNX graph becomes kernels, a plan and constants for one target.

program = compile_graph(onnx.load("model.onnx"), edgevision.target.load("rpi4"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from edgevision.compiler.coverage import Coverage, coverage
from edgevision.compiler.program import Program
from edgevision.graph import ir
from edgevision.graph.attention import fuse_attention
from edgevision.graph.deformable import sample_deformable
from edgevision.graph.integer import integerize
from edgevision.graph.tokens import as_tokens
from edgevision.progress import Progress, silent
from edgevision.target import Target

if TYPE_CHECKING:
    from edgevision.compiler.tuning import Tuner
    from edgevision.graph.ir import Graph

__all__ = ["Coverage", "Program", "check", "compile_graph"]


def check(model: onnx.ModelProto, target: Target) -> Coverage:
    """Say what compiling `model` for `target` would do; builds nothing. Call `.require(target)` to make it binding.

    Raises:
        Unsupported: shapes are not static, or a quantiser cannot be expressed in integers.
    """
    return _coverage(_prepared(model))


def compile_graph(
    model: onnx.ModelProto, target: Target, *, tuner: Tuner | None = None, progress: Progress = silent
) -> Program:
    """Compile `model` for `target`.

    Every check runs before any kernel is generated.

    Args:
        tuner: searches faster loops for the kernels that come from TVM's own lowering.

    Raises:
        Unsupported: operators, quantisers or kernels that cannot be compiled, all of them named.
        DoesNotFit: the target has too little memory.
        ToolMissing: the tuner lacks a package.
    """
    from edgevision.compiler.build import program_of
    from edgevision.compiler.lower import lower
    from edgevision.compiler.simd import simd_of, tvm_target

    graph = _prepared(model)
    _coverage(graph).require(target)
    made = tvm_target(target)
    builder = lower(graph, simd_of(target), made, progress)
    if tuner is not None:
        from edgevision.compiler.tuning import replace_kernels

        replace_kernels(builder, tuner.tune(builder.kernels, made, progress))
    return program_of(builder, target, made, progress)


def _prepared(model: onnx.ModelProto) -> Graph:
    """The graph the rules see: integers explicit, attention as one node, tokens as rows, deformable layers in two."""
    graph = integerize(ir.read(model))
    sample_deformable(graph)
    fuse_attention(graph)
    as_tokens(graph)
    return graph


def _coverage(graph: Graph) -> Coverage:
    from tvm.relax.frontend.onnx import onnx_frontend

    from edgevision.compiler.lower import RULES

    return coverage(graph, RULES, set(onnx_frontend._get_convert_map()))
