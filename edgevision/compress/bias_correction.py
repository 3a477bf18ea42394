"""Biases that make up for the mean error of quantised weights (Nagel et al., arXiv 1906.04721, section 4.2).

A layer of weights W + d in place of W is off by d x, whose mean over images and pixels is a constant of each channel:
it is taken out of the bias. The mean is that of the layer itself, borders included.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from edgevision.compress.layers import weight_of
from edgevision.compress.onnxgraph import WEIGHT_SLOTS, Index, attribute, dequantised


def differences(original: onnx.GraphProto, quantised: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Float weight less dequantised weight of every layer of `quantised` whose weight is quantised, by name."""
    before, after = Index.of(original), Index.of(quantised)
    floats = {node.name: node for node in original.node}
    found = {}
    for node in quantised.node:
        name = weight_of(node, after)
        twin = floats.get(node.name)
        if name is None or name in node.input or twin is None or weight_of(twin, before) is None:
            continue
        slot = WEIGHT_SLOTS[node.op_type]
        found[node.name] = before.array(twin.input[slot]) - dequantised(after, node.input[slot])
    return found


def correct(graph: onnx.GraphProto, shifts: Mapping[str, np.ndarray]) -> list[str]:
    """Add the shift (channels,) of each layer to its bias, in place; return the layers that have none to add it to.

    A Conv or Gemm without a bias gets one; that of a MatMul is the constant added behind it.
    """
    index = Index.of(graph)
    without = []
    for node in list(graph.node):
        if node.name not in shifts:
            continue
        found = bias_of(node, index)
        if found is None:
            without.append(node.name)
            continue
        shift, (holder, place) = shifts[node.name], found
        old = holder.input[place] if place < len(holder.input) else ""
        bias = index.array(old) if old else np.zeros(shift.shape, np.float32)
        corrected = (bias.astype(np.float64) + shift / attribute(node, "beta", 1.0)).astype(np.float32)
        name = corrected_bias(node.name)
        graph.initializer.append(numpy_helper.from_array(corrected, name))
        if place < len(holder.input):
            holder.input[place] = name
        else:
            holder.input.append(name)
    return without


def corrected_bias(layer: str) -> str:
    """Name of the constant that `correct` makes for a layer."""
    return f"{layer}.corrected_bias"


def bias_of(node: onnx.NodeProto, index: Index) -> tuple[onnx.NodeProto, int] | None:
    """The node that holds the bias of a layer, and in which input; None where a bias cannot be had or changed."""
    place = WEIGHT_SLOTS[node.op_type] + 1
    if node.op_type == "MatMul":
        return _added(node, index)
    old = node.input[place] if place < len(node.input) else ""
    return (node, place) if not old or old in index.constants else None


def _added(node: onnx.NodeProto, index: Index) -> tuple[onnx.NodeProto, int] | None:
    """The Add of a constant that alone reads what `node` makes, and which of its inputs the constant is."""
    readers = index.readers[node.output[0]]
    if len(readers) == 1 and readers[0].op_type == "Add":
        for place, name in enumerate(readers[0].input):
            if name in index.constants and index.array(name).ndim == 1:
                return readers[0], place
    return None
