"""Outlier channels of a layer norm moved into the weights of the linear layers that read it.

Channel j of the norm is divided by s_j, in its gamma and beta, and row j of every reader's weight multiplied by it: the
network stays what it is, and one scale for all channels no longer has to cover the largest of them alone.
s_j = max|x_j|^alpha / max|w_j|^(1 - alpha) (Xiao et al., SmoothQuant, arXiv 2211.10438).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from edgevision.compress.layers import weight_of
from edgevision.compress.observe import observe
from edgevision.compress.onnxgraph import WEIGHT_SLOTS, Index, attribute, copy_of, prune

#: Channels with less than this share of the largest, in activation or weight, are taken to have that.
_LEAST = 1e-5


@dataclass(frozen=True)
class Smoothed:
    """A layer norm with gamma and beta, and the linear layers that alone read it, by name."""

    norm: str
    tensor: str
    readers: tuple[str, ...]


def smoothable(graph: onnx.GraphProto) -> list[Smoothed]:
    """The layer norms whose every reader is a Gemm or MatMul with a constant weight, in graph order."""
    index = Index.of(graph)
    outputs = {output.name for output in graph.output}
    found = []
    for node in graph.node:
        if node.op_type != "LayerNormalization" or len(node.input) < 3 or node.output[0] in outputs:
            continue
        if not all(name in index.constants and index.array(name).ndim == 1 for name in node.input[1:3]):
            continue
        readers = index.readers[node.output[0]]
        linear = [r for r in readers if r.op_type in ("Gemm", "MatMul") and r.input[0] == node.output[0]]
        if readers and len(linear) == len(readers) and all(weight_of(r, index) is not None for r in linear):
            found.append(Smoothed(node.name, node.output[0], tuple(r.name for r in linear)))
    return found


def smooth(
    model: onnx.ModelProto, images: Iterable[Mapping[str, np.ndarray]], *, alpha: float
) -> tuple[onnx.ModelProto, list[Smoothed]]:
    """Return `model` with its layer norms smoothed, and which they are.

    Args:
        model: a float graph.
        images: as for `observe`.
        alpha: share of the difficulty that goes into the weights, 0 to 1.

    Raises:
        UsageError: there are no images.
    """
    model = copy_of(model)
    graph = model.graph
    found = smoothable(graph)
    if not found:
        return model, found
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
    observed = observe(model, {item.tensor: ranks[item.tensor] - 1 for item in found}, images)
    nodes, index = {node.name: node for node in graph.node}, Index.of(graph)
    for item in found:
        norm = nodes[item.norm]
        readers = [nodes[name] for name in item.readers]
        weights = [index.array(str(weight_of(reader, index))).astype(np.float64) for reader in readers]
        axes = [1 if attribute(reader, "transB", 0) else 0 for reader in readers]
        reached = np.maximum(np.abs(observed.low[item.tensor]), np.abs(observed.high[item.tensor]))
        largest = np.max([np.abs(w).max(axis=1 - axis) for w, axis in zip(weights, axes, strict=True)], axis=0)
        scale = factors(reached, largest, alpha)
        for slot in (1, 2):
            _set(graph, norm, slot, index.array(norm.input[slot]).astype(np.float64) / scale)
        for reader, weight, axis in zip(readers, weights, axes, strict=True):
            along = scale[None, :] if axis == 1 else scale[:, None]
            _set(graph, reader, WEIGHT_SLOTS[reader.op_type], weight * along)
    prune(graph)
    return model, found


def factors(reached: np.ndarray, largest: np.ndarray, alpha: float) -> np.ndarray:
    """What each channel is divided by; powers of it make both sides meet at alpha = 0.5.

    Args:
        reached: largest magnitude of each channel of the norm.
        largest: of the weights that read it.

    >>> factors(np.array([16.0, 1.0]), np.array([1.0, 1.0]), 0.5).tolist()
    [4.0, 1.0]
    """
    reached = np.maximum(reached.astype(np.float64), _LEAST * max(float(reached.max()), np.finfo(np.float32).tiny))
    largest = np.maximum(largest, _LEAST * max(float(largest.max()), np.finfo(np.float32).tiny))
    return reached**alpha / largest ** (1 - alpha)


def _set(graph: onnx.GraphProto, node: onnx.NodeProto, slot: int, value: np.ndarray) -> None:
    name = f"{node.name}.smooth.{slot}"
    graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    node.input[slot] = name
