"""ResNet (arXiv 1512.03385), in torchvision's state_dict layout: a bottleneck has its stride on the 3x3 convolution."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from edgevision.data.preprocess import Preprocessing
from edgevision.zoo.family import Family, Wanted


@dataclass(frozen=True)
class Variant:
    """Blocks of the four stages, and whether they are bottlenecks of 1x1, 3x3, 1x1."""

    depths: tuple[int, int, int, int]
    bottleneck: bool


VARIANTS = {"resnet18": Variant((2, 2, 2, 2), False), "resnet50": Variant((3, 4, 6, 3), True)}
#: The stem divides by 4 and three stages by 2 each.
STRIDE = 32


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is projected where the shape changes."""

    expansion = 1

    def __init__(self, in_dim: int, dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_dim, dim, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)
        self.downsample = _projection(in_dim, dim, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H/stride, W/stride)."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1 to `dim`, 3x3 with the stride, 1x1 to four times `dim`, beside a shortcut."""

    expansion = 4

    def __init__(self, in_dim: int, dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_dim, dim, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)
        self.conv3 = nn.Conv2d(dim, 4 * dim, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * dim)
        self.relu = nn.ReLU()
        self.downsample = _projection(in_dim, 4 * dim, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H/stride, W/stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _projection(in_dim: int, out_dim: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_dim == out_dim:
        return None
    return nn.Sequential(nn.Conv2d(in_dim, out_dim, 1, stride=stride, bias=False), nn.BatchNorm2d(out_dim))


class ResNet(nn.Module):
    """A ResNet classifier.

    >>> sum(p.numel() for p in ResNet(VARIANTS["resnet18"]).parameters())
    11689512
    """

    def __init__(self, variant: Variant, *, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        kind = Bottleneck if variant.bottleneck else BasicBlock
        dim, stages = 64, []
        for stage, depth in enumerate(variant.depths):
            blocks: list[nn.Module] = []
            for index in range(depth):
                blocks.append(kind(dim, 64 << stage, 2 if stage and not index else 1))
                dim = (64 << stage) * kind.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(dim, classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W), H and W multiples of 32, to logits (N, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def build(wanted: Wanted) -> ResNet:
    """Build the variant `wanted` names."""
    return ResNet(VARIANTS[wanted.name], classes=wanted.classes)


FAMILY = Family(
    names=tuple(VARIANTS),
    preprocessing=Preprocessing(height=224, width=224, resize_short=256),
    stride=STRIDE,
    heads=("fc",),
    build=build,
)
