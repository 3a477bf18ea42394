"""Rules for layers of one-bit activations and weights (`graph.binary`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.compiler.kernels import bits, sign_pack, xnor
from edgevision.compiler.kernels.panel import pack, pack_channels
from edgevision.compiler.lowering import tail as tails
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.tail import Tail
from edgevision.compiler.lowering.values import Value
from edgevision.graph import binary
from edgevision.graph.ir import Node


def lower_layer(builder: Builder, node: Node) -> bool:
    """BinaryLinear and BinaryConv, as `graph.binarylayers` has checked them."""
    packed, scale, bias = (builder.graph.constants[name] for name in node.inputs[1:])
    depth, channels = int(node.get("K")), len(packed)
    left = signs(builder, node.inputs[0])
    tail = Tail(builder, node.outputs[0]).extend()
    chain = tail.chain(channels)
    rows, simd = builder.extent(node.inputs[0]).rows, builder.simd
    elements = builder.extent(node.outputs[0]).elements
    tile = xnor.tile_shape(simd, rows, channels, to_bits=False)
    images = builder.extent(node.outputs[0]).images
    spec = xnor.Xnor(rows, depth, channels, tile, elements, chain, tail.shapes(), images)
    constants = [
        pack(weight_words(packed, depth), simd.lanes, tile[1]),
        *(pack_channels(values, simd.lanes, tile[1]) for values in (np.float32(-2) * scale, bias)),
    ]
    output = builder.new(elements, tail.dtype)
    storages = [left, *(builder.constant(array) for array in constants), *tail.storages, output]
    builder.call("xnor", xnor.build, spec, storages, tails.label(node, tail), macs=elements * depth, integer=True)
    builder.put(tail.tensor, Value(output, tail.dtype, "rows", channels))
    return True


def weight_words(packed: np.ndarray, depth: int) -> np.ndarray:
    """Packed weights as uint32 (channels, words), unused bits zero."""
    words = np.zeros((len(packed), 4 * bits.words(depth)), np.uint8)
    words[:, : packed.shape[1]] = binary.pack_bits(binary.unpack_bits(packed, depth))
    return words.view("<u4")


def signs(builder: Builder, tensor: str) -> int:
    """Storage of the signs of a tensor's rows as words; made once however many layers read them."""
    known = builder.values.get(tensor, {})
    if "signs" in known:
        return known["signs"].storage
    value = builder.rows(tensor, tabled=True)
    if value.quant is not None and not value.quant.per_tensor:
        value = builder.float_rows(tensor)
    extent = builder.extent(tensor)
    first, _, storages = builder.read_operand(value, parameter=0)
    shapes = tuple((builder.storages[s].elements, builder.storages[s].dtype) for s in storages)
    spec = sign_pack.SignPack(extent.rows, extent.channels, extent.images, first, shapes)
    pitch = bits.words(extent.channels)
    output = builder.new(extent.rows * pitch, "uint32")
    builder.call("sign_pack", sign_pack.build, spec, [*storages, output], f"signs of {tensor}", integer=True)
    builder.values[tensor]["signs"] = Value(output, "uint32", "signs", pitch)
    return output


def rules() -> dict[str, Any]:
    """Operators of this file."""
    return dict.fromkeys(binary.SIGNED_LAYERS, lower_layer)
