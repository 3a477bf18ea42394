"""Signs with gradients, and the binarisation of attention, after BiViT (He et al., 2023, arXiv 2211.07091).

sign(0) is +1 everywhere, in training and in the exported bits: sums of attention are whole numbers and often exactly 0,
of which `torch.sign` would make a third value that no bit can hold.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

#: A bias of this or less masks its entry of the scores (`graph.binary`).
MASKED = -100.0


class _Sign(torch.autograd.Function):
    """Clipped straight-through estimator: the gradient passes where -1 < x < 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """+1 where x >= 0, else -1."""
        ctx.save_for_backward(x.abs() < 1)
        # Comparing, casting and scaling is a third of the time that torch.where takes.
        return (x >= 0).to(x.dtype).mul_(2).sub_(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The gradient inside the window, zero outside."""
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside


def sign(x: Tensor) -> Tensor:
    """+1 where x >= 0, else -1, of any shape; the gradient is that of x clipped to (-1, 1).

    >>> sign(torch.tensor([-2.0, -0.0, 0.0, 0.5])).tolist()
    [-1.0, 1.0, 1.0, 1.0]
    """
    made: Tensor = _Sign.apply(x)  # type: ignore[no-untyped-call]
    return made


def kept_entries(scores: Tensor, bias: Tensor | None, scale: float, beta: float) -> Tensor:
    """Which entries of each row reach `beta` times its largest softmax; bool, the shape of the sum.

    In the form of inference: scores + bias / scale >= max + ln(beta) / scale, without an exponential. The comparison is
    inclusive, so the largest entry is always kept; masked entries never are.

    Args:
        scores: sign(q) sign(k)^T, whole numbers, (B, h, n, n).
        bias: added to the scaled scores; broadcasts to them.
    """
    margin = torch.tensor(math.log(beta), dtype=scores.dtype) / torch.tensor(scale, dtype=scores.dtype)
    if bias is None:
        return scores >= scores.amax(-1, keepdim=True) + margin
    masked = bias <= MASKED
    shifted = (scores + bias / scale).masked_fill(masked, -math.inf)
    return (shifted >= shifted.amax(-1, keepdim=True) + margin) & ~masked


def softmax_aware(scores: Tensor, bias: Tensor | None, scale: float, beta: float, *, row_scale: bool = True) -> Tensor:
    """Attention in {0, v}: the entries that `kept_entries` names, with the gradient of the softmax.

    v is the mean softmax of what the row keeps, the best scale of such a row. The operator behind attention is a sign,
    to which a positive v means nothing, but in training it keeps the sums inside the window of the sign's gradient:
    without it nearly no gradient comes back to attention. Masked rows are zero.

    Args:
        scores, bias, scale, beta: as for `kept_entries`.
        row_scale: false for {0, 1}, as the published code has it.
    """
    logits = scores * scale
    if bias is not None:
        # Entries of -inf would make NaN of the softmax of a row that is masked throughout.
        logits = logits + bias.clamp(min=MASKED)
    soft = logits.softmax(-1)
    kept = kept_entries(scores.detach(), None if bias is None else bias.detach(), scale, beta).to(soft.dtype)
    if not row_scale:
        return kept + (soft - soft.detach())
    inside = soft.detach() * kept
    value = inside.sum(-1, keepdim=True) / kept.sum(-1, keepdim=True).clamp(min=1)
    return kept * value + (soft - soft.detach())


def boolean(scores: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Attention in {0, 1} by the sign of the logits, without a softmax (BiBERT's, the baseline).

    Args:
        scores, bias, scale: as for `kept_entries`.
    """
    logits = scores * scale if bias is None else scores * scale + bias
    return (sign(logits) + 1) / 2
