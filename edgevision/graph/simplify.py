"""Small rewrites that leave one spelling of one thing, so that every later stage knows one spelling."""

from __future__ import annotations

import onnx
from onnx import helper

from edgevision.compress.onnxgraph import Index, attribute, prune, redirect


def pool_means(graph: onnx.GraphProto) -> int:
    """Rewrite every mean over the image axes of a 4-d tensor as GlobalAveragePool (and Flatten); in place.

    Returns the number of nodes rewritten. The value is the same: both average over H and W.
    """
    index = Index.of(graph)
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in (*graph.input, *graph.value_info)}
    nodes: list[onnx.NodeProto] = []
    changed = 0
    for node in graph.node:
        rank = ranks.get(node.input[0], 0) if node.input else 0
        if node.op_type != "ReduceMean" or rank != 4 or _axes(node, index) != {2, 3}:
            nodes.append(node)
            continue
        changed += 1
        output = node.output[0]
        flat = not attribute(node, "keepdims", 1)
        pooled = f"{output}.pooled" if flat else output
        pool = helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name)
        pool.metadata_props.extend(node.metadata_props)
        nodes.append(pool)
        if flat:
            nodes.append(helper.make_node("Flatten", [pooled], [output], name=f"{node.name}.flatten", axis=1))
    del graph.node[:]
    graph.node.extend(nodes)
    prune(graph)
    return changed


def _axes(node: onnx.NodeProto, index: Index) -> set[int]:
    if len(node.input) < 2 or node.input[1] not in index.constants:
        return set()
    return {int(axis) % 4 for axis in index.array(node.input[1]).reshape(-1)}


def drop_zeros(graph: onnx.GraphProto) -> int:
    """Remove every addition of nothing but zeros that enlarges no dimension: branches that were pruned; in place.

    Returns the number of nodes removed. An output of the graph keeps its name and its node.
    """
    index = Index.of(graph)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info)
    }
    outputs = {value.name for value in graph.output}
    removed = []
    for node in graph.node:
        if node.op_type != "Add" or node.output[0] in outputs:
            continue
        for kept, added in (node.input, reversed(node.input)):
            zero = added in index.constants and not index.array(added).any()
            if zero and shapes.get(kept) and shapes.get(kept) == shapes.get(node.output[0]):
                redirect(graph.node, node.output[0], kept)
                removed.append(node)
                break
    for node in removed:
        graph.node.remove(node)
    prune(graph)
    return len(removed)


def flatten_reshapes(graph: onnx.GraphProto) -> int:
    """Rewrite every Reshape of (1, ...) to (1, n) as Flatten, which does not spell the batch; in place.

    Returns the number of nodes rewritten.
    """
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output, *graph.value_info)
    }
    changed = 0
    for node in graph.node:
        if node.op_type != "Reshape":
            continue
        before, after = shapes.get(node.input[0], []), shapes.get(node.output[0], [])
        if len(before) >= 2 and len(after) == 2 and before[0] == after[0] == 1:
            node.op_type = "Flatten"
            del node.input[1:], node.attribute[:]
            node.attribute.append(helper.make_attribute("axis", 1))
            changed += 1
    prune(graph)
    return changed
