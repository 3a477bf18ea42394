"""CAS-ViT: convolutional additive self-attention (arXiv 2408.03703), in the state_dict layout of the official release.

Every token mixer is built of convolutions and gates: q and k are gated in space and then over channels, added, mixed by
a depthwise convolution and multiplied with v. No softmax, no token-by-token matrix; cost is linear in H x W.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from edgevision.data.preprocess import Preprocessing
from edgevision.zoo.family import Family, Wanted


@dataclass(frozen=True)
class Variant:
    """Blocks and channels of the four stages."""

    depths: tuple[int, int, int, int]
    dims: tuple[int, int, int, int]


VARIANTS = {
    "cas_vit_xs": Variant((2, 2, 4, 2), (48, 56, 112, 220)),
    "cas_vit_s": Variant((3, 3, 6, 3), (48, 64, 128, 256)),
    "cas_vit_m": Variant((3, 3, 6, 3), (64, 96, 192, 384)),
    "cas_vit_t": Variant((3, 3, 6, 3), (96, 128, 256, 512)),
}
#: Height and width must be multiples of this: the stem divides by 4 and each of three embeddings by 2.
STRIDE = 32


class DropPath(nn.Module):
    """Drop the whole residual branch of a sample with probability `rate` while training; identity otherwise."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Scale what is kept by 1 / (1 - rate), so that the expected value stays."""
        if not self.training or self.rate == 0.0:
            return x
        kept = 1.0 - self.rate
        return x * (x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(kept) / kept)


class SpatialOperation(nn.Module):
    """z * sigmoid(Conv1x1[C->1](ReLU(BN(DWConv3x3(z))))): one gate per position."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim),
            nn.BatchNorm2d(dim),
            nn.ReLU(),
            nn.Conv2d(dim, 1, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x * self.block(x)


class ChannelOperation(nn.Module):
    """z * sigmoid(Conv1x1[C->C](global mean of z)): one gate per channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(dim, dim, 1, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x * self.block(x)


class AdditiveTokenMixer(nn.Module):
    """proj(dwc(Phi(q) + Phi(k)) * v), with Phi a spatial then a channel gate; q and k have their own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.oper_q = nn.Sequential(SpatialOperation(dim), ChannelOperation(dim))
        self.oper_k = nn.Sequential(SpatialOperation(dim), ChannelOperation(dim))
        self.dwc = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.proj = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        q, k, v = self.qkv(x).chunk(3, dim=1)
        return self.proj(self.dwc(self.oper_q(q) + self.oper_k(k)) * v)


class LocalIntegration(nn.Module):
    """1x1, BN, depthwise 3x3, GELU, 1x1: what the block adds before it mixes tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(dim, dim, 1),
            nn.BatchNorm2d(dim),
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim),
            nn.GELU(),
            nn.Conv2d(dim, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return self.network(x)


class Mlp(nn.Module):
    """1x1 to four times the channels, GELU, 1x1 back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, 4 * dim, 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(4 * dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Three residual branches: local integration, token mixer, MLP; drop path on the last two."""

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.local_perception = LocalIntegration(dim)
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = AdditiveTokenMixer(dim)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        x = x + self.local_perception(x)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Embedding(nn.Module):
    """Conv3x3 with stride 2 and BN between two stages."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_dim, out_dim, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H/2, W/2)."""
        return self.norm(self.proj(x))


class CasViT(nn.Module):
    """A CAS-ViT classifier.

    Args:
        variant: depths and channels.
        classes: outputs of the head.
        distillation_head: a second head; the pair is returned in training, their mean in evaluation.
        drop_path: rate of the last block; it grows linearly from 0 at the first.

    >>> network = CasViT(VARIANTS["cas_vit_xs"])
    >>> sum(p.numel() for p in network.parameters()), len(network.state_dict())
    (2979700, 522)
    """

    def __init__(
        self, variant: Variant, *, classes: int = 1000, distillation_head: bool = False, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        stem = variant.dims[0]
        self.patch_embed = nn.Sequential(
            nn.Conv2d(3, stem // 2, 3, stride=2, padding=1),
            nn.BatchNorm2d(stem // 2),
            nn.ReLU(),
            nn.Conv2d(stem // 2, stem, 3, stride=2, padding=1),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
        )
        self.network = nn.ModuleList()
        for stage, (depth, dim) in enumerate(zip(variant.depths, variant.dims, strict=True)):
            if stage:
                self.network.append(Embedding(variant.dims[stage - 1], dim))
            self.network.append(nn.Sequential(*(Block(dim, 0.0) for _ in range(depth))))
        self.norm = nn.BatchNorm2d(variant.dims[-1])
        self.head = nn.Linear(variant.dims[-1], classes)
        self.dist_head = nn.Linear(variant.dims[-1], classes) if distillation_head else None
        self.apply(_initialise)
        set_drop_path(self, drop_path)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(N, 3, H, W), H and W multiples of 32, to logits (N, classes); a pair when training with two heads."""
        x = self.patch_embed(x)
        for stage in self.network:
            x = stage(x)
        x = self.norm(x).mean((2, 3))
        if self.dist_head is None:
            return self.head(x)
        if self.training:
            return self.head(x), self.dist_head(x)
        return (self.head(x) + self.dist_head(x)) / 2


def set_drop_path(module: nn.Module, rate: float) -> None:
    """Set the drop rates of all blocks, linear from 0 to `rate` at the last; no effect on other networks."""
    blocks = list(_drop_paths(module))
    for index, block in enumerate(blocks):
        block.rate = rate * index / max(1, len(blocks) - 1)


def _drop_paths(module: nn.Module) -> Iterator[DropPath]:
    return (child for child in module.modules() if isinstance(child, DropPath))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def build(wanted: Wanted) -> CasViT:
    """Build the variant `wanted` names."""
    return CasViT(VARIANTS[wanted.name], classes=wanted.classes, distillation_head=wanted.second_head)


FAMILY = Family(
    names=tuple(VARIANTS),
    preprocessing=Preprocessing(height=224, width=224, resize_short=256, interpolation="bicubic"),
    stride=STRIDE,
    heads=("head", "dist_head"),
    build=build,
    aliases=(("cas_vit", "cas_vit_xs"),),
)
