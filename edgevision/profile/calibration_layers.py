"""Layers to calibrate on, written as ONNX nodes: in float, or between quantisers as recipes leave them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET, _IR = 20, 10
#: Values are about normal: four deviations either side in 255 steps; behind a relu, six above zero; shares up to one.
_RANGES = {"signed": (8 / 255, 128), "positive": (6 / 255, 0), "share": (1 / 255, 0)}


class Layers:
    """A graph that grows layer by layer; every method returns the name of what it made.

    Args:
        shape: of the input "x".
        integer: whether operands of products lie between quantisers.
    """

    def __init__(self, shape: tuple[int, ...], *, integer: bool) -> None:
        self.shapes = {"x": shape}
        self._integer = integer
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}
        self._kinds: dict[str, str] = {}
        self._quantised: dict[tuple[str, bool], str] = {}
        self._draw = np.random.default_rng(0)
        self._input, self._count = shape, 0

    def conv(self, x: str, channels: int, kernel: int = 1, *, stride: int = 1, depthwise: bool = False) -> str:
        """Convolution with a bias; its border keeps the sides, or divides them by the stride."""
        batch, depth, *sides = self.shapes[x]
        group, inner = (depth, 1) if depthwise else (1, depth)
        channels = depth if depthwise else channels
        weight = self._weight((channels, inner, kernel, kernel), inner * kernel**2, axis=0)
        bias = self._constant("bias", self._draw.standard_normal(channels))
        # A kernel as wide as its stride cuts patches.
        before = 0 if kernel == stride else (kernel - 1) // 2
        after = 0 if kernel == stride else kernel // 2
        shape = (batch, channels, *((side + before + after - kernel) // stride + 1 for side in sides))
        return self._node(
            "Conv", [self.quantised(x, per_channel=depthwise), weight, bias], shape,
            group=group, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[before, before, after, after],
        )  # fmt: skip

    def linear(self, x: str, channels: int) -> str:
        """Product of the last axis with a weight, and a bias."""
        depth = self.shapes[x][-1]
        shape = (*self.shapes[x][:-1], channels)
        product = self._node("MatMul", [self.quantised(x), self._weight((depth, channels), depth, axis=1)], shape)
        return self._node("Add", [product, self._constant("bias", self._draw.standard_normal(channels))], shape)

    def function(self, name: str, x: str) -> str:
        """Relu, Clip from 0 to 6, Gelu, Sigmoid or another function of one tensor."""
        limits = [self._constant("low", 0.0), self._constant("high", 6.0)] if name == "Clip" else []
        made = self._node(name, [x, *limits], self.shapes[x])
        self._kinds[made] = {"Relu": "positive", "Clip": "positive", "Sigmoid": "share"}.get(name, "signed")
        return made

    def combined(self, name: str, x: str, y: str, *, on_bytes: bool = False) -> str:
        """Add or Mul of two tensors of one shape; quantised before where asked for and the graph is integer."""
        pair = [self.quantised(x), self.quantised(y)] if on_bytes else [x, y]
        return self._node(name, pair, self.shapes[x])

    def scaled(self, x: str) -> str:
        """A factor and a term per channel, axis 1."""
        shape = (1, self.shapes[x][1], 1, 1)
        product = self._node("Mul", [x, self._constant("factor", np.ones(shape))], self.shapes[x])
        return self._node("Add", [product, self._constant("term", np.zeros(shape))], self.shapes[x])

    def normed(self, x: str) -> str:
        """Layer norm over the last axis."""
        channels = self.shapes[x][-1]
        parameters = [self._constant("gamma", np.ones(channels)), self._constant("beta", np.zeros(channels))]
        return self._node("LayerNormalization", [x, *parameters], self.shapes[x], axis=-1, epsilon=1e-6)

    def pooled(self, x: str, kind: str = "GlobalAveragePool") -> str:
        """Mean of each channel's image, or MaxPool of 3 x 3 with stride 2."""
        batch, channels, *sides = self.shapes[x]
        if kind == "GlobalAveragePool":
            return self._node(kind, [self.quantised(x)], (batch, channels, 1, 1))
        shape = (batch, channels, *((side - 1) // 2 + 1 for side in sides))
        return self._node(kind, [self.quantised(x)], shape, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)

    def reshaped(self, x: str, shape: tuple[int, ...]) -> str:
        """The same elements in another shape."""
        return self._node("Reshape", [x, self._constant("shape", np.array(shape), np.int64)], shape)

    def turned(self, x: str, order: tuple[int, ...]) -> str:
        """The axes in another order."""
        return self._node("Transpose", [x], tuple(self.shapes[x][axis] for axis in order), perm=list(order))

    def attention(self, x: str, heads: int, *, biased: bool = False) -> str:
        """Attention within each (windows, tokens, 3 channels) of queries, keys and values in a row."""
        windows, tokens, width = self.shapes[x]
        depth = width // 3 // heads
        x = self.quantised(x)
        third = self._constant("third", np.array([width // 3] * 3), np.int64)
        parts = [self._name("part") for _ in range(3)]
        self._nodes.append(helper.make_node("Split", [x, third], parts, name=parts[0], axis=-1))
        self.shapes |= dict.fromkeys(parts, (windows, tokens, width // 3))
        split = (windows, tokens, heads, depth)
        queries, keys, values = (
            self.turned(self.reshaped(part, split), order)
            for part, order in zip(parts, ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)), strict=True)
        )
        scaled = self._node("Mul", [queries, self._constant("scale", depth**-0.5)], self.shapes[queries])
        shape = (windows, heads, tokens, tokens)
        scores = self._node("MatMul", [scaled, keys], shape)
        if biased:
            scores = self._node("Add", [scores, self._constant("bias", np.zeros((1, *shape[1:])))], shape)
        share = self._node("Softmax", [scores], shape, axis=-1)
        self._kinds[share] = "share"
        found = self._node("MatMul", [self.quantised(share), values], (windows, heads, tokens, depth))
        return self.reshaped(self.turned(self.quantised(found), (0, 2, 1, 3)), (windows, tokens, width // 3))

    def quantised(self, x: str, *, per_channel: bool = False) -> str:
        """`x` behind a quantiser and its inverse in an integer graph; itself in a float one.

        Args:
            per_channel: a scale for each channel, axis 1, as inputs of depthwise convolutions have.
        """
        if not self._integer or x in self._quantised.values():
            return x
        key = (x, per_channel)
        if key not in self._quantised:
            step, zero = _RANGES[self._kinds.get(x, "signed")]
            count = self.shapes[x][1] if per_channel else ()
            points = [
                self._constant("step", np.full(count, step)),
                self._constant("zero", np.full(count, zero), np.uint8),
            ]
            axis = {"axis": 1} if per_channel else {}
            stored = self._node("QuantizeLinear", [x, *points], self.shapes[x], **axis)
            self._quantised[key] = self._node("DequantizeLinear", [stored, *points], self.shapes[x], **axis)
        return self._quantised[key]

    def model(self, output: str) -> onnx.ModelProto:
        """The graph from "x" to `output`."""
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, self._input)
        made = helper.make_tensor_value_info(output, TensorProto.FLOAT, self.shapes[output])
        constants = [numpy_helper.from_array(value, name) for name, value in self._constants.items()]
        graph = helper.make_graph(self._nodes, "calibration", [given], [made], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)

    def _weight(self, shape: tuple[int, ...], summed: int, *, axis: int) -> str:
        weight = self._draw.standard_normal(shape) / math.sqrt(summed)
        if not self._integer:
            return self._constant("weight", weight)
        other = tuple(i for i in range(len(shape)) if i != axis)
        scale = np.abs(weight).max(axis=other, keepdims=True) / 127
        stored = self._constant("weight", np.rint(weight / scale), np.int8)
        points = [self._constant("scale", scale.reshape(-1)), self._constant("zero", np.zeros(shape[axis]), np.int8)]
        return self._node("DequantizeLinear", [stored, *points], shape, axis=axis)

    def _constant(self, kind: str, value: Any, dtype: Any = np.float32) -> str:
        name = self._name(kind)
        self._constants[name] = np.asarray(value).astype(dtype)
        return name

    def _node(self, op: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> str:
        name = self._name(op.lower())
        self._nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        self.shapes[name] = shape
        return name

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"
