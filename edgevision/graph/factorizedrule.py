"""Calls of the factorized convolution: float ones checked, those of quantised activations and factors explicit.

quant/NUMERICS.md section 14.
"""

from __future__ import annotations

import numpy as np

from edgevision.graph.accumulator import overflow
from edgevision.graph.dilations import DOMAIN as FUSED
from edgevision.graph.factorized import CONV, DOMAIN, INTEGER, factors_of
from edgevision.graph.ir import Node
from edgevision.graph.rewriting import Rewriting


def on_factorized(state: Rewriting, node: Node) -> bool:
    """`edgevision::FactorizedConv`: IntFactorizedConv on bytes, or the float operator, which keeps its name."""
    if node.domain != DOMAIN or node.op != CONV or len(node.inputs) != 5:
        return False
    source, weight = state.qdq.source(node.inputs[0]), state.qdq.weight(node.inputs[1])
    if source is None or weight is None:
        return _float(state, node)
    (tensor, quant), (values, scale, axis) = source, weight
    if not quant.per_tensor:
        return state.refuse(node, "input has one scale per channel, which only depthwise layers of images can use")
    if scale.size > 1 and axis != 0:
        return state.refuse(node, f"channel factors are quantised along axis {axis}, expected products (0)")
    if values.min(initial=0) < -128 or values.max(initial=0) > 127:
        return state.refuse(node, "expected channel factors within -128 to 127 steps of their zero point")
    whole = {**state.constants, node.inputs[1]: values.astype(np.float32)}
    factors = factors_of(node, whole)
    if factors is None:
        return state.refuse(node, "its factors are not constants of float32 that fit each other")
    products = values.shape[0]
    reason = overflow(values.astype(np.int8), np.zeros(products, np.int32), quant)
    if reason is not None:
        return state.refuse(node, reason)
    steps = quant.scale.astype(np.float64) * np.broadcast_to(scale.astype(np.float64).reshape(-1), (products,))
    state.emit(
        INTEGER, node, [tensor], node.outputs[0], **node.attributes,
        channel=factors.channel.astype(np.int8),
        rows=(factors.rows * steps.reshape(*factors.rows.shape[:2], 1)).astype(np.float32),
        columns=factors.columns, bias=factors.bias, x_zero=quant.zero,
    )  # fmt: skip
    return True


def _float(state: Rewriting, node: Node) -> bool:
    """The operator as the compiler takes it; a call whose factors do not fit is left, for which there is no kernel."""
    if factors_of(node, state.constants) is None:
        return False
    state.nodes.append(Node(node.op, node.name, node.inputs, node.outputs, node.attributes, FUSED))
    return True
