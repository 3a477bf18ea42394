"""Layers of one-bit weights for training, whose export is the ONNX functions of `graph.binary`.

Weights are centred per output channel and signed; a scale per output channel multiplies their sums. It is a parameter
(Parameterized Weight Scales of BiViT, arXiv 2211.07091), set from the weights a layer is made of, so that it is there
before the optimiser and in every checkpoint; or, for the baseline, the mean magnitude of the weights, without gradient.
A scale may become negative and is exported as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgevision.compress.signs import sign

if TYPE_CHECKING:
    from typing_extensions import Self

DOMAIN = "edgevision"


class BinaryLayer(nn.Module):
    """What linear layers and pointwise convolutions of one-bit weights share.

    Args:
        weight: (N, K, ...) of the float layer, copied.
        bias: (N), copied; None for a layer without.
        learned: whether the scale is a parameter.
    """

    #: Name of the ONNX function.
    operator = ""
    #: Whether activations are signed too.
    signed = True
    packed: Tensor
    row_scale: Tensor
    row_bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, learned: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.scale = nn.Parameter(self._magnitude()) if learned else None
        # What is exported: made anew by every `eval`, and in no checkpoint.
        self.register_buffer("packed", torch.empty(0, dtype=torch.uint8), persistent=False)
        self.register_buffer("row_scale", torch.empty(0), persistent=False)
        self.register_buffer("row_bias", torch.empty(0), persistent=False)
        self._pack()

    @classmethod
    def of(cls, layer: nn.Linear | nn.Conv2d, *, learned: bool = True) -> Self:
        """Binarise a float layer; its weights must be loaded already."""
        return cls(layer.weight, layer.bias, learned=learned)

    def _magnitude(self) -> Tensor:
        """(N): mean magnitude of each output channel, of the weights before they are centred."""
        return self.weight.detach().flatten(1).abs().mean(1)

    def channel_scale(self) -> Tensor:
        """(N): what multiplies the sums of each output channel."""
        return self._magnitude() if self.scale is None else self.scale

    def signs(self) -> Tensor:
        """(N, K): the centred weights' signs, with the clipped gradient to the centred weights."""
        flat = self.weight.flatten(1)
        return sign(flat - flat.mean(1, keepdim=True))

    @torch.no_grad()
    def follow_by(self, scale: Tensor, shift: Tensor) -> None:
        """Make the layer compute scale[n] * y[n] + shift[n] of what it computed; float64 (N)."""
        bias = shift if self.bias is None else self.bias.double() * scale + shift
        self.scale = nn.Parameter((self.channel_scale().double() * scale).float(), requires_grad=False)
        self.bias = nn.Parameter(bias.float(), requires_grad=False)
        self._pack()

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`; leaving training packs the bits."""
        if not mode:
            self._pack()
        return super().train(mode)

    @torch.no_grad()
    def _pack(self) -> None:
        """Bit i of byte j of a row is element 8 j + i."""
        bits = np.packbits(self.signs().numpy() > 0, axis=1, bitorder="little")
        self.packed = torch.from_numpy(bits)
        self.row_scale = self.channel_scale().detach().clone()
        self.row_bias = torch.zeros_like(self.row_scale) if self.bias is None else self.bias.detach().clone()

    def _exported(self, x: Tensor, shape: list[int | torch.SymInt]) -> Tensor:
        depth = self.weight[0].numel()
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::{self.operator}", (x, self.packed, self.row_scale, self.row_bias), {"K": depth},
            dtype=x.dtype, shape=shape, version=1,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Shape and kinds."""
        outputs, *others = self.weight.shape
        return f"{others[0]}, {outputs}, bias={self.bias is not None}, learned scale={self.scale is not None}"


class BinaryLinear(BinaryLayer):
    """scale[n] * sum over k of sign(x)[..., k] sign(w - mean(w))[n, k] + bias[n]."""

    operator = "BinaryLinear"

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) to (..., N)."""
        if torch.onnx.is_in_onnx_export():
            return self._exported(x, [*x.shape[:-1], self.weight.shape[0]])
        sums = F.linear(sign(x) if self.signed else x, self.signs()) * self.channel_scale()
        return sums if self.bias is None else sums + self.bias


class BinaryWeightLinear(BinaryLinear):
    """`BinaryLinear` of activations as they are: 1-bit weights, 32-bit activations."""

    operator, signed = "BinaryWeightLinear", False


class BinaryConv2d(BinaryLayer):
    """`BinaryLinear` along the channels of images: a pointwise convolution, weight (N, K, 1, 1)."""

    operator = "BinaryConv"

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) to (B, N, H, W)."""
        if torch.onnx.is_in_onnx_export():
            return self._exported(x, [x.shape[0], self.weight.shape[0], *x.shape[2:]])
        sums = F.conv2d(sign(x) if self.signed else x, self.signs()[:, :, None, None])
        sums = sums * self.channel_scale()[:, None, None]
        return sums if self.bias is None else sums + self.bias[:, None, None]


class BinaryWeightConv2d(BinaryConv2d):
    """`BinaryConv2d` of activations as they are."""

    operator, signed = "BinaryWeightConv", False
