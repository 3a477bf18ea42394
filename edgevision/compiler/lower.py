"""From an integer graph to calls: each node by its rule, neighbours without a rule together through TVM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgevision.compiler.lowering import (
    attention,
    binary,
    deform,
    dense,
    factorized,
    movement,
    pointwise,
    product,
    rowwise,
    spatial,
    square,
    transposed,
)
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.values import Storage
from edgevision.compiler.simd import Simd
from edgevision.errors import Unsupported
from edgevision.graph.ir import Graph, Node
from edgevision.progress import Progress, silent


def _first_of(*rules: Any) -> Any:
    """The first of several rules that takes the node."""
    return lambda builder, node: any(rule(builder, node) for rule in rules)


RULES: dict[str, Any] = {
    **attention.rules(),
    **dict.fromkeys(("Conv", "IntConv", "ByteWeightConv"), dense.lower_conv),
    **transposed.rules(),
    **dict.fromkeys(("Gemm", "IntGemm", "ByteWeightGemm"), dense.lower_linear),
    "MatMul": _first_of(dense.lower_linear, product.lower_product),
    "IntMatMul": product.lower_product,
    **pointwise.rules(),
    **spatial.rules(),
    **movement.rules(),
    **rowwise.rules(),
    **deform.rules(),
    **square.rules(),
    **factorized.rules(),
    **binary.rules(),
}


def lower(
    graph: Graph, simd: Simd, target: Any, progress: Progress = silent, refused: Mapping[int, str] | None = None
) -> Builder:
    """Lower every node of `graph` (as `graph.integer.integerize` leaves it).

    Args:
        target: TVM's target object, for nodes that go through TVM's own lowering.
        refused: reasons against nodes that are known beforehand, by `id` (`coverage.refusals`).

    Raises:
        Unsupported: operators neither we nor TVM can compile, each with its reason.
    """
    # A quantiser alone, as of a map of dilations, makes no network integer.
    exact = any(node.domain == "edgevision.integer" and not node.op.startswith(("ByteWeight", "Quantize"))
                for node in graph.nodes)  # fmt: skip
    builder = Builder(graph, simd, exact)
    for name in graph.inputs:
        typed = graph.types[name]
        builder.storages.append(Storage(typed.elements, typed.dtype, "input"))
        builder.inputs.append(len(builder.storages) - 1)
        builder.put_as_onnx(name, builder.inputs[-1], typed.dtype)
    waiting: list[Node] = []
    reasons: list[str] = []
    for index, node in enumerate(graph.nodes):
        progress("lower", index, len(graph.nodes))
        if refused and id(node) in refused:
            reasons += [*_flush(builder, waiting, target), refused[id(node)]]
            _stand_in(builder, node.outputs)
            continue
        if id(node) in builder.absorbed:
            continue
        rule = RULES.get(node.op)
        if rule is not None and not _ready(builder, node):
            reasons += _flush(builder, waiting, target)
        if rule is None or not _ready(builder, node) or not rule(builder, node):
            if node.domain == "edgevision.integer":
                reasons.append(f"{node.op} '{node.name}': no integer kernel for these shapes")
                _stand_in(builder, node.outputs)
            else:
                waiting.append(node)
    reasons += _flush(builder, waiting, target)
    if reasons:
        raise Unsupported(
            f"{len(reasons)} operators cannot be compiled",
            fix="rewrite these operators, or leave the part out of the exported graph",
            reasons=reasons,
        )
    _place_outputs(builder)
    progress("lower", len(graph.nodes), len(graph.nodes))
    return builder


def _ready(builder: Builder, node: Node) -> bool:
    return all(not n or builder.exists(n) or n in builder.graph.constants for n in node.inputs)


def _flush(builder: Builder, waiting: list[Node], target: Any) -> list[str]:
    """Lower the waiting nodes through TVM; returns the reasons it cannot, with stand-ins for what they would make."""
    if not waiting:
        return []
    from edgevision.compiler.lowering.fallback import lower_run

    nodes = list(waiting)
    waiting.clear()
    try:
        lower_run(builder, nodes, target)
    except Unsupported as error:
        # One at a time, those at fault tell themselves; where none is, they do not go together.
        found = [reason for node in nodes for reason in _flush(builder, [node], target)] if len(nodes) > 1 else []
        _stand_in(builder, [output for node in nodes for output in node.outputs])
        return found or list(error.reasons)
    return []


def _stand_in(builder: Builder, tensors: Sequence[str]) -> None:
    """Storage for tensors nothing computes, so that the nodes after a refused one can be judged too."""
    for name in tensors:
        if name in builder.graph.types and not builder.exists(name):
            typed = builder.graph.types[name]
            builder.storages.append(Storage(typed.elements, typed.dtype))
            builder.put_as_onnx(name, len(builder.storages) - 1, typed.dtype)


def _place_outputs(builder: Builder) -> None:
    """Give every graph output a storage of its own, in the order ONNX gives its elements."""
    for name in builder.graph.outputs:
        storage = builder.planes(name)
        if builder.storages[storage].place != "arena":
            storage = builder.duplicate(storage, name)
        builder.storages[storage].place = "output"
        builder.outputs.append(storage)
