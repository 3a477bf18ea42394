"""A graph as the compiler walks it: nodes in order, constants as arrays, every tensor's static shape and type known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.errors import Unsupported
from edgevision.graph.formats import refuse_operator_format

#: Earlier operators keep in attributes what later ones take as inputs, and would be misread.
OLDEST_OPSET = 13


@dataclass
class Node:
    """One operator. `op` is the ONNX name, or a name of `graph.integer`; attributes are plain Python values."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""

    def get(self, name: str, default: Any = None) -> Any:
        """Attribute `name`, or `default`."""
        return self.attributes.get(name, default)


@dataclass(frozen=True)
class TensorType:
    """Static shape and numpy type of a tensor."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass
class Graph:
    """Nodes in topological order, constants, and the type of every tensor."""

    nodes: list[Node]
    constants: dict[str, np.ndarray]
    types: dict[str, TensorType]
    inputs: list[str]
    outputs: list[str]
    opset: int = 20

    def readers(self) -> dict[str, list[Node]]:
        """The nodes that read each tensor; a node that reads it twice stands twice."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                if name:
                    found.setdefault(name, []).append(node)
        return found

    def producers(self) -> dict[str, Node]:
        """The node that makes each tensor."""
        return {output: node for node in self.nodes for output in node.outputs if output}

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self.types[tensor].shape

    def prune(self) -> None:
        """Drop nodes whose results nobody reads."""
        needed = set(self.outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if any(output in needed for output in node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        self.nodes = kept[::-1]


def read(model: onnx.ModelProto) -> Graph:
    """Read an ONNX model whose shapes are static; Constant and Shape nodes become constants.

    Raises:
        Unsupported: a tensor has no static shape (every one is named), the opset is older than 13, or operators carry
            their own scales.
    """
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), OLDEST_OPSET)
    if opset < OLDEST_OPSET:
        raise Unsupported(
            f"expected opset {OLDEST_OPSET} or later, got {opset}",
            where=model.graph.name or "graph",
            fix="convert it with onnx.version_converter, or export the network again",
        )
    refuse_operator_format(model)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    proto = model.graph
    constants = {item.name: _array(item) for item in proto.initializer}
    types = {name: TensorType(tuple(array.shape), str(array.dtype)) for name, array in constants.items()}
    for info in [*proto.input, *proto.value_info, *proto.output]:
        if info.name not in constants:
            typed = _type_of(info)
            if typed is not None:
                types[info.name] = typed
    nodes: list[Node] = []
    for index, item in enumerate(proto.node):
        attributes = {a.name: helper.get_attribute_value(a) for a in item.attribute}
        if item.op_type == "Constant" and not item.domain:
            array = _constant(attributes)
        elif item.op_type == "Shape" and not item.domain and item.input[0] in types:
            shape = types[item.input[0]].shape
            array = np.array(shape[attributes.get("start", 0) : attributes.get("end", len(shape))], np.int64)
        else:
            name = item.name or f"{item.op_type}_{index}"
            nodes.append(Node(item.op_type, name, list(item.input), list(item.output), attributes, item.domain))
            continue
        constants[item.output[0]] = array
        types[item.output[0]] = TensorType(tuple(array.shape), str(array.dtype))
    _require_static(nodes, types, model)
    return Graph(
        nodes,
        constants,
        types,
        [i.name for i in proto.input if i.name not in constants],
        [o.name for o in proto.output],
        opset,
    )


def _type_of(info: onnx.ValueInfoProto) -> TensorType | None:
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    if any(not d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    return TensorType(
        tuple(d.dim_value for d in tensor.shape.dim), str(np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
    )


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    """The value of a constant; 4-bit integers as bytes, which numpy computes with."""
    array = numpy_helper.to_array(tensor)
    if tensor.data_type == onnx.TensorProto.INT4:
        return array.astype(np.int8)
    return array.astype(np.uint8) if tensor.data_type == onnx.TensorProto.UINT4 else array


def _constant(attributes: dict[str, Any]) -> np.ndarray:
    if "value" in attributes:
        return _array(attributes["value"])
    if "value_float" in attributes:
        return np.float32(attributes["value_float"]).reshape(())
    if "value_int" in attributes:
        return np.int64(attributes["value_int"]).reshape(())
    if "value_floats" in attributes:
        return np.asarray(attributes["value_floats"], np.float32)
    return np.asarray(attributes.get("value_ints", []), np.int64)


def _require_static(nodes: Iterable[Node], types: dict[str, TensorType], model: onnx.ModelProto) -> None:
    wanted = [t for node in nodes for t in (*node.inputs, *node.outputs) if t] + [i.name for i in model.graph.input]
    unknown = sorted({name for name in wanted if name not in types})
    if unknown:
        raise Unsupported(
            f"expected static shapes, got {len(unknown)} tensors whose shape is not known",
            where=model.graph.name or "graph",
            fix=_fix_sizes(model),
            reasons=[f"tensor '{name}'" for name in unknown[:20]],
        )
    made = {name for node in nodes for name in node.outputs} | {value.name for value in model.graph.input}
    empty = sorted(name for name in made if name and types[name].elements == 0)
    if empty:
        raise Unsupported(
            f"expected tensors with elements, got {len(empty)} with a dimension of size 0",
            where=model.graph.name or "graph",
            fix="leave out the part that computes nothing, or export the network for another image size",
            reasons=[f"tensor '{name}' {types[name].shape}" for name in empty[:20]],
        )


def _fix_sizes(model: onnx.ModelProto) -> str:
    """What to do about free dimensions: by name, where it is an input that leaves them free."""
    free = []
    for value in model.graph.input:
        for position, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                free.append(dim.dim_param or f"dimension {position} of '{value.name}'")
    if not free:
        return "export the network with a fixed batch and image size"
    return (
        f"fix {', '.join(dict.fromkeys(free))}: edgevision compress --model FILE.onnx sets a free batch to 1, and with "
        "--image-size a free image; or export the network with a fixed batch and image size"
    )


def to_model(graph: Graph, nodes: list[Node], inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    """An ONNX model of some standard nodes of `graph`, with the given tensors as inputs and outputs."""
    protos = [helper.make_node(n.op, n.inputs, n.outputs, name=n.name, domain=n.domain, **n.attributes) for n in nodes]
    used = {name for node in nodes for name in node.inputs}
    initialisers = [
        numpy_helper.from_array(graph.constants[name], name)
        for name in sorted(used)
        if name in graph.constants and name not in inputs
    ]
    made = helper.make_graph(
        protos, "part", [_value_info(graph, n) for n in inputs], [_value_info(graph, n) for n in outputs], initialisers
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", graph.opset)], ir_version=10)


def _value_info(graph: Graph, name: str) -> onnx.ValueInfoProto:
    typed = graph.types[name]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(typed.dtype)), typed.shape)
