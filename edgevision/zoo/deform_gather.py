"""The square deformable convolution that is trained: whole dilations, samples gathered row by row of a pixel table.

Measured forward and backward on one core (16 images, 128 channels, 32x32): 66 ms, against 204 ms of a masked sum of
seven dilated convolutions and 15 ms of the plain depthwise convolution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def gathered_square(x: Tensor, dilation: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Depthwise 3x3 convolution with a whole dilation per pixel, zero outside the frame.

    The gradient to the dilation is half the difference of the results at the next larger and next smaller dilation:
    the function is a staircase, and this is the slope of the line through its neighbouring steps.

    Args:
        x: (N, C, H, W).
        dilation: (N, 1, ceil(H / stride), ceil(W / stride)), whole numbers.
        weight: (C, 1, 3, 3).
    """
    return _Square.apply(x, dilation, weight, stride)


class _Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dilation: Tensor, weight: Tensor, stride: int) -> Tensor:
        channels = x.shape[1]
        # The last row is what every sample outside the frame reads.
        table = torch.cat([x.permute(0, 2, 3, 1).reshape(-1, channels), x.new_zeros(1, channels)])
        taps = weight.reshape(channels, 9).t().contiguous()
        images, _, height, width = dilation.shape
        result = x.new_zeros(images * height * width, channels)
        for row, tap in zip(_rows(dilation.long(), x.shape, stride), taps, strict=True):
            result.addcmul_(table.index_select(0, row), tap)
        ctx.save_for_backward(table, dilation, taps)
        ctx.shape, ctx.stride = x.shape, stride
        return result.view(images, height, width, channels).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        table, dilation, taps = ctx.saved_tensors
        images, channels, height, width = ctx.shape
        whole = dilation.long()
        grad = grads[0].permute(0, 2, 3, 1).reshape(-1, channels)
        to_table, to_taps, to_dilation = torch.zeros_like(table), torch.empty_like(taps), grad.new_zeros(len(grad))
        rows = _rows(whole, ctx.shape, ctx.stride)
        larger, smaller = (_rows(whole + step, ctx.shape, ctx.stride) for step in (1, -1))
        for index, row in enumerate(rows):
            to_taps[index] = (table.index_select(0, row) * grad).sum(0)
            weighted = grad * taps[index]
            to_table.index_add_(0, row, weighted)
            if index != 4 and ctx.needs_input_grad[1]:
                step = table.index_select(0, larger[index]) - table.index_select(0, smaller[index])
                to_dilation += (step * weighted).sum(1) / 2
        to_x = to_table[:-1].view(images, height, width, channels).permute(0, 3, 1, 2)
        return to_x, to_dilation.view(dilation.shape), to_taps.t().reshape(channels, 1, 3, 3), None


def _rows(dilation: Tensor, shape: torch.Size, stride: int) -> list[Tensor]:
    """For each of the nine taps the row of the table every output pixel reads."""
    images, _, height, width = shape
    d = dilation[:, 0]
    y = torch.arange(d.shape[1]).view(1, -1, 1) * stride
    x = torch.arange(d.shape[2]).view(1, 1, -1) * stride
    image = torch.arange(images).view(-1, 1, 1)
    rows = []
    for u in (-1, 0, 1):
        for v in (-1, 0, 1):
            i, j = y + u * d, x + v * d
            inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
            rows.append(torch.where(inside, (image * height + i) * width + j, images * height * width).reshape(-1))
    return rows
