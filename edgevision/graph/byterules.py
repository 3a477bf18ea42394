"""Integer rules for operators without weights: sums, products, joins, averages (quant/NUMERICS.md sections 6 and 8)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgevision.graph import resampling
from edgevision.graph.bytesteps import Line, Product
from edgevision.graph.geometry import counted_size, window_of
from edgevision.graph.ir import Node
from edgevision.graph.qdq import Quant
from edgevision.graph.rewriting import Rewriting

#: Pixels a sum of bytes may have and stay within an int32.
MOST_SUMMED = 2**31 // 256


def on_sum(state: Rewriting, node: Node) -> bool:
    """Add and Sub of two byte tensors."""
    pair = _operands(state, node)
    tail = None if pair is None else state.take_tail(node.outputs[0])
    if pair is None or tail is None:
        return False
    (first, a), (second, b) = pair
    out = tail.quant
    ratios = np.stack([ratio(a.scale, out), ratio(b.scale, out) * (-1 if node.op == "Sub" else 1)])
    line = Line.of(ratios, (a.zero, b.zero), out.zero_point, per_channel_out=not out.per_tensor)
    state.as_bytes(tail.output, out)
    state.emit("IntAdd", node, [first, second], tail.output, steps=line, out=out, low=tail.low, high=tail.high)
    return True


def on_product(state: Rewriting, node: Node) -> bool:
    """Mul of two byte tensors."""
    pair = _operands(state, node)
    tail = None if pair is None else state.take_tail(node.outputs[0])
    if pair is None or tail is None:
        return False
    (first, a), (second, b) = pair
    ratios = ratio(a.scale.astype(np.float64) * b.scale.astype(np.float64), tail.quant)
    product = Product.of(ratios, (a.zero, b.zero), tail.quant.zero_point)
    state.as_bytes(tail.output, tail.quant)
    state.emit(
        "IntMul", node, [first, second], tail.output, steps=product, out=tail.quant, low=tail.low, high=tail.high
    )
    return True


def _operands(state: Rewriting, node: Node) -> tuple[tuple[str, Quant], tuple[str, Quant]] | None:
    """Both operands as bytes that kernels can read in the shape of the result; None when one is not."""
    shape = state.shape(node.outputs[0])
    found = []
    for name in node.inputs:
        source = state.source(name)
        if source is None or not source[1].per_tensor:
            return None
        tensor, quant = source
        if tensor in state.constants:
            tensor = _broadcast_constant(state, tensor, shape)
        if not _broadcasts(state.shape(tensor), shape):
            return None
        found.append((tensor, quant))
    if all(tensor in state.constants for tensor, _ in found):
        return None
    return found[0], found[1]


def _broadcast_constant(state: Rewriting, tensor: str, shape: tuple[int, ...]) -> str:
    """A constant of bytes in the rank and the batch of `shape`."""
    array = state.constants[tensor]
    if array.ndim > len(shape):
        return tensor
    array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    array = np.broadcast_to(array, (shape[0], *array.shape[1:])) if array.size > 1 else np.broadcast_to(array, shape)
    name = f"{tensor}.{'x'.join(map(str, array.shape))}"
    return state.constant(name, np.ascontiguousarray(array))


def _broadcasts(other: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether integer kernels can read `other` as `shape`: alike, one value per image and channel, or per pixel."""
    if len(other) != len(shape) or other[:1] != shape[:1]:
        return False
    channel = 1 if len(shape) == 4 else len(shape) - 1
    rest = [(o, s) for axis, (o, s) in enumerate(zip(other, shape, strict=True)) if axis not in (0, channel)]
    if other[channel] == shape[channel]:
        return other == shape or all(o == 1 for o, _ in rest)
    return other[channel] == 1 and all(o == s for o, s in rest)


def on_concat(state: Rewriting, node: Node) -> bool:
    """Concat of bytes: each input is brought to the scale of the result, then they are joined as they are."""
    sources = [state.source(name) for name in node.inputs]
    reader = state.qdq.sole_reader(node.outputs[0])
    out = state.qdq.quantizer(reader) if reader is not None and reader.op == "QuantizeLinear" else None
    if reader is None or out is None or not out.per_tensor:
        return False
    if any(source is None or not source[1].per_tensor or source[0] in state.constants for source in sources):
        return False
    joined = []
    for position, (tensor, quant) in enumerate(source for source in sources if source is not None):
        if quant.equals(out):
            joined.append(tensor)
            continue
        name = state.new(f"{reader.outputs[0]}.{position}", state.shape(tensor), "uint8")
        state.as_bytes(name, out)
        line = Line.of(ratio(quant.scale, out)[None], (quant.zero,), out.zero)
        state.emit("IntRescale", node, [tensor], name, steps=line, out=out, low=0, high=255)
        joined.append(name)
    state.done.add(id(reader))
    state.as_bytes(reader.outputs[0], out)
    state.nodes.append(Node("Concat", node.name, joined, [reader.outputs[0]], dict(node.attributes)))
    return True


def on_global_average(state: Rewriting, node: Node) -> bool:
    """GlobalAveragePool, and ReduceMean over the image axes."""
    source = state.qdq.source(node.inputs[0])
    shape = state.shape(node.inputs[0])
    if source is None or not source[1].per_tensor or len(shape) != 4 or state.shape(node.outputs[0])[2:] != (1, 1):
        return False
    if node.op == "ReduceMean" and _axes(state, node) != {2, 3}:
        return False
    count = int(np.prod(shape[2:]))
    if count > MOST_SUMMED:
        return state.refuse(node, f"the sum over {count} pixels may exceed an int32; expected at most {MOST_SUMMED}")
    tensor, quant = source
    tail = state.take_tail(node.outputs[0])
    output, scale = node.outputs[0], np.atleast_1d(np.float32(np.float64(quant.step) / count))
    out, low, high = (tail.quant, tail.low, tail.high) if tail else (None, 0, 255)
    if tail is not None:
        # The product is exact in binary64, so there is one rounding.
        output = tail.output
        scale = np.atleast_1d(np.float64(quant.step) / (count * tail.quant.scale.astype(np.float64))).astype(np.float32)
        state.as_bytes(output, tail.quant)
    state.emit("IntPool", node, [tensor], output, x_zero=quant.zero, out=out, low=low, high=high, scale=scale)
    return True


def _axes(state: Rewriting, node: Node) -> set[int]:
    axes = node.get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1] in state.constants:
        axes = state.constants[node.inputs[1]].reshape(-1).tolist()
    return {int(axis) % 4 for axis in axes or ()}


def on_average(state: Rewriting, node: Node) -> bool:
    """AveragePool of bytes to bytes; the divisor is the number of taps each window counts."""
    source = state.qdq.source(node.inputs[0])
    shape, result = state.shape(node.inputs[0]), state.shape(node.outputs[0])
    if source is None or not source[1].per_tensor or len(shape) != 4:
        return False
    tail = state.qdq.tail(node.outputs[0])
    if tail is None or not tail.quant.per_tensor:
        return False
    state.take_tail(node.outputs[0])
    tensor, quant = source
    kernel = (int(node.attributes["kernel_shape"][0]), int(node.attributes["kernel_shape"][1]))
    window = window_of(node.attributes, shape, result, kernel)
    counts = np.arange(1, kernel[0] * kernel[1] + 1, dtype=np.float64)
    # Entry 0 stands for a window without a tap, which divides nothing.
    factors = np.concatenate([[0.0], np.float64(quant.step) / (counts * np.float64(tail.quant.step))])
    state.as_bytes(tail.output, tail.quant)
    state.emit(
        "IntAveragePool", node, [tensor], tail.output, x_zero=quant.zero, window=window,
        counted=counted_size(node.attributes, window), scale=factors.astype(np.float32), out=tail.quant, low=tail.low,
        high=tail.high,
    )  # fmt: skip
    return True


def on_resize(state: Rewriting, node: Node) -> bool:
    """Resize of bytes to bytes: nearest pixels move, linear ones are interpolated in fixed point."""
    source = state.qdq.source(node.inputs[0])
    if source is None or not source[1].per_tensor:
        return False
    axes = resampling.axes_of(node, state.shape(node.inputs[0]), state.shape(node.outputs[0]), state.constants)
    tail = state.qdq.tail(node.outputs[0])
    if axes is None or tail is None or not tail.quant.per_tensor:
        return False
    state.take_tail(node.outputs[0])
    tensor, quant = source
    bits = sum(resampling.BITS for axis in axes if axis.taps > 1)
    ratio = np.float64(quant.step) / np.float64(tail.quant.step) * 2.0**-bits
    state.as_bytes(tail.output, tail.quant)
    state.emit(
        "IntResize", node, [tensor], tail.output, x_zero=quant.zero, axes=axes,
        scale=np.atleast_1d(np.float32(ratio)), out=tail.quant, low=tail.low, high=tail.high,
    )  # fmt: skip
    return True


def ratio(scale: np.ndarray, out: Quant) -> np.ndarray:
    """Steps of `out` in one step of `scale`, binary64 (n,), n the scales of `out`."""
    return np.atleast_1d(scale.astype(np.float64) / out.scale.astype(np.float64))


RULES: dict[str, Callable[[Rewriting, Node], bool]] = {
    "Add": on_sum,
    "Sub": on_sum,
    "Mul": on_product,
    "Concat": on_concat,
    "GlobalAveragePool": on_global_average,
    "ReduceMean": on_global_average,
    "AveragePool": on_average,
    "Resize": on_resize,
}
