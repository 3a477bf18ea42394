"""Rules for layers of one-bit activations and weights (`graph.binary`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.compiler.kernels import attention_bias, binary_attention, bits, sign_pack, xnor
from edgevision.compiler.kernels.attention_spec import Strided
from edgevision.compiler.kernels.chain import Chain
from edgevision.compiler.kernels.panel import pack, pack_channels
from edgevision.compiler.lowering import tail as tails
from edgevision.compiler.lowering.bitreaders import known_bits, put_bits, reads_bits, words_of_heads
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.signs import NEVER, decided
from edgevision.compiler.lowering.tail import Tail
from edgevision.compiler.lowering.values import Value
from edgevision.graph import binary
from edgevision.graph.binarybias import stored
from edgevision.graph.ir import Node

#: Jobs of an attention to hand out at most; a job is one head.
TASKS = 16


def lower_layer(builder: Builder, node: Node) -> bool:
    """BinaryLinear and BinaryConv, as `graph.binarylayers` has checked them."""
    packed, scale, bias = (builder.graph.constants[name] for name in node.inputs[1:])
    depth, channels = int(node.get("K")), len(packed)
    left, rows, simd = signs(builder, node.inputs[0]), builder.extent(node.inputs[0]).rows, builder.simd
    elements = builder.extent(node.outputs[0]).elements
    found = decided(builder, node, depth, scale, bias)
    tile = xnor.tile_shape(simd, rows, channels, to_bits=found is not None)
    words = pack(weight_words(packed, depth), simd.lanes, tile[1])
    if found is not None:
        builder.absorbed.update(id(between) for between in found.nodes)
        output = builder.new(rows * bits.words(channels), "uint32")
        spec = xnor.Xnor(rows, depth, channels, tile, builder.storages[output].elements, None)
        bounds = [_padded(values, len(words) // bits.words(depth)) for values in (found.start, found.span)]
        storages = [left, *(builder.constant(array) for array in (words, *bounds)), output]
        label = " + ".join([node.name, *(between.name for between in found.nodes), "signs"])
        builder.call("xnor", xnor.build, spec, storages, label, macs=elements * depth, integer=True)
        put_bits(builder, found.tensor, output)
        return True
    tail = Tail(builder, node.outputs[0]).extend()
    chain, images = tail.chain(channels), builder.extent(node.outputs[0]).images
    spec = xnor.Xnor(rows, depth, channels, tile, elements, chain, tail.shapes(), images)
    factors = [pack_channels(values, simd.lanes, tile[1]) for values in (np.float32(-2) * scale, bias)]
    output = builder.new(elements, tail.dtype)
    storages = [left, *(builder.constant(array) for array in (words, *factors)), *tail.storages, output]
    builder.call("xnor", xnor.build, spec, storages, tails.label(node, tail), macs=elements * depth, integer=True)
    builder.put(tail.tensor, Value(output, tail.dtype, "rows", channels))
    return True


def _padded(values: np.ndarray, lanes: int) -> np.ndarray:
    """Starts or spans of every lane; one without a channel starts where no count is."""
    padded = np.full(lanes, NEVER)
    padded[: len(values)] = values
    return padded


def weight_words(packed: np.ndarray, depth: int) -> np.ndarray:
    """Packed weights as uint32 (channels, words), unused bits zero."""
    words = np.zeros((len(packed), 4 * bits.words(depth)), np.uint8)
    words[:, : packed.shape[1]] = binary.pack_bits(binary.unpack_bits(packed, depth))
    return words.view("<u4")


def signs(builder: Builder, tensor: str) -> int:
    """Storage of the signs of a tensor's rows as words; made once however many layers read them."""
    written = known_bits(builder, tensor)
    if written is not None:
        return written.storage
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
    output = builder.new(extent.rows * bits.words(extent.channels), "uint32")
    builder.call("sign_pack", sign_pack.build, spec, [*storages, output], f"signs of {tensor}", integer=True)
    builder.put(tensor, Value(output, "uint32", "signs", bits.words(extent.channels)))
    return output


def lower_attention(builder: Builder, node: Node) -> bool:
    """BinaryAttention; the result lies as tokens of all heads."""
    (batches, heads, queries, depth), (*_, keys, width) = (builder.graph.shape(node.inputs[i]) for i in (0, 2))
    operands = [_operand(builder, name) for name in node.inputs[:3]]
    (q, q_bits), (k, k_bits), (v, v_bits) = ((place, packed) for _, place, packed in operands)
    scale, beta = float(node.get("scale")), float(node.get("beta", 0.25))
    margin = binary.margin(scale, beta)
    bias = None if len(node.inputs) < 4 or not node.inputs[3] else builder.graph.constants[node.inputs[3]]
    reach = None if bias is not None and np.any(bias) else whole_reach(depth, margin)
    tail = Tail(builder, node.outputs[0])
    given, place = [storage for storage, _, _ in operands], None
    if reach is None:
        whole = np.zeros((1, 1, 1, 1), np.float32) if bias is None else bias
        storage, shape = _bias(builder, node.name, whole, scale, queries, keys)
        strides = tuple(int(np.prod(shape[a + 1 :])) if shape[a] > 1 else 0 for a in range(4))
        place = Strided(0, strides, int(np.prod(shape)))  # type: ignore[arg-type]
        given.append(storage)
    chain = Chain((), tail.chain(heads * width).store, builder.exact)
    elements, jobs = batches * queries * heads * width, batches * heads
    # As many as have jobs: a task behind the last one would count its own below zero.
    tasks = -(-jobs // -(-jobs // TASKS))
    lies = _written_as(builder, node, (batches, heads, queries, width))
    to_bits = lies is not None
    spec = binary_attention.BinaryAttention(
        batches, heads, queries, keys, depth, width, q, k, v, place, reach or 0, float(margin), chain, tail.shapes(),
        tasks, (q_bits, k_bits, v_bits), to_bits,
    )  # fmt: skip
    scratch = [builder.new(count, dtype) for count, dtype in binary_attention.scratch_of(spec, builder.simd)]
    output = builder.new(elements // bits.WORD if to_bits else elements, "uint32" if to_bits else chain.store.dtype)
    macs = batches * heads * queries * keys * (depth + width)
    inputs = [*given, *tail.storages, *scratch, output]
    builder.call("binary_attention", binary_attention.build, spec, inputs, node.name, macs=macs, integer=True)
    if lies is not None:
        put_bits(builder, node.outputs[0], output, lies)
    else:
        lies = _tokens(batches, heads, queries, width)
        builder.put_moved(node.outputs[0], Value(output, chain.store.dtype, "moved", 0), lies)
    return True


def _tokens(batches: int, heads: int, queries: int, width: int) -> np.ndarray:
    """Where the result of an attention lies: the heads of a token side by side."""
    elements = batches * heads * queries * width
    return np.arange(elements).reshape(batches, queries, heads, width).transpose(0, 2, 1, 3)


def _written_as(builder: Builder, node: Node, shape: tuple[int, int, int, int]) -> np.ndarray | None:
    """Addresses of the bits of the result, where it can be written as bits."""
    lies = _tokens(*shape)
    whole = shape[3] % bits.WORD == 0
    return lies if whole and reads_bits(builder, node.outputs[0], lies) else None


def _operand(builder: Builder, name: str) -> tuple[int, Strided, bool]:
    """Storage and place of an operand of attention, and whether it is bits."""
    written = known_bits(builder, name)
    if written is not None:
        place = words_of_heads(np.asarray(written.addresses), builder.elements(written))
        if place is None:
            raise TypeError("bits are written only where all their readers take them")
        return written.storage, place, True
    storage, first, strides = builder.affine(name, builder.graph.shape(name), adjacent=3, integer=False)
    return storage, Strided(first, strides, builder.storages[storage].elements), False  # type: ignore[arg-type]


def whole_reach(depth: int, margin: np.float32) -> int | None:
    """How many more bits than the best key's one may differ in and be kept; None where binary32 says it unevenly.

    >>> whole_reach(64, binary.margin(0.125, 0.25)), whole_reach(32, binary.margin(32**-0.5, 0.25))
    (5, 3)
    """
    scores = np.float32(depth) - 2 * np.arange(depth + 1, dtype=np.float32)
    kept = scores >= (scores + margin)[:, None]
    reach = int(kept[0].sum()) - 1
    away = np.arange(depth + 1) - np.arange(depth + 1)[:, None]
    return reach if np.array_equal(kept, away <= reach) else None


def _bias(
    builder: Builder, name: str, bias: np.ndarray, scale: float, queries: int, keys: int
) -> tuple[int, tuple[int, ...]]:
    """Storage and shape of a padded bias; one that has parts is kept in them and written out on opening."""
    parts = stored(bias) if bias.shape[-2:] == (queries, keys) else None
    if parts is None:
        values = padded_bias(bias, scale, queries, keys)
        return builder.constant(values), values.shape
    windows, (entries, heads), kinds = len(parts.kind), parts.table.shape, len(parts.masks)
    words = np.zeros((kinds, queries, 4 * bits.words(keys)), np.uint8)
    words[..., : parts.masks.shape[-1]] = parts.masks
    constants = [
        parts.table.T / np.float32(scale), parts.index, words.view("<u4"), parts.kind.astype(np.int32),
    ]  # fmt: skip
    spec = attention_bias.AttentionBias(windows, heads, queries, keys, entries, kinds, str(parts.index.dtype))
    made = builder.prepare(
        "attention_bias", attention_bias.build, spec, constants, (spec.elements, "float32"), f"bias of {name}"
    )
    return made, (windows, heads, queries, binary_attention.padded_keys(keys))


def padded_bias(bias: np.ndarray, scale: float, queries: int, keys: int) -> np.ndarray:
    """The bias in units of the sums, keys padded to words; -inf where it is masked or there is no key."""
    bias = bias.reshape((1,) * (4 - bias.ndim) + bias.shape)
    values = np.where(bias <= binary.MASKED, np.float32(-np.inf), bias / np.float32(scale))
    values = np.broadcast_to(values, (*bias.shape[:2], queries, keys))
    padded = np.full((*values.shape[:3], binary_attention.padded_keys(keys)), -np.inf, np.float32)
    padded[..., :keys] = values
    return padded


def rules() -> dict[str, Any]:
    """Operators of this file."""
    return {**dict.fromkeys(binary.SIGNED_LAYERS, lower_layer), binary.ATTENTION: lower_attention}
