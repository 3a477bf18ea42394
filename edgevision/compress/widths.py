"""Bits of each layer's weight when a recipe asks for few."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from edgevision.compress.layers import weight_of
from edgevision.compress.onnxgraph import Index, attribute
from edgevision.recipe import Quantize

#: Layers whose weights can have fewer than 8 bits.
_NARROW = ("Conv", "Gemm", "MatMul")


def weight_bits(graph: onnx.GraphProto, step: Quantize, keep_fp: Collection[str] = ()) -> dict[str, int]:
    """Bits by layer, of those with fewer than 8, in graph order; first, last and depthwise layers have their own."""
    index = Index.of(graph)
    layers = [node for node in graph.node if weight_of(node, index) is not None]
    found = {}
    for node in layers:
        bits = step.weight_bits
        if is_depthwise(node, index):
            bits = step.depthwise_bits
        if node is layers[0]:
            bits = step.first_bits
        elif node is layers[-1]:
            bits = step.last_bits
        if bits < 8 and node.op_type in _NARROW and node.name not in keep_fp and _spatial(node, index):
            found[node.name] = int(bits)
    return found


def is_depthwise(node: onnx.NodeProto, index: Index) -> bool:
    """Whether a layer with a constant weight is a Conv of one input channel each."""
    weight = weight_of(node, index)
    return weight is not None and node.op_type == "Conv" and index.constants[weight].dims[1] == 1 and (
        attribute(node, "group", 1) > 1
    )  # fmt: skip


def _spatial(node: onnx.NodeProto, index: Index) -> bool:
    """Whether a Conv is one of images, a linear layer one of rows."""
    weight = weight_of(node, index)
    rank = 4 if node.op_type == "Conv" else 2
    return weight is not None and len(index.constants[weight].dims) == rank
