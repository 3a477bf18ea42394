"""Products and sums with constants of each channel, from a dequantiser to a quantiser, as one line on the bytes.

What a batch norm behind a residual sum becomes, or a layer scale: q = (q_x M + C) >> n, M and C of the channel
(quant/NUMERICS.md section 6).
"""

from __future__ import annotations

import numpy as np

from edgevision.graph.byterules import ratio
from edgevision.graph.bytesteps import Line
from edgevision.graph.ir import Node
from edgevision.graph.rewriting import Rewriting


def on_line(state: Rewriting, node: Node) -> bool:
    """Whether the QuantizeLinear `node` ends a line over bytes: then it is emitted."""
    out = state.qdq.quantizer(node)
    shape = state.shape(node.inputs[0])
    if out is None or len(shape) < 2:
        return False
    channels = shape[1 if len(shape) == 4 else -1]
    factor, term = np.ones(channels), np.zeros(channels)
    name, names = node.inputs[0], [node.name]
    steps: list[tuple[str, np.ndarray]] = []
    while state.source(name) is None:
        producer = state.producers.get(name)
        step = None if producer is None else _step(state, producer, shape)
        if producer is None or step is None:
            return False
        operator, values, name = step
        names.append(producer.name)
        steps.append((operator, values))
    source = state.source(name)
    if source is None or not source[1].per_tensor or state.shape(source[0]) != shape or source[0] in state.constants:
        return False
    for operator, values in reversed(steps):
        factor, term = (factor * values, term * values) if operator == "Mul" else (factor, term + values)
    tensor, quant = source
    ratios = factor * ratio(quant.scale, out)
    if not (np.isfinite(ratios).all() and np.isfinite(term).all()):
        return False
    line = Line.of(ratios[None], (quant.zero,), out.zero, term / np.float64(out.step))
    state.emit("IntRescale", node, [tensor], node.outputs[0], steps=line, out=out, low=0, high=255)
    state.nodes[-1].name = " + ".join(reversed(names))
    return True


def _step(state: Rewriting, node: Node, shape: tuple[int, ...]) -> tuple[str, np.ndarray, str] | None:
    """(Mul or Add, its constants for every channel in binary64, its other operand); None when `node` is neither."""
    if node.op not in ("Mul", "Add", "Sub", "Div") or node.domain not in ("", "ai.onnx"):
        return None
    constant = [state.constants.get(name) for name in node.inputs]
    place = next((i for i, array in enumerate(constant) if array is not None), None)
    array = None if place is None else constant[place]
    if place is None or array is None or array.dtype != np.float32 or state.shape(node.inputs[1 - place]) != shape:
        return None
    axis = 1 if len(shape) == 4 else len(shape) - 1
    sides = (1,) * (len(shape) - array.ndim) + array.shape
    if any(side not in (1, shape[axis] if i == axis else 1) for i, side in enumerate(sides)):
        return None
    values = np.broadcast_to(array.astype(np.float64).reshape(-1), (shape[axis],))
    if node.op in ("Sub", "Div"):
        if place == 0:
            return None
        values = -values if node.op == "Sub" else 1 / np.where(values == 0, np.nan, values)
    return ("Mul" if node.op in ("Mul", "Div") else "Add"), values, node.inputs[1 - place]
