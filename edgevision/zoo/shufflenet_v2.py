"""The stages of ShuffleNetV2 (arXiv 1807.11164), in torchvision's state_dict layout: a backbone without classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Unit(nn.Module):
    """Half of the channels pass, half go through 1x1, depthwise 3x3, 1x1; with stride 2 both halves are computed."""

    def __init__(self, in_dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        dim = out_dim // 2
        self.stride = stride
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(*_depthwise(in_dim, stride), *_pointwise(in_dim, dim))
        entering = in_dim if stride > 1 else dim
        self.branch2 = nn.Sequential(*_pointwise(entering, dim), *_depthwise(dim, stride), *_pointwise(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H/stride, W/stride), channels shuffled in two groups."""
        passed, worked = x.chunk(2, dim=1) if self.stride == 1 else (self.branch1(x), x)
        y = torch.cat([passed, self.branch2(worked)], dim=1)
        n, channels, height, width = y.shape
        return y.view(n, 2, channels // 2, height, width).transpose(1, 2).reshape(n, channels, height, width)


class ShuffleNetV2(nn.Module):
    """Image to features at 1/32, (N, last, H/32, W/32).

    Args:
        dims: channels of the stem, of the three stages and of the last 1x1.
        pooled: a stem of stride 2 and a max pooling, as published; else a stem of stride 4.
    """

    def __init__(self, dims: tuple[int, int, int, int, int], *, pooled: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, dims[0], 3, stride=2 if pooled else 4, padding=1, bias=False),
            nn.BatchNorm2d(dims[0]),
            nn.ReLU(),
        )
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if pooled else nn.Identity()
        stages = []
        for index, repeats in enumerate((4, 8, 4)):
            units = [Unit(dims[index], dims[index + 1], 2)]
            units += [Unit(dims[index + 1], dims[index + 1], 1) for _ in range(repeats - 1)]
            stages.append(nn.Sequential(*units))
        self.stage2, self.stage3, self.stage4 = stages
        self.conv5 = nn.Sequential(*_pointwise(dims[3], dims[4]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W), H and W multiples of 32, to (N, last, H/32, W/32)."""
        return self.conv5(self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x))))))


def _pointwise(in_dim: int, out_dim: int) -> list[nn.Module]:
    return [nn.Conv2d(in_dim, out_dim, 1, bias=False), nn.BatchNorm2d(out_dim), nn.ReLU()]


def _depthwise(dim: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(dim, dim, 3, stride=stride, padding=1, groups=dim, bias=False), nn.BatchNorm2d(dim)]
