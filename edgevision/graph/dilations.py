"""Dilation maps as bytes: what SquareDeformConv rounds and clamps is quantised with scale 1 ahead of it.

Then the convolution that makes the map writes the bytes itself, by the same quantiser as any other, and the layer
reads one byte per pixel. Roundings and clamps of whole numbers that stand between are the function's own, so they go.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgevision.graph import square
from edgevision.graph.ir import Graph, Node, TensorType

#: Domain of nodes the compiler makes from several.
DOMAIN = "edgevision.fused"


def byte_dilations(graph: Graph) -> Graph:
    """Return `graph` with every SquareDeformConv of a constant weight as `SquareDeform` of a map of bytes.

    `SquareDeform` reads the image, the map (uint8, 0 to 7) and the weight; attribute `stride`.
    """
    maker = _Maker(graph)
    for node in graph.nodes:
        maker.take(node)
    made = replace(graph, nodes=maker.nodes, constants=maker.constants, types=maker.types)
    made.prune()
    return made


class _Maker:
    def __init__(self, graph: Graph) -> None:
        self._graph, self._producers = graph, graph.producers()
        self._maps: dict[tuple[str, int, int], str] = {}
        self.nodes: list[Node] = []
        self.constants, self.types = dict(graph.constants), dict(graph.types)

    def take(self, node: Node) -> None:
        stride = self._stride(node) if (node.domain, node.op) == (square.DOMAIN, square.OPERATOR) else None
        if stride is None:
            self.nodes.append(node)
            return
        x, dilation, weight = node.inputs
        inputs = [x, self._bytes(dilation, node), weight]
        self.nodes.append(Node("SquareDeform", node.name, inputs, node.outputs, {"stride": stride}, DOMAIN))

    def _stride(self, node: Node) -> int | None:
        """Stride of a layer as the function defines it; None of one it does not."""
        weight, channels = self.types[node.inputs[2]].shape, self.types[node.inputs[0]].shape[1]
        strides = list(node.get("strides", [1, 1]))
        plain = weight == (channels, 1, 3, 3) and node.get("group") == channels and strides in ([1, 1], [2, 2])
        behind = self._producers.get(node.inputs[2])
        quantised = behind is not None and behind.op == "DequantizeLinear" and behind.inputs[0] in self.constants
        return int(strides[0]) if plain and (node.inputs[2] in self.constants or quantised) else None

    def _bytes(self, tensor: str, node: Node) -> str:
        source, low, high = self._source(tensor)
        name = self._maps.get((source, low, high))
        if name is not None:
            return name
        clamped, name = f"{node.name}.dilation", f"{node.name}.dilation.bytes"
        shape = self.types[source].shape
        self.types[clamped], self.types[name] = TensorType(shape, "float32"), TensorType(shape, "uint8")
        values = {"low": np.float32(low), "high": np.float32(high), "one": np.float32(1), "zero": np.uint8(0)}
        for kind, value in values.items():
            self.constants[f"{clamped}.{kind}"] = np.asarray(value)
            self.types[f"{clamped}.{kind}"] = TensorType((), str(value.dtype))
        bounds, quant = ([f"{clamped}.{kind}" for kind in pair] for pair in (("low", "high"), ("one", "zero")))
        self.nodes.append(Node("Clip", clamped, [source, *bounds], [clamped]))
        self.nodes.append(Node("QuantizeLinear", name, [clamped, *quant], [name]))
        self._maps[source, low, high] = name
        return name

    def _source(self, tensor: str) -> tuple[str, int, int]:
        """What `tensor` is the rounded and clamped value of, and the limits, no wider than the function's own."""
        low, high = 0, square.LARGEST_DILATION
        while True:
            node = self._producers.get(tensor)
            if node is None or node.domain or node.op not in ("Round", "Clip", "Identity"):
                return tensor, low, high
            if node.op == "Clip":
                bounds = self._bounds(node)
                if bounds is None:
                    return tensor, low, high
                low, high = (int(min(max(bound, low), high)) for bound in bounds)
            tensor = node.inputs[0]

    def _bounds(self, node: Node) -> tuple[float, float] | None:
        """Limits of a Clip; None where one is not a whole number known now."""
        bounds = [-np.inf, np.inf]
        for position, name in enumerate(node.inputs[1:3]):
            if not name:
                continue
            value = self.constants.get(name)
            if value is None or value.size != 1 or float(value.reshape(())) != np.rint(value.reshape(())):
                return None
            bounds[position] = float(value.reshape(()))
        return bounds[0], bounds[1]
