"""Where only the signs of a layer's result are read: its counts of differing bits decide them, no float is made.

A count c stands for the value scale (depth - 2 c) + bias of its channel, and for what the elementwise operators behind
it make of that, in the binary32 of `graph.numerics`. All depth + 1 counts are tried here; those whose sign is +1 have
to be one interval, if need be across the end: a GELU, which is a negative zero far below zero, is such a case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgevision.compiler.lowering.bitreaders import reads_bits
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.tail import BINARY
from edgevision.graph import numerics
from edgevision.graph.functions import function_of
from edgevision.graph.ir import Node

#: A count that never occurs.
NEVER = np.uint32(1 << 31)
_CIRCLE = 1 << 32
_OPERATIONS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum,
               "min": np.minimum}  # fmt: skip


@dataclass(frozen=True)
class Signs:
    """What decides the signs of a layer's result.

    Attributes:
        tensor: the tensor whose signs they are.
        nodes: the operators between, which need not be computed.
        start, span: per channel, uint32: the sign of a count c is +1 where c - start <= span, modulo 2^32.
    """

    tensor: str
    nodes: tuple[Node, ...]
    start: np.ndarray
    span: np.ndarray


def decided(builder: Builder, node: Node, depth: int, scale: np.ndarray, bias: np.ndarray) -> Signs | None:
    """How the counts of a layer decide the signs its readers want; None where they want more, or no interval does."""
    tensor, nodes = node.outputs[0], []
    while not reads_bits(builder, tensor):
        reader = builder.sole_reader(tensor)
        if reader is None or not _understood(builder, reader, tensor):
            return None
        nodes.append(reader)
        tensor = reader.outputs[0]
    sums = np.float32(depth) - 2 * np.arange(depth + 1, dtype=np.float32)[:, None]
    values = sums * scale + bias
    name = node.outputs[0]
    for between in nodes:
        values = _applied(builder, between, name, values)
        name = between.outputs[0]
    bounds = intervals(values >= 0)
    return None if bounds is None else Signs(tensor, tuple(nodes), *bounds)


def intervals(set_: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(start, span) per column of booleans (counts, channels); None where one is no interval, even across the end.

    >>> start, span = intervals(np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 1]], bool))
    >>> start.tolist(), span.tolist()
    ([0, 2147483648, 3], [1, 0, 4294967293])
    """
    counts, channels = set_.shape
    start, span = np.full(channels, NEVER), np.zeros(channels, np.uint32)
    edges = np.diff(set_.astype(np.int8), axis=0, prepend=0, append=0)
    for channel in range(channels):
        rises, falls = (np.flatnonzero(edges[:, channel] == kind) for kind in (1, -1))
        if rises.size == 1:
            start[channel], span[channel] = rises[0], falls[0] - 1 - rises[0]
        elif rises.size == 2 and rises[0] == 0 and falls[1] == counts:
            start[channel], span[channel] = rises[1], _CIRCLE - int(rises[1]) + int(falls[0]) - 1
        elif rises.size:
            return None
    return start, span


def _understood(builder: Builder, node: Node, tensor: str) -> bool:
    if node.domain not in ("", "ai.onnx") or builder.graph.shape(node.outputs[0]) != builder.graph.shape(tensor):
        return False
    if function_of(node) is not None:
        return True
    return node.op in BINARY and len(node.inputs) == 2 and _constant(builder, node, tensor) is not None


def _constant(builder: Builder, node: Node, tensor: str) -> np.ndarray | None:
    """The other operand, one value or one per channel; None where it is anything else."""
    array = builder.graph.constants.get(node.inputs[1 if node.inputs[0] == tensor else 0])
    shape = builder.graph.shape(tensor)
    axis = 1 if len(shape) == 4 else len(shape) - 1
    if array is None or array.dtype != np.float32:
        return None
    if array.size == 1:
        return array.reshape(-1)
    full = (1,) * (len(shape) - array.ndim) + array.shape
    fits = full[axis] == shape[axis] and all(size == 1 for at, size in enumerate(full) if at != axis)
    return array.reshape(-1) if fits else None


def _applied(builder: Builder, node: Node, tensor: str, values: np.ndarray) -> np.ndarray:
    function = function_of(node)
    if function is not None:
        return numerics.FUNCTIONS[function](values)
    other = _constant(builder, node, tensor)
    operands = (values, other) if node.inputs[0] == tensor else (other, values)
    return _OPERATIONS[BINARY[node.op]](*operands)
