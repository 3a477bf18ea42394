"""Weights of a quantised graph in 4 bits, all of them or layer by layer; packed INT4 in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

from edgevision.compress.fake_quantize import WeightQuantizer
from edgevision.compress.layers import quantised_layers
from edgevision.compress.onnxgraph import WEIGHT_SLOTS, Index, attribute, copy_of, dequantised, prune
from edgevision.compress.packing import BITS, at_opset, stored
from edgevision.compress.session import session


def in_four_bits(quantised: onnx.ModelProto, images: np.ndarray) -> onnx.ModelProto:
    """Return `quantised` with every quantised weight in 4 bits, one scale of least squared error per output channel.

    The bias of a layer is corrected for the mean error of its weights on `images`: a channel whose weights all became a
    little larger would else shift the mean of everything behind it (Nagel et al., Data-Free Quantization through Weight
    Equalization and Bias Correction, ICCV 2019, section 4.2).

    Args:
        quantised: a canonical QDQ graph with weights of 8 bits.
        images: float32 (N, C, H, W).
    """
    model = copy_of(quantised)
    index = Index.of(model.graph)
    layers = set(quantised_layers(model.graph))
    nodes = [node for node in model.graph.node if node.name in layers]
    means = _input_means(model, nodes, images)
    for node in nodes:
        dequantize = index.producer[node.input[WEIGHT_SLOTS[node.op_type]]]
        weight, axis = dequantised(index, dequantize.output[0]), attribute(dequantize, "axis", 1)
        along = [-1 if at == axis else 1 for at in range(weight.ndim)]
        steps, scale = _fitted(weight, axis)
        error = steps.astype(np.float32) * scale.reshape(along) - weight
        _replace(model.graph, dequantize, steps, scale)
        _correct(model.graph, node, _shift(node, error, axis, means.get(node.input[0])))
    prune(model.graph)
    return at_opset(model)


def chosen(eight: onnx.ModelProto, four: onnx.ModelProto, bits: Mapping[str, int]) -> onnx.ModelProto:
    """Return `eight` with the layers that have 4 `bits` as they are in `four`, a graph of the same nodes."""
    names = [name for name, count in bits.items() if count == BITS]
    if not names:
        return copy_of(eight)
    model, other = copy_of(eight), Index.of(four.graph)
    index = Index.of(model.graph)
    for node in model.graph.node:
        if node.name not in names:
            continue
        twin = next(item for item in four.graph.node if item.name == node.name)
        slot = WEIGHT_SLOTS[node.op_type]
        mine, theirs = index.producer[node.input[slot]], other.producer[twin.input[slot]]
        for at, tensor in enumerate(theirs.input):
            mine.input[at] = _taken(model.graph, other, tensor, f"{node.name}.4bit.{at}")
        for at, tensor in enumerate(twin.input[slot + 1 :], slot + 1):
            bias = _taken(model.graph, other, tensor, f"{node.name}.4bit.bias")
            node.input[at : at + 1] = [bias]
    prune(model.graph)
    return at_opset(model)


def _fitted(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps in the shape of `weight`, and a scale per index of `axis`."""
    first = torch.from_numpy(np.ascontiguousarray(np.moveaxis(weight, axis, 0)))
    quantizer = WeightQuantizer(BITS, len(first), learned=True)
    quantizer.fit(first)
    with torch.no_grad():
        scale = quantizer.scale(first)
        steps = quantizer.steps(first, scale)
    return np.moveaxis(steps.numpy(), 0, axis), scale.numpy()


def _replace(graph: onnx.GraphProto, dequantize: onnx.NodeProto, steps: np.ndarray, scale: np.ndarray) -> None:
    arrays = (stored(steps, BITS), scale.astype(np.float32), stored(np.zeros(scale.shape), BITS))
    for name, array in zip(dequantize.input, arrays, strict=True):
        tensor = next(item for item in graph.initializer if item.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))


def _correct(graph: onnx.GraphProto, node: onnx.NodeProto, shift: np.ndarray | None) -> None:
    """Take `shift`, a mean per output channel, out of the bias of `node`; one without a bias gets one."""
    slot = WEIGHT_SLOTS[node.op_type] + 1
    if shift is None:
        return
    known = {tensor.name: tensor for tensor in graph.initializer}
    old = known.get(node.input[slot]) if len(node.input) > slot else None
    if len(node.input) > slot and (old is None or old.data_type != TensorProto.FLOAT):
        return
    value = -shift if old is None else (numpy_helper.to_array(old) - shift).astype(np.float32)
    name = f"{node.name}.4bit.corrected"
    graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    if old is None:
        node.input.append(name)
    else:
        node.input[slot] = name


def _shift(node: onnx.NodeProto, error: np.ndarray, axis: int, mean: np.ndarray | None) -> np.ndarray | None:
    """What `error` of the weights adds to the mean of each output channel; None where the operator has no bias."""
    if mean is None or node.op_type not in ("Conv", "Gemm"):
        return None
    if node.op_type == "Gemm":
        return np.moveaxis(error, axis, 0) @ mean
    groups = attribute(node, "group", 1)
    taps = error.reshape(*error.shape[:2], -1).sum(2)
    inputs = mean.reshape(groups, -1).repeat(len(taps) // groups, axis=0)
    return (taps * inputs).sum(1)


def _input_means(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], images: np.ndarray) -> dict[str, np.ndarray]:
    """Mean of each channel of what the nodes read, over images and places."""
    shown = copy_of(model)
    names = list(dict.fromkeys(node.input[0] for node in nodes if node.op_type in ("Conv", "Gemm")))
    shapes = {value.name: value for value in (*shown.graph.value_info, *shown.graph.input)}
    names = [name for name in names if name in shapes]
    shown.graph.output.extend(shapes[name] for name in names)
    runner, sums = session(shown, optimise=False), [np.zeros(()) for _ in names]
    for image in images:
        got = runner.run(names, {runner.get_inputs()[0].name: image[None]})
        sums = [total + x.mean(axis=(0, *range(2, x.ndim))) for total, x in zip(sums, got, strict=True)]
    return {name: (total / len(images)).astype(np.float32) for name, total in zip(names, sums, strict=True)}


def _taken(graph: onnx.GraphProto, other: Index, tensor: str, name: str) -> str:
    """The constant `tensor` of another graph, as `name` in this one."""
    graph.initializer.append(numpy_helper.from_array(other.array(tensor), name))
    return name
