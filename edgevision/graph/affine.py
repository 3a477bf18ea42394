"""Batch norms that no convolution could take in: a product and a sum per channel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgevision.graph.ir import Graph, Node, TensorType
from edgevision.graph.qdq import QdqReader


def as_product_and_sum(graph: Graph) -> Graph:
    """Return `graph` with every BatchNormalization of constants written as Mul and Add.

    y = x a + b with a = gamma / sqrt(var + eps) and b = beta - mean a, both computed in binary64 and rounded once.
    """
    constants, types = dict(graph.constants), dict(graph.types)
    known = {**constants, **_dequantised(graph)}
    nodes: list[Node] = []
    for node in graph.nodes:
        plain = node.op == "BatchNormalization" and node.domain in ("", "ai.onnx") and not node.get("training_mode")
        if not plain or any(name not in known for name in node.inputs[1:5]):
            nodes.append(node)
            continue
        gamma, beta, mean, var = (known[name].astype(np.float64) for name in node.inputs[1:5])
        factor = gamma / np.sqrt(var + float(node.get("epsilon", 1e-5)))
        shape = types[node.inputs[0]].shape
        names = [f"{node.outputs[0]}.factor", f"{node.outputs[0]}.term"]
        for name, value in zip(names, (factor, beta - mean * factor), strict=True):
            constants[name] = value.astype(np.float32).reshape([1, -1] + [1] * (len(shape) - 2))
            types[name] = TensorType(constants[name].shape, "float32")
        product = f"{node.outputs[0]}.product"
        types[product] = TensorType(shape, "float32")
        nodes.append(Node("Mul", f"{node.name}.factor", [node.inputs[0], names[0]], [product]))
        nodes.append(Node("Add", node.name, [product, names[1]], [node.outputs[0]]))
    return replace(graph, nodes=nodes, constants=constants, types=types)


def _dequantised(graph: Graph) -> dict[str, np.ndarray]:
    """Values of the constants that stand behind a DequantizeLinear, as onnxruntime's quantiser leaves parameters."""
    reader = QdqReader(graph)
    behind = [n for n in graph.nodes if n.op == "DequantizeLinear" and n.inputs[0] in graph.constants]
    return {node.outputs[0]: reader.expanded(node) for node in behind if reader.expandable(node)}
