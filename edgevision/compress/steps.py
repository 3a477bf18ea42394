"""Whole steps of a quantised tensor in torch, and the quantisers of a QDQ graph that make them while it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from edgevision.compress.fake_quantize import WeightQuantizer, rounded
from edgevision.errors import UsageError

Ranges = Literal["moving", "learned", "fixed"]
_SMALLEST = 1e-8


@dataclass(frozen=True)
class Steps:
    """A quantised tensor: whole steps from the zero point, as float32, and what a step stands for.

    Attributes:
        values: q - zero point.
        scale: 0-d, or one per entry of `axis`.
    """

    values: Tensor
    scale: Tensor
    axis: int = 1

    @property
    def real(self) -> Tensor:
        """The values that the steps stand for."""
        return self.values * along(self.scale, self.axis, self.values.ndim)

    def moved(self, values: Tensor) -> Steps:
        """The same steps in another place."""
        return Steps(values, self.scale, self.axis)


def along(scale: Tensor, axis: int, rank: int) -> Tensor:
    """`scale` in a shape that goes with a tensor of `rank` dimensions."""
    return scale if scale.ndim == 0 else scale.view([-1 if at == axis % rank else 1 for at in range(rank)])


class ActivationSteps(nn.Module):
    """A QuantizeLinear that trains.

    Args:
        scale, zero_point: float32 and (u)int8, of one element or one per channel (axis 1).
        ranges: "moving" averages of the extremes, "learned" scale (LSQ, Esser et al., arXiv 1902.08153) with the zero
            point as it is, or "fixed".
    """

    low: Tensor
    high: Tensor
    first_scale: Tensor
    first_zero: Tensor

    def __init__(self, scale: np.ndarray, zero_point: np.ndarray, ranges: Ranges) -> None:
        super().__init__()
        self.ranges, self.dtype = ranges, zero_point.dtype
        self.least, self.most = (0, 255) if zero_point.dtype == np.uint8 else (-128, 127)
        first = torch.from_numpy(np.array(scale, np.float32).reshape(scale.shape if scale.size > 1 else ()))
        zero = torch.from_numpy(np.array(zero_point, np.float32).reshape(first.shape))
        self.symmetric = bool((zero == 0).all())
        self.register_buffer("first_scale", first)
        self.register_buffer("first_zero", zero)
        self.register_buffer("low", -self.most * first if self.symmetric else (self.least - zero) * first)
        self.register_buffer("high", (self.most - zero) * first)
        self.log_scale = nn.Parameter(first.log()) if ranges == "learned" else None
        self._pending: tuple[Tensor, Tensor] | None = None

    def scale(self) -> Tensor:
        """What a step stands for, 0-d or (C,)."""
        if self.log_scale is not None:
            return self.log_scale.exp()
        if self.ranges == "fixed":
            return self.first_scale
        if self.symmetric:
            reach = self.high if self.least == 0 else torch.maximum(-self.low, self.high)
            return (reach / self.most).clamp_min(_SMALLEST)
        return ((self.high - self.low) / (self.most - self.least)).clamp_min(_SMALLEST)

    @property
    def zero(self) -> Tensor:
        """The step that means zero, whole, in the shape of the scale."""
        if self.ranges != "moving" or self.symmetric:
            return self.first_zero
        # From the range each time: a running mean of whole numbers would be none.
        return (self.least - self.low / self.scale()).round().clamp(self.least, self.most)

    def forward(self, x: Tensor) -> Steps:
        """Steps of `x`, rounded to even; the gradient of clipping alone."""
        scale, zero = self.scale(), along(self.zero, 1, x.ndim)
        return Steps(rounded(torch.clamp(x / along(scale, 1, x.ndim), self.least - zero, self.most - zero)), scale)

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Note the extremes of a batch, where the range follows them."""
        if self.ranges != "moving":
            return
        axes = [at for at in range(x.ndim) if at != 1] if self.first_scale.ndim else list(range(x.ndim))
        low, high = x.detach().amin(axes), x.detach().amax(axes)
        if self._pending is not None:
            low, high = torch.minimum(low, self._pending[0]), torch.maximum(high, self._pending[1])
        self._pending = low, high

    @torch.no_grad()
    def commit(self, momentum: float) -> None:
        """Move the range by `momentum` of what was observed since the last time.

        Raises:
            UsageError: something observed was no number.
        """
        if self._pending is None:
            return
        (low, high), self._pending = self._pending, None
        if not (low.isfinite().all() and high.isfinite().all()):
            raise UsageError(
                "expected activations that are numbers, got an infinite one or none",
                fix="look for NaN in the images and weights, or train at a lower rate",
            )
        self.low.lerp_(low.clamp_max(0), momentum)
        self.high.lerp_(high.clamp_min(0), momentum)


class WeightSteps(nn.Module):
    """A DequantizeLinear of a weight that trains.

    What is trained is each weight over the largest of its channel at the start, so that a rate of the optimiser is a
    change by so many channels' ranges, whatever batch norms were folded into them.

    Args:
        weight: values, float32.
        axis: of the output channels.
        bits: 2 to 8.
        learned: whether the scale is a parameter.
    """

    magnitude: Tensor

    def __init__(self, weight: np.ndarray, axis: int, bits: int, *, learned: bool) -> None:
        super().__init__()
        self.axis, self.bits = axis, bits
        first = torch.from_numpy(np.ascontiguousarray(np.moveaxis(weight, axis, 0), np.float32))
        largest = first.flatten(1).abs().amax(1).clamp_min(_SMALLEST)
        self.register_buffer("magnitude", largest)
        self.share = nn.Parameter(first / along(largest, 0, first.ndim))
        self.quantizer = WeightQuantizer(bits, len(first), learned=learned)
        self.quantizer.fit(first)

    def forward(self) -> Steps:
        """Steps in the shape of the weight."""
        first = self.share * along(self.magnitude, 0, self.share.ndim)
        scale = self.quantizer.scale(first)
        return Steps(self.quantizer.steps(first, scale).movedim(0, self.axis), scale, self.axis)
