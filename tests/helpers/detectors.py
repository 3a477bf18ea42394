"""Small detectors with weights and statistics as if trained, and the same trained quantised for a few steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgevision.compress.qat import QatNetwork, QatSettings
from edgevision.compress.qat_codenet import quantised_codenet
from edgevision.zoo.codenet import CoDeNet, Variant
from edgevision.zoo.deform import DeformConv2d

SIDE = 64


def detector(seed: int = 0, *, pooled: bool = False, last: int = 48, **kwargs: Any) -> CoDeNet:
    """A CoDeNet of a few channels in eval mode, whose dilations differ from pixel to pixel; three classes."""
    torch.manual_seed(seed)
    network = CoDeNet(Variant(SIDE, (8, 16, 24, 32, last), pooled), classes=3, **kwargs)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
        if isinstance(module, DeformConv2d):
            module.predictor.weight.data.normal_(0, 0.3)
            module.predictor.bias.data.fill_(2.0)
    # Statistics of the images, as a mean over batches: training begins where it would have ended.
    with torch.no_grad():
        for batch in range(4):
            network(images(batch))
    return network.eval()


def images(seed: int, count: int = 4) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def quantised(network: CoDeNet, **settings: Any) -> QatNetwork:
    return quantised_codenet(network, [images(100), images(101)], QatSettings(**settings))


def trained(network: QatNetwork, teacher: CoDeNet, steps: int, lr: float = 1e-3) -> list[float]:
    """Losses of `steps` steps towards the maps of `teacher`; leaves `network` in eval mode."""
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=lr)
    losses = []
    for step in range(steps):
        x = images(200 + step % 3)
        with torch.no_grad():
            wanted = teacher(x)
        loss = (network(x) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    network.eval()
    return losses


def integers(network: QatNetwork, x: Tensor) -> dict[str, Any]:
    """Every tensor as the integer network has it, numpy int64."""
    with torch.no_grad():
        steps = network.integers(x)
    maps = {step.name for step in network.steps if step.group is None}
    return {
        name: (value + (0 if name in maps else network.quantizer(name).zero_point)).numpy().astype("int64")
        for name, value in steps.items()
    }
