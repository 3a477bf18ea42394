"""Cross-layer equalisation: channels between two convolutions scaled so that their weights are equally large in both.

y = W2 act(W1 x + b1) does not change when row i of W1 and b1 are divided by s_i > 0 and column i of W2 is multiplied
by it, as long as act(v / s) = act(v) / s, which holds for a ReLU and for none. With s_i = sqrt(r1_i / r2_i), r the
largest weight of the channel, both become sqrt(r1_i r2_i) (Nagel et al., arXiv 1906.04721, section 4.1). So networks
whose channels differ by powers of ten can have one scale for all weights of a layer.

A Clip from 0 to 6 obeys that for no s. Such a pair is left alone, or its Clip is made a ReLU, as the paper does: that
alone changes the network, and only where it clipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from edgevision.compress.layers import weight_of
from edgevision.compress.onnxgraph import Index, attribute, copy_of, prune
from edgevision.compress.widths import is_depthwise

#: Passes over all pairs: what one pair gains, its neighbours see in the next.
SWEEPS = 20
#: Largest change of a channel in one pass; where it is reached one of the two has hardly any weight.
LARGEST = 100.0


@dataclass(frozen=True)
class Pair:
    """Two convolutions by name, and the Relu or Clip between them; "" without one."""

    first: str
    second: str
    between: str = ""
    clips: bool = False


def pairs(graph: onnx.GraphProto) -> list[Pair]:
    """Convolutions one of which alone reads the other, with at most a Relu or a Clip from 0 between, in graph order."""
    index = Index.of(graph)
    outputs = {output.name for output in graph.output}
    found = []
    for node in graph.node:
        if node.op_type != "Conv" or weight_of(node, index) is None:
            continue
        reader, between, clips = _reader(node, index, outputs), "", False
        if reader is not None and (reader.op_type == "Relu" or _clips(reader, index)):
            between, clips = reader.name, reader.op_type == "Clip"
            reader = _reader(reader, index, outputs)
        if reader is not None and reader.op_type == "Conv" and weight_of(reader, index) is not None:
            whole = attribute(reader, "group", 1) == 1 or (
                is_depthwise(reader, index) and attribute(reader, "group", 1) == _weight(reader, index).shape[0]
            )
            if whole:
                found.append(Pair(node.name, reader.name, between, clips))
    return found


def equalize(model: onnx.ModelProto, *, clips: str = "keep") -> tuple[onnx.ModelProto, list[Pair]]:
    """Return `model` with its pairs equalised, and the pairs.

    Args:
        model: a float graph with batch norms folded.
        clips: "keep" leaves pairs around a Clip alone, so that nothing changes; "relu" makes the Clip a Relu first.
    """
    model = copy_of(model)
    graph = model.graph
    chosen = [pair for pair in pairs(graph) if clips == "relu" or not pair.clips]
    nodes = {node.name: node for node in graph.node}
    index = Index.of(graph)
    for pair in chosen:
        if pair.clips:
            clip = nodes[pair.between]
            clip.op_type = "Relu"
            del clip.input[1:]
    weights = {name: _weight(nodes[name], index).astype(np.float64) for p in chosen for name in (p.first, p.second)}
    biases = {p.first: _bias(nodes[p.first], index) for p in chosen}
    for _ in range(SWEEPS):
        for pair in chosen:
            first, second = weights[pair.first], weights[pair.second]
            axis = 0 if is_depthwise(nodes[pair.second], index) else 1
            scale = factors(first, second, axis)
            weights[pair.first] = first / _along(scale, 0, first.ndim)
            weights[pair.second] = second * _along(scale, axis, second.ndim)
            biases[pair.first] = biases[pair.first] / scale
    for name, weight in weights.items():
        _set(graph, nodes[name], 1, weight)
    for name, bias in biases.items():
        _set(graph, nodes[name], 2, bias)
    prune(graph)
    return model, chosen


def factors(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
    """What each channel of `first` (axis 0) is to be divided by, and of `second` (`axis`) multiplied with.

    >>> factors(np.array([[8.0], [0.0]]), np.array([[2.0, 1.0]]), 1).tolist()
    [2.0, 1.0]
    """
    r1 = np.abs(first).max(axis=tuple(range(1, first.ndim)))
    r2 = np.abs(second).max(axis=tuple(i for i in range(second.ndim) if i != axis))
    both = (r1 > 0) & (r2 > 0)
    return np.clip(np.sqrt(np.where(both, r1, 1) / np.where(both, r2, 1)), 1 / LARGEST, LARGEST)


def _along(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])


def _reader(node: onnx.NodeProto, index: Index, outputs: set[str]) -> onnx.NodeProto | None:
    """The one node that reads what `node` makes; None where there are more, or it is an output of the graph."""
    readers = index.readers[node.output[0]]
    return readers[0] if len(readers) == 1 and node.output[0] not in outputs else None


def _clips(node: onnx.NodeProto, index: Index) -> bool:
    low = node.input[1] if node.op_type == "Clip" and len(node.input) > 1 else ""
    return low in index.constants and float(index.array(low)) == 0.0


def _weight(node: onnx.NodeProto, index: Index) -> np.ndarray:
    return index.array(str(weight_of(node, index)))


def _bias(node: onnx.NodeProto, index: Index) -> np.ndarray:
    name = node.input[2] if len(node.input) > 2 else ""
    return (index.array(name) if name else np.zeros(_weight(node, index).shape[0])).astype(np.float64)


def _set(graph: onnx.GraphProto, node: onnx.NodeProto, slot: int, value: np.ndarray) -> None:
    name = f"{node.name}.equal.{'weight' if slot == 1 else 'bias'}"
    graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    while len(node.input) <= slot:
        node.input.append("")
    node.input[slot] = name
