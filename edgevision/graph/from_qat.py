"""A network trained quantised as a QDQ graph in the canonical form of `compress.canonical`; weights of 4 bits as INT4.

The weights' scales are those that the engine's whole multipliers stand for, and its biases are added as whole steps
behind the layers: real arithmetic on this file gives the bytes of the integer network, but where a sum lies within
float32's error of a tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from edgevision.compress.onnxgraph import finished
from edgevision.compress.qat import INPUT, QatNetwork, Step
from edgevision.compress.requantize import multipliers, whole_bias
from edgevision.errors import UsageError
from edgevision.graph import square

#: The first opset with INT4, and the oldest of a network of ours.
OPSET, OLDEST_OPSET = 21, 20
OUTPUT = "maps"


def qdq_graph(
    network: QatNetwork, height: int, width: int, *, name: str = "quantised", opset: int = OPSET
) -> onnx.ModelProto:
    """The ONNX graph of `network` for one image (1, C, height, width), float32; its one output is `OUTPUT`.

    Args:
        name: of the graph.
        opset: 20 or later; before 21 weights of 4 bits are stored as int8.

    Raises:
        UsageError: an earlier opset.
    """
    if opset < OLDEST_OPSET:
        raise UsageError(f"expected opset {OLDEST_OPSET} or later, got {opset}", fix=f"use opset {OPSET}")
    writer = _Writer(network, height, width, int4=opset >= OPSET)
    for step in network.steps:
        writer.add(step)
    writer.node("Concat", "joined", [writer.real(tensor) for tensor in network.outputs], OUTPUT, axis=1)
    graph = helper.make_graph(
        writer.nodes,
        name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, (1, *writer.shapes[INPUT]))],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, key) for key, value in writer.constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    square.declare(model)
    return finished(model)


class _Writer:
    """Nodes and constants, step by step.

    Attributes:
        shapes: (channels, height, width) of every tensor.
    """

    def __init__(self, network: QatNetwork, height: int, width: int, *, int4: bool) -> None:
        self._network, self._int4 = network, int4
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple[int, int, int]] = {INPUT: (network.input_channels, height, width)}
        self._quantize(INPUT)

    def add(self, step: Step) -> None:
        """One step."""
        channels, height, width = self.shapes[step.inputs[0]]
        if step.kind == "conv":
            layer = self._network.layer(step.name)
            self.shapes[step.name] = (len(layer.weight), -(-height // layer.stride), -(-width // layer.stride))
            self._conv(step)
        elif step.kind == "concat":
            self.shapes[step.name] = (sum(self.shapes[tensor][0] for tensor in step.inputs), height, width)
            self.node("Concat", step.name, [self.real(tensor) for tensor in step.inputs], step.name, axis=1)
            self._quantize(step.name)
        elif step.kind == "upsample":
            self.shapes[step.name] = (channels, 2 * height, 2 * width)
            scales = self._constant("upsample.scales", np.array([1, 1, 2, 2], np.float32))
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            self.node("Resize", step.name, [self.real(step.inputs[0]), "", scales], step.name, **how)
            self._quantize(step.name)
        else:
            self._move(step, f"{step.inputs[0]}.q", f"{step.name}.q")

    def real(self, tensor: str) -> str:
        """The dequantised tensor, made where the first reader needs it."""
        output = f"{tensor}.dq"
        if all(node.name != output for node in self.nodes):
            self.node("DequantizeLinear", output, [f"{tensor}.q", *self._quantiser(tensor)], output)
        return output

    def node(self, op: str, name: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node with one output."""
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output

    def _conv(self, step: Step) -> None:
        layer, source = self._network.layer(step.name), self._network.quantizer(step.inputs[0])
        after = None if step.group is None else self._network.quantizer(step.name)
        numbers, step_size = layer.numbers(source, after), 1.0 if after is None else float(after.scale().detach())
        multiplier, shift = multipliers(torch.from_numpy(numbers.ratio))
        zeros = source.zero_point, None if after is None else after.zero_point
        total = torch.from_numpy(numbers.weight.reshape(len(numbers.weight), -1).astype(np.int64).sum(axis=1))
        bias = whole_bias(multiplier, shift, torch.from_numpy(numbers.constant), total, zeros).numpy()
        ratio = multiplier.numpy() * 2.0**-shift
        weight = self._weight(step.name, numbers.weight, ratio * step_size / float(source.scale().detach()), layer.bits)
        # The engine's sums hold the input's zero point, those of ONNX do not.
        share = (zeros[0] * total.numpy() * ratio * step_size).astype(np.float32)
        # Its bias is added after the rounding; as whole steps behind the layer it is that here too.
        steps = bias - (0 if zeros[1] is None else zeros[1] + 128)
        whole = self._constant(f"{step.name}.steps", (steps * step_size).astype(np.float32).reshape(1, -1, 1, 1))
        x, name = self.real(step.inputs[0]), step.name
        result = name if after is not None and not step.relu else f"{name}.sum"
        if layer.deformable:
            taps, channels = f"{name}.taps", len(share)
            self.nodes.append(
                square.node(x, step.inputs[1], weight, taps, channels=channels, stride=layer.stride, name=name)
            )
            share_name = self._constant(f"{name}.bias", share.reshape(1, -1, 1, 1))
            self.node("Add", f"{name}.share", [taps, share_name], f"{name}.shared")
        else:
            pads, groups = [layer.kernel // 2] * 4, len(share) if layer.depthwise else 1
            inputs = [x, weight, self._constant(f"{name}.bias", share)]
            self.node("Conv", name, inputs, f"{name}.shared", pads=pads, strides=[layer.stride] * 2, group=groups,
                      kernel_shape=[layer.kernel] * 2)  # fmt: skip
        self.node("Add", f"{name}.add", [f"{name}.shared", whole], result)
        if layer.limits is not None:
            self.node("Round", f"{name}.round", [result], f"{name}.rounded")
            limits = [self._constant(f"dilation.{limit}", np.float32(limit)) for limit in layer.limits]
            self.node("Clip", f"{name}.clip", [f"{name}.rounded", *limits], name)
            return
        if step.relu:
            self.node("Relu", f"{name}.relu", [result], name)
        self._quantize(name)

    def _weight(self, name: str, steps: np.ndarray, scale: np.ndarray, bits: int) -> str:
        # A multiplier of zero takes nothing of its channel, and ONNX has no scale of zero.
        dead = scale == 0
        steps = np.where(dead.reshape(-1, 1, 1, 1), 0, steps)
        kind = helper.tensor_dtype_to_np_dtype(TensorProto.INT4) if bits <= 4 and self._int4 else np.dtype(np.int8)
        inputs = [
            self._constant(f"{name}.weight.q", steps.astype(kind)),
            self._constant(f"{name}.weight.scale", np.where(dead, 1, scale).astype(np.float32)),
            self._constant(f"{name}.weight.zero_point", np.zeros(len(steps), kind)),
        ]
        return self.node("DequantizeLinear", f"{name}.weight.dq", inputs, f"{name}.weight.dq", axis=0)

    def _move(self, step: Step, source: str, target: str) -> None:
        """What moves bytes as they are."""
        channels, height, width = self.shapes[step.inputs[0]]
        if step.kind == "max_pool":
            self.shapes[step.name] = (channels, -(-height // 2), -(-width // 2))
            self.node("MaxPool", step.name, [source], target, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        elif step.kind == "channels":
            self.shapes[step.name] = (step.count, height, width)
            bounds = [self._constant(f"channel.{at}", np.array([at])) for at in (step.first, step.first + step.count)]
            self.node("Slice", step.name, [source, *bounds, self._constant("channel.axis", np.array([1]))], target)
        else:
            self.shapes[step.name] = (channels, height, width)
            apart, together = (1, 2, channels // 2, height, width), (1, channels, height, width)
            shapes = [self._constant(f"shape.{'x'.join(map(str, s))}", np.array(s)) for s in (apart, together)]
            self.node("Reshape", f"{step.name}.apart", [source, shapes[0]], f"{step.name}.apart")
            self.node("Transpose", step.name, [f"{step.name}.apart"], f"{step.name}.swapped", perm=[0, 2, 1, 3, 4])
            self.node("Reshape", f"{step.name}.together", [f"{step.name}.swapped", shapes[1]], target)

    def _quantize(self, tensor: str) -> None:
        self.node("QuantizeLinear", f"{tensor}.q", [tensor, *self._quantiser(tensor)], f"{tensor}.q")

    def _quantiser(self, tensor: str) -> list[str]:
        """Scale and zero point, those of the tensor's group."""
        quantizer, group = self._network.quantizer(tensor), f"group{self._network.group_of(tensor)}"
        return [
            self._constant(f"{group}.scale", np.float32(quantizer.scale().detach())),
            self._constant(f"{group}.zero_point", np.int8(quantizer.zero_point)),
        ]

    def _constant(self, name: str, value: np.ndarray | np.generic) -> str:
        self.constants.setdefault(name, np.asarray(value))
        return name
