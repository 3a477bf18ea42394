"""Arithmetic that needs no image is done once, here: constants, and batch norms behind convolutions."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgevision.compress.onnxgraph import Index, attribute, prune

_LARGEST_FOLDED = 1 << 24
_KEEP = ("QuantizeLinear", "DequantizeLinear")


def fold_constants(graph: onnx.GraphProto) -> int:
    """Replace every node whose inputs are all constant by its value; in place. Returns the number of nodes folded.

    Shapes that are known are constants too. Dequantisation of weights is kept: it is how a quantised weight says what
    it means. Values above 16 M elements are kept as they are computed.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    shapes = _static_shapes(graph)
    kept: list[onnx.NodeProto] = []
    folded = 0
    for node in graph.node:
        value = _value(node, constants, shapes)
        if value is None:
            kept.append(node)
            continue
        constants[node.output[0]] = numpy_helper.from_array(value, name=node.output[0])
        folded += node.op_type != "Constant"
    outputs = {output.name for output in graph.output}
    if outputs & {tensor for tensor in constants if tensor not in {t.name for t in graph.initializer}}:
        return 0
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(constants.values())
    prune(graph)
    return folded


def _static_shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Shapes without a free dimension, by tensor."""
    found = {}
    for value in (*graph.input, *graph.value_info):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            found[value.name] = [dim.dim_value for dim in dims]
    return found


def _value(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], shapes: dict[str, list[int]]
) -> np.ndarray | None:
    inputs = [name for name in node.input if name]
    if node.op_type in ("Shape", "Size") and not node.domain and node.input[0] in shapes:
        shape = shapes[node.input[0]]
        if node.op_type == "Size":
            return np.array(np.prod(shape, dtype=np.int64))
        return np.array(shape[attribute(node, "start", 0) : attribute(node, "end", len(shape))], np.int64)
    if node.domain not in ("", "ai.onnx") or node.op_type in _KEEP or len(node.output) != 1:
        return None
    if not inputs and node.op_type != "Constant":
        return None
    if any(name not in constants for name in inputs):
        return None
    graph = helper.make_graph(
        [node],
        "fold",
        [],
        [helper.make_value_info(node.output[0], onnx.TypeProto())],
        [constants[name] for name in dict.fromkeys(inputs)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    value = np.asarray(next(iter(ReferenceEvaluator(model).run(None, {}))))
    return value if value.size <= _LARGEST_FOLDED else None


def fold_batch_norms(graph: onnx.GraphProto) -> int:
    """Fold every BatchNormalization that alone reads a Conv into that Conv, exactly; in place.

    y = (conv(x) - mean) * a + beta with a = gamma / sqrt(var + eps), so the weights of output channel c are scaled
    by a[c] and the bias becomes (b - mean) * a + beta, computed in float64. Returns the number folded.
    """
    folded = 0
    for node in list(graph.node):
        if node.op_type != "BatchNormalization" or attribute(node, "training_mode", 0):
            continue
        index = Index.of(graph)
        conv = index.made_by(node.input[0], "Conv")
        if conv is None or len(index.readers[node.input[0]]) != 1 or conv.input[1] not in index.constants:
            continue
        if any(name not in index.constants for name in (*node.input[1:5], *conv.input[2:3])):
            continue
        gamma, beta, mean, var = (index.array(name).astype(np.float64) for name in node.input[1:5])
        scale = gamma / np.sqrt(var + attribute(node, "epsilon", 1e-5))
        weight = index.array(conv.input[1]).astype(np.float64)
        bias = index.array(conv.input[2]).astype(np.float64) if len(conv.input) > 2 and conv.input[2] else 0.0
        names = [f"{conv.name}.weight.folded", f"{conv.name}.bias.folded"]
        values = [weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), (bias - mean) * scale + beta]
        graph.initializer.extend(
            numpy_helper.from_array(v.astype(np.float32), n) for v, n in zip(values, names, strict=True)
        )
        data = conv.input[0]
        del conv.input[:]
        conv.input.extend([data, *names])
        conv.output[0] = node.output[0]
        graph.node.remove(node)
        folded += 1
    prune(graph)
    return folded


def fold_layer_scales(graph: onnx.GraphProto) -> int:
    """Fold every constant scale per channel behind a linear layer (MatMul, Add) into that layer, exactly; in place.

    (x W + b) * g = x (W * g) + b * g, computed in float64: LayerScale (arXiv 2103.17239) and ConvNeXt's gamma. Returns
    the number folded.
    """
    folded = 0
    for node in list(graph.node):
        index = Index.of(graph)
        add = _sole(node, "Mul", "Add", index)
        linear = _sole(add, "Add", "MatMul", index) if add is not None else None
        if add is None or linear is None or linear.input[1] not in index.constants:
            continue
        weight = index.array(linear.input[1]).astype(np.float64)
        scale, bias = (_constant_of(item, index).astype(np.float64) for item in (node, add))
        if weight.ndim != 2 or not {scale.shape, bias.shape} <= {weight.shape[1:], ()}:
            continue
        names = [f"{linear.name}.weight.scaled", f"{linear.name}.bias.scaled"]
        values = [weight * scale, np.broadcast_to(bias * scale, weight.shape[1:])]
        graph.initializer.extend(
            numpy_helper.from_array(v.astype(np.float32), n) for v, n in zip(values, names, strict=True)
        )
        data = linear.output[0]
        linear.input[1] = names[0]
        del add.input[:]
        add.input.extend([data, names[1]])
        add.output[0] = node.output[0]
        graph.node.remove(node)
        folded += 1
    prune(graph)
    return folded


def _sole(node: onnx.NodeProto, op_type: str, source: str, index: Index) -> onnx.NodeProto | None:
    """The `source` whose output the `op_type` `node`, and nothing else, combines with a constant; None otherwise."""
    computed = [name for name in node.input if name not in index.constants]
    if node.op_type != op_type or len(node.input) != 2 or len(computed) != 1:
        return None
    return index.made_by(computed[0], source) if len(index.readers[computed[0]]) == 1 else None


def _constant_of(node: onnx.NodeProto, index: Index) -> np.ndarray:
    return next(index.array(name) for name in node.input if name in index.constants)
