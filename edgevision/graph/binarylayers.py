"""Calls of the binary functions as the compiler takes them: checked, and layers of one-bit weights alone as standard
operators of byte weights, which are integer where their activations are quantised.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgevision.errors import Unsupported
from edgevision.graph import binary
from edgevision.graph.dilations import DOMAIN as FUSED
from edgevision.graph.ir import Graph, Node, TensorType


def binary_layers(graph: Graph) -> Graph:
    """Return `graph` with every binary layer either in the domain of fused operators or made of standard ones.

    Raises:
        Unsupported: layers whose constants do not fit their shapes, or hold what is not finite; all are named.
    """
    if all(node.domain != binary.DOMAIN or node.op not in binary.OPERATORS for node in graph.nodes):
        return graph
    graph = _with_whole_biases(graph)
    reasons = [reason for node in graph.nodes for reason in _reasons(graph, node)]
    if reasons:
        raise Unsupported(
            f"{len(reasons)} binary layers do not fit the functions of edgevision",
            fix="export the network again, with weights and scales as constants of the graph",
            reasons=reasons,
        )
    made = replace(graph, nodes=[], constants=dict(graph.constants), types=dict(graph.types))
    for node in graph.nodes:
        if node.domain != binary.DOMAIN or node.op not in binary.OPERATORS:
            made.nodes.append(node)
        elif node.op in binary.WEIGHT_LAYERS:
            _expand(made, node)
        else:
            made.nodes.append(replace(node, domain=FUSED))
    return made


def _with_whole_biases(graph: Graph) -> Graph:
    """Biases that are kept in parts as the constants they stand for.

    Raises:
        Unsupported: parts that are no constants, or do not belong together.
    """
    made = replace(graph, nodes=[], constants=dict(graph.constants), types=dict(graph.types))
    reasons = []
    for node in graph.nodes:
        if (node.domain, node.op) != (binary.DOMAIN, binary.BIAS):
            made.nodes.append(node)
        elif any(name not in graph.constants for name in node.inputs):
            reasons.append(f"{node.op} '{node.name}': expected its parts to be constants")
        else:
            parts = [graph.constants[name] for name in node.inputs]
            found = _part_reasons(parts, int(node.get("keys", 0)))
            reasons += [f"{node.op} '{node.name}': {reason}" for reason in found]
            if not found:
                _constant(made, node.outputs[0], binary.attention_bias(*parts))
    if reasons:
        raise Unsupported(
            f"{len(reasons)} biases of binary attention do not fit the function of edgevision",
            fix="export the network again",
            reasons=reasons,
        )
    return made


def _part_reasons(parts: list[np.ndarray], keys: int) -> list[str]:
    table, index, masks, kind = parts
    shapes = f"{table.shape}, {index.shape}, {masks.shape}, {kind.shape}"
    ranks = (table.ndim, index.ndim, masks.ndim, kind.ndim)
    if ranks != (2, 2, 3, 1) or index.shape[1] != keys or masks.shape[1:] != (len(index), -(-keys // 8)):
        return [f"expected (entries, heads), (queries, {keys}), (kinds, queries, bytes) and (windows), got {shapes}"]
    found = []
    if masks.dtype != np.uint8 or table.dtype != np.float32:
        found.append(f"expected a float32 table and uint8 masks, got {table.dtype} and {masks.dtype}")
    for name, array, count in (("index", index, len(table)), ("kind", kind, len(masks))):
        if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() >= count:
            found.append(f"expected whole numbers below {count} in its {name}")
    return found


def _reasons(graph: Graph, node: Node) -> list[str]:
    if node.domain != binary.DOMAIN or node.op not in binary.OPERATORS:
        return []
    found = _attention_reasons(graph, node) if node.op == binary.ATTENTION else _layer_reasons(graph, node)
    return [f"{node.op} '{node.name}': {reason}" for reason in found]


def _layer_reasons(graph: Graph, node: Node) -> list[str]:
    packed, scale, bias = (graph.constants.get(name) for name in node.inputs[1:4])
    depth, shape = int(node.get("K", 0)), graph.shape(node.inputs[0])
    if packed is None or scale is None or bias is None:
        return ["expected packed weights, scale and bias to be constants"]
    image = node.op.endswith("Conv")
    found = []
    if image and len(shape) != 4:
        found.append(f"expected an input of rank 4, got {shape}")
    elif shape[1 if image else -1] != depth or depth < 1:
        found.append(f"expected an input of K = {depth} channels, got {shape}")
    channels = graph.shape(node.outputs[0])[1 if image else -1]
    if packed.dtype != np.uint8 or packed.shape != (channels, -(-depth // 8)):
        found.append(f"expected packed weights uint8 {(channels, -(-depth // 8))}, got {packed.dtype} {packed.shape}")
    for name, array in (("scale", scale), ("bias", bias)):
        if array.dtype != np.float32 or array.shape != (channels,):
            found.append(f"expected a {name} of float32 {(channels,)}, got {array.dtype} {array.shape}")
        elif not np.all(np.isfinite(array)):
            found.append(f"its {name} is not finite")
    return found


def _attention_reasons(graph: Graph, node: Node) -> list[str]:
    q, k, v = (graph.shape(name) for name in node.inputs[:3])
    found = []
    if len(q) != 4 or len(k) != 4 or k[:2] != q[:2] or k[3] != q[3] or v[:3] != k[:3]:
        found.append(f"expected q, k, v of (batch, heads, tokens, width), got {q}, {k}, {v}")
    scale, beta = float(node.get("scale", 0)), float(node.get("beta", 0.25))
    if not (np.isfinite(scale) and scale > 0 and 0 < beta <= 1):
        found.append(f"expected a scale above 0 and beta in 0 to 1, got {scale:g} and {beta:g}")
    if len(node.inputs) > 3 and node.inputs[3]:
        bias = graph.constants.get(node.inputs[3])
        if bias is None:
            found.append("expected the bias to be a constant")
        elif np.any(np.isnan(bias)) or np.any(np.isposinf(bias)):
            found.append("its bias holds NaN or +inf")
    return found


def _expand(graph: Graph, node: Node) -> None:
    """A layer of one-bit weights as a product with a dequantised int8 weight, and a sum."""
    x, packed, scale, bias = node.inputs
    image = node.op == "BinaryWeightConv"
    factor = graph.constants[scale]
    weight = binary.unpack_bits(graph.constants[packed], int(node.get("K"))) * np.sign(factor)[:, None]
    # A scale of nothing is kept as weights of nothing, which any quantiser can hold.
    size = np.where(factor == 0, np.float32(1), np.abs(factor)).astype(np.float32)
    weight = weight.astype(np.int8)[:, :, None, None] if image else weight.astype(np.int8).T
    names = {key: f"{node.name}.{key}" for key in ("weight", "size", "zero", "values", "bias", "sums")}
    _constant(graph, names["weight"], weight)
    _constant(graph, names["size"], size)
    _constant(graph, names["zero"], np.zeros(len(size), np.int8))
    axis = 0 if image else 1
    quantised = [names["weight"], names["size"], names["zero"]]
    graph.nodes.append(Node("DequantizeLinear", names["values"], quantised, [names["values"]], {"axis": axis}))
    graph.types[names["values"]] = TensorType(weight.shape, "float32")
    if image:
        attributes = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
        graph.nodes.append(Node("Conv", node.name, [x, names["values"], bias], node.outputs, attributes))
        return
    graph.types[names["sums"]] = graph.types[node.outputs[0]]
    graph.nodes.append(Node("MatMul", node.name, [x, names["values"]], [names["sums"]]))
    graph.nodes.append(Node("Add", names["bias"], [names["sums"], bias], node.outputs))


def _constant(graph: Graph, name: str, array: np.ndarray) -> None:
    graph.constants[name] = array
    graph.types[name] = TensorType(tuple(array.shape), str(array.dtype))
