"""Scales and zero points of activations, set from what was observed wherever NNCF put a quantiser.

What joins without computing (a Concat, a channel shuffle) keeps one quantiser where NNCF gave it one: those are set
from everything that reaches any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from edgevision.compress.histogram import Histogram
from edgevision.compress.layers import MOVES
from edgevision.compress.observe import Observed
from edgevision.compress.onnxgraph import Index, attribute
from edgevision.compress.ranges import Ranges, chosen


@dataclass(frozen=True)
class Quantiser:
    """One QuantizeLinear of an activation.

    Attributes:
        name: of the node.
        tensor: what it quantises.
        axis: of the scales where there is one for each channel; None for one in all.
        shared: quantisers with the same number have the same scale and zero point.
    """

    name: str
    tensor: str
    axis: int | None
    shared: int


def quantisers(graph: onnx.GraphProto) -> list[Quantiser]:
    """The quantisers of activations in a graph as NNCF leaves it, in graph order."""
    index = Index.of(graph)
    nodes = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] not in index.constants]
    group = {node.name: number for number, node in enumerate(nodes)}
    for concat in graph.node:
        if concat.op_type != "Concat":
            continue
        first: dict[tuple[bytes, ...], str] = {}
        for name in concat.input:
            above = _above(name, index)
            if above is None:
                continue
            same = first.setdefault(tuple(index.array(part).tobytes() for part in above.input[1:3]), above.name)
            old, new = group[above.name], group[same]
            group = {node: new if number == old else number for node, number in group.items()}
    return [
        Quantiser(
            node.name,
            node.input[0],
            attribute(node, "axis", 1) if index.array(node.input[1]).size > 1 else None,
            group[node.name],
        )
        for node in nodes
    ]


def _above(name: str, index: Index) -> onnx.NodeProto | None:
    """The QuantizeLinear whose integers reach `name` with nothing computed on the way."""
    node = index.producer.get(name)
    while node is not None and node.op_type in (*MOVES, "DequantizeLinear"):
        node = index.producer.get(node.input[0])
    return node if node is not None and node.op_type == "QuantizeLinear" else None


def set_ranges(
    graph: onnx.GraphProto, found: Sequence[Quantiser], observed: Observed, how: Ranges, *, symmetric: bool
) -> None:
    """Give every quantiser of `graph`, in place, the scale and zero point of what was observed.

    Scales per channel are those of the extremes whatever `how` says, so are those without a histogram.

    Args:
        symmetric: zero points of 0, int8 where values below zero were seen.
    """
    nodes = {node.name: node for node in graph.node}
    for group in dict.fromkeys(item.shared for item in found):
        members = [item for item in found if item.shared == group]
        low = np.minimum.reduce([observed.low[item.tensor] for item in members])
        high = np.maximum.reduce([observed.high[item.tensor] for item in members])
        if how != "min_max" and all(item.tensor in observed.histograms for item in members):
            together = Histogram()
            for item in members:
                together.merge(observed.histograms[item.tensor])
            low, high = (np.asarray(end) for end in chosen(together, how))
        scale, zero = parameters(low, high, symmetric=symmetric)
        stem = f"{members[0].tensor}.{group}.observed"
        graph.initializer.append(numpy_helper.from_array(scale, f"{stem}.scale"))
        graph.initializer.append(numpy_helper.from_array(zero, f"{stem}.zero_point"))
        names = [f"{stem}.scale", f"{stem}.zero_point"]
        for node in (nodes[item.name] for item in members):
            old = list(node.input[1:3])
            readers = [other for other in graph.node if other.op_type == "DequantizeLinear" and other.input[0] in
                       node.output]  # fmt: skip
            assert all(list(other.input[1:3]) == old for other in readers)
            for other in (node, *readers):
                other.input[1], other.input[2] = names


def parameters(low: np.ndarray, high: np.ndarray, *, symmetric: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scale (float32) and zero point (uint8, or int8 where values below zero are symmetric) of ranges.

    Args:
        low, high: 0-d or one for each channel.

    >>> scale, zero = parameters(np.asarray(-1.0), np.asarray(1.55), symmetric=False)
    >>> round(float(scale), 4), int(zero)
    (0.01, 100)
    """
    low, high = np.minimum(low, 0).astype(np.float64), np.maximum(high, 0).astype(np.float64)
    signed = symmetric and bool((low < 0).any())
    width = np.maximum(-low, high) / 127 if signed else (high - low) / 255
    scale = np.where(width > 0, np.maximum(width, np.finfo(np.float32).tiny), 1).astype(np.float32)
    if symmetric:
        return scale, np.zeros(scale.shape, np.int8 if signed else np.uint8)
    return scale, np.clip(np.rint(-low / scale), 0, 255).astype(np.uint8)
