"""Small networks with one of everything the zoo has, and the digits made small."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from edgevision.data.dataset import DataSet
from edgevision.data.open import open_data
from edgevision.data.preprocess import Preprocessing
from edgevision.zoo.model import InputSpec, Model, Provenance

SIZE = 16
PREPROCESSING = Preprocessing(height=SIZE, width=SIZE, mean=(0.3,) * 3, std=(0.35,) * 3)


class Gate(nn.Module):
    """x * sigmoid(1x1 conv(mean over the image))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(dim, dim, 1, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.block(x)


class Small(nn.Module):
    """Stem, a split into two paths, depthwise, gate to one channel, residual add, GELU, pooling, linear head."""

    def __init__(self, dim: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dim, 3, 2, 1), nn.BatchNorm2d(dim), nn.ReLU())
        self.qkv = nn.Conv2d(dim, 2 * dim, 1)
        self.depthwise = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.to_one = nn.Sequential(nn.Conv2d(dim, 1, 1), nn.Sigmoid())
        self.gate = Gate(dim)
        self.mlp = nn.Sequential(nn.Conv2d(dim, 2 * dim, 1), nn.GELU(), nn.Conv2d(2 * dim, dim, 1))
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        a, b = self.qkv(x).chunk(2, dim=1)
        x = x + self.gate(self.depthwise(a)) * self.to_one(b)
        x = x + self.mlp(x)
        return self.head(x.mean((2, 3)))


def as_model(module: nn.Module, name: str = "small") -> Model:
    """`module` as a model of 16x16 images."""
    return Model(
        name, InputSpec("input", (1, 3, SIZE, SIZE)), PREPROCESSING, Provenance("random"), module=module.eval()
    )


@functools.cache
def digits() -> DataSet:
    """The digits at 16x16."""
    return open_data("digits", PREPROCESSING)


@functools.cache
def trained_small() -> Model:
    """`Small`, trained on the digits for two seconds: enough for accuracy to mean something."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = Small()
    split = digits().split("train")
    (images, labels) = next(iter(split.batches(len(split))))
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(8):
        for chosen in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(network(x[chosen]), y[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return as_model(network)
