"""Rules for pooling and resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.compiler.kernels import pool, resize
from edgevision.compiler.kernels.chain import Chain, Store
from edgevision.compiler.lowering import tail as tails
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.tail import Tail
from edgevision.compiler.lowering.values import Value
from edgevision.graph.geometry import Window, counted_size, window_of
from edgevision.graph.ir import Node
from edgevision.graph.qdq import Quant
from edgevision.graph.resampling import axes_of

#: Types a kernel of ours reads and writes.
STORED = ("float32", "uint8")


def lower_global_average(builder: Builder, node: Node) -> bool:
    """GlobalAveragePool, ReduceMean over height and width, and IntPool."""
    x = builder.graph.shape(node.inputs[0])
    if len(x) != 4 or (node.op == "ReduceMean" and not _is_spatial_mean(builder, node)):
        return False
    if not _readable(builder, node):
        return False
    integer = node.op == "IntPool"
    value = builder.rows(node.inputs[0]) if integer else builder.float_rows(node.inputs[0])
    window = Window(x[0], x[2], x[3], 1, 1, (x[2], x[3]), (1, 1), (1, 1), 0, 0)
    tail = Tail(builder, node.outputs[0])
    count = x[2] * x[3]
    factor = node.attributes["scale"] if integer else np.array([1.0 / count], np.float32)
    tail.extra(builder.constant(factor))
    if integer:
        tail.extra(builder.constant(np.array([count * int(node.attributes["x_zero"])], np.int32)))
    out: Quant | None = node.get("out")
    if out is None:
        tail.extend()
        chain = tail.chain(x[1])
    else:
        low, high = int(node.attributes["low"]), int(node.attributes["high"])
        chain = Chain((), tail.byte_store(out, low, high, x[1]), exact=True)
    elements = x[0] * x[1]
    output = builder.new(elements, chain.store.dtype)
    spec = pool.Pool(
        "global_average", window, x[1], value.dtype, value.pitch, value.offset, builder.elements(value), elements,
        chain, tail.shapes(), factor.size > 1,
    )  # fmt: skip
    label = tails.label(node, tail)
    builder.call("pool", pool.build, spec, [value.storage, *tail.storages, output], label, integer=integer)
    dtype = chain.store.dtype
    builder.put(tail.tensor, Value(output, dtype, "rows", builder.extent(tail.tensor).channels))
    return True


def _is_spatial_mean(builder: Builder, node: Node) -> bool:
    axes = node.get("axes")
    if axes is None and len(node.inputs) > 1:
        array = builder.graph.constants.get(node.inputs[1])
        axes = None if array is None else array.tolist()
    return axes is not None and sorted(a % 4 for a in axes) == [2, 3]


def lower_pool(builder: Builder, node: Node) -> bool:
    """MaxPool and AveragePool on images."""
    x, y = builder.graph.shape(node.inputs[0]), builder.graph.shape(node.outputs[0])
    if len(x) != 4 or len([o for o in node.outputs if o]) > 1 or not _readable(builder, node):
        return False
    maximum = node.op == "MaxPool"
    value = builder.rows(node.inputs[0])
    is_bytes = value.dtype == "uint8" and value.quant is None
    if not maximum or not is_bytes:
        value, is_bytes = builder.float_rows(node.inputs[0]), False
    window = window_of(node.attributes, x, y, tuple(node.attributes["kernel_shape"]))
    tail = Tail(builder, node.outputs[0])
    if not is_bytes:
        tail.extend()
    chain = Chain((), Store("uint8", pitch=x[1])) if is_bytes else tail.chain(x[1])
    elements = builder.extent(tail.tensor).elements
    output = builder.new(elements, chain.store.dtype)
    spec = pool.Pool(
        "max" if maximum else "average", window, x[1], value.dtype, value.pitch, value.offset,
        builder.elements(value), elements, chain, tail.shapes(), counted=counted_size(node.attributes, window),
    )  # fmt: skip
    builder.call(
        "pool", pool.build, spec, [value.storage, *tail.storages, output], tails.label(node, tail), integer=is_bytes
    )
    builder.put(tail.tensor, Value(output, chain.store.dtype, "rows", x[1]))
    return True


def lower_byte_average(builder: Builder, node: Node) -> bool:
    """IntAveragePool."""
    value, out = builder.rows(node.inputs[0]), node.attributes["out"]
    channels = builder.extent(node.inputs[0]).channels
    elements = builder.extent(node.outputs[0]).elements
    tail = Tail(builder, node.outputs[0])
    tail.extra(builder.constant(node.attributes["scale"]))
    tail.extra(builder.constant(np.array([node.attributes["x_zero"]], np.int32)))
    limits = int(node.attributes["low"]), int(node.attributes["high"])
    chain = Chain((), tail.byte_store(out, *limits, channels), exact=True)
    output = builder.new(elements, "uint8")
    spec = pool.Pool(
        "average", node.attributes["window"], channels, value.dtype, value.pitch, value.offset,
        builder.elements(value), elements, chain, tail.shapes(), counted=node.attributes["counted"],
    )  # fmt: skip
    builder.call("pool", pool.build, spec, [value.storage, *tail.storages, output], node.name, integer=True)
    builder.put(node.outputs[0], Value(output, "uint8", "rows", channels))
    return True


def lower_resize(builder: Builder, node: Node) -> bool:
    """Resize and IntResize, nearest or linear."""
    x, y = builder.graph.shape(node.inputs[0]), builder.graph.shape(node.outputs[0])
    integer = node.op == "IntResize"
    axes = node.get("axes") if integer else axes_of(node, x, y, builder.graph.constants)
    if axes is None or not _readable(builder, node):
        return False
    value = builder.rows(node.inputs[0])
    moved = all(axis.taps == 1 for axis in axes) and not integer
    is_bytes = value.dtype == "uint8" and value.quant is None
    if not integer and not (moved and is_bytes):
        value, is_bytes = builder.float_rows(node.inputs[0]), False
    tail = Tail(builder, node.outputs[0])
    for axis in axes:
        tail.extra(builder.constant(axis.indices))
        tail.extra(builder.constant(axis.fixed if integer else axis.weights))
    if integer:
        tail.extra(builder.constant(node.attributes["scale"]))
        zero = int(node.attributes["x_zero"]) * int(np.prod([axis.fixed[0].sum() for axis in axes]))
        tail.extra(builder.constant(np.array([zero], np.int32)))
        limits = int(node.attributes["low"]), int(node.attributes["high"])
        chain = Chain((), tail.byte_store(node.attributes["out"], *limits, x[1]), exact=True)
    elif is_bytes:
        chain = Chain((), Store("uint8", pitch=x[1]))
    else:
        chain = tail.extend().chain(x[1])
    elements = builder.extent(tail.tensor).elements
    output = builder.new(elements, chain.store.dtype)
    spec = resize.Resize(
        (x[0], x[2], x[3]), (y[2], y[3]), (axes[0].taps, axes[1].taps), x[1], value.dtype, integer, value.pitch,
        value.offset, builder.elements(value), elements, chain, tail.shapes(),
    )  # fmt: skip
    label = tails.label(node, tail)
    builder.call("resize", resize.build, spec, [value.storage, *tail.storages, output], label, integer=integer)
    builder.put(tail.tensor, Value(output, chain.store.dtype, "rows", x[1]))
    return True


def _readable(builder: Builder, node: Node) -> bool:
    """Whether the kernels can read the elements: float32, or bytes."""
    return builder.graph.types[node.inputs[0]].dtype in STORED


def rules() -> dict[str, Any]:
    """Operators of this file."""
    return {
        "GlobalAveragePool": lower_global_average,
        "ReduceMean": lower_global_average,
        "IntPool": lower_global_average,
        "MaxPool": lower_pool,
        "AveragePool": lower_pool,
        "IntAveragePool": lower_byte_average,
        "Resize": lower_resize,
        "IntResize": lower_resize,
    }
