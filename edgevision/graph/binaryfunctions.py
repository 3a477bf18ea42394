"""The ONNX functions of `graph.binary`: their bodies in standard operators (opset 20), and nodes that call them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.graph.binary import ATTENTION, BIAS, DOMAIN, MASKED, OPERATORS, SIGNED_LAYERS, VERSION


def layer(op: str, inputs: list[str], output: str, depth: int, name: str = "") -> onnx.NodeProto:
    """A call of a layer `op` of inputs x, packed, scale and bias; `depth` is K."""
    return helper.make_node(op, inputs, [output], name=name, domain=DOMAIN, K=depth)


def attention(inputs: list[str], output: str, scale: float, beta: float = 0.25, name: str = "") -> onnx.NodeProto:
    """A call of BinaryAttention of inputs q, k, v and perhaps a bias."""
    return helper.make_node(ATTENTION, inputs, [output], name=name, domain=DOMAIN, scale=scale, beta=beta)


def function(op: str, opset: int = 20) -> onnx.FunctionProto:
    """The function `edgevision::op`; that of the attention has all four inputs (`declare` adds a bias of zero)."""
    if op == ATTENTION:
        inputs, attributes, nodes = ["q", "k", "v", "bias"], ["scale", "beta"], _attention()
    elif op == BIAS:
        inputs, attributes, nodes = ["table", "index", "masks", "kind"], ["keys"], _bias()
    else:
        inputs, attributes = ["x", "packed", "scale", "bias"], ["K"]
        nodes = _layer(signed=op in SIGNED_LAYERS, image=op.endswith("Conv"))
    doc = "One-bit weights or activations; sign(x) is 1 where x >= 0, else -1. Bits lie least significant first."
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_function(DOMAIN, op, inputs, ["y"], nodes, opsets, attributes, doc_string=doc)


def declare(model: onnx.ModelProto) -> None:
    """Give `model` the functions its nodes call, unless it has them, and calls of attention without a bias one of zero;
    in place."""
    called = {node.op_type for node in model.graph.node if node.domain == DOMAIN and node.op_type in OPERATORS}
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 20)
    present = {(item.domain, item.name) for item in model.functions}
    model.functions.extend(function(op, opset) for op in OPERATORS if op in called and (DOMAIN, op) not in present)
    if called and all(item.domain != DOMAIN for item in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    bare = [node for node in model.graph.node if (node.domain, node.op_type) == (DOMAIN, ATTENTION)]
    bare = [node for node in bare if len(node.input) == 3 or not node.input[3]]
    if not bare:
        return
    zero = "edgevision.no_bias"
    if all(item.name != zero for item in model.graph.initializer):
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1, 1, 1), np.float32), zero))
    for node in bare:
        del node.input[3:]
        node.input.append(zero)


def _node(op: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], **attributes)


def _constants(**values: np.ndarray | np.generic) -> list[onnx.NodeProto]:
    return [
        _node("Constant", [], name, value=numpy_helper.from_array(np.asarray(value), name))
        for name, value in values.items()
    ]


def _attribute(name: str, value: str, kind: int) -> onnx.NodeProto:
    """A Constant whose value is the function's attribute `name`; `value` is what Constant calls it."""
    made = _node("Constant", [], f"{name}.value")
    made.attribute.append(onnx.AttributeProto(name=value, ref_attr_name=name, type=kind))  # type: ignore[arg-type]
    return made


def _sign(source: str, output: str) -> list[onnx.NodeProto]:
    return [
        _node("GreaterOrEqual", [source, "zero"], f"{output}.positive"),
        _node("Where", [f"{output}.positive", "one", "minus"], output),
    ]


_SIGNS = {"zero": np.float32(0), "one": np.float32(1), "minus": np.float32(-1)}


def _layer(*, signed: bool, image: bool) -> list[onnx.NodeProto]:
    bits = (1 << np.arange(8)).astype(np.uint8)
    first, last = np.array([0]), np.array([-1])
    rows = "rows" if image else "x"
    nodes = [
        *_constants(**_SIGNS, masks=bits, first=first, last=last, bytes=np.array([0, -1])),
        _node("Unsqueeze", ["packed", "last"], "packed.bytes"),
        _node("BitwiseAnd", ["packed.bytes", "masks"], "packed.bits"),
        _node("Cast", ["packed.bits"], "set", to=onnx.TensorProto.BOOL),
        _node("Where", ["set", "one", "minus"], "signs"),
        _node("Reshape", ["signs", "bytes"], "padded"),
        _attribute("K", "value_int", onnx.AttributeProto.INT),
        _node("Unsqueeze", ["K.value", "first"], "depth"),
        _node("Slice", ["padded", "first", "depth", "last"], "weight"),
        _node("Transpose", ["weight"], "columns", perm=[1, 0]),
    ]
    if image:
        nodes.append(_node("Transpose", ["x"], "rows", perm=[0, 2, 3, 1]))
    if signed:
        nodes += _sign(rows, "left")
    made = "made" if image else "y"
    nodes += [
        _node("MatMul", ["left" if signed else rows, "columns"], "sums"),
        _node("Mul", ["sums", "scale"], "scaled"),
        _node("Add", ["scaled", "bias"], made),
    ]
    if image:
        nodes.append(_node("Transpose", [made], "y", perm=[0, 3, 1, 2]))
    return nodes


def _bias() -> list[onnx.NodeProto]:
    integer = onnx.TensorProto.INT64
    bits = (1 << np.arange(8)).astype(np.uint8)
    return [
        *_constants(places=bits, first=np.array([0]), second=np.array([1]), last=np.array([-1])),
        *_constants(rows=np.array([0, 0, -1]), least=np.float32(-np.inf)),
        _attribute("keys", "value_int", onnx.AttributeProto.INT),
        _node("Unsqueeze", ["keys.value", "first"], "count"),
        _node("Cast", ["index"], "entries", to=integer),
        _node("Gather", ["table", "entries"], "pairs", axis=0),
        _node("Transpose", ["pairs"], "values", perm=[2, 0, 1]),
        _node("Unsqueeze", ["values", "first"], "of.heads"),
        _node("Unsqueeze", ["masks", "last"], "mask.bytes"),
        _node("BitwiseAnd", ["mask.bytes", "places"], "mask.bits"),
        _node("Cast", ["mask.bits"], "set", to=onnx.TensorProto.BOOL),
        _node("Reshape", ["set", "rows"], "padded"),
        _node("Slice", ["padded", "first", "count", "last"], "masked"),
        # Behind the slice, whose shape no inference knows: the windows are counted here.
        _node("Cast", ["kind"], "kinds", to=integer),
        _node("Gather", ["masked", "kinds"], "of.windows", axis=0),
        _node("Unsqueeze", ["of.windows", "second"], "out"),
        _node("Where", ["out", "least", "of.heads"], "y"),
    ]


def _attention() -> list[onnx.NodeProto]:
    return [
        *_constants(**_SIGNS, least=np.float32(-np.inf), masked=np.float32(MASKED), axis=np.array([-1])),
        _attribute("scale", "value_float", onnx.AttributeProto.FLOAT),
        _attribute("beta", "value_float", onnx.AttributeProto.FLOAT),
        *_sign("q", "queries"),
        *_sign("k", "keys"),
        *_sign("v", "values"),
        _node("Transpose", ["keys"], "keys.columns", perm=[0, 1, 3, 2]),
        _node("MatMul", ["queries", "keys.columns"], "products"),
        _node("Div", ["bias", "scale.value"], "bias.products"),
        _node("Add", ["products", "bias.products"], "sums"),
        _node("LessOrEqual", ["bias", "masked"], "out"),
        _node("Where", ["out", "least", "sums"], "scores"),
        _node("ReduceMax", ["scores", "axis"], "largest", keepdims=1),
        _node("Log", ["beta.value"], "share"),
        _node("Div", ["share", "scale.value"], "margin"),
        _node("Add", ["largest", "margin"], "limit"),
        _node("GreaterOrEqual", ["scores", "limit"], "reaching"),
        _node("Not", ["out"], "in"),
        _node("And", ["reaching", "in"], "kept"),
        _node("Cast", ["kept"], "kept.values", to=onnx.TensorProto.FLOAT),
        _node("MatMul", ["kept.values", "values"], "y"),
    ]
