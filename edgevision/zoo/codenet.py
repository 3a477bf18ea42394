"""CoDeNet (arXiv 2006.08357): a detector of centres on ShuffleNetV2 with square deformable convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from edgevision.data.preprocess import Preprocessing
from edgevision.zoo.deform import DeformConv2d, Order, separable
from edgevision.zoo.family import Family, Wanted
from edgevision.zoo.shufflenet_v2 import ShuffleNetV2

#: From pixels to the grid of the heads, and the multiple that image sides must be.
GRID, STRIDE = 4, 32
_DECODER = (256, 128, 64)
_VOC_CLASSES = 20
#: Prior of a centre of 0.1: -log((1 - 0.1) / 0.1), so that the first steps are not spent on empty places.
_PRIOR = -2.19
# The width of the last layer at x2 is that of the released training code, which the published size has.
_X1, _X2 = (24, 116, 232, 464, 1024), (24, 244, 488, 976, 2153)


@dataclass(frozen=True)
class Variant:
    """Published image side, channels of the backbone, and whether its stem pools."""

    side: int
    dims: tuple[int, int, int, int, int]
    pooled: bool


VARIANTS = {
    "codenet_a": Variant(256, _X1, False),
    "codenet_b": Variant(256, _X1, True),
    "codenet_c": Variant(512, _X1, False),
    "codenet_d": Variant(512, _X2, False),
    "codenet_e": Variant(512, _X2, True),
}


class CoDeNet(nn.Module):
    """Image to maps at a quarter of its side.

    Args:
        variant: one of `VARIANTS`.
        classes: of objects.
        conv: of the decoder: "square", "bound", "original", or "plain" for the ordinary depthwise 3x3.
        order: whether the spatial or the 1x1 convolution of a decoder block comes first.

    >>> sum(p.numel() for p in CoDeNet(VARIANTS["codenet_a"], classes=20).parameters())
    1588031
    """

    def __init__(self, variant: Variant, *, classes: int, conv: str = "square", order: Order = "deform_first") -> None:
        super().__init__()
        self.backbone = ShuffleNetV2(variant.dims, pooled=variant.pooled)
        dims = (variant.dims[-1], *_DECODER)
        self.decoder = nn.Sequential(
            *(
                nn.Sequential(separable(before, after, conv, order), nn.BatchNorm2d(after), nn.ReLU(), _Twice())
                for before, after in pairwise(dims)
            )
        )
        self.hm, self.wh, self.reg = (_head(_DECODER[-1], outputs) for outputs in (classes, 2, 2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in")
        nn.init.constant_(self.hm[-1].bias, _PRIOR)  # type: ignore[arg-type]

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of centres (N, classes, H/4, W/4), width and height in cells (N, 2, ...), offset of the centre."""
        x = self.decoder(self.backbone(x))
        return self.hm(x), self.wh(x), self.reg(x)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W), H and W multiples of 32, to the three maps one after another, (N, classes + 4, H/4, W/4)."""
        return torch.cat(self.maps(x), dim=1)


class _Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _head(dim: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim), nn.ReLU(),
        nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False), nn.BatchNorm2d(dim), nn.ReLU(),
        nn.Conv2d(dim, outputs, 1),
    )  # fmt: skip


def count_macs(module: CoDeNet, side: int) -> int:
    """Multiply-accumulates of all convolutions for one square image; a deformable one counts as its ordinary form."""
    total = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, (nn.Conv2d, DeformConv2d)):
            total += output[0].numel() * layer.weight[0].numel()

    handles = [layer.register_forward_hook(count) for layer in module.modules()]
    try:
        with torch.inference_mode():
            module(torch.zeros(1, 3, side, side))
    finally:
        for handle in handles:
            handle.remove()
    return total


def build(wanted: Wanted) -> CoDeNet:
    """Build the variant `wanted` names; with `_plain` after it, ordinary depthwise convolutions in the decoder."""
    name = wanted.name.removesuffix("_plain")
    return CoDeNet(VARIANTS[name], classes=wanted.classes, conv="square" if name == wanted.name else "plain")


def _family(side: int) -> Family:
    own = [name for name, variant in VARIANTS.items() if variant.side == side]
    return Family(
        names=(*own, *(f"{name}_plain" for name in own)),
        preprocessing=Preprocessing(height=side, width=side),
        stride=STRIDE,
        heads=("hm.6",),
        build=build,
        aliases=(("codenet", "codenet_a"),) if side == 256 else (),
        metric="AP50",
        classes=_VOC_CLASSES,
    )


FAMILIES = (_family(256), _family(512))
