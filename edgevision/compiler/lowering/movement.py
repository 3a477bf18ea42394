"""Rules for operators that only move elements: most become another way to read the same bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgevision.compiler.kernels import elementwise
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.tail import Tail
from edgevision.compiler.lowering.values import Value, rows_are_planes
from edgevision.graph import movement
from edgevision.graph.ir import Node

#: Types a kernel of ours moves.
STORED = ("float32", "uint8", "int32")

#: Operators that keep the elements in the order ONNX gives them.
RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")


def lower_movement(builder: Builder, node: Node) -> bool:
    """Operators of `movement.MOVEMENTS`: nothing is computed until a reader cannot take the elements as they lie."""
    source = node.inputs[0]
    if builder.graph.types[source].dtype not in STORED:
        return False
    builder.materialise(source)
    if node.op in RESHAPES and _same_bytes(builder, source, node.outputs[0]):
        return True
    value = builder.moved(source)
    if value.quant is not None and not value.quant.per_tensor:
        value = builder.moved_float(source)
    elif node.op == "Split" and "rows" in builder.values[source] and _split_rows(builder, node):
        return True
    outputs = [name for name in node.outputs if name]
    shapes = [builder.graph.shape(name) for name in outputs]
    found = movement.moved(node, np.asarray(value.addresses), builder.graph.constants, shapes)
    if found is None:
        return False
    for output, addresses in zip(outputs, found, strict=False):
        builder.put_moved(output, value, addresses)
    return True


def _same_bytes(builder: Builder, source: str, target: str) -> bool:
    """Pass on what is stored, layout and all, where both shapes read it alike."""
    before, after = builder.graph.shape(source), builder.graph.shape(target)
    known = builder.values[source]
    if before == after:
        for value in list(known.values()):
            builder.put(target, value)
        return True
    lies = known.get("rows") if rows_are_planes(before) else known.get("planes")
    if lies is None or (lies.quant is not None and not lies.quant.per_tensor):
        return False
    if lies.layout == "rows" and (lies.pitch != builder.extent(source).channels or lies.offset):
        return False
    builder.put_as_onnx(target, lies.storage, lies.dtype, lies.quant)
    return True


def _split_rows(builder: Builder, node: Node) -> bool:
    """Split along channels: views with a pitch."""
    shape = builder.graph.shape(node.inputs[0])
    axis = int(node.get("axis", 0)) % len(shape)
    if axis != _channel_axis(shape):
        return False
    rows = builder.values[node.inputs[0]]["rows"]
    offset = rows.offset
    for output in node.outputs:
        builder.put(output, Value(rows.storage, rows.dtype, "rows", rows.pitch, offset, rows.quant))
        offset += builder.graph.shape(output)[axis]
    return True


def _channel_axis(shape: tuple[int, ...]) -> int:
    return 1 if len(shape) == 4 else len(shape) - 1


def lower_concat(builder: Builder, node: Node) -> bool:
    """Concat: pieces of one storage stay where they are; others are copied into their place."""
    shape = builder.graph.shape(node.outputs[0])
    axis = int(node.get("axis", 0)) % len(shape)
    if any(builder.graph.types[name].dtype not in ("float32", "uint8") for name in node.inputs):
        return False
    if _joined(builder, node, axis):
        return True
    if axis == _channel_axis(shape):
        _concat_channels(builder, node)
        return True
    if int(np.prod(shape[:axis])) != 1:
        return False
    _concat_outer(builder, node)
    return True


def _joined(builder: Builder, node: Node, axis: int) -> bool:
    values = [builder.moved(name) for name in node.inputs]
    first = values[0]
    alike = all(v.storage == first.storage and v.quant is first.quant for v in values)
    if not alike or (first.quant is not None and not first.quant.per_tensor):
        return False
    builder.put_moved(node.outputs[0], first, np.concatenate([np.asarray(v.addresses) for v in values], axis))
    return True


def _concat_outer(builder: Builder, node: Node) -> None:
    """Along the outermost axis that is not one: one piece after another, in the order ONNX gives."""
    dtype = builder.graph.types[node.outputs[0]].dtype
    output = builder.new(builder.graph.types[node.outputs[0]].elements, dtype)
    offset = 0
    for name in node.inputs:
        value = builder.moved_float(name)
        builder.move(value, np.asarray(value.addresses), output, offset, f"{node.name} <- {name}")
        offset += builder.graph.types[name].elements
    builder.put_as_onnx(node.outputs[0], output, dtype)


def _concat_channels(builder: Builder, node: Node) -> None:
    """Along channels: each input is copied into its slice, through the quantiser that follows, if any."""
    extent = builder.extent(node.outputs[0])
    tail = Tail(builder, node.outputs[0])
    reader = builder.sole_reader(node.outputs[0])
    if reader is not None and reader.op == "Quantize" and reader.attributes["quant"].per_tensor:
        tail.extend()
    values = [builder.rows(name) for name in node.inputs]
    as_bytes = tail.quant is None and all(value.dtype == "uint8" and value.quant is None for value in values)
    output = builder.new(extent.elements, "uint8" if as_bytes else tail.dtype)
    offset = 0
    for name, value in zip(node.inputs, values, strict=True):
        channels = builder.extent(name).channels
        first, operations, storages = builder.read_operand(value, parameter=0)
        part = Tail(builder, tail.tensor, operations=list(operations), storages=storages, quant=tail.quant)
        chain = part.chain(extent.channels, offset)
        chain = replace(chain, store=replace(chain.store, dtype="uint8")) if as_bytes else chain
        spec = elementwise.Elementwise(
            extent.rows, channels, extent.images, first, chain, part.shapes(), extent.elements
        )
        builder.call("elementwise", elementwise.build, spec, [*storages, output], f"{node.name} <- {name}")
        offset += channels
    builder.put(tail.tensor, Value(output, builder.storages[output].dtype, "rows", extent.channels))


def rules() -> dict[str, Any]:
    """Operators of this file."""
    return {**dict.fromkeys(movement.MOVEMENTS, lower_movement), "Concat": lower_concat}
