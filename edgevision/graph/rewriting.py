"""What the rules that rewrite a QDQ graph share: the new nodes, the types of their tensors, and the quantisers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgevision.graph.ir import Graph, Node, TensorType
from edgevision.graph.qdq import QdqReader, Quant, Tail

#: How near to whole steps a constant must be, and how many they may be.
_WHOLE, _MOST_STEPS = 2.0**-20, 2**20
#: Domain of the explicit integer operators.
DOMAIN = "edgevision.integer"


class Rewriting:
    """One graph being rewritten.

    Attributes:
        graph: as it was.
        nodes, constants, types: of the graph that is being made.
        producers: the node that makes each tensor of the old graph.
        qdq: its quantisers; `qdq.reasons` collects what cannot be expressed.
        done: ids of old nodes that another node already stands for.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.constants = dict(graph.constants)
        self.types = dict(graph.types)
        self.producers = graph.producers()
        self.qdq = QdqReader(graph)
        self.done: set[int] = set()

    def finished(self) -> Graph:
        """The new graph, without what nobody reads."""
        graph = self.graph
        made = Graph(self.nodes, self.constants, self.types, graph.inputs, graph.outputs, graph.opset)
        made.prune()
        return made

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self.types[tensor].shape

    def refuse(self, node: Node, why: str) -> bool:
        """Record that `node` cannot be expressed; true, since it needs no other rule."""
        reason = f"{node.name}: {why}"
        if reason not in self.qdq.reasons:
            self.qdq.reasons.append(reason)
        return True

    def emit(self, op: str, node: Node, inputs: list[str], output: str, **attributes: object) -> None:
        """Append an integer operator that stands for `node`."""
        self.nodes.append(Node(op, node.name, inputs, [output], dict(attributes), DOMAIN))

    def standard(self, op: str, node: Node, inputs: list[str], output: str, **attributes: object) -> None:
        """Append an operator of ONNX that `node` needs."""
        self.nodes.append(Node(op, f"{node.name}.{op.lower()}", inputs, [output], dict(attributes)))

    def new(self, name: str, shape: tuple[int, ...], dtype: str) -> str:
        """A tensor of the new graph; `name`, which must be unused."""
        self.types[name] = TensorType(shape, dtype)
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        """A constant of the new graph."""
        self.constants[name] = value
        return self.new(name, value.shape, str(value.dtype))

    def reshaped(self, node: Node, source: str, name: str, shape: tuple[int, ...]) -> str:
        """`source` under another shape and the name `name`."""
        target = self.constant(f"{name}.shape", np.array(shape, np.int64))
        self.standard("Reshape", node, [source, target], self.new(name, shape, self.types[source].dtype))
        if source in self.qdq.quant:
            self.qdq.quant[name] = self.qdq.quant[source]
        return name

    def as_bytes(self, tensor: str, quant: Quant) -> None:
        """Say that `tensor` holds bytes of `quant`."""
        self.qdq.quant[tensor] = quant
        self.types[tensor] = TensorType(self.types[tensor].shape, "uint8")

    def take_added(self, tensor: str, fits: Callable[[np.ndarray], bool]) -> tuple[str, str | None]:
        """The tensor after a constant that fits has been added, and the constant; `tensor` and None without one."""
        reader = self.qdq.sole_reader(tensor)
        if reader is None or reader.op != "Add":
            return tensor, None
        other = reader.inputs[1] if reader.inputs[0] == tensor else reader.inputs[0]
        value = self.constants.get(other)
        if value is None or not fits(value):
            return tensor, None
        self.done.add(id(reader))
        return reader.outputs[0], other

    def take_whole_steps(self, tensor: str) -> tuple[str, np.ndarray | None]:
        """The tensor after a constant per channel that is whole steps of the quantiser behind it, and these steps.

        int32, one per channel; `tensor` and None without one (NUMERICS.md section 4).
        """
        reader = self.qdq.sole_reader(tensor)
        tail = self.qdq.tail(reader.outputs[0]) if reader is not None and reader.op == "Add" else None
        if tail is None or not tail.quant.per_tensor:
            return tensor, None
        channels, step = self.shape(tensor)[1], tail.quant.step

        def whole(value: np.ndarray) -> bool:
            steps = value.astype(np.float64) / step
            near = np.abs(steps - np.rint(steps)) <= _WHOLE * np.maximum(np.abs(steps), 1)
            return value.shape == (1, channels, 1, 1) and bool(np.all(near & (np.abs(steps) < _MOST_STEPS)))

        output, name = self.take_added(tensor, whole)
        if name is None:
            return tensor, None
        return output, np.rint(self.constants[name].astype(np.float64) / step).astype(np.int32).reshape(-1)

    def take_tail(self, tensor: str, *, gelu: bool = False) -> Tail | None:
        """The quantiser behind `tensor`, taken out of the graph; behind its GELU too where the operator can do that."""
        tail = self.qdq.tail(tensor)
        if tail is None and gelu:
            tail = self.qdq.gelu_tail(tensor)
        if tail is not None:
            self.done.update(id(node) for node in tail.absorbed)
        return tail

    def source(self, tensor: str) -> tuple[str, Quant] | None:
        """The bytes behind a dequantised tensor, constants included, and their quantisation."""
        found = self.qdq.source(tensor)
        return found if found is not None else self._constant_source(tensor)

    def _constant_source(self, tensor: str) -> tuple[str, Quant] | None:
        node = self.producers.get(tensor)
        if node is None or node.op != "DequantizeLinear" or not self.qdq.expandable(node):
            return None
        array = self.graph.constants[node.inputs[0]]
        if array.dtype not in (np.uint8, np.int8) or self.graph.constants[node.inputs[1]].size != 1:
            return None
        quant = self.qdq.quantizer(node)
        if quant is None:
            return None
        name = f"{tensor}.bytes"
        if name not in self.constants:
            shift = 128 if array.dtype == np.int8 else 0
            self.constant(name, (array.astype(np.int16) + shift).astype(np.uint8))
        return name, quant
