"""A graph whose quantisers are the engine's own (`graph.from_qat`) read back as a network of integers alone.

Such a file holds whole multipliers and biases as real scales; what comes back are the same numbers, so a compressed
network needs no second file for the engine.
"""

from __future__ import annotations

import numpy as np
import onnx

from edgevision.compress.onnxgraph import SQUARE, Index, attribute
from edgevision.engine.bounds import require_bounds
from edgevision.engine.checks import LARGEST_SHIFT, checked
from edgevision.engine.network import (
    INPUT,
    Channels,
    Concat,
    Convolution,
    Group,
    Header,
    IntegerNetwork,
    Layer,
    MaxPool,
    Parameters,
    Shuffle,
    Upsample,
)
from edgevision.errors import Unsupported

_LARGEST = 32767
#: How far from a whole number a multiplier or a bias may be that went through float32.
_WHOLE = 0.02


class _Other(Exception):
    """A node the engine has no layer for; the sentence says why."""


def integer_network_of(model: onnx.ModelProto) -> IntegerNetwork:
    """The network of integers that `model` stands for.

    Raises:
        Unsupported: it holds arithmetic the engine does not have; every such node is named.
    """
    return _Reader(model.graph).network()


class _Reader:
    """Walks the nodes in order; a node is read together with those that only belong to its arithmetic."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph, self.index = graph, Index.of(graph)
        self.layers: list[Layer] = []
        self.parameters: dict[str, Parameters] = {}
        self.groups: dict[tuple[str, str], int] = {}
        #: Layer that makes a tensor of the graph, whether that is the bytes or what they stand for.
        self.made: dict[str, str] = {}
        self.group_of: dict[str, int] = {}
        self.taken: set[str] = set()
        self.outputs: tuple[str, ...] = ()

    def network(self) -> IntegerNetwork:
        reasons = []
        for node in self.graph.node:
            if node.name in self.taken:
                continue
            try:
                self._read(node)
            except _Other as error:
                reasons.append(f"{node.op_type} '{node.name}': {error}")
            except (KeyError, IndexError, TypeError, ValueError):
                # Constants that are computed, or shapes of another pattern.
                reasons.append(f"{node.op_type} '{node.name}': not in the form the engine's networks have")
        if INPUT not in self.group_of or not self.outputs:
            reasons.append("the image is not quantised, or the output is no concatenation of quantised maps")
        if reasons:
            raise Unsupported(
                "the engine cannot run this network", where=self.graph.name, reasons=reasons[:20],
                fix="edgevision compress --recipe w4a8-qat on a CoDeNet trains one for the engine",
            )  # fmt: skip
        dims = self.graph.input[0].type.tensor_type.shape.dim
        header = Header(
            input_shape=(dims[1].dim_value, dims[2].dim_value, dims[3].dim_value), input_group=self.group_of[INPUT],
            groups=tuple(Group(float(self._array(scale)), int(self._array(zero))) for scale, zero in self.groups),
            layers=tuple(self.layers), outputs=self.outputs,
        )  # fmt: skip
        found = checked(IntegerNetwork(header, self.parameters), self.graph.name)
        require_bounds(found)
        return found

    def _read(self, node: onnx.NodeProto) -> None:
        if node.op_type == "QuantizeLinear" and node.input[0] == self.graph.input[0].name:
            self._name(INPUT, node)
        elif node.op_type == "DequantizeLinear":
            if node.input[0] in self.made:
                self.made[node.output[0]] = self.made[node.input[0]]
        elif node.op_type in ("Conv", SQUARE):
            self._convolution(node)
        elif node.op_type == "Concat":
            self._concat(node)
        elif node.op_type == "Resize":
            if self._array(node.input[2]).tolist() != [1, 1, 2, 2] or attribute(node, "mode", b"") != b"nearest":
                raise _Other("expected every pixel twice")
            self._moved(Upsample(name=node.name, input=self._source(node.input[0])), self._next(node, "QuantizeLinear"))
        elif node.op_type == "MaxPool":
            if attribute(node, "kernel_shape", []) != [3, 3] or attribute(node, "strides", []) != [2, 2]:
                raise _Other("expected 3x3 at stride 2")
            self._moved(MaxPool(name=node.name, input=self._source(node.input[0])), node)
        elif node.op_type == "Slice":
            first, last, axis = (int(self._array(name)[0]) for name in node.input[1:4])
            if axis != 1 or len(node.input) > 4:
                raise _Other("expected channels")
            layer = Channels(name=node.name, input=self._source(node.input[0]), first=first, count=last - first)
            self._moved(layer, node)
        elif node.op_type == "Reshape":
            self._shuffle(node)
        else:
            raise _Other("no layer of the engine")

    def _convolution(self, node: onnx.NodeProto) -> None:
        square = node.op_type == SQUARE
        weight, weight_scale, bits = self._weight(node.input[2 if square else 1])
        channels, depth, kernel = weight.shape[:3]
        groups = attribute(node, "group", 1)
        depthwise = groups > 1
        strides = attribute(node, "strides", [1, 1])
        if depthwise and (depth != 1 or groups != channels):
            raise _Other("grouped, but not depthwise")
        if len(set(strides)) > 1 or (not square and attribute(node, "pads", [0] * 4) != [kernel // 2] * 4):
            raise _Other("padding or strides the engine does not have")
        if attribute(node, "dilations", [1, 1]) != [1, 1]:
            raise _Other("dilated as a whole")
        end = self._next(node, "Add")
        if square:
            end = self._next(end, "Add")
        steps = self._array(next(name for name in end.input if name in self.index.constants)).reshape(-1)
        source = self._source(node.input[0])
        relu, limits, group, step_size, zero = False, None, None, 1.0, 0
        last = self._only(end)
        self.taken.add(last.name)
        if last.op_type == "Round":
            last = self._next(last, "Clip")
            limits = int(self._array(last.input[1])), int(self._array(last.input[2]))
        else:
            if last.op_type == "Relu":
                relu, last = True, self._next(last, "QuantizeLinear")
            if last.op_type != "QuantizeLinear":
                raise _Other(f"ends in {last.op_type}, expected a quantiser")
            step_size, zero = float(self._array(last.input[1])), int(self._array(last.input[2]))
        source_scale = float(self._array(list(self.groups)[self.group_of[source]][0]))
        multiplier, shift = _whole_multipliers(weight_scale * source_scale / step_size, weight)
        bias = steps.astype(np.float64) / step_size + (0 if limits else zero + 128)
        if np.abs(bias - np.rint(bias)).max() > _WHOLE or np.abs(bias).max() > _LARGEST:
            raise _Other("its bias is not in whole steps of the result")
        if limits is None:
            group = self._name(node.name, last)
        else:
            self.made[last.output[0]] = node.name
        layer = Convolution(
            name=node.name, input=source, channels=channels, depth=depth, kernel=kernel, stride=strides[0],
            depthwise=depthwise, bits=bits, shift=shift, relu=relu, group=group, limits=limits,
            dilation=self._source(node.input[1]) if square else None,
        )  # fmt: skip
        self.layers.append(layer)
        self.parameters[node.name] = Parameters(multiplier, np.rint(bias).astype(np.int16), weight)

    def _weight(self, name: str) -> tuple[np.ndarray, np.ndarray, int]:
        """Steps (channels, depth, kernel, kernel), scale of each channel, and bits."""
        node = self.index.made_by(name, "DequantizeLinear")
        if node is None or node.input[0] not in self.index.constants:
            raise _Other("its weights are not quantised")
        proto = self.index.constants[node.input[0]]
        steps = self._array(node.input[0]).astype(np.int8)
        if steps.ndim != 4 or steps.shape[2] != steps.shape[3]:
            raise _Other(f"weights {steps.shape}")
        if len(node.input) > 2 and np.any(self._array(node.input[2]).astype(np.int8)):
            raise _Other("its weights have a zero point")
        scale = np.broadcast_to(self._array(node.input[1]).reshape(-1), (len(steps),))
        return steps, scale.astype(np.float64), 4 if proto.data_type == onnx.TensorProto.INT4 else 8

    def _concat(self, node: onnx.NodeProto) -> None:
        names = tuple(self._source(name) for name in node.input)
        if node.output[0] == self.graph.output[0].name:
            self.outputs = names
        else:
            self._moved(Concat(name=node.name, inputs=names), self._next(node, "QuantizeLinear"))

    def _shuffle(self, node: onnx.NodeProto) -> None:
        swap = self._next(node, "Transpose")
        end = self._next(swap, "Reshape")
        apart = self._array(node.input[1]).tolist()
        if len(apart) != 5 or attribute(swap, "perm", []) != [0, 2, 1, 3, 4]:
            raise _Other("moves data in a way the engine does not")
        self._moved(Shuffle(name=swap.name, input=self._source(node.input[0]), parts=apart[1]), end)

    def _moved(self, layer: Layer, end: onnx.NodeProto) -> None:
        """A layer whose bytes are those of its source."""
        sources = layer.inputs if isinstance(layer, Concat) else (layer.input,)
        group = self.group_of[sources[0]]
        if end.op_type == "QuantizeLinear" and self.groups.get((end.input[1], end.input[2])) != group:
            raise _Other("quantised otherwise than what it is made of")
        self.layers.append(layer)
        self.made[end.output[0]] = layer.name
        self.group_of[layer.name] = group

    def _name(self, name: str, quantiser: onnx.NodeProto) -> int:
        """The tensor `quantiser` makes is layer `name`'s; its group."""
        key = quantiser.input[1], quantiser.input[2]
        if self._array(key[0]).size != 1 or self._array(key[1]).dtype != np.int8:
            raise _Other("expected int8 activations of one scale")
        self.made[quantiser.output[0]] = name
        self.group_of[name] = self.groups.setdefault(key, len(self.groups))
        return self.group_of[name]

    def _source(self, name: str) -> str:
        if name not in self.made:
            raise _Other("reads what is not quantised")
        return self.made[name]

    def _only(self, node: onnx.NodeProto) -> onnx.NodeProto:
        readers = self.index.readers[node.output[0]]
        if len(readers) != 1:
            raise _Other("its sum has several readers")
        return readers[0]

    def _next(self, node: onnx.NodeProto, kind: str) -> onnx.NodeProto:
        found = self._only(node)
        if found.op_type != kind:
            raise _Other(f"is followed by {found.op_type}, expected {kind}")
        self.taken.add(found.name)
        return found

    def _array(self, name: str) -> np.ndarray:
        return self.index.array(name)


def _whole_multipliers(ratio: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, int]:
    """Multipliers (int16) and the shift at which they are all odd; 0 where a channel has no weight but zeros."""
    used = weight.reshape(len(weight), -1).any(axis=1)
    ratio = np.where(used, ratio, 0.0)
    for shift in range(LARGEST_SHIFT, -1, -1):
        exact = ratio * 2.0**shift
        whole = np.rint(exact)
        fits = np.abs(whole).max(initial=0) <= _LARGEST and np.abs(exact - whole).max(initial=0) <= _WHOLE
        if fits and np.all(whole[used] % 2 == 1):
            return whole.astype(np.int16), shift
    raise _Other("its scales are no multipliers of 16 bits")
