"""Integer rules for layers with weights: Conv, ConvTranspose, Gemm and MatMul (quant/NUMERICS.md section 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgevision.graph.accumulator import bounded_bias, overflow
from edgevision.graph.ir import Node
from edgevision.graph.product import on_activations
from edgevision.graph.qdq import Quant, Tail
from edgevision.graph.rewriting import Rewriting
from edgevision.graph.transposed import channels_first, spread_of

_LARGEST_BYTE = 255
#: Layers that take the GELU behind them along.
_GELU = ("IntConv", "IntGemm")
#: Layers whose channels are axis 1.
IMAGES = ("IntConv", "IntConvTranspose")
_FIX = "expected int8 or uint8 weights with one scale, or one per output channel"


def on_conv(state: Rewriting, node: Node) -> bool:
    """Conv of images, or of signals, which are images of one row."""
    weight = state.qdq.weight(node.inputs[1])
    if weight is None or not _constant_bias(state, node):
        return _not_understood(state, node)
    values, scale, axis = weight
    if values.ndim not in (3, 4):
        return _not_understood(state, node)
    if scale.size > 1 and axis != 0:
        return state.refuse(node, f"weights are quantised along axis {axis}, expected output channels (0)")
    if values.ndim == 4:
        return _linear(state, node, "IntConv", node.inputs[0], node.outputs[0], values, scale)
    return _signal(state, node, values, scale)


def on_conv_transpose(state: Rewriting, node: Node) -> bool:
    """ConvTranspose of images, its weights reordered as those of a convolution."""
    weight = state.qdq.weight(node.inputs[1])
    if weight is None or weight[0].ndim != 4 or not _constant_bias(state, node):
        return _not_understood(state, node)
    values, scale, axis = weight
    group, share = int(node.get("group", 1)), values.shape[1]
    if scale.size > 1:
        if axis != 1 and (axis != 0 or values.shape[0] != group):
            return state.refuse(node, f"weights are quantised along axis {axis}, expected output channels (1)")
        scale = np.tile(scale, group) if axis == 1 else np.repeat(scale, share)
    spread = spread_of(node.attributes, state.shape(node.inputs[0]), state.shape(node.outputs[0]), values.shape[2:])
    node = replace(node, attributes={"group": group, "spread": spread})
    values = channels_first(values, group)
    return _linear(state, node, "IntConvTranspose", node.inputs[0], node.outputs[0], values, scale)


def _signal(state: Rewriting, node: Node, values: np.ndarray, scale: np.ndarray) -> bool:
    """A convolution of (N, C, L) as one of (N, C, 1, L)."""
    source = state.source(node.inputs[0])
    if source is None:
        return False
    tensor, quant = source
    if not quant.per_tensor:
        return state.refuse(node, "input has one scale per channel, which only depthwise layers of images can use")
    images, channels, length = state.shape(tensor)
    attributes = dict(node.attributes)
    for name, neutral in (("kernel_shape", 1), ("strides", 1), ("dilations", 1)):
        if name in attributes:
            attributes[name] = [neutral, *attributes[name]]
    if "pads" in attributes:
        attributes["pads"] = [0, attributes["pads"][0], 0, attributes["pads"][1]]
    row = Node(node.op, node.name, node.inputs, node.outputs, attributes)
    raised = state.reshaped(node, tensor, f"{node.outputs[0]}.row", (images, channels, 1, length))
    output = node.outputs[0]
    shape = state.shape(output)
    tail = state.qdq.tail(output)
    tail = state.take_tail(output) if tail is not None and tail.quant.per_tensor else None
    inner = state.new(f"{output}.inner", (*shape[:2], 1, shape[2]), "float32" if tail is None else "uint8")
    inside = None if tail is None else replace(tail, output=inner)
    kernel, bias = values[:, :, None, :], _bias_of(state, node)
    emit_layer(state, row, "IntConv", raised, quant, inner, kernel, scale, bias, inside)
    target = state.constant(f"{output}.shape", np.array(shape, np.int64))
    state.standard("Reshape", node, [inner, target], output if tail is None else tail.output)
    if tail is not None:
        state.as_bytes(tail.output, tail.quant)
    return True


def on_gemm(state: Rewriting, node: Node) -> bool:
    """Gemm with a constant weight; alpha and beta become part of the scales."""
    weight = state.qdq.weight(node.inputs[1])
    if weight is None or node.get("transA") or not _constant_bias(state, node):
        return _not_understood(state, node)
    values, scale, axis = weight
    along = 0 if node.get("transB") else 1
    if scale.size > 1 and axis != along:
        return state.refuse(node, f"weights are quantised along axis {axis}, expected output channels ({along})")
    scale = (scale.astype(np.float64) * float(node.get("alpha", 1.0))).astype(np.float32)
    if not np.all(scale > 0):
        return state.refuse(node, f"expected alpha above 0, got {node.get('alpha')}")
    matrix = values if node.get("transB") else values.T
    return _linear(state, node, "IntGemm", node.inputs[0], node.outputs[0], matrix, scale)


def on_matmul(state: Rewriting, node: Node) -> bool:
    """MatMul with a constant matrix on its right, of tensors of any rank."""
    weight = state.qdq.weight(node.inputs[1])
    if weight is None:
        return on_activations(state, node) or _not_understood(state, node)
    values, scale, axis = weight
    if values.ndim != 2 or len(state.shape(node.inputs[0])) < 2:
        return _not_understood(state, node)
    if scale.size > 1 and axis != 1:
        return state.refuse(node, f"weights are quantised along axis {axis}, expected output channels (1)")
    return _linear(state, node, "IntGemm", node.inputs[0], node.outputs[0], values.T, scale)


def _linear(
    state: Rewriting, node: Node, op: str, data: str, output: str, weight: np.ndarray, scale: np.ndarray
) -> bool:
    """IntConv, IntConvTranspose or IntGemm, or a float layer with byte weights when the activations are float."""
    output, bias = _bias_after(state, node) if node.op == "MatMul" else (output, _bias_of(state, node))
    source = state.qdq.source(data)
    if source is None:
        return _byte_weights(state, node, op, output, weight, scale, bias)
    tensor, quant = source
    group = int(node.get("group", 1))
    depthwise = op in IMAGES and group == weight.shape[0] and weight.shape[1] == 1
    if not quant.per_tensor and not depthwise:
        return state.refuse(node, "input has one scale per channel, which only depthwise layers can use")
    output, steps = state.take_whole_steps(output) if op == "IntConv" else (output, None)
    tail = state.take_tail(output, gelu=op in _GELU)
    emit_layer(state, node, op, tensor, quant, output, weight, scale, bias, tail, steps)
    return True


def _byte_weights(
    state: Rewriting, node: Node, op: str, output: str, weight: np.ndarray, scale: np.ndarray, bias: str | None
) -> bool:
    if weight.min(initial=0) < -128 or weight.max(initial=0) > 127:
        return False
    channels = weight.shape[0]
    attributes = dict(
        node.attributes,
        weight=np.ascontiguousarray(weight.astype(np.int8)),
        scale=np.broadcast_to(scale.reshape(-1), (channels,)).astype(np.float32),
        bias=_bias_values(state, node, bias, channels),
        group=int(node.get("group", 1)),
    )
    state.emit(op.replace("Int", "ByteWeight"), node, [node.inputs[0]], output, **attributes)
    return True


def emit_layer(
    state: Rewriting, node: Node, op: str, tensor: str, quant: Quant, output: str, weight: np.ndarray,
    scale: np.ndarray, bias: str | None, tail: Tail | None, added: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Append the integer layer, which writes `output`, or the bytes of `tail`.

    Args:
        added: whole steps per channel of `tail`, added to them after the rounding.
    """
    channels, group = weight.shape[0], int(node.get("group", 1))
    scale = np.broadcast_to(scale.reshape(-1), (channels,)).astype(np.float32)
    steps = quant.scale.astype(np.float64) * scale.astype(np.float64)
    tensor, weight = _within_bytes(state, node, op, tensor, weight, group)
    exact = None if bias is None or node.get("beta", 1.0) != 1.0 else state.qdq.exact_bias(bias, steps)
    weight, steps, bias_q = bounded_bias(weight, steps, _bias_values(state, node, bias, channels), exact)
    reason = overflow(weight, bias_q, quant)
    if reason is not None:
        state.refuse(node, reason)
    multiplier, out, low, high = steps.astype(np.float32), None, 0, _LARGEST_BYTE
    if tail is not None:
        multiplier = (steps / tail.quant.scale.astype(np.float64)).astype(np.float32)
        out, low, high, output = tail.quant, tail.low, tail.high, tail.output
        state.as_bytes(output, tail.quant)
        if added is not None:
            # Bytes of one scale and zero point, written as if each channel had a zero point of its own.
            points = out.zero_point + added
            one = Quant(out.scale, points.reshape(-1)[0])
            out = Quant(np.broadcast_to(out.scale, points.shape), points, 1) if channels > 1 else one
    gelu = None if tail is None else tail.gelu
    if gelu is not None:
        multiplier = multiplier * np.float32(2.0**gelu.fraction)
    dropped = ("alpha", "beta", "transA", "transB")
    attributes = {key: value for key, value in node.attributes.items() if key not in dropped}
    attributes.update(
        weight=np.ascontiguousarray(weight), bias=bias_q, scale=multiplier, x_zero=quant.zero_point, group=group,
        out=out, low=low, high=high, gelu=gelu,
    )  # fmt: skip
    state.emit(op, node, [tensor], output, **attributes)


# -- weights ----------------------------------------------------------------------------------------------------------


def _within_bytes(
    state: Rewriting, node: Node, op: str, tensor: str, weight: np.ndarray, group: int
) -> tuple[str, np.ndarray]:
    """Weights as int8, wide ones spread over copies of the input.

    Unsigned weights with a zero point reach from -255 to 255 steps. Such a layer reads its input twice, channels side
    by side, and each copy has a part of every weight: the sum is the same. Depthwise layers keep int16 weights.
    """
    if weight.min(initial=0) >= -128 and weight.max(initial=0) <= 127:
        return tensor, weight.astype(np.int8)
    if op in IMAGES and group == weight.shape[0] and weight.shape[1] == 1 and group > 1:
        return tensor, weight
    parts, rest = [], weight.astype(np.int16)
    while np.any(rest):
        parts.append(np.clip(rest, -128, 127))
        rest = rest - parts[-1]
    copies, quant = len(parts), state.qdq.quant[tensor]
    shape = list(state.shape(tensor))
    axis = 1 if op in IMAGES else len(shape) - 1
    pieces = [tensor]
    if group > 1:
        size = shape[axis] // group
        pieces = [state.new(f"{node.name}.group{i}", (*shape[:axis], size, *shape[axis + 1 :]), "uint8")
                  for i in range(group)]  # fmt: skip
        sizes = state.constant(f"{node.name}.groups", np.full(group, size, np.int64))
        state.nodes.append(Node("Split", f"{node.name}.split", [tensor, sizes], pieces, {"axis": axis}))
        for piece in pieces:
            state.as_bytes(piece, quant)
    shape[axis] *= copies
    doubled = state.new(f"{node.name}.copies", tuple(shape), "uint8")
    state.standard("Concat", node, [piece for piece in pieces for _ in range(copies)], doubled, axis=axis)
    state.as_bytes(doubled, quant)
    return doubled, np.concatenate(parts, axis=1).astype(np.int8)


# -- bias -------------------------------------------------------------------------------------------------------------


def _constant_bias(state: Rewriting, node: Node) -> bool:
    """Whether a layer has no bias, or a constant one with one value per channel or one in all."""
    if len(node.inputs) < 3 or not node.inputs[2]:
        return True
    bias = state.constants.get(node.inputs[2])
    return bias is not None and (bias.size == 1 or bias.size == bias.shape[-1])


def _bias_of(state: Rewriting, node: Node) -> str | None:
    return node.inputs[2] if len(node.inputs) > 2 and node.inputs[2] else None


def _bias_values(state: Rewriting, node: Node, bias: str | None, channels: int) -> np.ndarray:
    values = np.zeros(1, np.float32) if bias is None else state.constants[bias].reshape(-1).astype(np.float32)
    return np.broadcast_to(values * np.float32(node.get("beta", 1.0)), (channels,))


def _bias_after(state: Rewriting, node: Node) -> tuple[str, str | None]:
    """The constant added to a MatMul's result, as exporters write linear layers."""
    channels = state.shape(node.outputs[0])[-1]
    return state.take_added(node.outputs[0], lambda value: value.ndim == 1 and value.size == channels)


def _not_understood(state: Rewriting, node: Node) -> bool:
    """Refuse a layer whose activations and constant weight are both quantised: float was not asked for.

    False for every other layer, which stays float because its graph says so.
    """
    behind = state.producers.get(node.inputs[1])
    if behind is None or behind.op != "DequantizeLinear" or state.qdq.source(node.inputs[0]) is None:
        return False
    if behind.inputs[0] not in state.graph.constants:
        return False
    return state.refuse(node, f"{node.op} of quantised activations and weights is not understood; {_FIX}")


RULES: dict[str, Callable[[Rewriting, Node], bool]] = {
    "Conv": on_conv,
    "Gemm": on_gemm,
    "MatMul": on_matmul,
    "ConvTranspose": on_conv_transpose,
}
