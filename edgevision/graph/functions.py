"""Which operator is which elementwise function of quant/NUMERICS.md section 5, for the reference and the compiler."""

from __future__ import annotations

from edgevision.graph.ir import Node

#: Unary operators of ONNX that are a function whatever their attributes.
UNARY = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hard_swish", "Erf": "erf", "Exp": "exp"}


def function_of(node: Node) -> str | None:
    """Name in `numerics.FUNCTIONS` of a unary operator; None where section 5 does not define it.

    >>> [function_of(Node("Gelu", "g", ["x"], ["y"], {"approximate": kind})) for kind in (b"none", b"tanh")]
    ['gelu', None]
    """
    if node.op == "Gelu":
        return "gelu" if node.get("approximate", b"none") in (b"none", "none") else None
    if node.op == "HardSigmoid":
        sixth = abs(float(node.get("alpha", 0.2)) - 1 / 6) < 1e-6 and node.get("beta", 0.5) == 0.5
        return "hard_sigmoid" if sixth else None
    return UNARY.get(node.op)
