"""Quantisers moved to where integer arithmetic can use them; no value changes.

Quantisers of other tools stand around every operator, data movements included. Here a DequantizeLinear sinks below the
movements that read it and a QuantizeLinear rises above those it reads, so that movements run on bytes and every
operator that computes meets its quantisers directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgevision.graph.ir import Graph, Node, TensorType

#: Operators that move values, or pick the largest, without computing; the first input is what they move.
MOVES = (
    "Split", "Reshape", "Transpose", "Flatten", "Slice", "Squeeze", "Unsqueeze", "MaxPool", "Identity", "Dropout",
    "Gather", "Expand", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip


def placed(graph: Graph) -> Graph:
    """Return `graph` with its quantisers next to the operators that compute."""
    made = _raised(_sunk(graph))
    made.prune()
    # Later stages rename what nodes read and make; the caller's graph stays as it was.
    nodes = [replace(node, inputs=list(node.inputs), outputs=list(node.outputs)) for node in made.nodes]
    return replace(made, nodes=nodes)


def moves(node: Node) -> bool:
    """Whether a node moves its first input and makes nothing else of it."""
    outputs = [output for output in node.outputs if output]
    return node.domain in ("", "ai.onnx") and node.op in MOVES and (node.op == "Split" or len(outputs) == 1)


def _one_scale(graph: Graph, quantiser: Node, types: Mapping[str, TensorType]) -> bool:
    """Whether a (De)QuantizeLinear has one constant scale, and bytes a movement can carry."""
    scale = graph.constants.get(quantiser.inputs[1])
    integers = quantiser.outputs[0] if quantiser.op == "QuantizeLinear" else quantiser.inputs[0]
    return scale is not None and scale.size == 1 and types[integers].dtype in ("uint8", "int8")


def _sunk(graph: Graph) -> Graph:
    """Every movement that reads a DequantizeLinear moves the bytes, and is dequantised afterwards."""
    producers = graph.producers()
    types = dict(graph.types)
    nodes: list[Node] = []
    for node in graph.nodes:
        above = producers.get(node.inputs[0]) if node.inputs and moves(node) else None
        sinks = above is not None and above.op == "DequantizeLinear" and above.inputs[0] not in graph.constants
        if above is None or not sinks or not _one_scale(graph, above, types):
            nodes.append(node)
            continue
        dtype = types[above.inputs[0]].dtype
        outputs = [f"{output}.bytes" if output else "" for output in node.outputs]
        nodes.append(replace(node, inputs=[above.inputs[0], *node.inputs[1:]], outputs=outputs))
        for output, moved in zip(node.outputs, outputs, strict=True):
            if output:
                types[moved] = TensorType(types[output].shape, dtype)
                made = replace(above, name=f"{node.name}.dq", inputs=[moved, *above.inputs[1:]], outputs=[output])
                producers[output] = made
                nodes.append(made)
    return replace(graph, nodes=nodes, types=types)


def _raised(graph: Graph) -> Graph:
    """Every QuantizeLinear that alone reads a movement stands ahead of it."""
    while True:
        producers, readers, types = graph.producers(), graph.readers(), dict(graph.types)
        swapped: dict[int, list[Node]] = {}
        for node in graph.nodes:
            above = (
                producers.get(node.inputs[0])
                if node.op == "QuantizeLinear" and _one_scale(graph, node, types)
                else None
            )
            if above is None or not moves(above) or len(above.outputs) > 1 or id(above) in swapped:
                continue
            source, between, result = above.inputs[0], above.outputs[0], node.outputs[0]
            if len(readers[between]) > 1 or between in graph.outputs or source in graph.constants:
                continue
            early = f"{result}.before"
            types[early] = TensorType(types[source].shape, types[result].dtype)
            swapped[id(above)] = [
                replace(node, inputs=[source, *node.inputs[1:]], outputs=[early]),
                replace(above, inputs=[early, *above.inputs[1:]], outputs=[result]),
            ]
            swapped[id(node)] = []
        if not swapped:
            return graph
        nodes = [made for node in graph.nodes for made in swapped.get(id(node), [node])]
        graph = replace(graph, nodes=nodes, types=types)
