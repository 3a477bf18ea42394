"""An encoder-decoder of convolutions that predicts waves: a surrogate of the solver (after arXiv 2304.04964).

The paper's own network is not public; this is a plain residual one, all of whose spatial layers are dense 3x3
convolutions without normalisation, so that a recipe can put others in their place.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from edgevision.data.preprocess import Preprocessing
from edgevision.zoo.family import Family, Wanted

#: Channels at full, half, quarter and eighth of the side.
WIDTHS = (16, 32, 64, 128)
#: Two past fields and the speed.
INPUTS = 3
_LATER, _SIDE = 4, 64


class _Residual(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class WaveNet(nn.Module):
    """Past fields and speed to later fields.

    Args:
        later: fields to predict.
        widths: channels of the levels, each half the side of the one before.

    >>> net = WaveNet(later=4)
    >>> sum(p.numel() for p in net.parameters()), net(torch.zeros(1, 3, 64, 64)).shape
    (597524, torch.Size([1, 4, 64, 64]))
    """

    def __init__(self, later: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(INPUTS, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.encoder = nn.ModuleList(_Residual(width) for width in widths)
        # Channels are reduced before they are enlarged: the 1x1 convolution has a quarter of the places.
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(_Residual(width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], later, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        # Branches start small, else the sums double the variance at every block; and so does what is predicted.
        for last in (self.head, *(block.second for block in (*self.encoder, *self.decoder))):
            nn.init.normal_(last.weight, std=0.2 * last.weight[0].numel() ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, side, side), side a multiple of 8, to (N, later, side, side)."""
        x = self.encoder[0](torch.relu(self.stem(x)))
        passed = []
        for down, block in zip(self.down, self.encoder[1:], strict=True):  # type: ignore[arg-type]
            passed.append(x)
            x = block(torch.relu(down(x)))
        for up, block, same in zip(reversed(self.up), reversed(self.decoder), reversed(passed), strict=True):
            x = block(same + nn.functional.interpolate(up(x), scale_factor=2.0, mode="nearest"))
        return self.head(x)


def _build(wanted: Wanted) -> nn.Module:
    return WaveNet(later=wanted.classes)


_CHANNELS = (0.0,) * INPUTS, (1.0,) * INPUTS
FAMILY = Family(
    names=("wave_net",),
    preprocessing=Preprocessing(height=_SIDE, width=_SIDE, mean=_CHANNELS[0], std=_CHANNELS[1], channels=INPUTS),
    stride=2 ** (len(WIDTHS) - 1),
    heads=("head",),
    build=_build,
    classes=_LATER,
    metric="fit",
)
