"""Biases of attention as they are stored: a table, which entry of it each pair of tokens has, and masks as bits.

Swin's biases depend on the offset between two tokens alone, and its masks on whether a window lies at the end of a
row, of a column, of both or of none: written out for every window, head and pair they are half of a binary network's
file. What is found here is found in the numbers, whoever made them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.compress.onnxgraph import prune
from edgevision.graph.binary import ATTENTION, BIAS, DOMAIN, MASKED, attention_bias


@dataclass(frozen=True)
class StoredBias:
    """A bias (windows, heads, queries, keys) in parts.

    Attributes:
        table: float32 (entries, heads).
        index: uint8, or uint16 where there are more entries, (queries, keys): entry of each pair.
        masks: uint8 (kinds, queries, ceil(keys / 8)): bits of what is masked, the least significant first.
        kind: uint8 or uint16 (windows): masks of each window.
    """

    table: np.ndarray
    index: np.ndarray
    masks: np.ndarray
    kind: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.nbytes for part in self.parts())

    def parts(self) -> tuple[np.ndarray, ...]:
        """The inputs of the function, in order."""
        return self.table, self.index, self.masks, self.kind

    def whole(self) -> np.ndarray:
        """The bias, float32 (windows, heads, queries, keys), -inf where it is masked."""
        return attention_bias(*self.parts())


def stored(bias: np.ndarray) -> StoredBias | None:
    """The parts of a bias of any shape that broadcasts to four axes; None where they would not take half its bytes.

    >>> parts = stored(np.tile(np.float32([[[[1, 2], [3, -np.inf]]]]), (8, 2, 1, 1)))
    >>> parts.table.tolist(), parts.masks.reshape(-1).tolist(), parts.kind.tolist()
    ([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], [0, 2], [0, 0, 0, 0, 0, 0, 0, 0])
    """
    bias = bias.reshape((1,) * (4 - bias.ndim) + bias.shape).astype(np.float32)
    if not np.all(np.isfinite(bias) | np.isneginf(bias)):
        return None
    masked = bias <= MASKED
    lowest = np.where(masked, np.inf, bias).min(0)
    seen = np.isfinite(lowest)
    # One value for a pair and head whatever the window, and one mask whatever the head.
    same = np.where(masked, -np.inf, bias).max(0)
    if not np.array_equal(lowest[seen], same[seen]) or not np.array_equal(masked.all(1), masked.any(1)):
        return None
    heads, queries, keys = lowest.shape
    values = np.where(seen, lowest, np.float32(0)).reshape(heads, -1)
    table, index = np.unique(values.T, axis=0, return_inverse=True)
    packed = np.packbits(masked[:, 0], axis=-1, bitorder="little")
    kinds, kind = np.unique(packed.reshape(len(packed), -1), axis=0, return_inverse=True)
    made = StoredBias(
        np.ascontiguousarray(table), _small(index, len(table)).reshape(queries, keys),
        kinds.reshape(len(kinds), queries, -1), _small(kind, len(kinds)).reshape(-1),
    )  # fmt: skip
    return made if 2 * made.nbytes <= bias.nbytes else None


def _small(index: np.ndarray, count: int) -> np.ndarray:
    return index.astype(np.uint8 if count <= 256 else np.uint16 if count <= 65536 else np.int32)


def store_biases(model: onnx.ModelProto) -> int:
    """Keep the constant biases of binary attention in parts, in place; returns how many.

    Equal parts, as the index of every block of one window size, are kept once.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    changed = 0
    for node in model.graph.node:
        if (node.domain, node.op_type) == (DOMAIN, ATTENTION) and len(node.input) > 3 and node.input[3] in constants:
            parts = stored(numpy_helper.to_array(constants[node.input[3]]))
            if parts is not None:
                names = [_kept(model.graph, part, constants) for part in parts.parts()]
                keys = parts.index.shape[1]
                output = f"{node.name}.bias"
                nodes.append(helper.make_node(BIAS, names, [output], output, domain=DOMAIN, keys=keys))
                node.input[3] = output
                changed += 1
        nodes.append(node)
    if changed:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        prune(model.graph)
    return changed


def _kept(graph: onnx.GraphProto, part: np.ndarray, constants: dict[str, onnx.TensorProto]) -> str:
    digest = hashlib.sha256(f"{part.dtype}{part.shape}".encode() + part.tobytes()).hexdigest()
    name = f"{DOMAIN}.bias.{digest[:12]}"
    if name not in constants:
        constants[name] = numpy_helper.from_array(part, name)
        graph.initializer.append(constants[name])
    return name
