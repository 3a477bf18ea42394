"""The layers a person can name: nodes of the graph, those with weights above all."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from edgevision.compress.onnxgraph import WEIGHT_SLOTS, Index
from edgevision.config import nearest
from edgevision.errors import UsageError

_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")

#: Operators that move values without computing, and so can run on integers as they are.
MOVES = ("Split", "Reshape", "Transpose", "Flatten", "Slice", "Squeeze", "Unsqueeze", "MaxPool", "Identity")


def weighted_layers(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes with a constant weight, quantised or not, in graph order."""
    index = Index.of(graph)
    return [node.name for node in graph.node if weight_of(node, index) is not None]


def quantised_layers(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes whose weight comes from a DequantizeLinear, in graph order."""
    index = Index.of(graph)
    return [node.name for node in graph.node if weight_of(node, index) not in (None, *node.input)]


def quantised_operators(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that compute from something dequantised, with weights or without, in graph order."""
    index = Index.of(graph)
    return [
        node.name
        for node in graph.node
        if node.op_type not in (*_QUANTISERS, *MOVES) and any(index.made_by(i, "DequantizeLinear") for i in node.input)
    ]


def weight_of(node: onnx.NodeProto, index: Index) -> str | None:
    """Name of the initializer that is the weight of `node`, looking through a DequantizeLinear; None without one."""
    slot = WEIGHT_SLOTS.get(node.op_type)
    if slot is None or len(node.input) <= slot:
        return None
    name = node.input[slot]
    dequantize = index.made_by(name, "DequantizeLinear")
    if dequantize is not None:
        name = dequantize.input[0]
    return name if name in index.constants else None


def refuse_unknown(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    """Raise with every name that is no node of the graph.

    Raises:
        UsageError: with the nearest known name for each.
    """
    known = [node.name for node in graph.node if node.op_type not in _QUANTISERS]
    reasons = [f"no layer is called '{name}'{nearest(name, known)}" for name in names if name not in known]
    if reasons:
        raise UsageError(
            "unknown layer in --keep-fp",
            where=graph.name,
            reasons=reasons,
            fix="names are module paths, as in the sensitivity table of compressed.json",
        )
