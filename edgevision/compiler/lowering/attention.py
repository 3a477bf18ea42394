"""The rule for attention (`graph.attention`): operands as they lie, scratch reserved, output as tokens of all heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgevision.compiler.kernels import attention
from edgevision.compiler.kernels.attention_spec import Attention, Strided, scratch_of
from edgevision.compiler.kernels.chain import Chain
from edgevision.compiler.kernels.inner import left_shift
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.tail import Tail
from edgevision.compiler.lowering.values import Value
from edgevision.graph.ir import Node

#: Jobs to hand out at most; a job is one head, or half of one where there are few heads.
TASKS = 16


def lower_attention(builder: Builder, node: Node) -> bool:
    """Attention of float or byte operands of rank 3 or 4."""
    shapes = [_four(builder.graph.shape(name)) for name in node.inputs[:3]]
    (batches, heads, queries, depth), (*_, keys), (*_, width) = shapes
    integer = "zeros" in node.attributes
    q, k, v = (
        _operand(builder, name, shape, axis, integer)
        for name, shape, axis in zip(node.inputs[:3], shapes, (3, 2, 3), strict=True)
    )
    swapped = replace(k[1], strides=(*k[1].strides[:2], k[1].strides[3], k[1].strides[2]))
    tail = Tail(builder, node.outputs[0])
    tail.extra(builder.constant(np.asarray(node.attributes["scale"], np.float32)))
    adds = [_added(builder, tail, name) for name in node.inputs[3:]]
    chain, pitch = Chain((), tail.chain(heads * width).store, builder.exact), heads * width
    corrected, unit = (False, False, False, False), False
    if integer:
        share = node.attributes["share"]
        tail.extra(builder.limits_constant(share, 0, 255))
        unit = share.zero == 0 and float(np.log2(share.step)).is_integer()
        tail.extra(builder.constant(np.asarray(node.attributes["product_scale"], np.float32)))
        shift, zeros = left_shift(builder.simd), node.attributes["zeros"]
        left = np.array([zeros[0] - shift, zeros[1] - 128, share.zero - shift, zeros[2] - 128], np.int32)
        tail.extra(builder.constant(left))
        corrected = (bool(left[0]), bool(left[1]), bool(left[2]), bool(left[3]))
        if node.attributes["out"] is not None:
            out, low, high = (node.attributes[name] for name in ("out", "low", "high"))
            chain = Chain((), tail.byte_store(out, low, high, pitch), exact=True)
    parts = 1 if batches * heads > 2 or queries < 32 else 2
    jobs = batches * heads * parts
    tasks = -(-jobs // -(-jobs // TASKS))
    elements = batches * queries * pitch
    spec = Attention(
        batches, heads, queries, keys, depth, width, q[1], swapped, v[1], "uint8" if integer else "float32",
        tuple(adds), chain, tail.shapes(), pitch, elements, parts, tasks, corrected, unit,
    )  # fmt: skip
    scratch = [builder.new(count, dtype) for count, dtype in scratch_of(spec, builder.simd)]
    output = builder.new(elements, chain.store.dtype)
    storages = [q[0], k[0], v[0], *tail.storages, *scratch, output]
    macs = batches * heads * queries * keys * (depth + width)
    builder.call("attention", attention.build, spec, storages, node.name, macs=macs, integer=integer)
    lies = np.arange(elements).reshape(batches, queries, heads, width).transpose(0, 2, 1, 3)
    made = Value(output, chain.store.dtype, "moved", 0)
    builder.put_moved(node.outputs[0], made, lies.reshape(builder.graph.shape(node.outputs[0])))
    return True


def _four(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if len(shape) == 4 else (shape[0], 1, *shape[1:])


def _operand(
    builder: Builder, tensor: str, shape: tuple[int, ...], adjacent: int, integer: bool
) -> tuple[int, Strided]:
    """Storage and strides of an operand whose elements along axis `adjacent` have to lie together."""
    storage, first, strides = builder.affine(tensor, shape, adjacent=adjacent, integer=integer)
    return storage, Strided(first, strides, builder.storages[storage].elements)  # type: ignore[arg-type]


def _added(builder: Builder, tail: Tail, tensor: str) -> Strided:
    """Strides of what is added to the scores, 0 along axes it does not change along."""
    array = builder.graph.constants.get(tensor)
    if array is not None:
        array = array.reshape((1,) * (4 - array.ndim) + array.shape)
        for axis in (0, 1):
            if array.shape[axis] > 1 and np.array_equal(array, np.broadcast_to(array.take([0], axis), array.shape)):
                array = array.take([0], axis)
        storage, own = builder.constant(array), array.shape
    else:
        storage, own = builder.planes(tensor), builder.graph.shape(tensor)
        own = (1,) * (4 - len(own)) + own
    tail.extra(storage)
    strides = [int(np.prod(own[axis + 1 :])) if own[axis] > 1 else 0 for axis in range(4)]
    return Strided(0, (strides[0], strides[1], strides[2], strides[3]), builder.storages[storage].elements)


def rules() -> dict[str, Any]:
    """Operators of this file."""
    return {"Attention": lower_attention}
