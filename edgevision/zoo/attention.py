"""Multi-head attention and the MLP of vision transformers, written so that one regular graph comes out of the exporter.

Per attention: one linear layer and a Split for q, k and v; of each a Reshape and a Transpose into heads; the scale as
one Mul on q; MatMul, an Add for every bias or mask, Softmax, MatMul; Transpose, Reshape and a linear layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """softmax(scale * q k^T + biases) v over the tokens of one sequence, scale = head dimension^-1/2.

    Args:
        dim: channels, a multiple of `heads`.
        heads: number of heads.
        tokens: length of the sequence; fixed, because the graph is static.
    """

    def __init__(self, dim: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.dim, self.heads, self.tokens = dim, heads, tokens
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, *biases: Tensor) -> Tensor:
        """(N, tokens, dim) to the same shape; each bias broadcasts to the scores (N, heads, tokens, tokens)."""
        shape = (-1, self.tokens, self.heads, self.dim // self.heads)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q.reshape(shape).permute(0, 2, 1, 3) * shape[-1] ** -0.5
        scores = q @ k.reshape(shape).permute(0, 2, 3, 1)
        for bias in biases:
            scores = scores + bias
        mixed = scores.softmax(dim=-1) @ v.reshape(shape).permute(0, 2, 1, 3)
        return self.proj(mixed.permute(0, 2, 1, 3).reshape(-1, self.tokens, self.dim))


class Mlp(nn.Module):
    """Linear to four times the channels, GELU, linear back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) to the same shape."""
        return self.fc2(self.act(self.fc1(x)))


def initialise(module: nn.Module) -> None:
    """Draw the weights of one layer as vision transformers do: normal of deviation 0.02, cut at 2; biases zero."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def drawn_parameter(*shape: int) -> nn.Parameter:
    """A parameter drawn like the weights in `initialise`: a token, positions, or a table of biases."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=0.02))
