"""The integer rule for square deformable convolutions (quant/NUMERICS.md section 11)."""

from __future__ import annotations

from edgevision.graph.ir import Node
from edgevision.graph.linear import emit_layer
from edgevision.graph.rewriting import Rewriting


def on_square(state: Rewriting, node: Node) -> bool:
    """SquareDeform of quantised activations and weights; a constant added per channel becomes its bias."""
    source, weight = state.qdq.source(node.inputs[0]), state.qdq.weight(node.inputs[2])
    if source is None or weight is None:
        return False
    values, scale, axis = weight
    if scale.size > 1 and axis != 0:
        return state.refuse(node, f"weights are quantised along axis {axis}, expected output channels (0)")
    if values.min(initial=0) < -128 or values.max(initial=0) > 127:
        return state.refuse(node, "expected weights within -128 to 127 steps of their zero point")
    output, bias = _bias_after(state, node)
    tensor, quant = source
    layer = Node(node.op, node.name, node.inputs, node.outputs, {**node.attributes, "group": values.shape[0]})
    output, steps = state.take_whole_steps(output)
    tail = state.take_tail(output)
    emit_layer(state, layer, "IntSquareDeform", tensor, quant, output, values, scale, bias, tail, steps)
    state.nodes[-1].inputs.append(node.inputs[1])
    return True


def _bias_after(state: Rewriting, node: Node) -> tuple[str, str | None]:
    """The tensor after a constant of one value per channel has been added, and the constant."""
    channels = state.shape(node.outputs[0])[1]
    shapes = ((1, channels, 1, 1), (channels, 1, 1))
    return state.take_added(node.outputs[0], lambda value: value.shape in shapes)
