"""Sums that stay in float in a quantised network, because their range is wide and their small differences matter.

The residual stream of a network with layer norms grows from block to block and is normalised before each use: in 8
bits it loses 8 dB at the output (DeiT-T and Swin-T with random weights). Scores ahead of a softmax hold masks of -100.
Neither holds multiply-accumulates, so nothing of the arithmetic that counts is lost.
"""

from __future__ import annotations

import onnx

from edgevision.compress.layers import MOVES
from edgevision.compress.onnxgraph import WEIGHTED, Index

_NORMS = ("LayerNormalization", "RMSNormalization")
_SCALINGS = ("Add", "Sub", "Mul", "Div", "Where")


def wide_sums(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that stay float, in graph order.

    These are what stands between a product of two tensors and its Softmax, and, in a network with layer norms, every
    Add that is not the bias of a layer.
    """
    index = Index.of(graph)
    names = {node.name for softmax in graph.node if softmax.op_type == "Softmax" for node in _scores(softmax, index)}
    if any(node.op_type in _NORMS for node in graph.node):
        names |= {node.name for node in graph.node if node.op_type == "Add" and not _is_bias(node, index)}
    return [node.name for node in graph.node if node.name in names]


def _scores(softmax: onnx.NodeProto, index: Index) -> list[onnx.NodeProto]:
    """What is added to the scores or multiplies them; empty when no product of two tensors feeds the softmax."""
    found: list[onnx.NodeProto] = []
    node = index.producer.get(softmax.input[0])
    while node is not None and node.op_type in (*_SCALINGS, *MOVES):
        if node.op_type in _SCALINGS:
            found.append(node)
        computed = [name for name in node.input if name in index.producer]
        node = index.producer[computed[0]] if computed else None
    # The first Add behind the product is fused with it as its bias would be, and has no quantiser of its own.
    return found if node is not None and node.op_type == "MatMul" else []


def _is_bias(node: onnx.NodeProto, index: Index) -> bool:
    constants = [name for name in node.input if name in index.constants]
    computed = [index.producer[name] for name in node.input if name in index.producer]
    return bool(constants) and bool(computed) and computed[0].op_type in WEIGHTED
