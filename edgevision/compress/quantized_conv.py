"""A convolution as the engine computes it, which trains: batch norm folded, whole steps in and out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgevision.compress.fake_quantize import HIGH, LOW, ActivationQuantizer, WeightQuantizer
from edgevision.compress.requantize import requantised
from edgevision.zoo.deform import DeformConv2d
from edgevision.zoo.deform_gather import gathered_square

#: A batch norm this close to a constant says nothing about the sums ahead of it.
_CONSTANT = 1e-6


@dataclass(frozen=True)
class Numbers:
    """A layer in numbers, for export.

    Attributes:
        weight: steps, int8 (channels, depth, kernel, kernel).
        ratio: scale of the input times that of the weight over that of the result, binary64, per channel.
        constant: bias in steps of the result, binary64, per channel.
    """

    weight: np.ndarray
    ratio: np.ndarray
    constant: np.ndarray


class QuantizedConv(nn.Module):
    """1x1 or 3x3 convolution with its batch norm folded in: the folded weight is what is quantised.

    The norm's weight and bias train on through the fold. Its statistics follow those of the quantised sums while
    `settling`, as its own momentum says, then stand still.

    Args:
        layer: the trained layer; of a deformable one the spatial part, square and depthwise.
        norm: the batch norm behind it, if there is one.
        bits: of the weight.
        learned: whether the scale of the weight is a parameter.
        limits: smallest and largest value of a layer that makes a map of dilations.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self, layer: nn.Conv2d | DeformConv2d, norm: nn.BatchNorm2d | None, bits: int, *, learned: bool = False,
        limits: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.deformable = isinstance(layer, DeformConv2d)
        self.stride = layer.stride if isinstance(layer, DeformConv2d) else layer.stride[0]
        self.kernel = layer.weight.shape[-1]
        self.depthwise = layer.depthwise if isinstance(layer, DeformConv2d) else layer.groups > 1
        self.bits, self.limits = bits, limits
        self.weight = nn.Parameter(layer.weight.detach().clone())
        own = None if isinstance(layer, DeformConv2d) else layer.bias
        self.bias = None if own is None else nn.Parameter(own.detach().clone())
        self.gamma: nn.Parameter | None = None
        self.beta: nn.Parameter | None = None
        if norm is not None:
            self.gamma, self.beta = (nn.Parameter(value.detach().clone()) for value in (norm.weight, norm.bias))
            mean, variance = norm.running_mean, norm.running_var
            if mean is None or variance is None:
                raise TypeError("a batch norm without running statistics is not an affine map")
            self.register_buffer("mean", mean.clone())
            self.register_buffer("variance", variance.clone())
            self.epsilon, self.momentum = norm.eps, 0.1 if norm.momentum is None else norm.momentum
        self.quantizer = WeightQuantizer(bits, layer.weight.shape[0], learned=learned)
        self.quantizer.fit(self.folded()[0])

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias with the norm in them."""
        bias = self.weight.new_zeros(len(self.weight)) if self.bias is None else self.bias
        if self.gamma is None or self.beta is None:
            return self.weight, bias
        factor = self._factor(self.gamma)
        # A copy, because the statistics move before the gradient is taken.
        return self.weight * factor.view(-1, 1, 1, 1), (bias - self.mean.clone()) * factor + self.beta

    def real(self, x: Tensor, dilation: Tensor | None = None) -> Tensor:
        """The layer without quantisation, on values; no activation follows."""
        weight, bias = self.folded()
        y = self._sums(x, weight, dilation) + bias.view(1, -1, 1, 1)
        return y if self.limits is None else y.round().clamp(*self.limits)

    def forward(
        self, x: Tensor, before: ActivationQuantizer, after: ActivationQuantizer | None,
        dilation: Tensor | None = None, *, settling: bool = False,
    ) -> Tensor:  # fmt: skip
        """Steps of `before` from its zero point to those of `after`, or to a map of dilations.

        Args:
            settling: let the norm's statistics and, where it is not learned, the range of `after` see the sums.
        """
        weight, bias = self.folded()
        scale = self.quantizer.scale(weight)
        steps = self.quantizer.steps(weight, scale)
        sums = self._sums(x, steps, dilation)
        unit = before.scale() * scale
        if settling:
            self._settle(sums.detach(), unit.detach(), bias.detach(), after)
        step = unit.new_ones(()) if after is None else after.scale()
        zeros = before.zero_point, None if after is None else after.zero_point
        total = steps.detach().flatten(1).sum(1)
        return requantised(sums, unit / step, bias / step, total, zeros, self.limits or (LOW, HIGH))

    @torch.no_grad()
    def numbers(self, before: ActivationQuantizer, after: ActivationQuantizer | None) -> Numbers:
        """What `forward` computes with."""
        weight, bias = self.folded()
        scale = self.quantizer.scale(weight)
        step = scale.new_ones(()) if after is None else after.scale()
        return Numbers(
            self.quantizer.steps(weight, scale).numpy().astype(np.int8),
            (before.scale() * scale / step).double().numpy(),
            (bias / step).double().numpy(),
        )

    def _factor(self, gamma: Tensor) -> Tensor:
        return gamma / (self.variance + self.epsilon).sqrt()

    def _sums(self, x: Tensor, weight: Tensor, dilation: Tensor | None) -> Tensor:
        if dilation is not None:
            return gathered_square(x, dilation, weight, self.stride)
        groups = len(weight) if self.depthwise else 1
        return F.conv2d(x, weight, stride=self.stride, padding=self.kernel // 2, groups=groups)

    @torch.no_grad()
    def _settle(self, sums: Tensor, unit: Tensor, bias: Tensor, after: ActivationQuantizer | None) -> None:
        if after is not None and after.log_scale is None:
            along = (1, -1, 1, 1)
            extremes = torch.stack([sums.amin((0, 2, 3), keepdim=True), sums.amax((0, 2, 3), keepdim=True)])
            after.observe(extremes * unit.view(along) + bias.view(along))
        if self.gamma is None:
            return
        factor = self._factor(self.gamma)
        informative = factor.abs() > _CONSTANT
        back = torch.where(informative, unit / factor, 0.0)
        count = sums.numel() // len(unit)
        mean = sums.mean((0, 2, 3))
        # Measured ten times as fast as `torch.var_mean` over three axes; sums of whole numbers bear the difference.
        variance = (sums.square().mean((0, 2, 3)) - mean.square()).clamp_min(0) * (count / max(count - 1, 1))
        mean = mean * back if self.bias is None else mean * back + self.bias
        self.mean.copy_(torch.where(informative, self.mean.lerp(mean, self.momentum), self.mean))
        moved = self.variance.lerp(variance * back.square(), self.momentum)
        self.variance.copy_(torch.where(informative, moved, self.variance))
