"""DeiT: data-efficient image transformers (arXiv 2012.12877), in the state_dict layout of the official release.

Plain ViT with 16x16 patches and a class token. The distilled networks have a second token and a second head, whose
outputs are averaged at inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgevision.data.preprocess import Preprocessing
from edgevision.zoo.attention import Attention, Mlp, drawn_parameter, initialise
from edgevision.zoo.family import Family, Wanted


@dataclass(frozen=True)
class Variant:
    """Channels and heads; all variants have twelve blocks."""

    dim: int
    heads: int


VARIANTS = {"deit_tiny": Variant(192, 3), "deit_small": Variant(384, 6), "deit_base": Variant(768, 12)}
DEPTH = 12
PATCH = 16


class PatchEmbed(nn.Module):
    """One linear map per 16x16 patch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, stride=PATCH)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, H/16 * W/16, dim)."""
        return self.proj(x).flatten(2).transpose(1, 2)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, dim: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, tokens)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, dim) to the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class DeiT(nn.Module):
    """A DeiT classifier for images of one size.

    Args:
        variant: channels and heads.
        size: height and width in pixels, multiples of 16.
        classes: outputs of the head.
        distilled: with the distillation token and its head; the pair of logits is returned in training, their mean in
            evaluation.

    >>> sum(p.numel() for p in DeiT(VARIANTS["deit_tiny"]).parameters())
    5717416
    """

    def __init__(
        self, variant: Variant, *, size: tuple[int, int] = (224, 224), classes: int = 1000, distilled: bool = False
    ) -> None:
        super().__init__()
        dim = variant.dim
        self.grid = (size[0] // PATCH, size[1] // PATCH)
        self.extra = 2 if distilled else 1
        tokens = self.grid[0] * self.grid[1] + self.extra
        self.cls_token = drawn_parameter(1, 1, dim)
        self.dist_token = drawn_parameter(1, 1, dim) if distilled else None
        self.pos_embed = drawn_parameter(1, tokens, dim)
        self.patch_embed = PatchEmbed(dim)
        self.blocks = nn.ModuleList(Block(dim, variant.heads, tokens) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)
        self.head_dist = nn.Linear(dim, classes) if distilled else None
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(N, 3, H, W) of the size it was built for, to logits (N, classes); a pair when training with two heads."""
        patches = self.patch_embed(x)
        given = [token for token in (self.cls_token, self.dist_token) if token is not None]
        tokens = [token.expand(patches.shape[0], -1, -1) for token in given]
        x = torch.cat([*tokens, patches], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        # Only the tokens the heads read are normalised.
        logits = self.head(self.norm(x[:, :1]).flatten(1))
        if self.head_dist is None:
            return logits
        distilled = self.head_dist(self.norm(x[:, 1:2]).flatten(1))
        if self.training:
            return logits, distilled
        return (logits + distilled) / 2


def build(wanted: Wanted) -> DeiT:
    """Build the variant `wanted` names."""
    return DeiT(VARIANTS[wanted.name], size=wanted.size, classes=wanted.classes, distilled=wanted.second_head)


def at_size(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return `state` with its positions resized to the image size of `module`, as for fine-tuning (section 6.1).

    The positions of the patches are a square image of `dim` channels, resized bicubically; those of the tokens stay.
    A state whose positions are no square is returned as it is, for the loader to refuse.
    """
    state = dict(state)
    positions = state.get("pos_embed")
    if not isinstance(module, DeiT) or positions is None or positions.ndim != 3:
        return state
    extra, wanted = module.extra, module.pos_embed.shape[1]
    side = round(max(0, positions.shape[1] - extra) ** 0.5)
    if positions.shape[1] == wanted or side == 0 or side * side + extra != positions.shape[1]:
        return state
    image = positions[:, extra:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(image, size=module.grid, mode="bicubic", align_corners=False)
    state["pos_embed"] = torch.cat([positions[:, :extra].float(), resized.flatten(2).transpose(1, 2)], dim=1)
    return state


FAMILY = Family(
    names=tuple(VARIANTS),
    preprocessing=Preprocessing(height=224, width=224, resize_short=256, interpolation="bicubic"),
    stride=PATCH,
    heads=("head", "head_dist"),
    build=build,
    adapt=at_size,
)
