"""Weights as int8 in the file, arithmetic in float: a quarter of the bytes, no data needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.compress.canonical import output_axis
from edgevision.compress.layers import refuse_unknown, weight_of
from edgevision.compress.onnxgraph import WEIGHT_SLOTS, Index, copy_of, finished, prune


def symmetric_per_channel(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `weight` as int8 in [-127, 127] and its float32 scales, one per index of `axis`.

    The scale is the largest magnitude of the channel / 127 but no denormal number, and 1 for a channel of zeros; values
    are rounded half to even. So |weight - scale * q| <= scale / 2.

    >>> q, scale = symmetric_per_channel(np.array([[1.0, -2.0], [0.0, 0.0]], np.float32), axis=0)
    >>> q.tolist(), [round(float(s), 6) for s in scale]
    ([[64, -127], [0, 0]], [0.015748, 1.0])
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others, keepdims=True).astype(np.float32)
    smallest = np.finfo(np.float32).tiny
    scale = np.where(largest > 0, np.maximum(largest / np.float32(127), smallest), 1).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale.reshape(-1)


def dequantised_weight(
    node: onnx.NodeProto, weight: np.ndarray, axis: int
) -> tuple[list[onnx.TensorProto], onnx.NodeProto]:
    """Make `node` read its weight from a DequantizeLinear; return the three initializers of that, and it."""
    values, scale = symmetric_per_channel(weight, axis)
    stem = f"{node.name}.weight"
    parts = {f"{stem}.q": values, f"{stem}.scale": scale, f"{stem}.zero_point": np.zeros(scale.shape, np.int8)}
    output = f"{stem}.dq"
    node.input[WEIGHT_SLOTS[node.op_type]] = output
    dequantize = helper.make_node("DequantizeLinear", list(parts), [output], name=output, axis=axis)
    return [numpy_helper.from_array(array, key) for key, array in parts.items()], dequantize


def quantize_weights(model: onnx.ModelProto, *, keep_fp: Sequence[str] = ()) -> onnx.ModelProto:
    """Return `model` with the weight of every `WEIGHTED` operator as an int8 initializer and a DequantizeLinear.

    Layout and names are those of weights in the canonical graph (`canonical`, point 2). Biases, and the layers named
    in `keep_fp`, stay float32.

    Raises:
        UsageError: an unknown name in `keep_fp`.
    """
    refuse_unknown(model.graph, keep_fp)
    model = copy_of(model)
    index = Index.of(model.graph)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        name = weight_of(node, index)
        if name is not None and name in node.input and node.name not in keep_fp:
            weight = index.array(name)
            parts, dequantize = dequantised_weight(node, weight, output_axis(node, weight.ndim))
            model.graph.initializer.extend(parts)
            nodes.append(dequantize)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    prune(model.graph)
    return finished(model)
