"""Geometry of sliding operators: kernel, stride, padding, and which taps leave the frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Window:
    """Geometry of a convolution or pooling; sizes and paddings in pixels.

    Attributes:
        images: batch size.
        height, width, out_height, out_width: of one image.
        kernel, stride, dilation: (vertical, horizontal).
        top, left: padding before the first row and column.
    """

    images: int
    height: int
    width: int
    out_height: int
    out_width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    top: int
    left: int

    def columns_inside(self, column: int, tap: int) -> bool:
        """Whether tap `tap` of output column `column` reads inside the frame."""
        return 0 <= column * self.stride[1] + tap * self.dilation[1] - self.left < self.width

    @property
    def rows_always_inside(self) -> bool:
        """Whether no kernel row ever leaves the frame."""
        last = (self.out_height - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] - self.top
        return self.top == 0 and last < self.height

    @property
    def leaves_frame(self) -> bool:
        """Whether any tap of any output pixel falls outside the frame."""
        last = (self.out_width - 1) * self.stride[1] + (self.kernel[1] - 1) * self.dilation[1] - self.left
        return not (self.rows_always_inside and self.left == 0 and last < self.width)


def counted_size(attributes: Mapping[str, Any], window: Window) -> tuple[int, int] | None:
    """Rows and columns up to which an average counts taps in the padding; None when it counts those inside alone."""
    if not attributes.get("count_include_pad"):
        return None
    below, right = list(attributes.get("pads", (0, 0, 0, 0)))[2:]
    if attributes.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER"):
        below, right = window.kernel  # no window reaches further
    return window.height + below, window.width + right


def window_of(attributes: Mapping[str, Any], x: tuple[int, ...], y: tuple[int, ...], kernel: tuple[int, int]) -> Window:
    """Geometry of a sliding ONNX operator from an image (N, C, H, W) of shape `x` to one of shape `y`.

    >>> window_of({"pads": [1, 1, 1, 1], "strides": [2, 2]}, (1, 3, 8, 8), (1, 4, 4, 4), (3, 3)).left
    1
    """
    stride, dilation = tuple(attributes.get("strides", (1, 1))), tuple(attributes.get("dilations", (1, 1)))
    pads = list(attributes.get("pads", (0, 0, 0, 0)))
    auto = attributes.get("auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        for axis in (0, 1):
            total = max(0, (y[2 + axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1 - x[2 + axis])
            pads[axis] = total // 2 if auto == b"SAME_UPPER" else -(-total // 2)
    return Window(
        x[0], x[2], x[3], y[2], y[3], kernel, (stride[0], stride[1]), (dilation[0], dilation[1]), pads[0], pads[1]
    )
