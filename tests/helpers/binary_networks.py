"""Networks of the zoo's kinds, small enough to train in a test."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgevision.zoo import cas_vit, deit, swin
from edgevision.zoo.model import InputSpec, Model, Provenance

from .networks import PREPROCESSING, SIZE


class SmallDeiT(deit.DeiT):
    """Patches of 4 pixels, two blocks."""

    def __init__(self, dim: int = 24, heads: int = 2, depth: int = 2, size: int = SIZE, classes: int = 10) -> None:
        super().__init__(deit.Variant(dim, heads), size=(16, 16), classes=classes)
        tokens = (size // 4) ** 2 + 1
        self.pos_embed = nn.Parameter(torch.randn(1, tokens, dim) * 0.02)
        self.patch_embed.proj = nn.Conv2d(3, dim, 4, stride=4)
        self.blocks = nn.ModuleList(deit.Block(dim, heads, tokens) for _ in range(depth))


class SmallSwin(nn.Module):
    """Two blocks, the second shifted, of 2x2 windows on 4x4 tokens."""

    def __init__(self, dim: int = 24, heads: int = 2, classes: int = 10) -> None:
        super().__init__()
        self.patch_embed = swin.PatchEmbed(dim)
        self.layer = swin.Stage(dim, 2, heads, (4, 4), 2, last=True)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.patch_embed(x)).mean((1, 2)))


class SmallCas(nn.Module):
    """One block behind a stem."""

    def __init__(self, dim: int = 12, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dim, 3, 2, 1), nn.BatchNorm2d(dim), nn.ReLU())
        self.block = cas_vit.Block(dim, 0.0)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.stem(x)).mean((2, 3)))


NETWORKS = {"deit": SmallDeiT, "swin": SmallSwin, "cas_vit": SmallCas}


def small(kind: str, seed: int = 0) -> nn.Module:
    """A network with weights that are not too small to matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NETWORKS[kind]()
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.3)
            elif name.endswith("bias"):
                nn.init.normal_(parameter, std=0.1)
    return network.eval()


def as_model(module: nn.Module, name: str = "small") -> Model:
    return Model(
        name, InputSpec("input", (1, 3, SIZE, SIZE)), PREPROCESSING, Provenance("random"), module=module.eval(),
        metric="top-1",
    )  # fmt: skip
