"""Attention as exporters write it, in float and between quantisers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import helper

node = helper.make_node


def quantised(tensor: str, name: str, scale: float, zero: int) -> tuple[list[Any], dict[str, Any]]:
    """Quantizers from `tensor` to `name` of their own scale, and their constants."""
    constants = {f"{name}.s": np.float32(scale), f"{name}.z": np.uint8(zero)}
    nodes = [
        node("QuantizeLinear", [tensor, *constants], [f"{name}.q"], name=f"{name}.q"),
        node("DequantizeLinear", [f"{name}.q", *constants], [name], name=f"{name}.dq"),
    ]
    return nodes, constants


def attention_nodes(
    windows: int, heads: int, tokens: int, depth: int, *, added: Sequence[tuple[int, ...]] = (),
    integer: bool = False, zeros: Sequence[int] = (128, 128, 128), scale_on: str = "q",
) -> tuple[list[Any], dict[str, Any]]:  # fmt: skip
    """Attention from x (windows, tokens, 3 * heads * depth) to y, and its constants."""
    width = heads * depth
    constants = {
        "third": np.array([width] * 3), "split": np.array([windows, tokens, heads, depth]),
        "joined": np.array([windows, tokens, width]), "factor": np.float32(depth**-0.5),
    }  # fmt: skip
    nodes, source = [], "x"
    if integer:
        made, more = quantised("x", "xq", 0.03, zeros[0])
        nodes, constants, source = [*nodes, *made], {**constants, **more}, "xq"
    nodes.append(node("Split", [source, "third"], ["q0", "k0", "v0"], axis=-1))
    perms = {"q": [0, 2, 1, 3], "k": [0, 2, 3, 1], "v": [0, 2, 1, 3]}
    for name, perm in perms.items():
        nodes.append(node("Reshape", [f"{name}0", "split"], [f"{name}1"]))
        nodes.append(node("Transpose", [f"{name}1"], [f"{name}2"], perm=perm))
    nodes.append(node("Mul", ["q2", "factor"], ["q3"]))
    nodes.append(node("MatMul", ["q3" if scale_on == "q" else "q2", "k2"], ["s0"], name="scores"))
    last = "s0"
    if scale_on == "scores":
        nodes.append(node("Mul", ["factor", last], ["s1"]))
        last = "s1"
    for index, shape in enumerate(added):
        constants[f"add{index}"] = np.random.default_rng(index).standard_normal(shape).astype(np.float32)
        nodes.append(node("Add", [last, f"add{index}"], [f"a{index}"]))
        last = f"a{index}"
    nodes.append(node("Softmax", [last], ["p"], axis=-1))
    share = "p"
    if integer:
        made, more = quantised("p", "pq", 1 / 256, zeros[1])
        nodes, constants, share = [*nodes, *made], {**constants, **more}, "pq"
    nodes.append(node("MatMul", [share, "v2"], ["o"], name="weighted"))
    out = "o"
    if integer:
        made, more = quantised("o", "oq", 0.02, zeros[2])
        nodes, constants, out = [*nodes, *made], {**constants, **more}, "oq"
    nodes.append(node("Transpose", [out], ["t"], perm=[0, 2, 1, 3]))
    nodes.append(node("Reshape", ["t", "joined"], ["y"]))
    return nodes, constants
