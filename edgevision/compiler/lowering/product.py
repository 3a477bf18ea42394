"""The rule for products of two computed tensors that are not part of an attention."""

from __future__ import annotations

import numpy as np

from edgevision.compiler.kernels import matmul
from edgevision.compiler.kernels.chain import Chain, Store
from edgevision.compiler.kernels.inner import left_shift, tile_shape
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.tail import Tail
from edgevision.compiler.lowering.values import Value
from edgevision.graph.ir import Node

#: Batch entries worked on at once.
TASKS = 16


def lower_product(builder: Builder, node: Node) -> bool:
    """MatMul and IntMatMul of tensors with the same batch axes."""
    integer = node.op == "IntMatMul"
    shapes = [builder.graph.shape(name) for name in node.inputs]
    wanted = "uint8" if integer else "float32"
    if any(
        len(shape) < 2 or builder.graph.types[n].dtype != wanted for shape, n in zip(shapes, node.inputs, strict=True)
    ):
        return False
    if shapes[0][:-2] != shapes[1][:-2]:
        return False
    batches = int(np.prod(shapes[0][:-2], dtype=np.int64))
    (rows, depth), columns = shapes[0][-2:], shapes[1][-1]
    left = _operand(builder, node.inputs[0], (batches, rows, depth), adjacent=True, integer=integer)
    right = _operand(builder, node.inputs[1], (batches, depth, columns), adjacent=False, integer=integer)
    tail = Tail(builder, node.outputs[0])
    corrected, chain = (False, False), Chain((), Store(pitch=columns), builder.exact)
    if integer:
        zeros, shift = node.attributes["zeros"], left_shift(builder.simd)
        rest = np.array([zeros[0] - shift, zeros[1] - 128], np.int32)
        corrected = (bool(rest[0]), bool(rest[1]))
        tail.extra(builder.constant(np.asarray(node.attributes["scale"], np.float32)))
        tail.extra(builder.constant(rest))
        if node.attributes["out"] is not None:
            out, low, high = (node.attributes[name] for name in ("out", "low", "high"))
            chain = Chain((), tail.byte_store(out, low, high, columns), exact=True)
    tile = tile_shape(builder.simd, rows, columns, integer=integer)
    tasks = -(-batches // -(-batches // TASKS))
    spec = matmul.Matmul(
        batches, rows, depth, columns, left[1], right[1], wanted, tile, corrected, chain, tail.shapes(), tasks
    )
    scratch = [builder.new(count, dtype) for count, dtype in matmul.scratch_of(spec, builder.simd)]
    output = builder.new(batches * rows * columns, chain.store.dtype)
    builder.call(
        "matmul", matmul.build, spec, [left[0], right[0], *tail.storages, *scratch, output], node.name,
        macs=batches * rows * depth * columns, integer=integer,
    )  # fmt: skip
    builder.put_moved(
        node.outputs[0],
        Value(output, chain.store.dtype, "moved", 0),
        np.arange(batches * rows * columns).reshape(builder.graph.shape(node.outputs[0])),
    )
    return True


def _operand(
    builder: Builder, tensor: str, shape: tuple[int, int, int], *, adjacent: bool, integer: bool
) -> tuple[int, tuple[int, int, int, int, int]]:
    """Storage and strides of an operand as (batch, row, column)."""
    storage, first, strides = builder.affine(tensor, shape, adjacent=2 if adjacent else None, integer=integer)
    batch, row, column = strides
    return storage, (first, batch, row, column, builder.storages[storage].elements)
