"""Square deformable convolution: a depthwise 3x3 convolution whose dilation is chosen pixel by pixel.

    y[n, c, i, j] = sum over u, v in -1..1 of w[c, 0, u + 1, v + 1] x[n, c, s i + d u, s j + d v],  d = D[n, 0, i, j]

Samples outside the frame are zero; D is rounded (ties to even) and clamped to 0..7, so 1 is the ordinary convolution
and 0 multiplies one sample by the sum of the weights. From CoDeNet (Dong et al., 2021, arXiv 2006.08357): "square,
bound and rounded", without modulation. In a graph it is the ONNX function `edgevision::SquareDeformConv`, whose body
is standard operators: any runtime gives the reference, and the compiler knows it by its name.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.graph.sampling import LARGEST_DILATION, dilations, sampled

DOMAIN = "edgevision"
OPERATOR = "SquareDeformConv"
VERSION = 1

__all__ = ["LARGEST_DILATION", "declare", "dilations", "function", "node", "sampled"]

#: "dilated" is a masked sum of eight dilated convolutions, "deform_conv" one DeformConv with offsets made from D.
Body = Literal["dilated", "deform_conv"]


def node(x: str, dilation: str, weight: str, output: str, *, channels: int, stride: int = 1, name: str = "") -> Any:
    """A call of the function; `weight` is (channels, 1, 3, 3)."""
    return helper.make_node(
        OPERATOR, [x, dilation, weight], [output], name=name, domain=DOMAIN, group=channels, strides=[stride, stride]
    )


def function(body: Body = "dilated", opset: int = 20) -> onnx.FunctionProto:
    """The function `edgevision::SquareDeformConv(x, D, w)` with attributes `group` (= channels) and `strides`."""
    nodes = [
        *_constants(low=np.float32(0), high=np.float32(LARGEST_DILATION), axes=np.array([2, 3])),
        helper.make_node("Round", ["D"], ["rounded"]),
        helper.make_node("Clip", ["rounded", "low", "high"], ["d"]),
        *(_dilated() if body == "dilated" else _deform_conv()),
    ]
    return helper.make_function(
        DOMAIN, OPERATOR, ["x", "D", "w"], ["y"], nodes, [helper.make_opsetid("", opset)], ["group", "strides"],
        doc_string="Depthwise 3x3 convolution, dilation D (rounded, 0 to 7) per pixel, zero outside the frame.",
    )  # fmt: skip


def declare(model: onnx.ModelProto, body: Body = "dilated") -> None:
    """Give `model` the function its nodes call, unless it has one; in place."""
    called = any(item.domain == DOMAIN and item.op_type == OPERATOR for item in model.graph.node)
    if not called or any((f.domain, f.name) == (DOMAIN, OPERATOR) for f in model.functions):
        return
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 20)
    model.functions.append(function(body, opset))
    if all(item.domain != DOMAIN for item in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))


def _dilated() -> list[onnx.NodeProto]:
    nodes = [
        helper.make_node("ReduceSum", ["w", "axes"], ["total"], keepdims=1),
        _convolution("Conv", ["x", "total"], "y0"),
    ]
    for size in range(1, LARGEST_DILATION + 1):
        nodes += [
            *_constants(**{f"d{size}": np.float32(size)}),
            _convolution("Conv", ["x", "w"], f"c{size}", dilations=[size, size], pads=[size] * 4),
            helper.make_node("Equal", ["d", f"d{size}"], [f"is{size}"]),
            helper.make_node("Where", [f"is{size}", f"c{size}", f"y{size - 1}"], [f"y{size}"]),
        ]
    nodes[-1].output[0] = "y"
    return nodes


def _deform_conv() -> list[onnx.NodeProto]:
    """A tap at (u, v) of the ordinary convolution is shifted by (d - 1) (u, v)."""
    grid = [axis for u in (-1, 0, 1) for v in (-1, 0, 1) for axis in (u, v)]
    return [
        *_constants(one=np.float32(1), grid=np.array(grid, np.float32).reshape(1, -1, 1, 1)),
        helper.make_node("Sub", ["d", "one"], ["more"]),
        helper.make_node("Mul", ["more", "grid"], ["offset"]),
        _convolution("DeformConv", ["x", "w", "offset"], "y", pads=[1] * 4, offset_group=1),
    ]


def _convolution(op: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    made = helper.make_node(op, inputs, [output], **attributes)
    for name, kind in (("group", onnx.AttributeProto.INT), ("strides", onnx.AttributeProto.INTS)):
        made.attribute.append(onnx.AttributeProto(name=name, ref_attr_name=name, type=kind))
    return made


def _constants(**values: np.ndarray | np.generic) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), name))
        for name, value in values.items()
    ]
