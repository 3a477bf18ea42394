"""ConvNeXt (arXiv 2201.03545), in the state_dict layout of the official release.

Depthwise 7x7, layer norm over channels, two linear layers with GELU between, and a learnt scale per channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from edgevision.data.preprocess import Preprocessing
from edgevision.zoo.attention import initialise
from edgevision.zoo.family import Family, Wanted


@dataclass(frozen=True)
class Variant:
    """Blocks and channels of the four stages."""

    depths: tuple[int, int, int, int]
    dims: tuple[int, int, int, int]


VARIANTS = {"convnext_tiny": Variant((3, 3, 9, 3), (96, 192, 384, 768))}
#: The stem divides by 4 and each of three downsamplings by 2.
STRIDE = 32
#: What the scale of a block's branch starts at.
INITIAL_SCALE = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W), at each position."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """x + gamma * pwconv2(GELU(pwconv1(norm(dwconv(x))))), the linear layers on channels last."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), INITIAL_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """A ConvNeXt classifier.

    >>> sum(p.numel() for p in ConvNeXt(VARIANTS["convnext_tiny"]).parameters())
    28589128
    """

    def __init__(self, variant: Variant, *, classes: int = 1000) -> None:
        super().__init__()
        dims = variant.dims
        self.downsample_layers = nn.ModuleList(
            nn.Sequential(ChannelNorm(before), nn.Conv2d(before, after, 2, stride=2))
            for before, after in pairwise(dims)
        )
        self.downsample_layers.insert(0, nn.Sequential(nn.Conv2d(3, dims[0], 4, stride=4), ChannelNorm(dims[0])))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(dim) for _ in range(depth))) for depth, dim in zip(variant.depths, dims, strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.head = nn.Linear(dims[-1], classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W), H and W multiples of 32, to logits (N, classes)."""
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        return self.head(self.norm(x.mean((2, 3))))


def build(wanted: Wanted) -> ConvNeXt:
    """Build the variant `wanted` names."""
    return ConvNeXt(VARIANTS[wanted.name], classes=wanted.classes)


FAMILY = Family(
    names=tuple(VARIANTS),
    preprocessing=Preprocessing(height=224, width=224, resize_short=256, interpolation="bicubic"),
    stride=STRIDE,
    heads=("head",),
    build=build,
)
