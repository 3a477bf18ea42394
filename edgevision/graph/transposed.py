"""Geometry of transposed convolutions: one is several ordinary convolutions whose results interleave.

With stride s, an output row y takes only the kernel rows k with y + padding - k dilation divisible by s. The output
rows y, y + s, y + 2 s, ... all take the same ones, so they are an ordinary convolution of stride 1 (Shi et al., "Is the
deconvolution layer the same as a convolutional layer?", 2016). Nothing is multiplied by the zeros between the pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.geometry import Window


@dataclass(frozen=True)
class Phase:
    """The output pixels that take the same taps.

    Attributes:
        window: the ordinary convolution that computes them.
        taps: kernel rows and columns of the transposed convolution, in the order that convolution reads them; where an
            axis has none, the window has one tap, which is always outside the frame.
        first: output row and column of its first pixel; the others follow at the strides.
    """

    window: Window
    taps: tuple[tuple[int, ...], tuple[int, ...]]
    first: tuple[int, int]

    def weight(self, weight: np.ndarray) -> np.ndarray:
        """The phase's share of a weight (..., kernel rows, kernel columns)."""
        rows, columns = self.taps
        taken = weight[..., list(rows), :][..., list(columns)]
        missing = [(0, size - have) for size, have in zip(self.window.kernel, taken.shape[-2:], strict=True)]
        return np.ascontiguousarray(np.pad(taken, [(0, 0)] * (weight.ndim - 2) + missing))


@dataclass(frozen=True)
class Spread:
    """Geometry of one transposed convolution; sizes in pixels, pairs are (vertical, horizontal).

    Attributes:
        images: batch size.
        size, out_size: of one image before and after.
        first: rows above and columns left of the result that are cut off (`pads` of ONNX).
    """

    images: int
    size: tuple[int, int]
    out_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    first: tuple[int, int]

    def phases(self) -> list[Phase]:
        """Ordinary convolutions that together make every output pixel once.

        >>> spread = Spread(1, (4, 4), (8, 8), (3, 3), (2, 2), (1, 1), (1, 1))
        >>> [(p.first, p.taps) for p in spread.phases()]
        [((0, 0), ((1,), (1,))), ((0, 1), ((1,), (2, 0))), ((1, 0), ((2, 0), (1,))), ((1, 1), ((2, 0), (2, 0)))]
        """
        rows, columns = (self._along(axis) for axis in (0, 1))
        return [
            Phase(
                Window(
                    self.images, *self.size, row.outputs, column.outputs, (max(1, len(row.taps)),
                    max(1, len(column.taps))), (1, 1), (row.dilation, column.dilation), row.before, column.before,
                ),
                (row.taps, column.taps), (row.first, column.first),
            )
            for row in rows for column in columns
        ]  # fmt: skip

    def _along(self, axis: int) -> list[_Line]:
        stride, dilation, cut = self.stride[axis], self.dilation[axis], self.first[axis]
        found = []
        for first in range(min(stride, self.out_size[axis])):
            outputs = -(-(self.out_size[axis] - first) // stride)
            taps = tuple(k for k in range(self.kernel[axis])[::-1] if (first + cut - k * dilation) % stride == 0)
            if not taps:
                found.append(_Line(first, outputs, (), 1, outputs))
                continue
            apart = (taps[0] - taps[1]) * dilation // stride if len(taps) > 1 else 1
            found.append(_Line(first, outputs, taps, apart, -((first + cut - taps[0] * dilation) // stride)))
        return found


@dataclass(frozen=True)
class _Line:
    """A phase along one axis: its first output, how many, its taps, their distance, and the padding before."""

    first: int
    outputs: int
    taps: tuple[int, ...]
    dilation: int
    before: int


def spread_of(attributes: Mapping[str, Any], x: tuple[int, ...], y: tuple[int, ...], kernel: tuple[int, int]) -> Spread:
    """Geometry of a ConvTranspose from an image (N, C, H, W) of shape `x` to one of shape `y`.

    >>> spread_of({"pads": [1, 1, 1, 1], "strides": [2, 2]}, (1, 3, 4, 4), (1, 4, 7, 7), (3, 3)).first
    (1, 1)
    """
    stride, dilation = (tuple(attributes.get(name, (1, 1))) for name in ("strides", "dilations"))
    pads = list(attributes.get("pads", (0, 0)))[:2]
    auto = attributes.get("auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER") or attributes.get("output_shape"):
        added = attributes.get("output_padding", (0, 0))
        for axis in (0, 1):
            reach = stride[axis] * (x[2 + axis] - 1) + added[axis] + (kernel[axis] - 1) * dilation[axis] + 1
            total = max(0, reach - y[2 + axis])
            pads[axis] = total // 2 if auto == b"SAME_UPPER" else -(-total // 2)
    return Spread(
        x[0], (x[2], x[3]), (y[2], y[3]), kernel, (stride[0], stride[1]), (dilation[0], dilation[1]), (pads[0], pads[1])
    )


def channels_first(weight: np.ndarray, group: int) -> np.ndarray:
    """Weight of a ConvTranspose (inputs, channels / group, ...) as Conv has it: (channels, inputs / group, ...)."""
    inputs, share, *kernel = weight.shape
    cut = weight.reshape(group, inputs // group, share, *kernel)
    return np.ascontiguousarray(cut.swapaxes(1, 2).reshape(group * share, inputs // group, *kernel))
