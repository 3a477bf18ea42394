"""Square deformable convolutions shown to NNCF as the standard DeformConv, which it knows how to quantise around.

NNCF drops the functions of a graph, and with them the meaning of `edgevision::SquareDeformConv`. A DeformConv with
offsets made from the dilations computes the same (`graph.square`, body "deform_conv"). Afterwards the function's node
stands there again, reads the dequantised input NNCF chose, and gets its own int8 weight.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.compress.onnxgraph import SQUARE, Index, attribute
from edgevision.compress.weights import dequantised_weight

_GRID = np.array([axis for u in (-1, 0, 1) for v in (-1, 0, 1) for axis in (u, v)], np.float32).reshape(1, 18, 1, 1)
_CONSTANTS = {"low": np.float32(0), "high": np.float32(7), "one": np.float32(1), "grid": _GRID}


def stand_in(model: onnx.ModelProto) -> list[str]:
    """Replace every SquareDeformConv by standard operators, in place; return the nodes that must stay float."""
    nodes: list[onnx.NodeProto] = []
    offsets: list[str] = []
    for node in model.graph.node:
        if node.op_type != SQUARE:
            nodes.append(node)
            continue
        x, dilation, weight = node.input
        names = {kind: f"{node.name}.{kind}" for kind in (*_CONSTANTS, "rounded", "d", "more", "offset")}
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), names[kind]) for kind, value in _CONSTANTS.items()
        )
        made = [
            helper.make_node("Round", [dilation], [names["rounded"]]),
            helper.make_node("Clip", [names["rounded"], names["low"], names["high"]], [names["d"]]),
            helper.make_node("Sub", [names["d"], names["one"]], [names["more"]]),
            helper.make_node("Mul", [names["more"], names["grid"]], [names["offset"]]),
        ]
        for one in made:
            one.name = one.output[0]
            offsets.append(one.name)
        how = {name: attribute(node, name, None) for name in ("group", "strides")}
        layer = helper.make_node(
            "DeformConv", [x, weight, names["offset"]], list(node.output), node.name, pads=[1] * 4, **how
        )
        nodes += [*made, layer]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return offsets


def put_back(quantised: onnx.ModelProto, original: onnx.ModelProto, *, keep_fp: tuple[str, ...]) -> None:
    """Undo `stand_in` after quantisation, in place; weights of layers not in `keep_fp` become int8.

    Args:
        quantised: made from `original` with stand-ins.
        original: has the functions and the nodes.
        keep_fp: layers that stay float.
    """
    before, index = Index.of(original.graph), Index.of(quantised.graph)
    squares = {node.name: node for node in original.graph.node if node.op_type == SQUARE}
    if not squares:
        return
    nodes: list[onnx.NodeProto] = []
    for node in quantised.graph.node:
        if node.name not in squares:
            nodes.append(node)
            continue
        own = onnx.NodeProto()
        own.CopyFrom(squares[node.name])
        own.input[0], own.output[0] = node.input[0], node.output[0]
        # What rounds the dilations reads them, quantised or not, as they are.
        own.input[1] = next(n for n in quantised.graph.node if n.name == f"{node.name}.rounded").input[0]
        if node.name not in keep_fp and index.made_by(own.input[0], "DequantizeLinear") is not None:
            parts, dequantize = dequantised_weight(own, before.array(own.input[2]), 0)
            quantised.graph.initializer.extend(parts)
            nodes.append(dequantize)
        nodes.append(own)
    del quantised.graph.node[:], quantised.functions[:]
    quantised.graph.node.extend(nodes)
    quantised.functions.extend(original.functions)
    known = {item.domain for item in quantised.opset_import}
    quantised.opset_import.extend(item for item in original.opset_import if item.domain not in known)
