"""The file of an integer network (quant/INTEGER_NETWORKS.md): a header that says what there is, then the numbers.

Every size follows from the header, so a file can lie about none: what is missing, left over, or between the arrays and
not zero is refused.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np

from edgevision.engine.checks import checked, parameter_shapes, tensors_of
from edgevision.engine.network import Convolution, Header, IntegerNetwork, Layer, Parameters
from edgevision.errors import UsageError
from edgevision.files import write_atomic

MAGIC = b"EVINTNET"
#: Where arrays begin: multiples of this many bytes.
ALIGNMENT = 16
LARGEST_HEADER, LARGEST_FILE = 1 << 20, 1 << 28
_FIX = "export the network again"


def write(network: IntegerNetwork, path: Path) -> None:
    """Write `network`.

    Raises:
        UsageError: it contradicts itself, or the file cannot be written.
    """
    write_atomic(path, to_bytes(network))


def read(path: Path) -> IntegerNetwork:
    """Read a network from a file nobody vouches for.

    Raises:
        UsageError: it is not one, or its sizes, names or numbers do not fit together.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= LARGEST_FILE else b""
    except OSError as error:
        raise UsageError(f"cannot read the integer network: {error.strerror}", where=str(path)) from error
    if size > LARGEST_FILE:
        raise UsageError(f"expected at most {LARGEST_FILE} bytes, got {size}", where=str(path), fix=_FIX)
    return from_bytes(data, str(path))


def to_bytes(network: IntegerNetwork) -> bytes:
    """The file's bytes.

    Raises:
        UsageError: the network contradicts itself.
    """
    header = checked(network).header
    text = msgspec.json.encode(header)
    data = bytearray(MAGIC + len(text).to_bytes(4, "little") + text)
    for layer, shapes in _arrays(header):
        for kind in shapes:
            data += bytes(-len(data) % ALIGNMENT)
            data += _stored(getattr(network.parameters[layer.name], kind), _bits(layer, kind))
    return bytes(data)


def from_bytes(data: bytes, where: str = "integer network") -> IntegerNetwork:
    """The network in `data`.

    Raises:
        UsageError: as of `read`.
    """
    start = len(MAGIC) + 4
    if data[: len(MAGIC)] != MAGIC or len(data) < start:
        raise UsageError(f"expected a file that begins with {MAGIC.decode()}", where=where, fix=_FIX)
    size = int.from_bytes(data[len(MAGIC) : start], "little")
    if size > min(LARGEST_HEADER, len(data) - start):
        raise UsageError(f"the header claims {size} bytes, the file has {len(data) - start} left", where=where,
                         fix=_FIX)  # fmt: skip
    try:
        header = msgspec.json.decode(data[start : start + size], type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the header cannot be read: {error}", where=where, fix=_FIX) from error
    parameters, position = {}, start + size
    for layer, shapes in _arrays(header, where):
        arrays = {}
        for kind, shape in shapes.items():
            begin = position + -position % ALIGNMENT
            end = begin + _nbytes(shape, _bits(layer, kind))
            if end > len(data):
                raise UsageError(f"expected {end} bytes up to {kind} of layer '{layer.name}', the file has {len(data)}",
                                 where=where, fix=_FIX)  # fmt: skip
            arrays[kind] = _loaded(data[begin:end], shape, _bits(layer, kind))
            _refuse_rest(data[position:begin], where)
            position = end
        if arrays:
            parameters[layer.name] = Parameters(**arrays)
    if position != len(data):
        raise UsageError(f"expected {position} bytes, the file has {len(data)}", where=where, fix=_FIX)
    network = checked(IntegerNetwork(header, parameters), where)
    if to_bytes(network) != data:
        raise UsageError("the file is not written as this format writes it", where=where, fix=_FIX)
    return network


def _arrays(header: Header, where: str = "integer network") -> list[tuple[Layer, dict[str, tuple[int, ...]]]]:
    tensors = tensors_of(header, where)
    return [(layer, parameter_shapes(layer, tensors)) for layer in header.layers]


def _bits(layer: Layer, kind: str) -> int:
    return layer.bits if kind == "weight" and isinstance(layer, Convolution) else 16


def _nbytes(shape: tuple[int, ...], bits: int) -> int:
    return -(-math.prod(shape) * bits // 8)


def _stored(array: np.ndarray, bits: int) -> bytes:
    if bits != 4:
        return array.astype(f"<i{bits // 8}").tobytes()
    nibbles = array.reshape(-1).astype(np.uint8) & 15
    nibbles = np.append(nibbles, np.zeros(nibbles.size % 2, np.uint8))
    return (nibbles[::2] | nibbles[1::2] << 4).tobytes()


def _loaded(data: bytes, shape: tuple[int, ...], bits: int) -> np.ndarray:
    if bits != 4:
        return np.frombuffer(data, f"<i{bits // 8}").astype(f"int{bits}").reshape(shape)
    packed = np.frombuffer(data, np.uint8)
    nibbles = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)[: math.prod(shape)]
    return ((nibbles ^ 8).astype(np.int8) - np.int8(8)).reshape(shape)


def _refuse_rest(gap: bytes, where: str) -> None:
    if any(gap):
        raise UsageError("expected zeros between the arrays, got others", where=where, fix=_FIX)
