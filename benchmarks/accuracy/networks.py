"""Small networks for images of 32x32 and 16x16: the blocks of the zoo's DeiT and Swin, and CAS-ViT XS itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgevision.data.preprocess import Preprocessing
from edgevision.zoo import cas_vit, deit, swin
from edgevision.zoo.attention import drawn_parameter, initialise
from edgevision.zoo.model import InputSpec, Model, Provenance

#: Name, side of the images and learning rate of the float network.
NETWORKS = {"vit": (32, 1e-3), "swin": (32, 1e-3), "cas_vit": (32, 2e-3), "vit_16": (16, 2e-3)}


class SmallDeiT(deit.DeiT):
    """DeiT with patches of 4 pixels."""

    def __init__(self, side: int, classes: int, dim: int, heads: int, depth: int) -> None:
        super().__init__(deit.Variant(dim, heads), size=(16, 16), classes=classes)
        tokens = (side // 4) ** 2 + 1
        self.pos_embed = drawn_parameter(1, tokens, dim)
        self.patch_embed.proj = nn.Conv2d(3, dim, 4, stride=4)
        self.blocks = nn.ModuleList(deit.Block(dim, heads, tokens) for _ in range(depth))
        self.apply(initialise)


class SmallSwin(nn.Module):
    """Patches of 2 pixels and two stages of windows of 4x4 tokens, the second of four blocks."""

    def __init__(self, side: int, classes: int, dim: int = 96) -> None:
        super().__init__()
        grid = (side // 2, side // 2)
        self.patch_embed = swin.PatchEmbed(dim)
        self.patch_embed.proj = nn.Conv2d(3, dim, 2, stride=2)
        self.layers = nn.Sequential(
            swin.Stage(dim, 2, 3, grid, 4, last=False),
            swin.Stage(2 * dim, 4, 6, (grid[0] // 2, grid[1] // 2), 4, last=True),
        )
        self.norm = nn.LayerNorm(2 * dim)
        self.head = nn.Linear(2 * dim, classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, side, side) to logits (N, classes)."""
        return self.head(self.norm(self.layers(self.patch_embed(x))).mean((1, 2)))


def build(name: str, classes: tuple[str, ...], seed: int, preprocessing: Preprocessing) -> Model:
    """A network of `NETWORKS` with weights drawn from `seed`."""
    side, count = NETWORKS[name][0], len(classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module
        if name == "vit":
            module = SmallDeiT(side, count, 128, 4, 6)
        elif name == "vit_16":
            module = SmallDeiT(side, count, 64, 2, 3)
        elif name == "swin":
            module = SmallSwin(side, count)
        else:
            module = cas_vit.CasViT(cas_vit.VARIANTS["cas_vit_xs"], classes=count)
            # At 32 pixels the stem of the paper leaves 8x8 places to begin with.
            module.patch_embed[0].stride = (1, 1)
    shape = (1, 3, side, side)
    return Model(
        f"{'cas_vit' if name == 'cas_vit' else 'deit'}_{name}", InputSpec("input", shape), preprocessing,
        Provenance("random", detail={"seed": seed}), classes, module.eval(), metric="top-1",
    )  # fmt: skip
