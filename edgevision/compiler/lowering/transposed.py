"""The rule for transposed convolutions: a convolution for each of their phases, all into one result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgevision.compiler.kernels.grid import Grid
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.dense import Finish, emit_conv, emit_depthwise, image_layer
from edgevision.graph.ir import Node
from edgevision.graph.transposed import Phase, Spread, spread_of


def lower_conv_transpose(builder: Builder, node: Node) -> bool:
    """ConvTranspose, IntConvTranspose and ByteWeightConvTranspose on images."""
    found = image_layer(builder, node)
    if found is None:
        return False
    layer, depthwise = found
    x, y = builder.graph.shape(node.inputs[0]), builder.graph.shape(node.outputs[0])
    kernel = (layer.weight.shape[2], layer.weight.shape[3])
    spread: Spread = node.get("spread") or spread_of(node.attributes, x, y, kernel)
    finish = Finish(builder, node, layer, spread.out_size[0] * spread.out_size[1])
    finish.macs = x[0] * x[2] * x[3] * layer.weight.size
    phases = spread.phases()
    total = sum(map(_products, phases))
    emit = emit_depthwise if depthwise else emit_conv
    for phase in phases:
        part = replace(layer, weight=phase.weight(layer.weight))
        grid = Grid(*spread.out_size, spread.stride, phase.first)
        emit(builder, node, part, phase.window, finish, grid, _products(phase) / total if total else 0.0)
    return True


def _products(phase: Phase) -> int:
    """Output pixels times taps."""
    return phase.window.out_height * phase.window.out_width * int(np.prod([len(taps) for taps in phase.taps]))


def rules() -> dict[str, Any]:
    """Operators of this file."""
    return dict.fromkeys(("ConvTranspose", "IntConvTranspose", "ByteWeightConvTranspose"), lower_conv_transpose)
