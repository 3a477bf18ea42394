"""Deformable 3x3 convolutions of CoDeNet (arXiv 2006.08357): original, bound and square; full or depthwise.

    y[n, o, p] = sum over taps k, channels c of w[o, c, k] x[n, c, stride p + k + offset_k(p)]

Bilinear between pixels, zero outside the frame, no modulation, no bias. "original" predicts a free offset for every tap
(18 values per pixel), "bound" clamps each to -7..7, "square" predicts one dilation d per pixel, offset_k = (d - 1) k,
clamped to 1..7. Predictors start as the ordinary convolution: weight 0, and bias 1 where they give a dilation.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgevision.zoo.deform_gather import gathered_square
from edgevision.zoo.square import LARGEST_DILATION, square_deform_conv

Variant = Literal["original", "bound", "square"]
Order = Literal["deform_first", "pointwise_first"]


class DeformConv2d(nn.Module):
    """A 3x3 convolution whose taps move with the image.

    Args:
        in_dim, out_dim: channels; equal when depthwise.
        variant: see the module.
        depthwise: one filter per channel.
        rounded: offsets are whole; the rounding passes gradients straight through.
        stride: of the output grid.
        limits: smallest and largest dilation of "square".
        predictor_kernel: side of the convolution that predicts; 1 in the publication, 3 in some of its code.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        variant: Variant = "square",
        depthwise: bool = True,
        rounded: bool = True,
        *,
        stride: int = 1,
        limits: tuple[float, float] = (1, LARGEST_DILATION),
        predictor_kernel: Literal[1, 3] = 1,
    ) -> None:
        super().__init__()
        if depthwise and in_dim != out_dim:
            raise ValueError(f"a depthwise convolution keeps its channels, got {in_dim} and {out_dim}")
        self.variant, self.depthwise, self.rounded = variant, depthwise, rounded
        self.stride, self.limits = stride, limits
        self.weight = nn.Parameter(torch.empty(out_dim, 1 if depthwise else in_dim, 3, 3))
        nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="relu")
        values = 1 if variant == "square" else 18
        self.predictor = nn.Conv2d(in_dim, values, predictor_kernel, stride=stride, padding=predictor_kernel // 2)
        nn.init.zeros_(self.predictor.weight)
        nn.init.constant_(_bias(self.predictor), 1.0 if variant == "square" else 0.0)

    @property
    def deployable(self) -> bool:
        """Whether this is what the operator `edgevision::SquareDeformConv` computes, limits aside."""
        return self.variant == "square" and self.depthwise and self.rounded

    @property
    def limits_fit(self) -> bool:
        """Whether every dilation within the limits is one that can be deployed."""
        return 0 <= min(self.limits) <= max(self.limits) <= LARGEST_DILATION

    def dilation(self, x: Tensor) -> Tensor:
        """The map of dilations of "square", (N, 1, H', W')."""
        d = self.predictor(x).clamp(*self.limits)
        return straight_through_round(d) if self.rounded else d

    def offsets(self, x: Tensor) -> Tensor:
        """Offsets (N, 18, H', W') in (y, x) pairs, taps row by row: those of ONNX DeformConv."""
        if self.variant == "square":
            return (self.dilation(x) - 1) * _grid(x).reshape(1, 18, 1, 1)
        offsets = self.predictor(x)
        if self.variant == "bound":
            offsets = offsets.clamp(-LARGEST_DILATION, LARGEST_DILATION)
        return straight_through_round(offsets) if self.rounded else offsets

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride))."""
        if self.deployable and torch.onnx.is_in_onnx_export():
            # The operator rounds by itself.
            return square_deform_conv(x, self.predictor(x).clamp(*self.limits), self.weight, self.stride)
        if self.deployable:
            return gathered_square(x, self.dilation(x), self.weight, self.stride)
        return deform_conv(x, self.offsets(x), self.weight, self.stride)


def deform_conv(x: Tensor, offsets: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Deformable 3x3 convolution with padding 1; depthwise where `weight` is (C, 1, 3, 3) and C is that of `x`.

    Args:
        x: (N, C, H, W).
        offsets: (N, 18, H', W') as in ONNX DeformConv.
        weight: (C', C, 3, 3) or (C, 1, 3, 3).
    """
    images, channels, height, width = x.shape
    _, _, rows, columns = offsets.shape
    base = torch.stack(
        torch.meshgrid(torch.arange(rows) * stride, torch.arange(columns) * stride, indexing="ij"), dim=-1
    ).to(x)
    moved = offsets.reshape(images, 9, 2, rows, columns).permute(0, 1, 3, 4, 2)
    places = moved + base + _grid(x).view(1, 9, 1, 1, 2)
    # grid_sample counts (x, y) from -1 to 1 over the outer edges of the image.
    shares = (2 * places.flip(-1) + 1) / x.new_tensor([width, height]) - 1
    taken = F.grid_sample(x, shares.flatten(1, 2), mode="bilinear", padding_mode="zeros", align_corners=False)
    taken = taken.view(images, channels, 9, rows, columns)
    if weight.shape[1] == 1 and weight.shape[0] == channels:
        return torch.einsum("nckhw,ck->nchw", taken, weight.flatten(1))
    return torch.einsum("nckhw,ock->nohw", taken, weight.flatten(2))


def straight_through_round(x: Tensor) -> Tensor:
    """`x` rounded, ties to even; the gradient passes as if it were not."""
    return x + (x.round() - x).detach()


def separable(in_dim: int, out_dim: int, conv: str = "square", order: Order = "deform_first") -> nn.Sequential:
    """A depthwise layer and a 1x1 layer; CoDeNet's trained code has the deformable first, its ablation the 1x1.

    Args:
        conv: a variant of `DeformConv2d` (rounded), or "plain" for the ordinary depthwise 3x3.
        order: which of the two comes first; it decides the channels of the depthwise layer.
    """
    dim = in_dim if order == "deform_first" else out_dim
    spatial: nn.Module = (
        nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False) if conv == "plain" else DeformConv2d(dim, dim, conv)  # type: ignore[arg-type]
    )
    pointwise = nn.Conv2d(in_dim, out_dim, 1, bias=False)
    return nn.Sequential(*((spatial, pointwise) if order == "deform_first" else (pointwise, spatial)))


def _grid(x: Tensor) -> Tensor:
    return x.new_tensor([[u, v] for u in (-1, 0, 1) for v in (-1, 0, 1)])


def _bias(layer: nn.Conv2d) -> Tensor:
    if layer.bias is None:
        raise TypeError("the predictor has a bias")
    return layer.bias
