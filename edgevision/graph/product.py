"""The integer rule for products of two activations, as attention has them (quant/NUMERICS.md section 4)."""

from __future__ import annotations

import numpy as np

from edgevision.graph.ir import Node
from edgevision.graph.rewriting import Rewriting


def on_activations(state: Rewriting, node: Node) -> bool:
    """A MatMul of two activations, each behind a dequantiser and perhaps a constant factor."""
    a, b = (state.qdq.scaled_source(name) for name in node.inputs)
    shapes = [state.shape(name) for name in node.inputs]
    if a is None or b is None or not (a[1].per_tensor and b[1].per_tensor):
        return False
    if min(len(shape) for shape in shapes) < 2 or shapes[0][:-2] != shapes[1][:-2]:
        return False
    depth = shapes[0][-1]
    if depth > 2**31 // 256**2:
        return state.refuse(node, f"the sum of {depth} products of bytes may exceed an int32 accumulator")
    product = a[1].scale.astype(np.float64) * b[1].scale.astype(np.float64)
    factor, output = _factor_after(state, node.outputs[0])
    product, tail = product * factor, state.take_tail(output)
    out, low, high = (tail.quant, tail.low, tail.high) if tail else (None, 0, 255)
    if tail is not None and tail.quant.per_tensor:
        product, output = product / tail.quant.scale.astype(np.float64), tail.output
        state.as_bytes(output, tail.quant)
    elif tail is not None:
        return state.refuse(node, "a product of activations quantised per channel")
    state.emit(
        "IntMatMul", node, [a[0], b[0]], output, zeros=(a[1].zero, b[1].zero),
        scale=np.asarray(product).astype(np.float32), out=out, low=low, high=high,
    )  # fmt: skip
    return True


def _factor_after(state: Rewriting, tensor: str) -> tuple[float, str]:
    """The constants a result is multiplied or divided by, and the tensor after that."""
    factor = 1.0
    while (reader := state.qdq.sole_reader(tensor)) is not None and reader.op in ("Mul", "Div"):
        constant = state.qdq.scalar_beside(reader, tensor)
        if constant is None or (reader.op == "Div" and reader.inputs[0] != tensor):
            break
        factor = factor * constant if reader.op == "Mul" else factor / constant
        state.done.add(id(reader))
        tensor = reader.outputs[0]
    return factor, tensor
