"""Where a tensor is while the graph is lowered: its storage, its layout, and the quantisation it is read through."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from edgevision.graph.qdq import Quant

#: "rows" is pixels x channels (NHWC for images); "planes" is NCHW. Tensors that are no images are always rows: all
#: axes but the last are pixels. "tabled" is rows whose first elements are listed in a table, and "moved" says where
#: each element lies (`graph.movement`). "signs" is one bit per element, rows of uint32 words (`kernels.bits`); moved
#: elements of dtype "bits" are those too, their addresses counted in bits.
Layout = Literal["rows", "planes", "tabled", "moved", "signs"]


@dataclass
class Storage:
    """Bytes of a tensor: an arena slot, a constant, or a graph input or output."""

    elements: int
    dtype: str
    place: Literal["arena", "constant", "input", "output"] = "arena"
    array: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Unpadded size."""
        return self.elements * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Value:
    """One way to read a tensor.

    Attributes:
        storage: index of its storage.
        dtype: of the elements as stored.
        layout: rows or planes.
        pitch, offset: elements from one pixel to the next and of the first; rows only, so a split is a view.
        quant: set when the tensor is float to its readers but stored as bytes.
        table: storage with the int32 address of each row's first element; tabled only.
        addresses: of every element, in the tensor's ONNX shape; moved only.
    """

    storage: int
    dtype: str
    layout: Layout
    pitch: int
    offset: int = 0
    quant: Quant | None = None
    table: int | None = None
    addresses: np.ndarray | None = field(default=None, compare=False, repr=False)

    def through(self, quant: Quant | None) -> Value:
        """The same bytes read through `quant`."""
        return replace(self, quant=quant)


@dataclass(frozen=True)
class Extent:
    """A tensor's shape as kernels see it: images x pixels x channels."""

    images: int
    pixels: int
    channels: int

    @property
    def rows(self) -> int:
        """Pixels of all images."""
        return self.images * self.pixels

    @property
    def elements(self) -> int:
        """Elements of the tensor."""
        return self.rows * self.channels


def extent_of(shape: tuple[int, ...]) -> Extent:
    """Read a shape as images x pixels x channels.

    >>> extent_of((1, 48, 56, 56))
    Extent(images=1, pixels=3136, channels=48)
    >>> extent_of((2, 197, 192))
    Extent(images=2, pixels=197, channels=192)
    """
    if len(shape) == 4:
        return Extent(shape[0], shape[2] * shape[3], shape[1])
    if len(shape) <= 1:
        return Extent(1, 1, int(np.prod(shape, dtype=np.int64)))
    return Extent(shape[0], int(np.prod(shape[1:-1], dtype=np.int64)), shape[-1])


def rows_are_planes(shape: tuple[int, ...]) -> bool:
    """Whether NHWC and NCHW order the elements alike: no image, one channel, or one pixel."""
    return len(shape) != 4 or shape[1] == 1 or shape[2] * shape[3] == 1
