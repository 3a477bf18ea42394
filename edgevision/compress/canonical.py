"""The canonical QDQ graph: what the compiler can rely on.

1.  Quantised means QuantizeLinear and DequantizeLinear of standard ONNX around standard operators and
    `edgevision::SquareDeformConv` and `FactorizedConv`; opset 20 or later.
2.  *Weights*: Conv, Gemm, MatMul, SquareDeformConv and FactorizedConv (its channel factors) read a
    DequantizeLinear of an int8 initializer: zero point 0, values in [-127, 127], a 1-d float32 scale with one entry
    per output channel (also when there is one channel) and `axis` >= 0 naming that channel's axis in the weight.
    Names: `<layer>.weight.q`, `.weight.scale`, `.weight.zero_point`.
3.  *Biases* are float32 initializers.
4.  *Activations*: every quantised operator reads a DequantizeLinear directly. No data movement (Split, Reshape,
    Transpose, Flatten, Slice, Squeeze, Unsqueeze, MaxPool, Identity; Concat of pieces with one scale and zero point,
    as of one tensor or of branches NNCF gave a common quantiser) stands between a DequantizeLinear and its readers:
    these run on the integers, and the DequantizeLinear follows them.
5.  Every integer tensor has exactly one DequantizeLinear; several operators may read it. Its scale and zero point
    are those of the QuantizeLinear it comes from, and are scalars: int8 or uint8, any zero point.
6.  Exception to 5, depthwise convolutions only: the input may have one scale and zero point per channel (1-d, axis 1).
7.  Sigmoid and Softmax, whose range is known, are quantised to uint8 with scale 1/256 and zero point 0.
    What is multiplied by one positive constant keeps its integers: the scale is multiplied instead.
8.  Between an operator and the QuantizeLinear behind it stands nothing, or one activation function (Relu, Clip,
    Gelu, Sigmoid, HardSigmoid, HardSwish): the float epilogue of the integer operator.
9.  A layer left in float (`keep_fp`) reads the float tensor ahead of any QuantizeLinear, which then has other readers.
    What has no QuantizeLinear behind it (the network's output) stays float.
10. Nodes are in topological order, every intermediate has a shape, node names are those of the float graph;
    `<tensor>.q` and `<tensor>.dq` name the integers of a tensor and its dequantised value; what DequantizeLinear makes
    behind a data movement keeps the tensor's own name.
11. Weights of 2 to 4 bits (`packing`, or trained quantised: `graph.from_qat`) are INT4, and the graph of opset 21.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.compress.layers import MOVES, quantised_layers, weight_of
from edgevision.compress.onnxgraph import (
    FACTORIZED,
    SQUARE,
    WEIGHT_SLOTS,
    Index,
    attribute,
    finished,
    prune,
    redirect,
    rename_tensors,
    set_attribute,
)
from edgevision.errors import Unsupported

#: Operators whose output lies in [0, 1].
UNIT_RANGE = ("Sigmoid", "HardSigmoid", "Softmax")


def canonical(model: onnx.ModelProto, *, expected: Sequence[str] = ()) -> onnx.ModelProto:
    """Return `model` in the form this module describes; `model` is changed.

    Args:
        model: a QDQ graph, as NNCF writes it.
        expected: layers that were to be quantised.

    Raises:
        Unsupported: a layer of `expected` is not quantised, or an input has scales integer arithmetic cannot use;
            all of them are named.
    """
    graph = model.graph
    while _push_down(graph) or _push_down_joined(graph):
        pass
    _share_dequantize(graph)
    _weights(graph)
    _unit_ranges(graph)
    _scaled(graph)
    _names(graph)
    prune(graph)
    _refuse(graph, expected)
    return finished(model)


def _push_down(graph: onnx.GraphProto) -> bool:
    """Move every per-tensor DequantizeLinear below the data movements that read it, one level; true if any moved."""
    index = Index.of(graph)
    nodes: list[onnx.NodeProto] = []
    moved = False
    for node in graph.node:
        above = index.made_by(node.input[0], "DequantizeLinear") if node.op_type in MOVES else None
        if above is None or above.input[0] in index.constants or index.array(above.input[1]).size != 1:
            nodes.append(node)
            continue
        moved = True
        outputs = list(node.output)
        node.input[0] = above.input[0]
        del node.output[:]
        node.output.extend(f"{name}.q" for name in outputs)
        nodes.append(node)
        nodes += [
            helper.make_node("DequantizeLinear", [f"{name}.q", *above.input[1:]], [name], name=f"{name}.dq")
            for name in outputs
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    prune(graph)
    return moved


def _push_down_joined(graph: onnx.GraphProto) -> bool:
    """Move what dequantises pieces with one scale and zero point below the Concat of them; true if any moved.

    The pieces are those of one tensor (a roll), or branches that NNCF gave a common quantiser (a channel shuffle).
    """
    index = Index.of(graph)
    nodes: list[onnx.NodeProto] = []
    moved = False
    for node in graph.node:
        above = [index.made_by(name, "DequantizeLinear") for name in node.input] if node.op_type == "Concat" else []
        pieces = [item for item in above if item is not None and index.array(item.input[1]).size == 1]
        quantisers = {tuple(index.array(name).tobytes() for name in item.input[1:3]) for item in pieces}
        dynamic = all(_quantised_here(item.input[0], index) for item in pieces)
        if not above or len(pieces) < len(above) or len(quantisers) != 1 or not dynamic:
            nodes.append(node)
            continue
        moved = True
        output = node.output[0]
        for slot, item in enumerate(pieces):
            node.input[slot] = item.input[0]
        node.output[0] = f"{output}.q"
        below = helper.make_node(
            "DequantizeLinear", [f"{output}.q", *pieces[0].input[1:]], [output], name=f"{output}.dq"
        )
        nodes += [node, below]
    del graph.node[:]
    graph.node.extend(nodes)
    prune(graph)
    return moved


def _quantised_here(integers: str, index: Index) -> bool:
    """Whether `integers` were moved from the output of a QuantizeLinear; constants were not."""
    node = index.producer.get(integers)
    while node is not None and node.op_type in (*MOVES, "Concat"):
        node = index.producer.get(node.input[0])
    return node is not None and node.op_type == "QuantizeLinear"


def _share_dequantize(graph: onnx.GraphProto) -> None:
    """Leave one DequantizeLinear per integer tensor."""
    first: dict[tuple[str, ...], str] = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            known = first.setdefault(tuple(node.input), node.output[0])
            if known != node.output[0]:
                redirect(graph.node, node.output[0], known)
    prune(graph)


def _weights(graph: onnx.GraphProto) -> None:
    """Give every quantised weight a 1-d scale, a non-negative axis and names after its layer."""
    index = Index.of(graph)
    for node in graph.node:
        slot = WEIGHT_SLOTS.get(node.op_type)
        dequantize = index.made_by(node.input[slot], "DequantizeLinear") if slot is not None else None
        if dequantize is None or dequantize.input[0] not in index.constants:
            continue
        values = index.array(dequantize.input[0])
        axis = output_axis(node, values.ndim)
        channels = values.shape[axis]
        scale = index.array(dequantize.input[1]).astype(np.float32).reshape(-1)
        zero = index.array(dequantize.input[2]).reshape(-1)
        stem = f"{node.name}.weight"
        names = [f"{stem}.q", f"{stem}.scale", f"{stem}.zero_point"]
        arrays = [values, np.broadcast_to(scale, (channels,)), np.broadcast_to(zero, (channels,))]
        known = {tensor.name for tensor in graph.initializer}
        graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(a), n)
            for a, n in zip(arrays, names, strict=True)
            if n not in known
        )
        del dequantize.input[:]
        dequantize.input.extend(names)
        dequantize.name = f"{stem}.dq"
        set_attribute(dequantize, "axis", axis)
    prune(graph)


def output_axis(node: onnx.NodeProto, rank: int) -> int:
    """Axis of the output channels in the weight, of `rank` dimensions, of a Conv, ConvTranspose, Gemm,
    MatMul, FactorizedConv or SquareDeformConv.

    >>> output_axis(onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), 2)
    0
    """
    if node.op_type in ("Conv", FACTORIZED, SQUARE) or attribute(node, "transB", 0):
        return 0
    return rank - 1 if node.op_type == "MatMul" else 1


def _unit_ranges(graph: onnx.GraphProto) -> None:
    """Quantise what lies in [0, 1] with scale 1/256: no image can fall outside, and the scale is a shift."""
    index = Index.of(graph)
    for node in graph.node:
        source = index.producer.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if source is not None and source.op_type in UNIT_RANGE and index.array(node.input[1]).size == 1:
            _requantise(graph, node, np.asarray(1 / 256, np.float32), np.asarray(0, np.uint8))


def _scaled(graph: onnx.GraphProto) -> None:
    """Quantise a dequantised tensor times a positive constant (the scale of attention) without rounding it again."""
    index = Index.of(graph)
    for node in graph.node:
        source = index.made_by(node.input[0], "Mul") if node.op_type == "QuantizeLinear" else None
        if source is None or index.array(node.input[1]).size != 1:
            continue
        above = [item for name in source.input if (item := index.made_by(name, "DequantizeLinear")) is not None]
        factors = [index.array(name) for name in source.input if name in index.constants]
        if len(above) != 1 or len(factors) != 1 or factors[0].size != 1 or not float(factors[0].reshape(())) > 0:
            continue
        if above[0].input[0] in index.constants or index.array(above[0].input[1]).size != 1:
            continue
        scale, zero = (index.array(name) for name in above[0].input[1:3])
        _requantise(graph, node, np.asarray(scale.reshape(()) * factors[0].reshape(()), np.float32), zero)


def _requantise(graph: onnx.GraphProto, quantize: onnx.NodeProto, scale: np.ndarray, zero: np.ndarray) -> None:
    """Give `quantize` and what dequantises it another scale and zero point."""
    tensor, old = quantize.input[0], list(quantize.input[1:])
    names = [f"{tensor}.scale", f"{tensor}.zero_point"]
    graph.initializer.append(numpy_helper.from_array(scale, names[0]))
    graph.initializer.append(numpy_helper.from_array(zero, names[1]))
    for other in graph.node:
        if other.op_type == "DequantizeLinear" and list(other.input[1:]) == old:
            other.input[1], other.input[2] = names
    quantize.input[1], quantize.input[2] = names


def _names(graph: onnx.GraphProto) -> None:
    """Name quantisers, their tensors and their parameters after the tensor they quantise."""
    index = Index.of(graph)
    names: dict[str, str] = {}
    count: dict[str, int] = {}
    for node in graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        source = node.input[0]
        count[source] = count.get(source, 0) + 1
        stem = source if count[source] == 1 else f"{source}.{count[source]}"
        names[node.output[0]] = f"{stem}.q"
        node.name = f"{stem}.q"
        for slot, what in ((1, "scale"), (2, "zero_point")):
            names.setdefault(node.input[slot], f"{stem}.{what}")
        for reader in index.readers[node.output[0]]:
            if reader.op_type == "DequantizeLinear":
                reader.name = names[reader.output[0]] = f"{stem}.dq"
    for node in graph.node:
        weight = weight_of(node, index)
        slot = WEIGHT_SLOTS.get(node.op_type, 0)
        if weight is not None and node.input[slot] in index.producer:
            names[node.input[slot]] = f"{node.name}.weight.dq"
    rename_tensors(graph, names)


def _refuse(graph: onnx.GraphProto, expected: Sequence[str]) -> None:
    """Raise with every place where the graph is not as promised."""
    index = Index.of(graph)
    reasons = []
    for node in graph.node:
        if weight_of(node, index) in (None, *node.input):
            continue
        above = index.made_by(node.input[0], "DequantizeLinear")
        if above is None:
            reasons.append(f"layer '{node.name}': its weight is quantised, its input is not")
        elif index.array(above.input[1]).size > 1 and not _depthwise(node, index):
            reasons.append(f"layer '{node.name}': per-channel input scales do not factor out of a sum over channels")
    quantised = set(quantised_layers(graph))
    reasons += [f"layer '{name}' was to be quantised and is not" for name in expected if name not in quantised]
    if reasons:
        raise Unsupported(
            "the quantised graph has layers that integer arithmetic cannot compute",
            where=graph.name,
            reasons=reasons,
            fix="leave these layers in float with --keep-fp NAME",
        )


def _depthwise(node: onnx.NodeProto, index: Index) -> bool:
    weight = weight_of(node, index)
    return weight is not None and node.op_type == "Conv" and index.constants[weight].dims[1] == 1 and (
        attribute(node, "group", 1) > 1
    )  # fmt: skip
