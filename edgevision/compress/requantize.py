"""The engine's requantisation in torch: whole numbers forward, the gradients of real arithmetic backward.

What is trained is what runs: the sums are whole numbers in float32, exact below 2^24 (the bound `engine.bounds`
proves), and the multiplier, the shift and the rounded bias are those of quant/INTEGER_NETWORKS.md.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

#: Bits of a multiplier without its sign, and the largest shift.
MULTIPLIER_BITS, LARGEST_SHIFT = 15, 31


def multipliers(ratio: Tensor) -> tuple[Tensor, int]:
    """Multipliers (whole, float64) and the largest shift at which all of them fit int16; ratio = multiplier / 2^shift.

    >>> [value.tolist() for value in map(torch.as_tensor, multipliers(torch.tensor([0.5, 0.1])))]
    [[16385.0, 3277.0], 15]
    """
    exact = ratio.detach().double()
    largest = 2**MULTIPLIER_BITS - 1
    shift = MULTIPLIER_BITS - math.frexp(float(exact.abs().max()))[1]
    # The largest may be rounded up to 2^15, one too many.
    shift -= int(float((exact.abs().max() * 2.0**shift).round()) > largest)
    shift = min(max(shift, 0), LARGEST_SHIFT)
    return odd(exact * 2.0**shift), shift


def odd(multiplier: Tensor) -> Tensor:
    """The nearest odd multiplier; 0 below a half.

    Times an odd number no sum lies half way between two steps, unless it is a multiple of 2^(shift - 1): then it does
    not matter whether a tie is rounded up, as the engine does, or to even, as ONNX does.

    >>> odd(torch.tensor([0.4, 0.6, 2.2, 4.0, 5.9])).tolist()
    [0.0, 1.0, 3.0, 5.0, 5.0]
    """
    return torch.where(multiplier.abs() < 0.5, 0.0, 2 * (multiplier / 2).floor() + 1)


def requantised(
    sums: Tensor, ratio: Tensor, constant: Tensor, total: Tensor, zeros: tuple[int, int | None],
    limits: tuple[int, int],
) -> Tensor:  # fmt: skip
    """What the engine makes of sums of products.

    Args:
        sums: of weight steps and input steps from the zero point, whole, (N, C, H, W).
        ratio: scale of the input times that of the weight over that of the result, (C,).
        constant: the bias in steps of the result, (C,).
        total: sum of the weight's steps, (C,).
        zeros: zero points of the input and of the result; None of a map of dilations.
        limits: smallest and largest step, of q or of the map.

    Returns:
        Steps of the result from its zero point, whole; of a map of dilations its values.
    """
    return _Requantised.apply(sums, ratio, constant, total.detach(), zeros, limits)


def whole_bias(
    multiplier: Tensor, shift: int, constant: Tensor, total: Tensor, zeros: tuple[int, int | None]
) -> Tensor:
    """The engine's bias, whole, float64: the constant, the result's zero point, and the input's taken out again."""
    share = multiplier * 2.0**-shift * zeros[0] * total.double()
    return (constant.detach().double() - share + (0 if zeros[1] is None else zeros[1] + 128)).round()


class _Requantised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sums: Tensor, ratio: Tensor, constant: Tensor, total: Tensor, zeros: tuple[int, int | None],
        limits: tuple[int, int],
    ) -> Tensor:  # fmt: skip
        multiplier, shift = multipliers(ratio)
        bias = whole_bias(multiplier, shift, constant, total, zeros)
        along = (1, -1, 1, 1)
        # The engine multiplies the bytes as they are, so the zero point counts as often as the weights say.
        t = sums.double().add_((zeros[0] * total.double()).view(along)).mul_((multiplier * 2.0**-shift).view(along))
        t = t.add_(0.5).floor_().add_(bias.view(along))
        if zeros[1] is not None:
            t.sub_(128)
        passed = (t >= limits[0]) & (t <= limits[1])
        ctx.save_for_backward(sums, ratio, passed)
        return t.clamp_(*limits).sub_(zeros[1] or 0).to(sums.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        sums, ratio, passed = ctx.saved_tensors
        grad = grads[0] * passed
        to_constant = grad.sum((0, 2, 3))
        to_ratio = (grad * sums).sum((0, 2, 3)) if ctx.needs_input_grad[1] else None
        return grad * ratio.view(1, -1, 1, 1), to_ratio, to_constant, None, None, None
