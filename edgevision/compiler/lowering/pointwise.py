"""Rules for elementwise operators that stand alone, quantisers, and byte arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.compiler.kernels import bytes as byte_kernels
from edgevision.compiler.kernels import elementwise
from edgevision.compiler.kernels.chain import Chain, Store
from edgevision.compiler.lowering import tail as tails
from edgevision.compiler.lowering.builder import Builder, operand_of
from edgevision.compiler.lowering.tail import Tail
from edgevision.compiler.lowering.values import Value
from edgevision.graph.functions import UNARY
from edgevision.graph.ir import Node
from edgevision.graph.qdq import Quant


def lower_elementwise(builder: Builder, node: Node) -> bool:
    """A unary or binary operator or a Quantize, with whatever chain follows it."""
    shape = builder.graph.shape(node.outputs[0])
    candidates = [name for name in node.inputs if name and builder.graph.types[name].shape == shape]
    for start in candidates:
        if builder.graph.types[start].dtype != "float32" or start in builder.graph.constants:
            continue
        if _lower_from(builder, node, start, shape):
            return True
    return False


def _lower_from(builder: Builder, node: Node, start: str, shape: tuple[int, ...]) -> bool:
    value = builder.rows(start, tabled=True)
    first, operations, storages = builder.read_operand(value, parameter=0)
    tail = Tail(builder, start, operations=list(operations), storages=list(storages))
    if not tail.begin(node, shape):
        return False
    tail.extend()
    extent = builder.extent(tail.tensor)
    chain = tail.chain(extent.channels)
    output = builder.new(extent.elements, tail.dtype)
    spec = elementwise.Elementwise(
        extent.rows, extent.channels, extent.images, first, chain, tail.shapes(), extent.elements
    )
    builder.call("elementwise", elementwise.build, spec, [*tail.storages, output], tail.described())
    tails.result(builder, tail, output)
    return True


def lower_dequantize(builder: Builder, node: Node) -> bool:
    """Nothing is computed: readers take the bytes through their quantisation."""
    quant: Quant = node.attributes["quant"]
    for value in list(builder.values[node.inputs[0]].values()):
        builder.put(node.outputs[0], value.through(quant))
    return True


BYTE_OPERATIONS = {"IntAdd": "add", "IntMul": "mul", "IntRescale": "rescale", "IntLookup": "lookup"}


def lower_byte_operation(builder: Builder, node: Node) -> bool:
    """IntAdd, IntMul, IntRescale and IntLookup."""
    out: Quant = node.attributes["out"]
    extent = builder.extent(node.outputs[0])
    shape = builder.graph.shape(node.outputs[0])
    zeros = node.get("zeros", (0,))
    operation = BYTE_OPERATIONS[node.op]
    tail = Tail(builder, node.outputs[0])
    values = [builder.rows(name) for name in node.inputs]
    indices = [tails.broadcast_index(builder.graph.shape(name), shape) for name in node.inputs]
    if any(index is None for index in indices):
        return False
    parameters = [tail.extra(value.storage) for value in values]
    if operation == "lookup":
        tail.extra(builder.constant(node.attributes["table"]))
        inputs = [operand_of(values[0], indices[0], 0)]
    else:
        points: list[int | None] = [None, None]
        if operation == "add":
            attributes = node.attributes
            factors = byte_kernels.add_factors(attributes["multipliers"], attributes["scale"], zeros)
            most = 255.0 * float(np.abs(factors).max(axis=1).sum())
            tail.extra(builder.constant(factors))
        else:
            most = 255.0 ** len(values) * float(np.max(node.attributes["scale"]))
            tail.extra(builder.constant(node.attributes["scale"]))
            points = [tail.extra(builder.constant(np.array([1, zero], np.float32))) for zero in zeros]
        inputs = [operand_of(v, i, p, q) for v, i, p, q in zip(values, indices, parameters, points, strict=True)]
    chain = Chain((), Store("uint8", pitch=extent.channels), exact=True)
    if operation != "lookup":
        low, high = int(node.attributes["low"]), int(node.attributes["high"])
        chain = Chain((), tail.byte_store(out, low, high, extent.channels, most=most), exact=True)
    output = builder.new(extent.elements, "uint8")
    spec = byte_kernels.Bytes(
        operation,  # type: ignore[arg-type]
        extent.rows,
        extent.channels,
        extent.images,
        tuple(inputs),
        operation != "lookup" and node.attributes["scale"].size > 1,
        chain,
        tail.shapes(),
        extent.elements,
    )
    builder.call("bytes", byte_kernels.build, spec, [*tail.storages, output], node.name, integer=True)
    builder.put(node.outputs[0], Value(output, "uint8", "rows", extent.channels))
    return True


def rules() -> dict[str, Any]:
    """Operators of this file."""
    unary = (*UNARY, *tails.BINARY, "Gelu", "HardSigmoid", "Clip", "Quantize")
    found: dict[str, Any] = dict.fromkeys(unary, lower_elementwise)
    found["Dequantize"] = lower_dequantize
    for name in BYTE_OPERATIONS:
        found[name] = lower_byte_operation
    return found
