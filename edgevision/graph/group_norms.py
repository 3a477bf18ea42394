"""GroupNormalization written as torch's exporter writes it: no shape inference of ONNX knows the operator itself."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.compress.onnxgraph import Index, attribute


def spell_group_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with every GroupNormalization of constants as InstanceNormalization of groups, Mul and Add."""
    while True:
        nodes = [node for node in model.graph.node if node.op_type == "GroupNormalization" and not node.domain]
        if not nodes:
            return model
        # What an earlier one makes has a shape only once that one is spelled out.
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        node = next(node for node in model.graph.node if node.op_type == "GroupNormalization")
        values = (*model.graph.input, *model.graph.value_info)
        shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
        index = Index.of(model.graph)
        if not shapes.get(node.input[0]) or any(name not in index.constants for name in node.input[1:3]):
            return model
        _spell(model.graph, node, shapes[node.input[0]], index)


def _spell(graph: onnx.GraphProto, node: onnx.NodeProto, shape: list[int], index: Index) -> None:
    groups, stem = int(attribute(node, "num_groups", 1)), node.output[0]
    per_channel = [1, shape[1], *[1] * (len(shape) - 2)]
    # Up to opset 20 there is one value per group.
    gamma, beta = (np.repeat(index.array(name), shape[1] // index.array(name).size) for name in node.input[1:3])
    constants: dict[str, np.ndarray] = {
        f"{stem}.groups": np.array([0, groups, -1], np.int64),
        f"{stem}.ones": np.ones(groups, np.float32),
        f"{stem}.zeros": np.zeros(groups, np.float32),
        f"{stem}.shape": np.array(shape, np.int64),
        f"{stem}.gamma": gamma.reshape(per_channel),
        f"{stem}.beta": beta.reshape(per_channel),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    grouped, even, whole, scaled = (f"{stem}.{what}" for what in ("grouped", "even", "whole", "scaled"))
    groups_, ones, zeros, shape_, factor, term = constants
    made = [
        helper.make_node("Reshape", [node.input[0], groups_], [grouped], name=f"{node.name}.grouped"),
        helper.make_node(
            "InstanceNormalization", [grouped, ones, zeros], [even], name=node.name,
            epsilon=attribute(node, "epsilon", 1e-5),
        ),
        helper.make_node("Reshape", [even, shape_], [whole], name=f"{node.name}.whole"),
        helper.make_node("Mul", [whole, factor], [scaled], name=f"{node.name}.gamma"),
        helper.make_node("Add", [scaled, term], [stem], name=f"{node.name}.beta"),
    ]  # fmt: skip
    position = next(i for i, other in enumerate(graph.node) if other == node)
    del graph.node[position]
    for offset, new in enumerate(made):
        graph.node.insert(position + offset, new)
