"""Deformable convolutions as what they are: pixels sampled where offsets say, then an ordinary pointwise convolution.

The node `DeformSample` makes, for every output pixel, a column of all taps of all channels; its channels are ordered
by convolution group, tap, channel. Dai et al., "Deformable Convolutional Networks", 2017; with a mask Zhu et al., 2019.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgevision.graph.geometry import window_of
from edgevision.graph.ir import Graph, Node, TensorType

DOMAIN = "edgevision.fused"


def sample_deformable(graph: Graph) -> None:
    """Rewrite every DeformConv of images with a constant weight; in place.

    `DeformSample` reads the image, the offsets and, where there is one, the mask; attributes `window` (Window),
    `group` and `offset_group`.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        weight = graph.constants.get(node.inputs[1]) if node.op == "DeformConv" and not node.domain else None
        bias = node.inputs[3] if len(node.inputs) > 3 else ""
        if weight is None or weight.ndim != 4 or (bias and bias not in graph.constants):
            nodes.append(node)
            continue
        nodes += _split(graph, node, weight, bias)
    graph.nodes = nodes


def _split(graph: Graph, node: Node, weight: np.ndarray, bias: str) -> list[Node]:
    x, y = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    channels, depth, height, width = weight.shape
    group = int(node.get("group", 1))
    columns, flat = f"{node.outputs[0]}.columns", f"{node.outputs[0]}.weight"
    window = window_of(node.attributes, x, y, (height, width))
    graph.types[columns] = TensorType((x[0], x[1] * height * width, *y[2:]), "float32")
    # The weight's order becomes that of a column: tap by tap, channels within.
    graph.constants[flat] = np.ascontiguousarray(
        weight.transpose(0, 2, 3, 1).reshape(channels, height * width * depth, 1, 1)
    )
    graph.types[flat] = TensorType(graph.constants[flat].shape, "float32")
    mask = node.inputs[4:5] if len(node.inputs) > 4 and node.inputs[4] else []
    attributes = {"window": window, "group": group, "offset_group": int(node.get("offset_group", 1))}
    sample = Node(
        "DeformSample", f"{node.name}.sample", [node.inputs[0], node.inputs[2], *mask], [columns], attributes, DOMAIN
    )
    inputs = [columns, flat, *([bias] if bias else [])]
    kept = {"group": group, "kernel_shape": [1, 1], "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0]}
    return [sample, replace(node, op="Conv", inputs=inputs, attributes=kept)]
