"""Rules for elementwise operators that stand alone, quantisers, and byte arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from edgevision.compiler.kernels import bytes as byte_kernels
from edgevision.compiler.kernels import bytewords, elementwise, x86
from edgevision.compiler.lowering import tail as tails
from edgevision.compiler.lowering.builder import Builder, operand_of
from edgevision.compiler.lowering.tail import Tail
from edgevision.compiler.lowering.values import Value
from edgevision.compiler.simd import Simd
from edgevision.graph.bytesteps import Line, Product
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
    if _quantised_in_planes(builder, node, start):
        return True
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


def _quantised_in_planes(builder: Builder, node: Node, start: str) -> bool:
    """A quantiser of a tensor that lies in planes, as the input does: a quarter of the bytes are then put in rows."""
    known = builder.values.get(start, {})
    if node.op != "Quantize" or set(known) != {"planes"} or not node.attributes["quant"].per_tensor:
        return False
    elements = builder.elements(known["planes"])
    tail = Tail(builder, start)
    first = operand_of(known["planes"], "tensor", tail.extra(known["planes"].storage))
    tail.quant = node.attributes["quant"]
    output = builder.new(elements, "uint8")
    chain = tail.chain(elements)
    spec = elementwise.Elementwise(1, elements, 1, replace(first, pitch=elements), chain, tail.shapes(), elements)
    builder.call("elementwise", elementwise.build, spec, [*tail.storages, output], node.name)
    builder.put(node.outputs[0], Value(output, "uint8", "planes", 0))
    return True


def lower_dequantize(builder: Builder, node: Node) -> bool:
    """Nothing is computed: readers take the bytes through their quantisation."""
    quant: Quant = node.attributes["quant"]
    for value in list(builder.values[node.inputs[0]].values()):
        builder.put(node.outputs[0], value.through(quant))
    return True


BYTE_OPERATIONS = ("IntAdd", "IntMul", "IntRescale", "IntLookup")


def lower_byte_operation(builder: Builder, node: Node) -> bool:
    """IntAdd, IntMul, IntRescale and IntLookup."""
    extent = builder.extent(node.outputs[0])
    shape = builder.graph.shape(node.outputs[0])
    tail = Tail(builder, node.outputs[0])
    values = [builder.rows(name) for name in node.inputs]
    indices = [tails.broadcast_index(builder.graph.shape(name), shape) for name in node.inputs]
    if any(index is None for index in indices):
        return False
    parameters = [tail.extra(value.storage) for value in values]
    inputs = tuple(operand_of(*each) for each in zip(values, indices, parameters, strict=True))
    operation, numbers, per_channel = _numbers(node, builder.simd)
    for array in numbers:
        tail.extra(builder.constant(array))
    output = builder.new(extent.elements, "uint8")
    spec = byte_kernels.Bytes(
        operation, extent.rows, extent.channels, extent.images, inputs, per_channel, len(numbers) > 1, tail.shapes()
    )
    builder.call("bytes", byte_kernels.build, spec, [*tail.storages, output], node.name, integer=True)
    builder.put(node.outputs[0], Value(output, "uint8", "rows", extent.channels))
    return True


def _numbers(node: Node, simd: Simd) -> tuple[Literal["line", "product", "lookup"], list[np.ndarray], bool]:
    """Operation, its numbers, those for 16-bit words where these hold them, and whether they are one per channel."""
    if node.op == "IntLookup":
        return "lookup", [node.attributes["table"]], False
    bounds = int(node.attributes["low"]), int(node.attributes["high"])
    packs = x86.group_of(simd) > 0
    if node.op == "IntMul":
        product: Product = node.attributes["steps"]
        numbers = [byte_kernels.product_numbers(product, *bounds)]
        if packs and bytewords.fits_product(product):
            numbers.append(bytewords.product_numbers(product, *bounds))
        return "product", numbers, product.factor.size > 1
    line: Line = node.attributes["steps"]
    numbers = [byte_kernels.line_numbers(line, *bounds)]
    if packs and bytewords.fits_line(line):
        numbers.append(bytewords.line_numbers(line, *bounds))
    return "line", numbers, line.term.size > 1


def rules() -> dict[str, Any]:
    """Operators of this file."""
    unary = (*UNARY, *tails.BINARY, "Gelu", "HardSigmoid", "Clip", "Quantize")
    found: dict[str, Any] = dict.fromkeys(unary, lower_elementwise)
    found["Dequantize"] = lower_dequantize
    for name in BYTE_OPERATIONS:
        found[name] = lower_byte_operation
    return found
