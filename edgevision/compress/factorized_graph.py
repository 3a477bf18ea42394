"""Factorized convolutions in an ONNX graph: the functions `edgevision::FactorizedConv` and `FactorizedConvTranspose`.

    y = FactorizedConv(x, a, b, d, bias)     a (R C_out, C_in, 1, 1), b (R C_out, 1, k_h, 1), d (C_out, R, 1, k_w)

The body is three standard convolutions: 1x1, one way down the rows for each of the R C_out products, and one along the
columns whose groups sum the R products of an output. So any runtime gives the reference, with the factors as stored,
and the compiler knows the layer by its name. The transposed one is the same with transposed convolutions, where d is
(R C_out, 1, 1, k_w). Format: `zoo.factorized`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.compress.onnxgraph import FACTORIZED as CONV
from edgevision.compress.onnxgraph import Index, attribute, copy_of, finished, prune, rename_tensors

DOMAIN = "edgevision"
VERSION = 1
CONV_TRANSPOSE = "FactorizedConvTranspose"
OPERATORS = (CONV, CONV_TRANSPOSE)
_INPUTS = ["x", "a", "b", "d", "bias"]
_FACTORS = ("channel", "rows", "columns", "bias")
_ATTRIBUTES = ["products", "group", "row_strides", "column_strides", "row_pads", "column_pads"]
_OUTPUT_PADDING = ["row_output_padding", "column_output_padding"]


@dataclass(frozen=True)
class Shape:
    """What a layer's cost depends on: sides of input and output, channels, kernel, rank."""

    in_channels: int
    out_channels: int
    rank: int
    kernel: tuple[int, int]
    size: tuple[int, int]
    out_size: tuple[int, int]
    transposed: bool = False

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of the dense kernel, for one image."""
        pixels = math.prod(self.size if self.transposed else self.out_size)
        return pixels * self.in_channels * self.out_channels * math.prod(self.kernel)

    @property
    def macs(self) -> tuple[int, int, int]:
        """Multiply-accumulates of the three thin convolutions: 1x1, rows, columns."""
        (height, width), (out_height, out_width), products = self.size, self.out_size, self.rank * self.out_channels
        rows = (height if self.transposed else out_height) * width
        columns = out_height * (width if self.transposed else out_width)
        return (
            height * width * self.in_channels * products,
            rows * products * self.kernel[0],
            columns * products * self.kernel[1],
        )


@dataclass(frozen=True)
class Choice:
    """What became of one layer: left in its factors or not, and the nodes it is now, the last one under its name."""

    name: str
    shape: Shape
    factored: bool
    nodes: tuple[str, ...]


def is_factorized(node: onnx.NodeProto) -> bool:
    """Whether `node` calls one of the functions."""
    return node.domain == DOMAIN and node.op_type in OPERATORS


def function(operator: str, opset: int = 20) -> onnx.FunctionProto:
    """The function of that name.

    Attributes `row_strides` is [s_h, 1], `column_strides` [1, s_w]; the pads likewise; `group` C_out, `products`
    R C_out.
    """
    transposed = operator == CONV_TRANSPOSE
    kind = "ConvTranspose" if transposed else "Conv"

    def layer(inputs: list[str], output: str, way: str, group: str) -> onnx.NodeProto:
        made = helper.make_node(kind, inputs, [output])
        links = {"group": group, "strides": f"{way}_strides", "pads": f"{way}_pads"}
        if transposed:
            links["output_padding"] = f"{way}_output_padding"
        for name, reference in links.items():
            form = onnx.AttributeProto.INT if name == "group" else onnx.AttributeProto.INTS
            made.attribute.append(onnx.AttributeProto(name=name, ref_attr_name=reference, type=form))
        return made

    nodes = [
        helper.make_node("Conv", ["x", "a"], ["products_of_channels"]),
        layer(["products_of_channels", "b"], "down", "row", "products"),
        layer(["down", "d", "bias"], "y", "column", "group"),
    ]
    return helper.make_function(
        DOMAIN, operator, _INPUTS, ["y"], nodes, [helper.make_opsetid("", opset)],
        [*_ATTRIBUTES, *(_OUTPUT_PADDING if transposed else [])],
        doc_string="Convolution whose output filters are sums of products of channel, row and column filters.",
    )  # fmt: skip


def declare(model: onnx.ModelProto) -> None:
    """Give `model` the functions its nodes call, unless it has them, and the factors their layers' names; in place."""
    calls = [node for node in model.graph.node if is_factorized(node)]
    if not calls:
        return
    index = Index.of(model.graph)
    rename_tensors(model.graph, {
        name: f"{node.name}.{factor}"
        for node in calls
        for factor, name in zip(_FACTORS, node.input[1:], strict=False)
        if name in index.constants and len(index.readers[name]) == 1
    })  # fmt: skip
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 20)
    called = {node.op_type for node in calls}
    known = {item.name for item in model.functions if item.domain == DOMAIN}
    for operator in sorted(called - known):
        model.functions.append(function(operator, opset))
    if all(item.domain != DOMAIN for item in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))


def shape_of(node: onnx.NodeProto, index: Index, sizes: dict[str, tuple[int, ...]]) -> Shape | None:
    """The shape of a call, quantised or not; None of one whose factors or sizes are not as the function says."""
    stored = [_stored(name, index) for name in node.input[1:]]
    if len(node.input) != len(_INPUTS) or any(name not in index.constants for name in stored):
        return None
    channel, rows, columns = (tuple(index.constants[name].dims) for name in stored[:3])
    outputs, x, y = int(attribute(node, "group", 0)), sizes.get(node.input[0], ()), sizes.get(node.output[0], ())
    products = channel[0] if channel else 0
    fits = len(x) == len(y) == 4 and outputs > 0 and products and not products % outputs
    if not fits or len(channel) != 4 or len(rows) != 4 or len(columns) != 4:
        return None
    rank, transposed = products // outputs, node.op_type == CONV_TRANSPOSE
    last = (products, 1, 1, columns[3]) if transposed else (outputs, rank, 1, columns[3])
    if channel[2:] != (1, 1) or rows != (products, 1, rows[2], 1) or columns != last or channel[1] != x[1]:
        return None
    return Shape(channel[1], outputs, rank, (rows[2], columns[3]), (x[2], x[3]), (y[2], y[3]), transposed)


def _stored(name: str, index: Index) -> str:
    """The constant behind a factor, dequantised or as it is."""
    dequantize = index.made_by(name, "DequantizeLinear")
    return name if dequantize is None else dequantize.input[0]


def sizes_of(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Static shapes of the tensors of a graph that has them."""
    values = (*graph.input, *graph.output, *graph.value_info)
    return {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values}


def as_convolutions(
    model: onnx.ModelProto, thin: Callable[[Shape], bool], *, fused: bool = False
) -> tuple[onnx.ModelProto, tuple[Choice, ...]]:
    """Return a copy where each call of these functions is thin convolutions, or one with the kernel made.

    The R products of a layer are three thin convolutions each, added up: grouped convolutions that sum them themselves,
    as in the function's body, have no fast kernel.

    A call with factors in bytes is left as it is.

    Args:
        thin: whether a layer of this shape is left in its factors.
        fused: whether such a layer stays a call, for who has a kernel for it, unless it is transposed.

    Returns:
        The copy (`model` itself where there is nothing to do), and what became of each layer.
    """
    if not any(is_factorized(node) for node in model.graph.node):
        return model, ()
    model = copy_of(model)
    index, sizes = Index.of(model.graph), sizes_of(model.graph)
    nodes: list[onnx.NodeProto] = []
    chosen = []
    for node in model.graph.node:
        quantised = any(name not in index.constants for name in node.input[1:])
        shape = shape_of(node, index, sizes) if is_factorized(node) and not quantised else None
        if shape is None:
            nodes.append(node)
            continue
        factored = thin(shape)
        if factored and fused and not shape.transposed:
            chosen.append(Choice(node.name, shape, factored, (node.name,)))
            nodes.append(node)
            continue
        made = _thin(node, shape, index, model.graph) if factored else [_dense(node, shape, index, model.graph)]
        chosen.append(Choice(node.name, shape, factored, tuple(one.name for one in made)))
        nodes += made
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    prune(model.graph)
    _forget(model)
    return finished(model), tuple(chosen)


def _forget(model: onnx.ModelProto) -> None:
    """Drop the functions nothing calls any more, and the domain with the last of them."""
    called = {(node.domain, node.op_type) for node in model.graph.node}
    kept = [item for item in model.functions if item.domain != DOMAIN or (DOMAIN, item.name) in called]
    del model.functions[:]
    model.functions.extend(kept)
    if all(domain != DOMAIN for domain, _ in called):
        imports = [item for item in model.opset_import if item.domain != DOMAIN]
        del model.opset_import[:]
        model.opset_import.extend(imports)


def _thin(node: onnx.NodeProto, shape: Shape, index: Index, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Three convolutions for each product, and the sum."""
    x, *factors, bias = node.input
    channel, rows, columns = (index.array(name).reshape(shape.out_channels, shape.rank, -1) for name in factors)
    kind = "ConvTranspose" if shape.transposed else "Conv"
    nodes, total = [], ""
    for r in range(shape.rank):
        stem = node.name if shape.rank == 1 else f"{node.name}.{r}"
        arrays = {"channel": channel[:, r, :, None, None], "rows": rows[:, r, None, :, None],
                  "columns": columns[:, r, None, None, :]}  # fmt: skip
        for key, array in arrays.items():
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), f"{stem}.{key}.weight"))
        output = node.output[0] if shape.rank == 1 else f"{stem}.y"
        last = [f"{stem}.y.rows", f"{stem}.columns.weight", *([bias] if r == 0 else [])]
        nodes += [
            helper.make_node("Conv", [x, f"{stem}.channel.weight"], [f"{stem}.y.channel"], name=f"{stem}.channel"),
            helper.make_node(kind, [f"{stem}.y.channel", f"{stem}.rows.weight"], [f"{stem}.y.rows"],
                             name=f"{stem}.rows", **_way(node, shape, "row")),
            helper.make_node(kind, last, [output], name=stem, **_way(node, shape, "column")),
        ]  # fmt: skip
        if r:
            name = node.name if r == shape.rank - 1 else f"{stem}.sum"
            summed = node.output[0] if r == shape.rank - 1 else f"{stem}.y.sum"
            nodes.append(helper.make_node("Add", [total, output], [summed], name=name))
            output = summed
        total = output
    return nodes


def _way(node: onnx.NodeProto, shape: Shape, way: str) -> dict[str, Any]:
    """Attributes of the depthwise convolution along one way of the kernel."""
    found = {"group": shape.out_channels, "strides": attribute(node, f"{way}_strides", [1, 1]),
             "pads": attribute(node, f"{way}_pads", [0] * 4)}  # fmt: skip
    if shape.transposed:
        found["output_padding"] = attribute(node, f"{way}_output_padding", [0, 0])
    return found


def _dense(node: onnx.NodeProto, shape: Shape, index: Index, graph: onnx.GraphProto) -> onnx.NodeProto:
    rank, name = (shape.out_channels, shape.rank), f"{node.name}.weight"
    channel, rows, columns = (index.array(item).astype(np.float64).reshape(*rank, -1) for item in node.input[1:4])
    order = "orc,ori,orj->coij" if shape.transposed else "orc,ori,orj->ocij"
    weight = np.einsum(order, channel, rows, columns, optimize=True).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weight), name))

    def joined(key: str) -> list[int]:
        rows, columns = attribute(node, f"row_{key}", []), attribute(node, f"column_{key}", [])
        return [columns[i] if i % 2 else rows[i] for i in range(len(rows))]

    both: dict[str, Any] = {"strides": joined("strides"), "pads": joined("pads")}
    if shape.transposed:
        both["output_padding"] = joined("output_padding")
    kind = "ConvTranspose" if shape.transposed else "Conv"
    return helper.make_node(kind, [node.input[0], name, node.input[4]], list(node.output), name=node.name, **both)
