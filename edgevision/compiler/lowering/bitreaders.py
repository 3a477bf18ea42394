"""Who can read a tensor as bits, one for each sign, and where they lie.

Between a layer that writes bits and one that reads them may stand anything that only moves elements: the heads of an
attention are cut out of the rows of one linear layer and put together to the rows of the next. Addresses of bits are
followed through it (`graph.movement`); a reader can take them where what it reads begins at words.
"""

from __future__ import annotations

import numpy as np

from edgevision.compiler.kernels import bits
from edgevision.compiler.kernels.attention_spec import Strided
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.values import Value
from edgevision.graph import binary, movement
from edgevision.graph.ir import Node


def row_addresses(builder: Builder, tensor: str) -> np.ndarray:
    """Addresses of the bits of a tensor whose rows are words, in its ONNX shape."""
    shape, extent = builder.graph.shape(tensor), builder.extent(tensor)
    pitch = bits.words(extent.channels) * bits.WORD
    addresses = np.arange(extent.rows)[:, None] * pitch + np.arange(extent.channels)
    if len(shape) == 4:
        return addresses.reshape(shape[0], *shape[2:], shape[1]).transpose(0, 3, 1, 2)
    return addresses.reshape(shape)


def reads_bits(builder: Builder, tensor: str, addresses: np.ndarray | None = None) -> bool:
    """Whether all readers of a tensor can take it as bits at `addresses`, those of its rows by default."""
    addresses = row_addresses(builder, tensor) if addresses is None else addresses
    readers = builder.readers(tensor)
    return bool(readers) and all(_takes(builder, reader, tensor, addresses) for reader in readers)


def _takes(builder: Builder, node: Node, tensor: str, addresses: np.ndarray) -> bool:
    if node.op in binary.SIGNED_LAYERS:
        return np.array_equal(addresses, row_addresses(builder, tensor))
    if node.op == binary.ATTENTION:
        return tensor not in node.inputs[3:] and words_of_heads(addresses, 0) is not None
    if node.op not in movement.MOVEMENTS or node.inputs[0] != tensor or node.inputs.count(tensor) > 1:
        return False
    shapes = [builder.graph.shape(name) for name in node.outputs]
    found = movement.moved(node, addresses, builder.graph.constants, shapes)
    pairs = zip(node.outputs, found or (), strict=False)
    return found is not None and all(reads_bits(builder, name, moved) for name, moved in pairs)


def words_of_heads(addresses: np.ndarray, elements: int) -> Strided | None:
    """An operand of attention in words, of bits at `addresses` (batch, head, token, width); None where none is whole.

    Args:
        elements: words of the whole storage.
    """
    found = movement.strides_of(addresses)
    if found is None or addresses.shape[3] % bits.WORD or found[1][3] != 1:
        return None
    first, strides = found
    if any(step % bits.WORD for step in (first, *strides[:3])):
        return None
    batch, head, token = (step // bits.WORD for step in strides[:3])
    return Strided(first // bits.WORD, (batch, head, token, 1), elements)


def put_bits(builder: Builder, tensor: str, storage: int, addresses: np.ndarray | None = None) -> None:
    """Say where the bits of a tensor are; only for one all of whose readers take bits (`reads_bits`)."""
    addresses = row_addresses(builder, tensor) if addresses is None else addresses
    builder.put(tensor, Value(storage, "bits", "moved", 0, addresses=addresses))


def known_bits(builder: Builder, tensor: str) -> Value | None:
    """Where the bits of a tensor are, if that is how it is stored."""
    value = builder.values.get(tensor, {}).get("moved")
    return value if value is not None and value.dtype == "bits" else None
