"""Attention found in a graph: softmax(scale * Q K^T + added) V as one node.

    MatMul(Q, K^T) -> [Mul, Div by constants] -> [Add]* -> Softmax -> [Quantize] -> MatMul(., V)

In float and in integers (IntMatMul, Quantize) alike; the node does exactly what those it replaces do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgevision.graph.ir import Graph, Node

DOMAIN = "edgevision.fused"


@dataclass
class _Match:
    """What one pattern is made of, filled from the softmax outwards."""

    q: str
    k: str
    v: str
    scale: float
    scores: Node
    product: Node
    adds: list[str] = field(default_factory=list)
    share: Node | None = None
    replaced: list[Node] = field(default_factory=list)


def fuse_attention(graph: Graph) -> int:
    """Replace every attention of `graph`, in place; returns how many there were.

    The node `Attention` has inputs Q, K^T, V and what is added to the scores, and attributes `scale` (float32)
    and for bytes `zeros` (of Q, K, V), `share` (Quant of the softmax), `product_scale`, `out`, `low`, `high`.
    """
    producers, readers = graph.producers(), graph.readers()
    found: dict[int, _Match] = {}
    for node in graph.nodes:
        if node.op == "Softmax":
            match = _match(graph, node, producers, readers)
            if match is not None:
                found[id(match.product)] = match
    replaced = {id(node) for match in found.values() for node in match.replaced}
    nodes: list[Node] = []
    for node in graph.nodes:
        if id(node) in found:
            nodes.append(_node(found[id(node)]))
        elif id(node) not in replaced:
            nodes.append(node)
    graph.nodes = nodes
    return len(found)


def _match(graph: Graph, softmax: Node, producers: dict[str, Node], readers: dict[str, list[Node]]) -> _Match | None:
    def sole(tensor: str) -> Node | None:
        found = readers.get(tensor, [])
        return found[0] if len(found) == 1 and tensor not in graph.outputs else None

    rank = len(graph.shape(softmax.inputs[0]))
    if int(softmax.get("axis", -1)) % rank != rank - 1 or rank not in (3, 4):
        return None
    replaced, share = [softmax], None
    after = sole(softmax.outputs[0])
    if after is not None and after.op == "Quantize" and after.attributes["quant"].per_tensor:
        share = after
        replaced.append(after)
        after = sole(after.outputs[0])
    op = "MatMul" if share is None else "IntMatMul"
    if after is None or after.op != op or after.inputs[0] != replaced[-1].outputs[0]:
        return None
    adds: list[str] = []
    tensor, scale = softmax.inputs[0], 1.0
    while True:
        before = producers.get(tensor)
        if before is None or sole(tensor) is None or before.outputs[0] in graph.outputs:
            return None
        replaced.append(before)
        if before.op == op:
            break
        if before.op == "Add" and scale == 1.0:
            inner = next((n for n in before.inputs if _leads_to_product(n, producers, op)), None)
            if inner is None:
                return None
            adds.insert(0, before.inputs[1] if before.inputs[0] == inner else before.inputs[0])
            tensor = inner
        elif before.op in ("Mul", "Div") and op == "MatMul":
            factor, inner = _factor(graph, before)
            if factor is None:
                return None
            scale, tensor = scale * factor, inner
        else:
            return None
    q, k = before.inputs
    if op == "MatMul":
        (q, by_q), (k, by_k) = _unscaled(graph, q, producers), _unscaled(graph, k, producers)
        scale = scale * by_q * by_k
    match = _Match(q, k, after.inputs[1], scale, before, after, adds, share, replaced)
    return match if _fits(graph, match) else None


def _leads_to_product(tensor: str, producers: dict[str, Node], op: str) -> bool:
    node = producers.get(tensor)
    if node is None or node.op not in ("Add", "Mul", "Div"):
        return node is not None and node.op == op
    return any(_leads_to_product(name, producers, op) for name in node.inputs)


def _factor(graph: Graph, node: Node) -> tuple[float | None, str]:
    """The constant factor of a Mul or Div, and what it is applied to."""
    for index, name in enumerate(node.inputs):
        array = graph.constants.get(name)
        if array is not None and array.size == 1 and (node.op == "Mul" or index == 1):
            value = float(array.reshape(()))
            return (value if node.op == "Mul" else 1 / value), node.inputs[1 - index]
    return None, ""


def _unscaled(graph: Graph, tensor: str, producers: dict[str, Node]) -> tuple[str, float]:
    """An operand before its constant factor; a factor that others read too is left where it is, and read past."""
    node, scale = producers.get(tensor), 1.0
    while node is not None and node.op in ("Mul", "Div"):
        factor, inner = _factor(graph, node)
        if factor is None or graph.shape(inner) != graph.shape(node.outputs[0]):
            break
        scale, tensor, node = scale * factor, inner, producers.get(inner)
    return tensor, scale


def _fits(graph: Graph, match: _Match) -> bool:
    q, k, v = (graph.shape(name) for name in (match.q, match.k, match.v))
    if not len(q) == len(k) == len(v) or not q[:-2] == k[:-2] == v[:-2] or k[-1] != v[-2]:
        return False
    scores = graph.shape(match.scores.outputs[0])
    for name in match.adds:
        shape = graph.shape(name)
        if graph.types[name].dtype != "float32" or not shape or shape[-1] != scores[-1]:
            return False
        if np.broadcast_shapes(shape, scores) != scores:
            return False
    return True


def _node(match: _Match) -> Node:
    attributes: dict[str, object] = {"scale": np.float32(match.scale)}
    if match.share is not None:
        inner, outer = match.scores.attributes, match.product.attributes
        attributes = {
            "scale": np.float32(inner["scale"]),
            "zeros": (*inner["zeros"], outer["zeros"][1]),
            "share": match.share.attributes["quant"],
            "product_scale": np.float32(outer["scale"]),
            **{name: outer[name] for name in ("out", "low", "high")},
        }
    name = match.product.name
    return Node("Attention", name, [match.q, match.k, match.v, *match.adds], match.product.outputs, attributes, DOMAIN)
