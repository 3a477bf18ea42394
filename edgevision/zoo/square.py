"""The deployed form of a square deformable convolution in torch: whole dilations, one operator when exported.

Its meaning is that of `graph.square`. Training modules compute their own differentiable form; this one has no gradient
to the dilation, whose rounding has none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgevision.zoo.deform_gather import gathered_square

#: Name of the ONNX function (`graph.square`).
SYMBOL = "edgevision::SquareDeformConv"
LARGEST_DILATION = 7


def square_deform_conv(x: Tensor, dilation: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Depthwise 3x3 convolution, dilation per pixel, zero outside the frame; CoDeNet (arXiv 2006.08357).

    Args:
        x: (N, C, H, W).
        dilation: (N, 1, ceil(H / stride), ceil(W / stride)); rounded, ties to even, and clamped to 0..7.
        weight: (C, 1, 3, 3).

    Returns:
        (N, C, ceil(H / stride), ceil(W / stride)).
    """
    if torch.onnx.is_in_onnx_export():
        channels = weight.shape[0]
        shape = [x.shape[0], channels, *dilation.shape[2:]]
        attributes: dict[str, Any] = {"group": channels, "strides": [stride, stride]}
        return torch.onnx.ops.symbolic(SYMBOL, (x, dilation, weight), attributes, dtype=x.dtype, shape=shape, version=1)
    return gathered_square(x, dilation.round().clamp(0, LARGEST_DILATION), weight, stride)
