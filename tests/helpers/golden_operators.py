"""The golden cases of single integer operators (quant/golden/operators.json) as one ONNX network."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevision.compress.onnxgraph import finished
from edgevision.graph import binaryfunctions, numerics, square
from edgevision.graph.binary import pack_bits
from edgevision.resources import shipped

CASES: list[dict[str, Any]] = json.loads((shipped("quant") / "golden" / "operators.json").read_text())["cases"]


def names() -> list[str]:
    """What each case is called."""
    return [f"{at}-{case['operator']}" for at, case in enumerate(CASES)]


class _Case:
    """Nodes and constants of one case, under names of its own."""

    def __init__(self, at: int, case: dict[str, Any]) -> None:
        self.case, self.stem = case, f"c{at}"
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, name: str, value: Any) -> str:
        self.constants[f"{self.stem}.{name}"] = np.asarray(value)
        return f"{self.stem}.{name}"

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        output = output if output.startswith(self.stem) else f"{self.stem}.{output}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}.node", **attributes))
        return output

    def quantised(self, tensor: str, name: str, scale: float, zero: int) -> str:
        """`tensor` through bytes."""
        steps = [self.constant(f"{name}.scale", np.float32(scale)), self.constant(f"{name}.zero", np.uint8(zero))]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [tensor, *steps], f"{name}.q"), *steps], name)

    def weight(self, axis: int) -> str:
        given = self.case["weight"]
        parts = [
            self.constant("w.q", np.reshape(given["q"], given["shape"]).astype(np.int8)),
            self.constant("w.scale", np.float32(given["scale"])),
            self.constant("w.zero", np.zeros(len(given["scale"]), np.int8)),
        ]
        return self.node("DequantizeLinear", parts, "w", axis=axis)

    def build(self) -> str:
        """The output's name."""
        case, inputs = self.case, []
        for at, given in enumerate(case["inputs"]):
            inputs.append(self.quantised(f"{self.stem}.in{at}", f"x{at}", given["scale"], given["zero"]))
        y = self._computed(case["operator"], inputs, case.get("attributes", {}))
        if case.get("relu"):
            y = self.node("Relu", [y], "relu")
        if case.get("gelu"):
            y = self.node("Gelu", [y], "gelu")
        out = case["output"]
        return self.quantised(y, "y", out["scale"], out["zero"]) if "q" in out else y

    def _computed(self, operator: str, inputs: list[str], attributes: dict[str, Any]) -> str:
        case = self.case
        if operator in ("conv", "depthwise"):
            bias = self.constant("b", np.float32(case["bias"]))
            kernel = case["weight"]["shape"][2:]
            return self.node("Conv", [*inputs, self.weight(0), bias], "made", kernel_shape=kernel, **attributes)
        if operator == "gemm":
            return self.node("Gemm", [*inputs, self.weight(0), self.constant("b", np.float32(case["bias"]))], "made",
                             transB=1)  # fmt: skip
        if operator == "conv_transpose":
            bias = self.constant("b", np.float32(case["bias"]))
            return self.node("ConvTranspose", [*inputs, self.weight(1), bias], "made", **attributes)
        if operator == "square_deform":
            self.nodes.append(
                square.node(inputs[0], inputs[1], self.weight(0), f"{self.stem}.made", stride=attributes["stride"],
                            channels=case["weight"]["shape"][0], name=f"{self.stem}.square")
            )  # fmt: skip
            return f"{self.stem}.made"
        if operator in ("add", "sub", "mul"):
            return self.node(operator.capitalize(), inputs, "made")
        if operator == "rescale":
            return inputs[0]
        if operator == "lookup":
            return self.node(case["function"], inputs, "made")
        if operator == "global_average":
            return self.node("GlobalAveragePool", inputs, "made")
        if operator in ("max_pool", "average_pool"):
            op = {"max_pool": "MaxPool", "average_pool": "AveragePool"}[operator]
            more = {} if operator == "max_pool" else attributes
            return self.node(op, inputs, "made", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, **more)
        if operator == "resize":
            scales = self.constant("scales", np.float32([1, 1, attributes["scale"], attributes["scale"]]))
            return self.node("Resize", [inputs[0], "", scales], "made", mode="linear",
                             coordinate_transformation_mode="half_pixel")  # fmt: skip
        if operator == "concat":
            return self.node("Concat", inputs, "made", axis=1)
        if operator == "matmul":
            return self.node("MatMul", inputs, "made")
        return self._binary(operator, inputs, attributes)

    def _binary(self, operator: str, inputs: list[str], attributes: dict[str, Any]) -> str:
        case, op = self.case, "".join(part.capitalize() for part in operator.split("_"))
        if operator == "binary_attention":
            inputs = [*inputs, ""]
            return self.node(op, inputs[:3], "made", domain="edgevision", scale=attributes["scale"], beta=0.25)
        depth = case["inputs"][0]["shape"][1]
        signs = pack_bits(np.reshape(case["signs"], (-1, depth)))
        more = [self.constant("b.signs", signs)]
        more += [self.constant(f"b.{name}", np.float32(case[name])) for name in ("scale", "bias")]
        return self.node(op, [*inputs, *more], "made", domain="edgevision", K=depth)


def network(cases: list[int]) -> onnx.ModelProto:
    """The cases side by side: an input of each of their tensors, an output of each case."""
    inputs, outputs, nodes, constants = [], [], [], []
    for at in cases:
        made = _Case(at, CASES[at])
        output = made.build()
        nodes += made.nodes
        constants += [numpy_helper.from_array(value, name) for name, value in made.constants.items()]
        for index, given in enumerate(CASES[at]["inputs"]):
            name = f"{made.stem}.in{index}"
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, given["shape"]))
        outputs.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, CASES[at]["output"]["shape"]))
    graph = helper.make_graph(nodes, "golden", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    square.declare(model)
    binaryfunctions.declare(model)
    return finished(model)


def given(cases: list[int]) -> list[np.ndarray]:
    """The inputs: what their bytes stand for."""
    return [
        numerics.dequantize(np.reshape(x["q"], x["shape"]).astype(np.uint8), np.float32(x["scale"]), x["zero"])
        for at in cases
        for x in CASES[at]["inputs"]
    ]


def wanted(at: int) -> np.ndarray:
    """The output of a case: the pattern of its floats, or what its bytes stand for."""
    out = CASES[at]["output"]
    if "bits" in out:
        return np.reshape(np.array(out["bits"], np.uint32).view(np.float32), out["shape"])
    q = np.reshape(out["q"], out["shape"]).astype(np.uint8)
    return numerics.dequantize(q, np.float32(out["scale"]), out["zero"])
