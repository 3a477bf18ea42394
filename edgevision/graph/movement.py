"""Operators that only move elements, followed through the address of every element.

The *addresses* of a tensor are an integer array of its ONNX shape that holds, for each element, where in some storage
it lies. Every operator here is then one numpy operation on addresses, and any chain of them is one array; how it is
best read (as it is, with a pitch, row by row through a table, element by element) is decided once, by who reads it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgevision.graph.ir import Node

#: Operators `moved` follows; Concat is `joined` by who knows whether its inputs share a storage.
MOVEMENTS = (
    "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Slice", "Split", "Gather",
    "Expand", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip


def moved(
    node: Node, addresses: np.ndarray, constants: Mapping[str, np.ndarray], shapes: list[tuple[int, ...]]
) -> list[np.ndarray] | None:
    """Addresses of every output of `node`, given those of its first input; None when its parameters are not constant.

    Args:
        shapes: of the outputs.

    >>> a = np.arange(6).reshape(1, 2, 3)
    >>> moved(Node("Transpose", "t", ["a"], ["b"], {"perm": [0, 2, 1]}), a, {}, [(1, 3, 2)])[0].tolist()
    [[[0, 3], [1, 4], [2, 5]]]
    """
    if node.op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"):
        return [addresses.reshape(shapes[0])]
    if node.op == "Transpose":
        return [addresses.transpose(node.get("perm") or range(addresses.ndim)[::-1])]
    if node.op == "Expand":
        return [np.broadcast_to(addresses, shapes[0])]
    if node.op == "Slice":
        return _slice(node, addresses, constants)
    if node.op == "Split":
        axis = int(node.get("axis", 0)) % addresses.ndim
        return np.split(addresses, np.cumsum([shape[axis] for shape in shapes])[:-1], axis)
    if node.op == "Gather":
        indices = constants.get(node.inputs[1])
        if indices is None:
            return None
        return [np.take(addresses, indices, int(node.get("axis", 0)), mode="wrap").reshape(shapes[0])]
    return _blocks(node, addresses, shapes[0])


def _slice(node: Node, addresses: np.ndarray, constants: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    given = [constants.get(name) if name else None for name in node.inputs[1:]]
    if any(array is None for array, name in zip(given, node.inputs[1:], strict=True) if name) or len(given) < 2:
        return None
    starts, ends = (np.asarray(array).reshape(-1).tolist() for array in given[:2])
    axes = list(range(len(starts))) if len(given) < 3 or given[2] is None else given[2].reshape(-1).tolist()
    steps = [1] * len(starts) if len(given) < 4 or given[3] is None else given[3].reshape(-1).tolist()
    where: list[slice] = [slice(None)] * addresses.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        extent = addresses.shape[axis]
        # A backward slice that runs through element 0 has an end numpy cannot spell.
        where[axis] = slice(start, None if step < 0 and end < -extent else end, step)
    return [addresses[tuple(where)]]


def _blocks(node: Node, addresses: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray] | None:
    size = int(node.get("blocksize", 1))
    images, channels, height, width = addresses.shape
    if node.op == "SpaceToDepth":
        cut = addresses.reshape(images, channels, height // size, size, width // size, size)
        return [cut.transpose(0, 3, 5, 1, 2, 4).reshape(shape)]
    if node.get("mode", b"DCR") in (b"DCR", "DCR"):
        cut = addresses.reshape(images, size, size, channels // size**2, height, width)
        return [cut.transpose(0, 3, 4, 1, 5, 2).reshape(shape)]
    cut = addresses.reshape(images, channels // size**2, size, size, height, width)
    return [cut.transpose(0, 1, 4, 2, 5, 3).reshape(shape)]


def loops(addresses: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Write a flat address list as a table of starts and nested (extent, stride) loops inside, outermost first.

    The table has one entry when the loops alone describe everything.

    >>> loops(np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2).reshape(-1))
    (array([0]), [(3, 4), (2, 12), (4, 1)])
    >>> loops(np.array([0, 1, 6, 7, 2, 3]))
    (array([0, 6, 2]), [(2, 1)])
    """
    table = np.asarray(addresses).reshape(-1)
    found: list[tuple[int, int]] = []
    while table.size > 1:
        extent = _run(table)
        if extent == 1:
            break
        found.insert(0, (extent, int(table[1] - table[0])))
        table = table[::extent]
    return table, found


def _run(table: np.ndarray) -> int:
    """The largest extent of an innermost loop that `table` repeats throughout."""
    stride = table[1] - table[0]
    breaks = np.flatnonzero(np.diff(table) != stride)
    longest = int(breaks[0]) + 1 if breaks.size else table.size
    for extent in range(longest, 1, -1):
        if table.size % extent == 0:
            blocks = table.reshape(-1, extent)
            if np.array_equal(blocks, blocks[:, :1] + stride * np.arange(extent)):
                return extent
    return 1


def strides_of(addresses: np.ndarray) -> tuple[int, tuple[int, ...]] | None:
    """The address of the first element and the stride of every axis; None when the addresses are not affine.

    >>> strides_of(np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1))
    (0, (1, 12, 4))
    """
    first = int(addresses[(0,) * addresses.ndim])
    strides = []
    expected = np.int64(first)
    for axis, extent in enumerate(addresses.shape):
        second = tuple(1 if a == axis else 0 for a in range(addresses.ndim))
        stride = int(addresses[second]) - first if extent > 1 else 0
        strides.append(stride)
        expected = expected + (stride * np.arange(extent)).reshape(
            [-1 if a == axis else 1 for a in range(addresses.ndim)]
        )
    return (first, tuple(strides)) if np.array_equal(addresses, expected) else None
