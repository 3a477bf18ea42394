"""Networks for images of 32x32 whose spatial convolutions are dense, and their twins in factors of a rank."""

from __future__ import annotations

import copy

import torch
from torch import nn

from edgevision.compress.decompose import factorized
from edgevision.compress.factorize import factorize, plan
from edgevision.recipe import Factorize
from edgevision.zoo import cas_vit
from edgevision.zoo.resnet import VARIANTS, ResNet

#: Channels of the plain network's stages, each half the side of the one before.
PLAIN = (32, 64, 128)
NETWORKS = ("plain", "resnet", "cas_vit")


def network(name: str, classes: int, seed: int) -> nn.Module:
    """A network with weights drawn from `seed`.

    "plain" is two 3x3 convolutions a stage; "resnet" is ResNet-18 and "cas_vit" CAS-ViT XS, the stems of both with
    stride 1 and without pooling, as is usual at 32 pixels.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "plain":
            return _plain(classes)
        if name == "resnet":
            made = ResNet(VARIANTS["resnet18"], classes=classes)
            made.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            made.maxpool = nn.Identity()
            return made
        vit = cas_vit.CasViT(cas_vit.VARIANTS["cas_vit_xs"], classes=classes)
        vit.patch_embed[0].stride = (1, 1)
        return vit


def _plain(classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    inputs = 3
    for stage, width in enumerate(PLAIN):
        for index in range(2):
            stride = 2 if stage and not index else 1
            layers += [nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def before_training(module: nn.Module, rank: int) -> nn.Module:
    """`module` with fresh factors of `rank` wherever these are fewer than the weights."""
    return factorize(module, Factorize(rank=rank))


def after_training(module: nn.Module, rank: int) -> nn.Module:
    """`module` with its trained kernels in the nearest factors of `rank`, in the same layers as `before_training`."""
    made = copy.deepcopy(module)
    for choice in plan(module, Factorize(rank=rank)):
        layer = made.get_submodule(choice.path)
        if choice.rank and isinstance(layer, nn.Conv2d):
            made.set_submodule(choice.path, factorized(layer, rank))
    return made
