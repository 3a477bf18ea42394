"""Factorized convolutions shown to NNCF as their three convolutions, of which it quantises the first.

NNCF drops the functions of a graph. The 1x1 convolution, where nearly all products are, bears the layer's name and gets
bytes on both sides; both thin ones stay float, as the kernel computes them (quant/NUMERICS.md section 14). Afterwards
the call stands there again, with the input and the channel factors NNCF dequantises.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

from edgevision.compress.factorized_graph import CONV, DOMAIN, is_factorized
from edgevision.compress.onnxgraph import attribute, prune


def _thin_names(name: str) -> tuple[str, str]:
    return f"{name}.thin_rows", f"{name}.thin_columns"


def stand_in_factorized(model: onnx.ModelProto) -> list[str]:
    """Replace every FactorizedConv by its three convolutions, in place; return the nodes that must stay float."""
    nodes: list[onnx.NodeProto] = []
    floats: list[str] = []
    for node in model.graph.node:
        if not is_factorized(node) or node.op_type != CONV:
            nodes.append(node)
            continue
        x, channel, rows, columns, bias = node.input
        (down, along), products, group = (
            _thin_names(node.name),
            attribute(node, "products", 1),
            attribute(node, "group", 1),
        )
        nodes += [
            helper.make_node("Conv", [x, channel], [f"{node.name}.products"], node.name),
            helper.make_node("Conv", [f"{node.name}.products", rows], [down], down, **_way(node, "row", products)),
            helper.make_node("Conv", [down, columns, bias], list(node.output), along, **_way(node, "column", group)),
        ]
        floats += [down, along]
    if floats:
        del model.graph.node[:], model.functions[:]
        model.graph.node.extend(nodes)
    return floats


def _way(node: onnx.NodeProto, way: str, group: int) -> dict[str, Any]:
    return {"group": group, "strides": attribute(node, f"{way}_strides", [1, 1]),
            "pads": attribute(node, f"{way}_pads", [0] * 4)}  # fmt: skip


def put_back_factorized(quantised: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """Undo `stand_in_factorized` after quantisation, in place.

    Args:
        quantised: made from `original` with stand-ins.
        original: has the functions and the calls.
    """
    calls = {node.name: node for node in original.graph.node if is_factorized(node) and node.op_type == CONV}
    if not calls:
        return
    named = {node.name: node for node in quantised.graph.node}
    ends = {_thin_names(name)[1]: name for name in calls}
    dropped = {part for name in calls for part in (name, _thin_names(name)[0])}
    nodes: list[onnx.NodeProto] = []
    for node in quantised.graph.node:
        if node.name in dropped:
            continue
        if node.name not in ends:
            nodes.append(node)
            continue
        name = ends[node.name]
        own = onnx.NodeProto()
        own.CopyFrom(calls[name])
        own.input[0], own.input[1] = named[name].input[0], named[name].input[1]
        own.input[2] = named[_thin_names(name)[0]].input[1]
        own.input[3], own.input[4] = node.input[1], node.input[2]
        own.output[0] = node.output[0]
        nodes.append(own)
    del quantised.graph.node[:]
    quantised.graph.node.extend(nodes)
    known = {item.name for item in quantised.functions}
    quantised.functions.extend(item for item in original.functions if item.domain == DOMAIN and item.name not in known)
    domains = {item.domain for item in quantised.opset_import}
    quantised.opset_import.extend(item for item in original.opset_import if item.domain not in domains)
    prune(quantised.graph)
