"""Quantisers in torch that train: weights of 2 to 8 bits per channel, activations of 8 bits per tensor.

A value goes to the nearest step of its grid, ties to even, and is clamped to it. Gradients pass the rounding as if it
were not there (straight through) and stop where the clamp holds. The step is that of a range, which is observed, or a
parameter that is learned by the same gradients (LSQ, arXiv 1902.08153), as a logarithm so that it stays above zero and
a rate of the optimiser is a relative change.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from edgevision.errors import UsageError

#: "positive" is what a ReLU leaves: zero point -128. "symmetric" has zero point 0, "asymmetric" any.
Signs = Literal["positive", "asymmetric", "symmetric"]
BITS = range(2, 9)
#: Steps of an activation, and the smallest step, of a tensor or channel that is zero throughout.
LOW, HIGH, _SMALLEST = -128, 127, 1e-8
_TRIED = 40


def rounded(x: Tensor) -> Tensor:
    """`x` rounded, ties to even; the gradient passes as if it were not.

    >>> rounded(torch.tensor([0.5, 1.5, -0.7])).tolist()
    [0.0, 2.0, -1.0]
    """
    return x + (x.round() - x).detach()


class WeightQuantizer(nn.Module):
    """Symmetric steps of a weight, one scale per output channel (axis 0).

    Args:
        bits: 2 to 8. The grid is -2^(bits - 1) to 2^(bits - 1) - 1, with 8 bits -127 to 127, as in NUMERICS.md.
        channels: of the output.
        learned: the scale is a parameter, else the largest weight of a channel is the largest step.

    >>> WeightQuantizer(4, 1).steps(torch.tensor([[-1.0, 0.1, 0.4, 1.0]])).tolist()
    [[-7.0, 1.0, 3.0, 7.0]]
    """

    def __init__(self, bits: int, channels: int, *, learned: bool = False) -> None:
        super().__init__()
        if bits not in BITS:
            raise UsageError(f"expected weights of {BITS[0]} to {BITS[-1]} bits, got {bits}", fix="choose other bits")
        self.bits = bits
        self.high = 2 ** (bits - 1) - 1
        self.low = -127 if bits == 8 else -self.high - 1
        self.log_scale = nn.Parameter(torch.zeros(channels)) if learned else None

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """Where the scale is learned, begin with the one of least squared error for each channel of `weight`."""
        if self.log_scale is None:
            return
        flat = weight.detach().flatten(1)
        largest = self._of_largest(flat)
        best, least = largest.clone(), torch.full_like(largest, torch.inf)
        for share in torch.linspace(0.4, 1.0, _TRIED).tolist():
            scale = (largest * share).unsqueeze(1)
            error = ((flat / scale).round().clamp(self.low, self.high) * scale - flat).square().sum(1)
            best = torch.where(error < least, largest * share, best)
            least = torch.minimum(least, error)
        self.log_scale.copy_(best.log())

    def scale(self, weight: Tensor) -> Tensor:
        """One scale per channel, (channels,)."""
        return self._of_largest(weight.detach().flatten(1)) if self.log_scale is None else self.log_scale.exp()

    def steps(self, weight: Tensor, scale: Tensor | None = None) -> Tensor:
        """Whole steps in the shape of `weight`; with the gradient of `weight` over `scale`."""
        scale = self.scale(weight) if scale is None else scale
        along = scale.view(-1, *[1] * (weight.ndim - 1))
        return rounded((weight / along).clamp(self.low, self.high))

    def forward(self, weight: Tensor) -> Tensor:
        """The values that the steps stand for."""
        scale = self.scale(weight)
        return self.steps(weight, scale) * scale.view(-1, *[1] * (weight.ndim - 1))

    def _of_largest(self, flat: Tensor) -> Tensor:
        return (flat.abs().amax(1) / self.high).clamp_min(_SMALLEST)


class ActivationQuantizer(nn.Module):
    """Int8 steps of activations, one scale and zero point for all tensors of a group: value = scale (q - zero point).

    A range is first widened by what is observed of calibration images (`commit` without momentum), then follows what
    is observed while training as a moving average, or its step is learned.

    Args:
        signs: see `Signs`.
        learned: the scale is a parameter; the zero point stays that of the calibration.

    >>> quantizer = ActivationQuantizer("positive")
    >>> quantizer.observe(torch.tensor([0.0, 2.55])); quantizer.commit()
    >>> quantizer.zero_point, quantizer.steps(torch.tensor([-1.0, 0.014, 9.0])).tolist()
    (-128, [0.0, 1.0, 255.0])
    """

    low: Tensor
    high: Tensor
    _seen: Tensor

    def __init__(self, signs: Signs = "asymmetric", *, learned: bool = False) -> None:
        super().__init__()
        self.signs: Signs = signs
        for name in ("low", "high"):
            self.register_buffer(name, torch.zeros(()))
        self.register_buffer("_seen", torch.tensor(False))
        self.log_scale = nn.Parameter(torch.zeros(())) if learned else None
        self._pending: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Note the extremes of one tensor of the group; `commit` takes those of all members together."""
        low, high = torch.aminmax(x.detach())
        if self._pending is not None:
            low, high = torch.minimum(low, self._pending[0]), torch.maximum(high, self._pending[1])
        self._pending = low, high

    @torch.no_grad()
    def commit(self, momentum: float | None = None) -> None:
        """Move the range by what was observed since the last time.

        Args:
            momentum: share of the new extremes in a moving average; None widens the range to hold them.

        Raises:
            UsageError: something observed was no number.
        """
        if self._pending is None:
            return
        (low, high), self._pending = self._pending, None
        if not (low.isfinite() and high.isfinite()):
            raise UsageError("expected activations that are numbers, got an infinite one or none",
                             fix="look for NaN in the images and weights, or train at a lower rate")  # fmt: skip
        # Zero stands outside the frame and must be a step of its own.
        low, high = low.clamp_max(0), high.clamp_min(0)
        if not self._seen:
            self._seen.fill_(True)
        elif momentum is None:
            low, high = torch.minimum(low, self.low), torch.maximum(high, self.high)
        else:
            low, high = self.low.lerp(low, momentum), self.high.lerp(high, momentum)
        self.low.copy_(low)
        self.high.copy_(high)
        if self.log_scale is not None and momentum is None:
            self.log_scale.copy_(self._of_range().log())

    def scale(self) -> Tensor:
        """The scale, 0-d."""
        return self._of_range() if self.log_scale is None else self.log_scale.exp()

    @property
    def zero_point(self) -> int:
        """The step that means zero, -128 to 127."""
        if self.signs != "asymmetric":
            return LOW if self.signs == "positive" else 0
        return min(max(round(LOW - float(self.low / self._of_range())), LOW), HIGH)

    def steps(self, x: Tensor) -> Tensor:
        """Whole steps from the zero point, q - zero point; with the gradient of `x` over the scale."""
        zero = self.zero_point
        return rounded((x / self.scale()).clamp(LOW - zero, HIGH - zero))

    def forward(self, x: Tensor) -> Tensor:
        """The values that the steps stand for."""
        return self.steps(x) * self.scale()

    def _of_range(self) -> Tensor:
        if self.signs == "positive":
            width = self.high / (HIGH - LOW)
        elif self.signs == "symmetric":
            width = torch.maximum(-self.low, self.high) / HIGH
        else:
            width = (self.high - self.low) / (HIGH - LOW)
        return width.clamp_min(_SMALLEST)
