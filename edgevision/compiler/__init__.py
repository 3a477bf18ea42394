"""The compiler: an ONNX graph becomes kernels, a plan and constants for one target.

program = compile_graph(onnx.load("model.onnx"), edgevision.target.load("rpi4"))
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import onnx

from edgevision.compiler.coverage import Coverage, coverage, refusals
from edgevision.compiler.program import PlanStep, Program, Tensor
from edgevision.compress.factorized_cost import for_floats
from edgevision.compress.factorized_graph import as_convolutions
from edgevision.errors import Unsupported
from edgevision.graph import ir
from edgevision.graph.attention import fuse_attention
from edgevision.graph.deformable import sample_deformable
from edgevision.graph.integer import integerize
from edgevision.graph.tokens import as_tokens
from edgevision.progress import Progress, silent
from edgevision.target import Target

if TYPE_CHECKING:
    from edgevision.compiler.lowering.builder import Builder
    from edgevision.compiler.tuning import Tuner
    from edgevision.graph.ir import Graph

__all__ = ["Coverage", "Program", "check", "compile_graph", "outline"]


def check(model: onnx.ModelProto, target: Target) -> Coverage:
    """Say what compiling `model` for `target` would do; builds nothing. Call `.require(target)` to make it binding.

    Raises:
        Unsupported: shapes are not static, or a quantiser cannot be expressed in integers.
    """
    graph = _prepared(model)
    found = _coverage(graph)
    try:
        # The lowering a build starts with, so that both give the same answer; no kernel is compiled.
        _lowered(graph, target, silent)
    except Unsupported as error:
        return replace(found, unsupported=error.reasons)
    return found


def outline(model: onnx.ModelProto, target: Target) -> tuple[tuple[PlanStep, tuple[Tensor, ...]], ...]:
    """The steps a build would have, each with its tensors, whose offsets are only names; no kernel is compiled.

    Raises:
        Unsupported: operators that cannot be compiled, each with its reason.
    """
    builder = _lowered(_prepared(model), target, silent)
    steps = []
    for call in builder.calls:
        touched = [(storage, builder.storages[storage]) for storage in call.storages]
        tensors = tuple(Tensor(made.place, index, (made.elements,), made.dtype) for index, made in touched)
        fused = builder.kernels[call.kernel].operations
        step = PlanStep(call.kernel, call.storages, call.label, call.family, call.macs, call.integer, fused)
        steps.append((step, tensors))
    return tuple(steps)


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
    from edgevision.compiler.simd import tvm_target

    graph = _prepared(model)
    found = _coverage(graph)
    try:
        builder = _lowered(graph, target, progress)
    except Unsupported as error:
        raise replace(found, unsupported=error.reasons).refusal(target) from error
    found.require(target)
    made = tvm_target(target)
    if tuner is not None:
        from edgevision.compiler.tuning import replace_kernels

        replace_kernels(builder, tuner.tune(builder.kernels, made, progress))
    return program_of(builder, target, made, progress)


def _prepared(model: onnx.ModelProto) -> Graph:
    """The graph the rules see: integers explicit, attention as one node, tokens as rows, deformable layers in two."""
    plain, _ = as_convolutions(model, for_floats, fused=True)
    graph = integerize(ir.read(plain))
    sample_deformable(graph)
    fuse_attention(graph)
    as_tokens(graph)
    return graph


def _coverage(graph: Graph) -> Coverage:
    from edgevision.compiler.lower import RULES

    return coverage(graph, RULES)


def _lowered(graph: Graph, target: Target, progress: Progress) -> Builder:
    """The calls of a graph; every operator that stands in the way is named."""
    from tvm.relax.frontend.onnx import onnx_frontend

    from edgevision.compiler.lower import RULES, lower
    from edgevision.compiler.simd import simd_of, tvm_target

    refused = refusals(graph, RULES, set(onnx_frontend._get_convert_map()))
    return lower(graph, simd_of(target), tvm_target(target), progress, refused)
