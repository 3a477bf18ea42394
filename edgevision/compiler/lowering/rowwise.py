"""Rules for operators that look at a whole row: layer norm and softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.compiler.kernels import bits, layer_norm, softmax
from edgevision.compiler.lowering import tail as tails
from edgevision.compiler.lowering.bitreaders import put_bits, reads_bits
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.tail import Tail
from edgevision.compiler.lowering.values import Value
from edgevision.graph.ir import Node

#: Rows of a softmax worked on at once, each with a scratch row.
SOFTMAX_TASKS = 8


def lower_layer_norm(builder: Builder, node: Node) -> bool:
    """LayerNormalization over the last axis, with whatever chain follows it."""
    names = [name for name in node.inputs[1:] if name]
    parameters = [builder.graph.constants[name] for name in names if name in builder.graph.constants]
    if not _rows_of(builder, node) or len(parameters) < len(names) or any(p.dtype != np.float32 for p in parameters):
        return False
    if len([name for name in node.outputs if name]) > 1:
        return False
    extent = builder.extent(node.inputs[0])
    first, _, storages = builder.read_operand(_plain(builder, node.inputs[0]), parameter=0)
    tail = Tail(builder, node.outputs[0], storages=list(storages))
    places = [tail.extra(builder.constant(np.broadcast_to(p.reshape(-1), (extent.channels,)))) for p in parameters]
    signs = reads_bits(builder, node.outputs[0])
    if not signs:
        tail.extend()
    chain = tail.chain(extent.channels)
    elements = extent.rows * bits.words(extent.channels) if signs else extent.elements
    output = builder.new(elements, "uint32" if signs else tail.dtype)
    spec = layer_norm.LayerNorm(
        extent.rows, extent.channels, extent.images, float(node.get("epsilon", 1e-5)), first,
        places[0] if places else None, places[1] if len(places) > 1 else None, chain, tail.shapes(), elements, signs,
    )  # fmt: skip
    builder.call("layer_norm", layer_norm.build, spec, [*tail.storages, output], tails.label(node, tail))
    if signs:
        put_bits(builder, node.outputs[0], output)
        return True
    tails.result(builder, tail, output)
    return True


def lower_softmax(builder: Builder, node: Node) -> bool:
    """Softmax over the last axis, with whatever chain follows it."""
    if not _rows_of(builder, node):
        return False
    extent = builder.extent(node.inputs[0])
    first, _, storages = builder.read_operand(_plain(builder, node.inputs[0]), parameter=0)
    tail = Tail(builder, node.outputs[0], storages=list(storages)).extend()
    chain = tail.chain(extent.channels)
    output = builder.new(extent.elements, tail.dtype)
    # As many as have rows: a task behind the last row would count its own below zero.
    tasks = -(-extent.rows // -(-extent.rows // SOFTMAX_TASKS))
    spec = softmax.Softmax(
        extent.rows, extent.channels, extent.images, first, chain, tail.shapes(), extent.elements, tasks
    )
    scratch = builder.new(tasks * spec.pitch, "float32")
    builder.call("softmax", softmax.build, spec, [*tail.storages, scratch, output], tails.label(node, tail))
    tails.result(builder, tail, output)
    return True


def _plain(builder: Builder, tensor: str) -> Value:
    """Rows a kernel reads without operations of their own: float, or bytes with one scale."""
    value = builder.rows(tensor, tabled=True)
    return builder.float_rows(tensor) if value.quant is not None and not value.quant.per_tensor else value


def _rows_of(builder: Builder, node: Node) -> bool:
    """Whether the rows of the input are what the operator works along."""
    shape = builder.graph.shape(node.inputs[0])
    axis = int(node.get("axis", -1)) % len(shape)
    return len(shape) != 4 and axis == len(shape) - 1 and builder.graph.types[node.inputs[0]].dtype == "float32"


def rules() -> dict[str, Any]:
    """Operators of this file."""
    return {"LayerNormalization": lower_layer_norm, "Softmax": lower_softmax}
