"""What a graph costs: parameters, multiply-accumulates and the bytes its weights take in the file."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx

from edgevision.compress.factorized_graph import is_factorized, shape_of
from edgevision.compress.layers import weight_of
from edgevision.compress.onnxgraph import BINARY, SQUARE, WEIGHT_BINARY, WEIGHT_SLOTS, WEIGHTED, Index, attribute

#: Element sizes in bits of the types weights are stored in.
_BITS: dict[int, int] = {
    onnx.TensorProto.FLOAT: 32,
    onnx.TensorProto.FLOAT16: 16,
    onnx.TensorProto.BFLOAT16: 16,
    onnx.TensorProto.DOUBLE: 64,
    onnx.TensorProto.INT8: 8,
    onnx.TensorProto.UINT8: 8,
    onnx.TensorProto.INT4: 4,
    onnx.TensorProto.UINT4: 4,
    onnx.TensorProto.INT32: 32,
}


@dataclass(frozen=True)
class Layer:
    """One Conv, Gemm, MatMul, ConvTranspose, SquareDeformConv, factorized convolution or binary layer.

    Attributes:
        name, op_type: of the node.
        macs: multiply-accumulates for one image.
        parameters: elements of its weight and bias.
        weight_bytes: bytes of the weight and what it is dequantised with, as stored; a shared weight counts for each.
        dtype: numpy name of the stored weight: "float32", "int8", "int4", or "bit"; "" when both are computed.
        integer: whether both operands are quantised, so that the sum can be one of integers.
    """

    name: str
    op_type: str
    macs: int
    parameters: int
    weight_bytes: int
    dtype: str
    integer: bool


@dataclass(frozen=True)
class Measured:
    """Totals of a graph and its layers in graph order.

    Attributes:
        parameters: elements of all weights and biases; scales, zero points and shapes are none.
        macs: multiply-accumulates for one image.
        weight_bytes: bytes of all initializers but shapes, with scales and zero points, each once.
    """

    parameters: int
    macs: int
    weight_bytes: int
    layers: tuple[Layer, ...]

    @property
    def integer_share(self) -> float:
        """Share of the MACs whose operands are both quantised, 0 to 1."""
        return sum(layer.macs for layer in self.layers if layer.integer) / self.macs if self.macs else 0.0


def measure(model: onnx.ModelProto) -> Measured:
    """Measure a graph whose shapes are known (as `export` and `quantize` return them)."""
    index = Index.of(model.graph)
    shapes = _shapes(model.graph)
    steering = _quantiser_parameters(model.graph)
    stored = [t for t in model.graph.initializer if t.data_type in _BITS]
    layers = tuple(
        _factorized(node, index, shapes) if is_factorized(node) else _layer(node, index, shapes)
        for node in model.graph.node
        if node.op_type in (*WEIGHTED, *BINARY) or is_factorized(node)
    )
    # A byte of bits is eight weights, but at the end of a row.
    packed = {node.input[1]: _binary_weights(node, index) for node in model.graph.node if _packed(node)}
    return Measured(
        parameters=sum(packed.get(t.name, math.prod(t.dims)) for t in stored if t.name not in steering),
        macs=sum(layer.macs for layer in layers),
        weight_bytes=sum(_bytes(t) for t in stored),
        layers=layers,
    )


def _bytes(tensor: onnx.TensorProto) -> int:
    return (math.prod(tensor.dims) * _BITS.get(tensor.data_type, 0) + 7) // 8


def _quantiser_parameters(graph: onnx.GraphProto) -> set[str]:
    quantisers = ("QuantizeLinear", "DequantizeLinear")
    scales = {node.input[2] for node in graph.node if _packed(node)}
    return scales | {name for node in graph.node if node.op_type in quantisers for name in node.input[1:]}


def _packed(node: onnx.NodeProto) -> bool:
    return node.op_type in BINARY and attribute(node, "K", 0) > 0


def _binary_weights(node: onnx.NodeProto, index: Index) -> int:
    return index.constants[node.input[1]].dims[0] * attribute(node, "K", 0)


def _binary_layer(node: onnx.NodeProto, index: Index, shapes: dict[str, tuple[int, ...]]) -> Layer:
    made = math.prod(shapes.get(node.output[0], ()))
    quantised = index.made_by(node.input[0], "DequantizeLinear") is not None
    if not _packed(node):
        # Two products, of queries with keys and of what is kept with values.
        return Layer(node.name, node.op_type, 2 * made * shapes[node.input[1]][-2], 0, 0, "", True)
    return Layer(
        name=node.name,
        op_type=node.op_type,
        macs=made * attribute(node, "K", 0),
        parameters=_binary_weights(node, index) + math.prod(index.constants[node.input[3]].dims),
        weight_bytes=sum(_bytes(index.constants[name]) for name in node.input[1:3]),
        dtype="bit",
        integer=quantised or node.op_type not in WEIGHT_BINARY,
    )


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    return shapes


def _layer(node: onnx.NodeProto, index: Index, shapes: dict[str, tuple[int, ...]]) -> Layer:
    if node.op_type in BINARY:
        return _binary_layer(node, index, shapes)
    weight, slot = weight_of(node, index), WEIGHT_SLOTS[node.op_type]
    dequantize = index.made_by(node.input[slot], "DequantizeLinear")
    parts = [weight] if weight else []
    if weight and dequantize is not None:
        parts += dequantize.input[1:]
    bias = [name for name in node.input[slot + 1 : slot + 2] if name in index.constants]
    return Layer(
        name=node.name,
        op_type=node.op_type,
        macs=_macs(node, shapes),
        parameters=sum(math.prod(index.constants[name].dims) for name in (*parts[:1], *bias)),
        weight_bytes=sum(_bytes(index.constants[name]) for name in parts if name in index.constants),
        dtype=onnx.helper.tensor_dtype_to_np_dtype(index.constants[weight].data_type).name if weight else "",
        integer=dequantize is not None and index.made_by(node.input[0], "DequantizeLinear") is not None,
    )


def _factorized(node: onnx.NodeProto, index: Index, shapes: dict[str, tuple[int, ...]]) -> Layer:
    """A call of `factorized_graph`: the work of its three convolutions, the weights of its factors."""
    shape = shape_of(node, index, shapes)
    dequantize = index.made_by(node.input[1], "DequantizeLinear") if len(node.input) > 1 else None
    names = node.input[1:] if dequantize is None else [dequantize.input[0], *node.input[2:]]
    stored = [index.constants[name] for name in names if name in index.constants]
    scales = [] if dequantize is None else [index.constants[name] for name in dequantize.input[1:]]
    return Layer(
        name=node.name,
        op_type=node.op_type,
        macs=sum(shape.macs) if shape else 0,
        parameters=sum(math.prod(tensor.dims) for tensor in stored),
        weight_bytes=sum(_bytes(tensor) for tensor in (*stored[:3], *scales)),
        dtype=onnx.helper.tensor_dtype_to_np_dtype(stored[0].data_type).name if stored else "",
        integer=dequantize is not None and index.made_by(node.input[0], "DequantizeLinear") is not None,
    )


def _macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """One multiply-accumulate per output element and weight that reaches it."""
    names = (node.input[0], node.input[WEIGHT_SLOTS[node.op_type]], node.output[0])
    data, weight, output = (shapes.get(name, ()) for name in names)
    if node.op_type in ("Conv", SQUARE):
        return math.prod(output) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(data) * math.prod(weight[1:])
    if node.op_type == "Gemm":
        return math.prod(output) * math.prod(weight) // max(output[-1], 1)
    return math.prod(output) * (data[-1] if data else 0)
