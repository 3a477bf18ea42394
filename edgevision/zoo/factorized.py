"""Convolutions born in a tensor format: each output filter is a sum of R products of one-way filters.

    K[o, c, i, j] = sum over r < R of a[o, r, c] b[o, r, i] d[o, r, j]

so y[o] = bias[o] + sum over r of d[o, r] *x (b[o, r] *y (sum over c of a[o, r, c] x[c])). The factors are what is
trained and stored. From "A priori compression of convolutional neural networks for wave simulators" (Boukraichi et al.,
arXiv 2304.04964); of the format the paper's abstract says one-way filters, set up before training; the canonical sum
of R products per filter is our reading of it.

A training step makes the kernel from its factors and runs one dense convolution: three thin ones train 2 to 9 times
slower on a CPU. In a graph it is one call of the ONNX function of `graph.factorized`, with the factors as stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgevision.errors import UsageError

#: Names of the ONNX functions (`graph.factorized`).
CONV, CONV_TRANSPOSE = "edgevision::FactorizedConv", "edgevision::FactorizedConvTranspose"
_CONVOLVE: tuple[Any, ...] = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSE: tuple[Any, ...] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def largest_rank(in_channels: int, kernel: Sequence[int]) -> int:
    """A canonical rank no filter of this shape exceeds: the elements of all its ways but the longest.

    >>> largest_rank(64, (3, 3)), largest_rank(2, (5, 5))
    (9, 10)
    """
    ways = [in_channels, *kernel]
    return math.prod(ways) // max(ways)


class _Factorized(nn.Module):
    """What all of them share; `dimensions` and `transposed` are those of the subclass.

    Attributes:
        channel: (C_out, R, C_in), the filters along the channels.
        filters: one (C_out, R, k) for each way of the kernel, rows first.
        bias: (C_out) or None.
    """

    dimensions = 2
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        rank: int = 1,
        *,
        bias: bool = True,
        output_padding: int | Sequence[int] = 0,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.rank = in_channels, out_channels, rank
        self.kernel_size = self._sides("kernel_size", kernel_size, least=1)
        self.stride = self._sides("stride", stride, least=1)
        self.padding = self._sides("padding", padding, least=0)
        self.output_padding = self._sides("output_padding", output_padding, least=0)
        self._refuse()
        self.channel = nn.Parameter(torch.empty(out_channels, rank, in_channels))
        self.filters = nn.ParameterList([torch.empty(out_channels, rank, k) for k in self.kernel_size])
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def _sides(self, name: str, value: int | Sequence[int], *, least: int) -> tuple[int, ...]:
        sides = (value,) * self.dimensions if isinstance(value, int) else tuple(value)
        if len(sides) != self.dimensions or min(sides) < least:
            raise UsageError(
                f"expected a {name} of {self.dimensions} sides, each at least {least}, got {value}",
                where=type(self).__name__,
            )
        return sides

    def _refuse(self) -> None:
        reasons = []
        if min(self.in_channels, self.out_channels) < 1:
            reasons.append(f"expected at least one channel, got {self.in_channels} in, {self.out_channels} out")
        elif max(self.kernel_size) == 1:
            reasons.append("a kernel of one tap has no one-way filters to be made of")
        elif not 1 <= self.rank <= largest_rank(self.in_channels, self.kernel_size):
            most = largest_rank(self.in_channels, self.kernel_size)
            reasons.append(f"expected a rank of 1 to {most}, which makes every kernel of this shape, got {self.rank}")
        if reasons:
            raise UsageError(
                f"no factorized convolution of {self.in_channels} to {self.out_channels} channels, kernel "
                f"{'x'.join(map(str, self.kernel_size))}",
                where=type(self).__name__,
                reasons=reasons,
                fix="use a dense convolution here, or a rank within the bound",
            )

    @property
    def fan_in(self) -> float:
        """Inputs one output pixel sums; a transposed convolution spreads its taps over stride pixels."""
        taps = self.in_channels * math.prod(self.kernel_size)
        return taps / math.prod(self.stride) if self.transposed else float(taps)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw independent factors whose sum of products has the variance of He's dense kernel, 2 / fan_in."""
        for one_way in self.filters:
            # Of unit length, so that no filter starts far stronger than another.
            one_way.copy_(F.normalize(torch.randn_like(one_way), dim=-1))
        scale = math.prod(self.kernel_size) * 2 / self.fan_in / self.rank
        self.channel.normal_(0, math.sqrt(scale))
        self.balance()
        if self.bias is not None:
            bound = 1 / math.sqrt(self.fan_in)
            self.bias.uniform_(-bound, bound)

    @torch.no_grad()
    def balance(self) -> None:
        """Give the factors of each product the same length, which leaves the kernel as it is.

        Only the product of the lengths means anything; unequal ones make steps and weight decay unequal.
        """
        factors = [self.channel, *self.filters]
        lengths = [factor.norm(dim=-1, keepdim=True) for factor in factors]
        tiny = torch.finfo(self.channel.dtype).tiny
        mean = torch.stack([length.clamp_min(tiny).log() for length in lengths]).mean(0).exp()
        whole = torch.stack(lengths).amin(0) > 0
        for factor, length in zip(factors, lengths, strict=True):
            factor.copy_(torch.where(whole, factor * (mean / length.clamp_min(tiny)), torch.zeros_like(factor)))

    def kernel(self) -> Tensor:
        """The kernel the factors stand for, (C_out, C_in, *kernel_size), differentiable."""
        taps = self.filters[0]
        for one_way in self.filters[1:]:
            taps = (taps.unsqueeze(-1) * one_way.unsqueeze(-2)).flatten(2)
        if self.dimensions == 2 and not self.transposed:
            # Channels last in memory, as training has the images: else every step would reorder the kernel.
            return torch.bmm(taps.transpose(1, 2), self.channel).unflatten(1, self.kernel_size).permute(0, 3, 1, 2)
        return torch.bmm(self.channel.transpose(1, 2), taps).unflatten(2, self.kernel_size)

    @torch.no_grad()
    def to_dense(self) -> nn.Module:
        """The dense convolution that computes the same."""
        kinds: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        extra: dict[str, Any] = {}
        if self.transposed:
            kinds, extra = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), {
                "output_padding": self.output_padding
            }  # fmt: skip
        dense: nn.Module = kinds[self.dimensions - 1](
            self.in_channels, self.out_channels, self.kernel_size, self.stride, self.padding,
            bias=self.bias is not None, **extra,
        )  # fmt: skip
        kernel = self.kernel()
        dense.get_parameter("weight").copy_(kernel.transpose(0, 1) if self.transposed else kernel)
        if self.bias is not None:
            dense.get_parameter("bias").copy_(self.bias)
        return dense.train(self.training)

    @torch.no_grad()
    def scale_outputs(self, scale: Tensor, shift: Tensor) -> None:
        """Make it compute scale * y + shift per output channel, both (C_out); exact."""
        bias = torch.zeros(self.out_channels, dtype=torch.float64) if self.bias is None else self.bias.double()
        self.channel.copy_(self.channel.double() * scale.double().view(-1, 1, 1))
        self.bias = nn.Parameter((bias * scale.double() + shift.double()).to(self.channel.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, ...) to (N, C_out, ...), sizes as torch's convolution gives them."""
        if torch.onnx.is_in_onnx_export() and self.dimensions == 2:
            return self._symbol(x)
        kernel = self.kernel()
        if self.transposed:
            transpose = _TRANSPOSE[self.dimensions - 1]
            y: Tensor = transpose(
                x, kernel.transpose(0, 1), self.bias, self.stride, self.padding, self.output_padding
            )  # fmt: skip
            return y
        y = _CONVOLVE[self.dimensions - 1](x, kernel, self.bias, self.stride, self.padding)
        return y

    def _symbol(self, x: Tensor) -> Tensor:
        """One call of the function, its factors in the shapes of its three convolutions."""
        (height, width), products = self.kernel_size, self.out_channels * self.rank
        rows, columns = self.filters
        shapes = ((products, 1, height, 1), (products, 1, 1, width) if self.transposed else
                  (self.out_channels, self.rank, 1, width))  # fmt: skip
        factors = (
            self.channel.reshape(-1, self.in_channels, 1, 1),
            rows.reshape(shapes[0]),
            columns.reshape(shapes[1]),
        )
        bias = torch.zeros(self.out_channels) if self.bias is None else self.bias
        (down, right), (top, left) = self.stride, self.padding
        attributes: dict[str, Any] = {
            "products": products, "group": self.out_channels, "row_strides": [down, 1], "column_strides": [1, right],
            "row_pads": [top, 0, top, 0], "column_pads": [0, left, 0, left],
        }  # fmt: skip
        if self.transposed:
            bottom, end = self.output_padding
            attributes |= {"row_output_padding": [bottom, 0], "column_output_padding": [0, end]}
        symbol = CONV_TRANSPOSE if self.transposed else CONV
        shape = [x.shape[0], self.out_channels, *self.out_size(x.shape[2:])]
        return torch.onnx.ops.symbolic(symbol, (x, *factors, bias), attributes, dtype=x.dtype, shape=shape, version=1)

    def out_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Sides of the output for an input of these sides."""
        ways = zip(size, self.kernel_size, self.stride, self.padding, self.output_padding, strict=True)
        if self.transposed:
            return tuple((n - 1) * s - 2 * p + k + extra for n, k, s, p, extra in ways)
        return tuple((n + 2 * p - k) // s + 1 for n, k, s, p, _ in ways)

    def extra_repr(self) -> str:
        """Shapes, as torch shows them."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, rank={self.rank}, bias={self.bias is not None}"
        )


class FactorizedConv1d(_Factorized):
    """(N, C_in, L) to (N, C_out, L'): channel and length filters."""

    dimensions = 1


class FactorizedConv2d(_Factorized):
    """(N, C_in, H, W) to (N, C_out, H', W'): channel, height and width filters.

    Args:
        in_channels, out_channels, kernel_size, stride, padding: as of torch's convolution.
        rank: products per output filter.

    Raises:
        UsageError: a kernel of one tap, or a rank no kernel of this shape needs.

    >>> layer = FactorizedConv2d(64, 32, 3, stride=2, padding=1, rank=4)
    >>> layer(torch.zeros(1, 64, 8, 8)).shape, sum(p.numel() for p in layer.parameters())
    (torch.Size([1, 32, 4, 4]), 8992)
    """


class FactorizedConv3d(_Factorized):
    """(N, C_in, D, H, W) to (N, C_out, D', H', W'): channel, depth, height and width filters."""

    dimensions = 3


class FactorizedConvTranspose2d(_Factorized):
    """(N, C_in, H, W) to (N, C_out, H', W'), the transposed convolution with such a kernel."""

    transposed = True


FACTORIZED = (FactorizedConv1d, FactorizedConv2d, FactorizedConv3d, FactorizedConvTranspose2d)
