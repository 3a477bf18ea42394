"""The rule for factorized convolutions left in their factors, float and integer."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.compiler.kernels import factorized
from edgevision.compiler.kernels.inner import left_shift
from edgevision.compiler.lowering import tail as tails
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.tail import Tail
from edgevision.graph.factorized import Factors, factors_of
from edgevision.graph.geometry import Window
from edgevision.graph.ir import Node

#: Tasks, each with a ring in the arena; and the rows a strip has at least, as the first of them cost more.
TASKS, LEAST_ROWS = 8, 16


def lower_factorized(builder: Builder, node: Node) -> bool:
    """FactorizedConv and IntFactorizedConv of images."""
    factors = factors_of(node, builder.graph.constants)
    x, y = builder.graph.shape(node.inputs[0]), builder.graph.shape(node.outputs[0])
    if factors is None or len(x) != 4:
        return False
    window = window_of(node, x, y, factors)
    channels, rank, depth = factors.channel.shape
    value = builder.rows(node.inputs[0]) if factors.integer else builder.float_rows(node.inputs[0])
    tail = Tail(builder, node.outputs[0]).extend()
    chain = tail.chain(channels)
    elements = builder.extent(node.outputs[0]).elements
    cut = factorized.cut(channels, rank, builder.simd.lanes)
    strips = max(1, min(TASKS // (2 * window.images * cut.groups), window.out_height // LEAST_ROWS))
    jobs = window.images * strips * cut.groups
    spec = factorized.Factorized(
        window, depth, channels, rank, "uint8" if factors.integer else "float32", cut, value.pitch, value.offset,
        builder.elements(value), elements, chain, tail.shapes(),
        bool(factors.integer and factors.channel.min(initial=0) < -127), strips,
        -(-jobs // -(-jobs // TASKS)),
    )  # fmt: skip
    constants = [builder.constant(array) for array in _constants(builder, spec, factors)]
    ring = builder.new(spec.tasks * spec.ring, "float32")
    output = builder.new(elements, chain.store.dtype)
    builder.call(
        "factorized", factorized.build, spec, [value.storage, *constants, *tail.storages, ring, output],
        tails.label(node, tail), macs=factors.macs(x, y), integer=factors.integer,
    )  # fmt: skip
    tails.result(builder, tail, output)
    return True


def _constants(builder: Builder, spec: factorized.Factorized, factors: Factors) -> list[np.ndarray]:
    """What the kernel reads besides the input, in its order."""
    found = [
        factorized.packed(spec, builder.simd, factors.channel),
        *(factorized.in_lanes(spec, way) for way in (factors.rows, factors.columns)),
        factorized.in_lanes(spec, factors.bias[:, None, None]),
    ]
    if factors.integer:
        zero = factors.zero - left_shift(builder.simd)
        start = -zero * factors.channel.astype(np.int64).sum(axis=2)
        found.append(factorized.in_lanes(spec, start.astype(np.int32)[:, :, None]))
    return found


def window_of(node: Node, x: tuple[int, ...], y: tuple[int, ...], factors: Factors) -> Window:
    """Geometry of a call from an image of shape `x` to one of shape `y`."""
    (down, _), (_, right) = node.attributes["row_strides"], node.attributes["column_strides"]
    kernel = factors.rows.shape[2], factors.columns.shape[2]
    top, left = node.attributes["row_pads"][0], node.attributes["column_pads"][1]
    return Window(x[0], x[2], x[3], y[2], y[3], kernel, (down, right), (1, 1), top, left)


def rules() -> dict[str, Any]:
    """Operators of this file."""
    return {"FactorizedConv": lower_factorized, "IntFactorizedConv": lower_factorized}
