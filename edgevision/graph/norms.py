"""Layer norms that exporters spelled out, put back into one LayerNormalization each.

d = x - mean(x);  d / sqrt(mean(d d) + eps) [* gamma] [+ beta]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.compress.onnxgraph import Index, attribute, prune


@dataclass(frozen=True)
class _Norm:
    """What is known of one: the tensor normalised, the first axis, and the node that makes the normalised result."""

    x: str
    axis: int
    epsilon: float
    last: onnx.NodeProto


def fuse_layer_norms(graph: onnx.GraphProto) -> int:
    """Replace every layer norm written in single operators; in place. Returns how many there were."""
    fused = 0
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in (*graph.input, *graph.value_info)}
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.value_info)}
    for root in [node for node in graph.node if node.op_type == "Sqrt"]:
        index = Index.of(graph)
        norm = _matched(root, index, ranks)
        if norm is not None:
            _replace(graph, norm, index, sizes[norm.x])
            fused += 1
    prune(graph)
    return fused


def _matched(root: onnx.NodeProto, index: Index, ranks: dict[str, int]) -> _Norm | None:
    add = index.made_by(root.input[0], "Add")
    if add is None:
        return None
    constants = [name for name in add.input if name in index.constants and index.array(name).size == 1]
    variance = [index.made_by(name, "ReduceMean") for name in add.input if name not in index.constants]
    if len(constants) != 1 or len(variance) != 1 or variance[0] is None:
        return None
    away = _squared(variance[0].input[0], index)
    if away is None or away.op_type != "Sub":
        return None
    mean = index.made_by(away.input[1], "ReduceMean")
    x = away.input[0]
    if mean is None or mean.input[0] != x or x not in ranks:
        return None
    axes = _axes(mean, index, ranks[x])
    if not axes or axes != _axes(variance[0], index, ranks[x]) or axes != list(range(axes[0], ranks[x])):
        return None
    if not (attribute(mean, "keepdims", 1) and attribute(variance[0], "keepdims", 1)):
        return None
    last = _divided(root, away.output[0], index)
    epsilon = float(index.array(constants[0]).reshape(()))
    return None if last is None else _Norm(x, axes[0], epsilon, last)


def _squared(tensor: str, index: Index) -> onnx.NodeProto | None:
    """The node whose result `tensor` is the square of."""
    node = index.producer.get(tensor)
    if node is None or node.op_type not in ("Pow", "Mul"):
        return None
    if node.op_type == "Mul":
        return index.producer.get(node.input[0]) if node.input[0] == node.input[1] else None
    constant = node.input[1] in index.constants and index.array(node.input[1])
    two = constant is not False and constant.size == 1 and float(constant.reshape(())) == 2.0
    return index.producer.get(node.input[0]) if two else None


def _axes(node: onnx.NodeProto, index: Index, rank: int) -> list[int]:
    axes = attribute(node, "axes", None)
    if axes is None and len(node.input) > 1 and node.input[1] in index.constants:
        axes = index.array(node.input[1]).reshape(-1).tolist()
    return sorted(int(axis) % rank for axis in axes or ())


def _divided(root: onnx.NodeProto, away: str, index: Index) -> onnx.NodeProto | None:
    """The node that divides the distances to the mean by the deviation."""
    readers = index.readers[root.output[0]]
    if len(readers) != 1:
        return None
    (node,) = readers
    if node.op_type == "Reciprocal" and len(index.readers[node.output[0]]) == 1:
        (product,) = index.readers[node.output[0]]
        return product if product.op_type == "Mul" and away in product.input else None
    return node if node.op_type == "Div" and node.input[0] == away else None


def _replace(graph: onnx.GraphProto, norm: _Norm, index: Index, shape: list[int]) -> None:
    """Put the operator where the last node was, with the product and the sum behind it as scale and bias."""
    normalised = shape[norm.axis :]
    outputs = {value.name for value in graph.output}
    gamma, last = _parameter(norm.last, "Mul", normalised, index, outputs)
    beta, last = _parameter(last, "Add", normalised, index, outputs) if gamma is not None else (None, last)
    stem = last.output[0]
    scale = np.ones(normalised, np.float32) if gamma is None else gamma
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(scale), f"{stem}.gamma"))
    inputs = [norm.x, f"{stem}.gamma"]
    if beta is not None:
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(beta), f"{stem}.beta"))
        inputs.append(f"{stem}.beta")
    made = helper.make_node(
        "LayerNormalization", inputs, [stem], name=last.name, axis=norm.axis - len(shape), epsilon=norm.epsilon
    )
    position = next(i for i, node in enumerate(graph.node) if node is last or node == last)
    graph.node.insert(position, made)
    del graph.node[position + 1]


def _parameter(
    node: onnx.NodeProto, op: str, normalised: list[int], index: Index, outputs: set[str]
) -> tuple[np.ndarray | None, onnx.NodeProto]:
    """The constant an `op` behind `node` applies to every position alike, and that `op`; None, `node` without one."""
    readers = index.readers[node.output[0]]
    if len(readers) != 1 or readers[0].op_type != op or node.output[0] in outputs:
        return None, node
    other = next((name for name in readers[0].input if name != node.output[0]), "")
    if other not in index.constants:
        return None, node
    array = index.array(other)
    kept = (
        array.reshape(array.shape[max(0, array.ndim - len(normalised)) :]) if _leading_ones(array, normalised) else None
    )
    if kept is None or list(kept.shape) != normalised:
        return None, node
    return kept, readers[0]


def _leading_ones(array: np.ndarray, normalised: list[int]) -> bool:
    return all(size == 1 for size in array.shape[: max(0, array.ndim - len(normalised))])
