"""The other way ONNX files are quantised: operators that carry their own scales. Refused, with the way to QDQ."""

from __future__ import annotations

import onnx

from edgevision.errors import Unsupported

#: Operators of standard ONNX whose scales are their inputs.
OPERATOR_FORMAT = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")


def refuse_operator_format(model: onnx.ModelProto) -> None:
    """Raise with every operator that has scales of its own instead of quantisers around it.

    Raises:
        Unsupported: there is one.
    """
    foreign = [node for node in model.graph.node if _carries_scales(node)]
    if foreign:
        raise Unsupported(
            "expected quantisers as nodes (QDQ format), got operators that carry their scales (QOperator format)",
            where=model.graph.name or "graph",
            fix="quantise the float network again with onnxruntime.quantization.quantize_static(..., "
            "quant_format=QuantFormat.QDQ), or with: edgevision compress --recipe w8a8",
            reasons=[f"{node.op_type} '{node.name}'" for node in foreign],
        )


def _carries_scales(node: onnx.NodeProto) -> bool:
    if node.domain == "com.microsoft":
        return node.op_type.startswith(("QLinear", "QGemm", "QAttention", "DynamicQuantize", "MatMulInteger"))
    return node.domain in ("", "ai.onnx") and node.op_type in OPERATOR_FORMAT
