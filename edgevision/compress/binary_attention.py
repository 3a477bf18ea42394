"""Attention on signs: q, k and v of one bit, no softmax at inference (BiViT, arXiv 2211.07091)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edgevision.compress.binarize import DOMAIN, BinaryLinear
from edgevision.compress.signs import MASKED, boolean, kept_entries, sign, softmax_aware
from edgevision.zoo.attention import Attention
from edgevision.zoo.swin import WindowAttention

#: Share of a row's largest softmax that an entry must reach to be kept: a shift by two bits, and as good as any between
#: 0.25 and 0.45 in the paper.
BETA = 0.25

#: "softmax_aware" is BiViT's, "sign" the baseline's signs of the logits.
Kind = Literal["softmax_aware", "sign"]


class BinaryAttention(nn.Module):
    """Sums of sign(v) over what each query keeps; rows have a scale (`signs.softmax_aware`) in training alone.

    Args:
        width: channels of a head; the scale of the scores is width^-1/2.
        kind: how attention becomes one bit.
        row_scale: whether training multiplies each row by its mean softmax.
    """

    def __init__(self, width: int, *, kind: Kind = "softmax_aware", row_scale: bool = True) -> None:
        super().__init__()
        self.scale, self.kind, self.row_scale = width**-0.5, kind, row_scale

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """(B, h, n, d) three times, and a bias that broadcasts to (B, h, n, n), to (B, h, n, d)."""
        if torch.onnx.is_in_onnx_export() and self.kind == "softmax_aware":
            attributes: dict[str, Any] = {"scale": self.scale, "beta": BETA}
            inputs = (q, k, v) if bias is None else (q, k, v, bias)
            return torch.onnx.ops.symbolic(
                f"{DOMAIN}::BinaryAttention", inputs, attributes, dtype=q.dtype, shape=v.shape, version=1
            )
        scores = sign(q) @ sign(k).transpose(-1, -2)
        if self.kind == "sign":
            attention = boolean(scores, bias, self.scale)
        elif self.training:
            attention = softmax_aware(scores, bias, self.scale, BETA, row_scale=self.row_scale)
        else:
            attention = kept_entries(scores, bias, self.scale, BETA).to(v.dtype)
        return attention @ sign(v)


class BinarySelfAttention(nn.Module):
    """`zoo.attention.Attention` of one bit, its qkv and proj `BinaryLinear`s; Swin's biases and masks too.

    The last is what allows the scale of each row to be dropped at inference: `proj` signs what it gets.

    Args:
        layer: the float attention, whose weights are loaded already.
        kind, row_scale: see `BinaryAttention`.
        learned: whether the weights' scales are parameters.
    """

    relative_position_index: Tensor | None

    def __init__(self, layer: Attention, *, kind: Kind, row_scale: bool, learned: bool) -> None:
        super().__init__()
        self.dim, self.heads, self.tokens = layer.dim, layer.heads, layer.tokens
        self.qkv = BinaryLinear.of(layer.qkv, learned=learned)
        self.proj = BinaryLinear.of(layer.proj, learned=learned)
        self.attention = BinaryAttention(layer.dim // layer.heads, kind=kind, row_scale=row_scale)
        table = index = None
        if isinstance(layer, WindowAttention):
            table = nn.Parameter(layer.relative_position_bias_table.detach().clone())
            index = layer.relative_position_index
        self.relative_position_bias_table = table
        self.register_buffer("relative_position_index", index, persistent=False)

    def forward(self, x: Tensor, *masks: Tensor) -> Tensor:
        """(N, tokens, dim) to the same shape; each mask (N, 1, tokens, tokens) holds 0 and, where masked, -100."""
        shape = (-1, self.tokens, self.heads, self.dim // self.heads)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        heads = [part.reshape(shape).permute(0, 2, 1, 3) for part in (q, k, v)]
        mixed = self.attention(*heads, *self._bias(masks))
        return self.proj(mixed.permute(0, 2, 1, 3).reshape(-1, self.tokens, self.dim))

    def _bias(self, masks: Sequence[Tensor]) -> list[Tensor]:
        """The one bias that position and masks make; none where there are neither."""
        table, index = self.relative_position_bias_table, self.relative_position_index
        parts = [] if table is None or index is None else [table[index].permute(2, 0, 1).unsqueeze(0)]
        if not masks:
            return parts
        mask = torch.stack(tuple(masks)).sum(0) if len(masks) > 1 else masks[0]
        # A positive bias on top of -100 would no longer be a mask.
        return [torch.where(mask <= MASKED, -math.inf, sum(parts, torch.zeros(1)) + mask)]
