"""Quantisation-aware training of networks the engine runs: a list of steps on int8 tensors, in torch.

Between its layers stand whole steps from the zero point, as float32; the arithmetic is the engine's own (`requantize`),
so the integer network that is exported gives the very same bytes. Tensors that are concatenated or shuffled belong to
one group and move as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgevision.compress.fake_quantize import ActivationQuantizer
from edgevision.compress.quantized_conv import QuantizedConv

INPUT = "input"
Kind = Literal["conv", "concat", "channels", "shuffle", "upsample", "max_pool"]


@dataclass(frozen=True)
class QatSettings:
    """How a network is quantised while it trains.

    Attributes:
        weight_bits: of every layer but the first.
        first_bits: of the layer that reads the image.
        ranges: "moving" averages of the extremes, or "learned" steps (LSQ) of weights and activations.
        range_momentum: share of a batch in the moving average.
        settling_batches: training batches after which statistics of batch norms and moving ranges stand still.
    """

    weight_bits: int = 4
    first_bits: int = 8
    ranges: Literal["moving", "learned"] = "moving"
    range_momentum: float = 0.01
    settling_batches: int = 1000


@dataclass(frozen=True)
class Step:
    """One tensor and what makes it.

    Attributes:
        name: of the tensor; of a convolution the path of its module.
        inputs: names of tensors; the second of a deformable convolution is its map of dilations.
        group: of the result; None of a map.
        relu: whether a ReLU ends it.
        first, count: channels taken by "channels".
    """

    kind: Kind
    name: str
    inputs: tuple[str, ...]
    group: int | None
    relu: bool = False
    first: int = 0
    count: int = 0


class QatNetwork(nn.Module):
    """Images (N, C, H, W) to maps (N, C', H', W'): the outputs one after another, dequantised.

    Args:
        steps: in order; the image is `INPUT`, of group 0.
        layers: of the convolutions, by name.
        groups: quantisers of the groups.
        outputs: names of tensors.
    """

    batches: Tensor

    def __init__(
        self, steps: Sequence[Step], layers: dict[str, QuantizedConv], groups: Sequence[ActivationQuantizer],
        outputs: Sequence[str], settings: QatSettings,
    ) -> None:  # fmt: skip
        super().__init__()
        self.steps, self.outputs, self.settings = tuple(steps), tuple(outputs), settings
        self.layers = nn.ModuleDict({_key(name): layer for name, layer in layers.items()})
        self.groups = nn.ModuleList(groups)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self._group_of = {INPUT: 0} | {step.name: step.group for step in steps if step.group is not None}

    def layer(self, name: str) -> QuantizedConv:
        """The convolution that makes tensor `name`."""
        layer = self.layers[_key(name)]
        assert isinstance(layer, QuantizedConv)
        return layer

    @property
    def quantizers(self) -> list[ActivationQuantizer]:
        """The quantisers of all groups."""
        return [group for group in self.groups if isinstance(group, ActivationQuantizer)]

    def quantizer(self, tensor: str) -> ActivationQuantizer:
        """The quantiser of a tensor's group."""
        return self.quantizers[self._group_of[tensor]]

    @property
    def input_channels(self) -> int:
        """Channels of the image."""
        return self.layer(next(step.name for step in self.steps if step.kind == "conv")).weight.shape[1]

    def group_of(self, tensor: str) -> int:
        """Index of a tensor's group."""
        return self._group_of[tensor]

    @property
    def settling(self) -> bool:
        """Whether a training batch still moves statistics and ranges."""
        return self.training and int(self.batches) < self.settings.settling_batches

    def real(self, x: Tensor, *, observe: bool = False) -> Tensor:
        """The network without quantisation; `observe` shows every tensor to the quantiser of its group."""
        values = {INPUT: x}
        for step in self.steps:
            if step.kind == "conv":
                y = self.layer(step.name).real(*(values[name] for name in step.inputs))
                values[step.name] = y.relu() if step.relu else y
            else:
                values[step.name] = _moved(step, [values[name] for name in step.inputs])
        if observe:
            for name in self._group_of:
                self.quantizer(name).observe(values[name])
        return torch.cat([values[name] for name in self.outputs], 1)

    def integers(self, x: Tensor) -> dict[str, Tensor]:
        """Every tensor in whole steps from its zero point, float32; maps of dilations as they are."""
        settling = self.settling
        values = {INPUT: self.quantizer(INPUT).steps(x)}
        for step in self.steps:
            inputs = [values[name] for name in step.inputs]
            if step.kind != "conv":
                values[step.name] = _moved(step, inputs)
                continue
            after = None if step.group is None else self.quantizer(step.name)
            before = self.quantizer(step.inputs[0])
            values[step.name] = self.layer(step.name)(inputs[0], before, after, *inputs[1:], settling=settling)
        if settling:
            self._settle()
        return values

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        values = self.integers(x)
        return torch.cat([values[name] * self.quantizer(name).scale() for name in self.outputs], 1)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Set every range to hold what the network without quantisation gives on `batches`."""
        for batch in batches:
            self.real(batch, observe=True)
            self._commit(None)

    def _settle(self) -> None:
        self.batches.add_(1)
        self._commit(self.settings.range_momentum)

    def _commit(self, momentum: float | None) -> None:
        for quantizer in self.quantizers:
            quantizer.commit(momentum)


def _moved(step: Step, inputs: list[Tensor]) -> Tensor:
    """What moves values without computing."""
    x = inputs[0]
    if step.kind == "concat":
        return torch.cat(inputs, 1)
    if step.kind == "channels":
        return x[:, step.first : step.first + step.count]
    if step.kind == "shuffle":
        n, channels, height, width = x.shape
        return x.view(n, 2, channels // 2, height, width).transpose(1, 2).reshape(n, channels, height, width)
    if step.kind == "upsample":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.max_pool2d(x, 3, stride=2, padding=1)


def _key(name: str) -> str:
    """The name as a module's, which may hold no dots."""
    return name.replace(".", "_")
