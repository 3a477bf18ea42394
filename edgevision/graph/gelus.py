"""GELUs that exporters spelled out with Erf, put back into one Gelu each: x/2 (1 + erf(x / sqrt 2)) in any order."""

from __future__ import annotations

import onnx
from onnx import helper

from edgevision.compress.onnxgraph import Index, prune

_TOLERANCE = 1e-4


def fuse_gelus(graph: onnx.GraphProto) -> int:
    """Replace every erf GELU written in single operators; in place. Returns how many there were."""
    fused = 0
    for erf in [node for node in graph.node if node.op_type == "Erf"]:
        index = Index.of(graph)
        found = _matched(erf, index, {value.name for value in graph.output})
        if found is None:
            continue
        x, last = found
        made = helper.make_node("Gelu", [x], [last.output[0]], name=last.name)
        position = next(i for i, node in enumerate(graph.node) if node == last)
        graph.node.insert(position, made)
        del graph.node[position + 1]
        fused += 1
    prune(graph)
    return fused


def _matched(erf: onnx.NodeProto, index: Index, outputs: set[str]) -> tuple[str, onnx.NodeProto] | None:
    """The tensor x and the node that makes gelu(x)."""
    inner = index.producer.get(erf.input[0])
    if inner is None or inner.op_type not in ("Div", "Mul"):
        return None
    x, factor = _beside_constant(inner, index)
    if x is None or factor is None or (inner.op_type == "Div" and inner.input[0] != x):
        return None
    if abs((1 / factor if inner.op_type == "Div" else factor) - 0.5**0.5) > _TOLERANCE:
        return None
    node = _only_reader(erf, index, outputs)
    if node is None or node.op_type != "Add" or _beside_constant(node, index)[1] != 1.0:
        return None
    # What remains is a product of x and one half, in any order, perhaps multiplied with each other first.
    with_x = with_half = False
    while not (with_x and with_half):
        before, node = node, _only_reader(node, index, outputs)
        if node is None or node.op_type not in ("Mul", "Div"):
            return None
        other = node.input[1] if node.input[0] == before.output[0] else node.input[0]
        if node.op_type == "Div" and (node.input[0] != before.output[0] or _scalar(other, index) != 2.0):
            return None
        if not with_half and _scalar(other, index) == (2.0 if node.op_type == "Div" else 0.5):
            with_half = True
        elif not with_x and other == x:
            with_x = True
        elif not with_x and not with_half and _is_half(other, x, index):
            with_x = with_half = True
        else:
            return None
    return x, node


def _only_reader(node: onnx.NodeProto, index: Index, outputs: set[str]) -> onnx.NodeProto | None:
    readers = index.readers[node.output[0]]
    return readers[0] if len(readers) == 1 and node.output[0] not in outputs else None


def _is_half(tensor: str, x: str, index: Index) -> bool:
    node = index.producer.get(tensor)
    if node is None or node.op_type not in ("Mul", "Div"):
        return False
    source, factor = _beside_constant(node, index)
    return source == x and factor == (0.5 if node.op_type == "Mul" else 2.0) and (
        node.op_type == "Mul" or node.input[0] == x
    )  # fmt: skip


def _beside_constant(node: onnx.NodeProto, index: Index) -> tuple[str | None, float | None]:
    """The input that is no constant, and the value of the one that is."""
    values = [_scalar(name, index) for name in node.input]
    if len(values) != 2 or (values[0] is None) == (values[1] is None):
        return None, None
    position = 0 if values[0] is None else 1
    return node.input[position], values[1 - position]


def _scalar(name: str, index: Index) -> float | None:
    if name not in index.constants:
        return None
    array = index.array(name)
    return float(array.reshape(())) if array.size == 1 else None
