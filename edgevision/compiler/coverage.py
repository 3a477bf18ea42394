"""What the compiler would do with a graph, told before anything is built: operators, float shares, memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgevision.errors import DoesNotFit, Unsupported
from edgevision.graph import binary, factorized
from edgevision.graph.ir import Graph, Node
from edgevision.target import Target


@dataclass(frozen=True)
class OperatorCount:
    """How often an operator occurs and the share of multiply-accumulates it does."""

    op: str
    count: int
    macs: int


@dataclass(frozen=True)
class Coverage:
    """The answer of `check`.

    Attributes:
        macs, integer_macs: multiply-accumulates in all, and in integer arithmetic.
        nodes, integer_nodes: operators after integer rewriting, and how many of them are integer.
        generated, tvm: operators with a kernel of ours, and those that go through TVM's own lowering.
        weight_bytes: bytes of weights as the program will hold them, before packing.
        activation_bytes: lower bound of the arena: the largest input plus output of one operator.
        unsupported: one reason for each node that cannot be compiled; known once the graph was lowered.
    """

    macs: int
    integer_macs: int
    nodes: int
    integer_nodes: int
    generated: tuple[OperatorCount, ...]
    tvm: tuple[OperatorCount, ...]
    weight_bytes: int
    activation_bytes: int
    unsupported: tuple[str, ...] = ()

    @property
    def float_mac_share(self) -> float:
        """Share of multiply-accumulates that stay float, 0 to 1."""
        return 1 - self.integer_macs / self.macs if self.macs else 0.0

    @property
    def float_step_share(self) -> float:
        """Share of operators that stay float, 0 to 1."""
        return 1 - self.integer_nodes / self.nodes if self.nodes else 0.0

    def refusal(self, target: Target) -> Unsupported:
        """The error for the nodes that cannot be compiled."""
        return Unsupported(
            f"{len(self.unsupported)} operators cannot be compiled for {target.name}",
            fix="rewrite these operators, or leave the part out of the exported graph",
            reasons=self.unsupported,
        )

    def require(self, target: Target) -> None:
        """Raise what stands in the way of a build, every reason at once.

        Raises:
            Unsupported: operators that cannot be compiled.
            DoesNotFit: weights and activations exceed the target's memory.
        """
        if self.unsupported:
            raise self.refusal(target)
        need, have = self.weight_bytes + self.activation_bytes, target.memory.ram_mib
        if have is not None and need > have * 2**20:
            raise DoesNotFit(
                f"the program needs at least {need / 2**20:.0f} MiB of memory, {target.name} has {have} MiB",
                fix="use a smaller network or image size, or a recipe with fewer bits",
            )


def node_macs(node: Node, graph: Graph) -> int:
    """Multiply-accumulates of one node."""
    output = graph.types[node.outputs[0]].elements if node.outputs and node.outputs[0] in graph.types else 0
    if node.op in ("IntConv", "IntGemm", "IntSquareDeform", "ByteWeightConv", "ByteWeightGemm"):
        return output * int(np.prod(node.attributes["weight"].shape[1:]))
    if node.op.endswith("ConvTranspose"):
        inside = node.domain == "edgevision.integer"
        weight = node.attributes["weight"].shape if inside else graph.shape(node.inputs[1])
        # Every weight meets every input pixel of its channel.
        share = weight[0] // int(node.get("group", 1)) if inside else weight[1]
        return graph.types[node.inputs[0]].elements * share * int(np.prod(weight[2:]))
    if node.op in binary.SIGNED_LAYERS:
        return output * int(node.get("K"))
    if node.op in (factorized.CONV, factorized.INTEGER):
        factors = factorized.factors_of(node, graph.constants)
        return 0 if factors is None else factors.macs(graph.shape(node.inputs[0]), graph.shape(node.outputs[0]))
    if node.op == binary.ATTENTION:
        return output * graph.shape(node.inputs[1])[2] * 2
    if node.op == "SquareDeform":
        return output * 9
    if node.op == "Conv":
        return output * int(np.prod(graph.shape(node.inputs[1])[1:]))
    if node.op == "Attention":
        keys = graph.shape(node.inputs[1])[-1]
        return (
            output
            // graph.shape(node.outputs[0])[-1]
            * keys
            * (graph.shape(node.inputs[0])[-1] + graph.shape(node.outputs[0])[-1])
        )
    if node.op in ("Gemm", "MatMul", "IntMatMul"):
        shape = graph.shape(node.inputs[0])
        return output * (shape[0] if node.get("transA") else shape[-1])
    return 0


def _on_bytes(node: Node, graph: Graph) -> bool:
    """Whether a node computes in integers, or moves bytes as they are."""
    if node.domain not in ("", "ai.onnx"):
        return _is_integer(node)
    tensors = [name for name in (*node.inputs[:1], *node.outputs) if name in graph.types]
    return bool(tensors) and all(graph.types[name].dtype == "uint8" for name in tensors)


def pool_leaves_frame(node: Node, graph: Graph) -> bool:
    """Whether some window of a pooling lies wholly in the padding, which runtimes and ONNX do not agree on."""
    if node.op not in ("MaxPool", "AveragePool") or not node.get("ceil_mode"):
        return False
    sizes, results = graph.shape(node.inputs[0])[2:], graph.shape(node.outputs[0])[2:]
    strides, pads = node.get("strides", [1] * len(sizes)), node.get("pads", [0] * len(sizes))
    return any((y - 1) * s >= x + p for x, y, s, p in zip(sizes, results, strides, pads, strict=False))


def refusals(graph: Graph, rules: Mapping[str, object], supported_by_tvm: set[str]) -> dict[int, str]:
    """Why nodes cannot be compiled, by `id`, as far as their names and attributes tell."""
    found: dict[int, str] = {}
    for node in graph.nodes:
        foreign = node.domain not in ("", "ai.onnx", "edgevision.integer", "edgevision.fused")
        if pool_leaves_frame(node, graph):
            found[id(node)] = f"{node.op} '{node.name}': with ceil_mode its last window begins outside the image"
        elif foreign or (node.op not in rules and node.op not in supported_by_tvm):
            found[id(node)] = named(node, graph, "no kernel, and TVM's importer does not know it", foreign=foreign)
    return found


def named(node: Node, graph: Graph, reason: str, *, foreign: bool = False) -> str:
    """A reason against a node, with its share of the multiply-accumulates and, where it is `foreign`, its domain."""
    total = sum(node_macs(one, graph) for one in graph.nodes)
    share = f"{100 * node_macs(node, graph) / total:.1f} % of MACs" if total else "no MACs"
    return f"{f'{node.domain}::' if foreign else ''}{node.op} '{node.name}' ({share}): {reason}"


def coverage(graph: Graph, rules: Mapping[str, object]) -> Coverage:
    """Count what an integer graph is made of; nothing is built."""
    total: dict[str, list[int]] = {}
    all_macs = integer_macs = integer_nodes = 0
    for node in graph.nodes:
        macs = node_macs(node, graph)
        all_macs += macs
        count = total.setdefault(node.op, [0, 0])
        count[0] += 1
        count[1] += macs
        if _is_integer(node):
            integer_macs += macs
        integer_nodes += _on_bytes(node, graph)
    counts = {op: OperatorCount(op, c, m) for op, (c, m) in total.items()}
    return Coverage(
        macs=all_macs,
        integer_macs=integer_macs,
        nodes=len(graph.nodes),
        integer_nodes=integer_nodes,
        generated=tuple(counts[op] for op in sorted(counts) if op in rules),
        tvm=tuple(counts[op] for op in sorted(counts) if op not in rules),
        weight_bytes=_weight_bytes(graph),
        activation_bytes=max((_traffic(node, graph) for node in graph.nodes), default=0),
    )


def _is_integer(node: Node) -> bool:
    """Whether a node computes on bytes or bits."""
    if node.op in (*binary.SIGNED_LAYERS, binary.ATTENTION):
        return True
    return (node.domain == "edgevision.integer" and node.op.startswith("Int")) or "zeros" in node.attributes


def _weight_bytes(graph: Graph) -> int:
    used = {name for node in graph.nodes for name in node.inputs}
    inside = sum(
        value.nbytes for node in graph.nodes for value in node.attributes.values() if isinstance(value, np.ndarray)
    )
    return inside + sum(array.nbytes for name, array in graph.constants.items() if name in used)


def _traffic(node: Node, graph: Graph) -> int:
    names = [n for n in (*node.inputs, *node.outputs) if n in graph.types and n not in graph.constants]
    return sum(graph.types[n].elements * np.dtype(graph.types[n].dtype).itemsize for n in set(names))
