"""Looking things up in an ONNX graph: who makes a tensor, who reads it, what a constant holds."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

#: The function of square deformable convolutions (`graph.square`).
SQUARE = "SquareDeformConv"
#: The function of convolutions in factors (`compress.factorized_graph`); its channel factors are its weight.
FACTORIZED = "FactorizedConv"
#: Operators with a weight, and which of their inputs that is.
WEIGHT_SLOTS = {"Conv": 1, "Gemm": 1, "MatMul": 1, "ConvTranspose": 1, FACTORIZED: 1, SQUARE: 2}
WEIGHTED = tuple(WEIGHT_SLOTS)
#: The functions of layers of one-bit weights (`graph.binary`): those whose activations are as they are, and all.
WEIGHT_BINARY = ("BinaryWeightLinear", "BinaryWeightConv")
BINARY = ("BinaryLinear", "BinaryConv", *WEIGHT_BINARY, "BinaryAttention")
#: The function that makes a bias of binary attention of its parts, which are constants.
BINARY_BIAS = "BinaryAttentionBias"


@dataclass(frozen=True)
class Index:
    """Maps of one graph, taken once; stale as soon as the graph changes.

    Attributes:
        producer: tensor name to the node that makes it; inputs and initializers have none.
        readers: tensor name to the nodes that read it, in graph order, once per input slot.
        constants: initializer name to its proto.
    """

    producer: dict[str, onnx.NodeProto]
    readers: dict[str, list[onnx.NodeProto]]
    constants: dict[str, onnx.TensorProto]

    @staticmethod
    def of(graph: onnx.GraphProto) -> Index:
        """Index `graph`."""
        readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                readers[name].append(node)
        return Index(
            {name: node for node in graph.node for name in node.output},
            readers,
            {tensor.name: tensor for tensor in graph.initializer},
        )

    def array(self, name: str) -> np.ndarray:
        """The value of initializer `name`."""
        return numpy_helper.to_array(self.constants[name])

    def made_by(self, name: str, op_type: str) -> onnx.NodeProto | None:
        """The node that makes tensor `name` when it is an `op_type`."""
        node = self.producer.get(name)
        return node if node is not None and node.op_type == op_type else None


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Value of an attribute of `node`, or `default`."""
    for item in node.attribute:
        if item.name == name:
            return onnx.helper.get_attribute_value(item)
    return default


def dequantised(index: Index, name: str) -> np.ndarray:
    """The value of `name`, which a DequantizeLinear makes of a constant."""
    node = index.producer[name]
    values, scale = index.array(node.input[0]).astype(np.float32), index.array(node.input[1])
    zero = index.array(node.input[2]).astype(np.float32) if len(node.input) > 2 else np.zeros_like(scale)
    if scale.size > 1:
        shape = [-1 if i == attribute(node, "axis", 1) % values.ndim else 1 for i in range(values.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return (values - zero) * scale


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Set or replace one attribute of `node`."""
    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """A deep copy."""
    new = onnx.ModelProto()
    new.CopyFrom(model)
    return new


def redirect(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    """Make every node of `nodes` that reads `old` read `new`."""
    for node in nodes:
        for slot, name in enumerate(node.input):
            if name == old:
                node.input[slot] = new


def prune(graph: onnx.GraphProto) -> None:
    """Drop nodes nothing reads, then initializers nothing reads."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    nodes = list(reversed(kept))
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)


def rename_tensors(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Rename tensors everywhere but in the graph's own inputs and outputs; drops stale shapes."""
    for node in graph.node:
        for slot, name in enumerate(node.input):
            node.input[slot] = names.get(name, name)
        for slot, name in enumerate(node.output):
            node.output[slot] = names.get(name, name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    del graph.value_info[:]


def finished(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with every intermediate shape inferred, checked in full.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: the graph is not valid ONNX.
    """
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put the nodes in topological order, keeping their order where it is free; in place."""
    producer = {name: node.name for node in graph.node for name in node.output}
    waiting = {node.name: {producer[i] for i in node.input if i in producer} for node in graph.node}
    readers: dict[str, list[str]] = defaultdict(list)
    for name, needed in waiting.items():
        for other in needed:
            readers[other].append(name)
    rank = {node.name: i for i, node in enumerate(graph.node)}
    nodes = {node.name: node for node in graph.node}
    ready = [rank[name] for name, needed in waiting.items() if not needed]
    heapq.heapify(ready)
    by_rank = list(nodes)
    ordered = []
    while ready:
        name = by_rank[heapq.heappop(ready)]
        ordered.append(nodes[name])
        for reader in readers[name]:
            waiting[reader].discard(name)
            if not waiting[reader]:
                heapq.heappush(ready, rank[reader])
    del graph.node[:]
    graph.node.extend(ordered)


def rebatched(model: onnx.ModelProto, batch: int) -> onnx.ModelProto | None:
    """Return a copy whose shapes allow `batch` images per run instead of one; None when a batch of 1 is built in.

    Shapes alone do not say that images leave one another alone: `session.batched` asks that of a running graph.
    """
    model = copy_of(model)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        model = finished(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return None
    sizes = [output.type.tensor_type.shape.dim for output in model.graph.output]
    return model if all(len(dims) > 0 and dims[0].dim_value == batch for dims in sizes) else None
