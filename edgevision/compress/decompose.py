"""Convolutions of a trained network replaced by factors of their kernels, as small as a bound on the energy allows.

cp       sums of products of one-way filters per output filter: a factorized layer (`zoo.factorized`)
svd      k_h x k_w convolution to r channels, then 1x1: the singular values of C_out x (C_in k_h k_w)
tucker2  1x1 to r channels, k_h x k_w to s, 1x1: the leading directions of both channel ways (Kim et al., 2015,
         arXiv 1511.06530)
tt       1x1, k_h x 1, 1 x k_w, 1x1: the tensor train of C_in, k_h, k_w, C_out (Oseledets, 2011)

The sum of squares each truncation drops adds up, so that each gets its part of what may be lost: that gives the ranks,
and tensorly the cores, Tucker's by alternating projections, which only improve on the truncation. Its CP takes one
tensor at a time; a layer's filters are hundreds of small ones, all solved at once in `canonical_form`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from edgevision.compress.canonical_form import canonical
from edgevision.compress.factorize import LayerChoice, break_even, unsuited
from edgevision.errors import UsageError
from edgevision.recipe import Decompose
from edgevision.zoo.factorized import FactorizedConv2d, largest_rank


def decompose(module: nn.Module, step: Decompose) -> tuple[nn.Module, tuple[LayerChoice, ...]]:
    """Return a copy of `module` with its convolutions in factors where these are fewer, and what became of each.

    Raises:
        UsageError: none is smaller in factors, each with its reason.
    """
    if step.energy == "auto":
        raise TypeError("the energy of a bound on accuracy is found by rank_search")
    energy, made, choices = step.energy, copy.deepcopy(module), []
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.modules.conv._ConvNd):
            continue
        dense = layer.weight.numel()
        reason = unsuited(layer) or ("" if type(layer) is nn.Conv2d else f"{type(layer).__name__} is not taken apart")
        twin, rank = (None, 0) if reason or not isinstance(layer, nn.Conv2d) else _METHODS[step.method](layer, energy)
        bias = 0 if layer.bias is None else layer.bias.numel()
        size = dense if twin is None else sum(p.numel() for p in twin.parameters()) - bias
        if twin is None or size >= dense:
            reason = reason or f"{100 * energy:g} % of its energy take no fewer weights than the kernel"
            choices.append(LayerChoice(path, None, reason, dense, dense))
            continue
        made.set_submodule(path, twin.train(layer.training))
        choices.append(LayerChoice(path, rank, "", dense, size))
    if not any(choice.rank for choice in choices):
        raise UsageError(
            f"no convolution is smaller as {step.method} with {100 * energy:g} % of its energy",
            reasons=[f"{choice.path}: {choice.reason}" for choice in choices][:20] or ["the network has none"],
            fix="keep less energy, or use a recipe without the step 'decompose'",
        )
    return made, tuple(choices)


@torch.no_grad()
def factorized(layer: nn.Conv2d, rank: int) -> FactorizedConv2d:
    """The factorized layer of that rank nearest to a dense one; equal to it where rank >= k_h k_w.

    Raises:
        UsageError: a rank no kernel of this shape needs.
    """
    made = FactorizedConv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, _padding(layer), rank,
        bias=layer.bias is not None,
    )  # fmt: skip
    for own, factor in zip((made.channel, *made.filters), canonical(layer.weight, rank), strict=True):
        own.copy_(factor)
    made.balance()
    if layer.bias is not None and made.bias is not None:
        made.bias.copy_(layer.bias)
    return made


def _cp(layer: nn.Conv2d, energy: float) -> tuple[nn.Module | None, int]:
    """The least rank that keeps the energy, by bisection, as more products never fit worse."""
    even = math.ceil(break_even(layer.in_channels, layer.kernel_size)) - 1
    low, high = 0, min(largest_rank(layer.in_channels, layer.kernel_size), even)
    best, total = None, layer.weight.square().sum()
    while low < high:
        rank = (low + high + 1) // 2 if best is None else (low + high) // 2
        rank = max(rank, low + 1)
        found = factorized(layer, rank)
        if (found.kernel() - layer.weight).square().sum() <= (1 - energy) * total:
            best, high = found, rank
            if high == low + 1:
                break
        else:
            low = rank
    return best, 0 if best is None else best.rank


@torch.no_grad()
def _svd(layer: nn.Conv2d, energy: float) -> tuple[nn.Module, int]:
    left, right = _split(layer.weight.double().flatten(1), 1 - energy)
    rank = left.shape[1]
    spatial = _convolution(right.unflatten(1, layer.weight.shape[1:]), layer.stride, _padding(layer))
    return nn.Sequential(spatial, _convolution(left[:, :, None, None], bias=layer.bias)), rank


@torch.no_grad()
def _tucker2(layer: nn.Conv2d, energy: float) -> tuple[nn.Module, int]:
    from tensorly.decomposition import partial_tucker

    kernel, lost = layer.weight.double(), (1 - energy) / 2
    ranks = [_rank_of(kernel.transpose(0, mode).flatten(1), lost) for mode in (0, 1)]
    found, _ = partial_tucker(kernel.numpy(), ranks, modes=[0, 1], init="svd")
    core, (outputs, inputs) = torch.from_numpy(found[0]), (torch.from_numpy(np.asarray(f)) for f in found[1])
    first = _convolution(inputs.T[:, :, None, None])
    middle = _convolution(core, layer.stride, _padding(layer))
    return nn.Sequential(first, middle, _convolution(outputs[:, :, None, None], bias=layer.bias)), min(ranks)


@torch.no_grad()
def _tt(layer: nn.Conv2d, energy: float) -> tuple[nn.Module, int]:
    from tensorly.decomposition import tensor_train

    kernel = layer.weight.double().permute(1, 2, 3, 0)
    lost = (1 - energy) / 3
    # What the train drops at a bond is no more than the same rank drops of the whole unfolded there.
    ranks = [_rank_of(kernel.flatten(0, bond).flatten(1), lost) for bond in range(3)]
    found = tensor_train(kernel.contiguous().numpy(), [1, *ranks, 1])
    channels, rows, columns, outputs = (torch.from_numpy(np.array(core)) for core in found)
    (down, right), (top, left) = layer.stride, _padding(layer)
    cores = (
        _convolution(channels[0].T[:, :, None, None]),
        _convolution(rows.permute(2, 0, 1).unsqueeze(3), (down, 1), (top, 0)),
        _convolution(columns.permute(2, 0, 1).unsqueeze(2), (1, right), (0, left)),
        _convolution(outputs[..., 0].T[:, :, None, None], bias=layer.bias),
    )
    return nn.Sequential(*cores), max(ranks)


def _split(matrix: Tensor, lost: float) -> tuple[Tensor, Tensor]:
    """(m, r) with orthonormal columns and (r, n), whose product drops at most `lost` of the sum of squares."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rank = _rank(values, lost, matrix.square().sum())
    return left[:, :rank], values[:rank, None] * right[:rank]


def _rank_of(matrix: Tensor, lost: float) -> int:
    """The least rank that drops at most that share of the sum of squares."""
    return _rank(torch.linalg.svdvals(matrix), lost, matrix.square().sum())


def _rank(values: Tensor, lost: float, total: Tensor) -> int:
    """How many singular values to keep so that those left out have at most that share of the sum of squares."""
    tails = values.square().flip(0).cumsum(0).flip(0)
    return max(1, int((tails > lost * total * (1 + 1e-12)).sum()))


def _padding(layer: nn.Conv2d) -> tuple[int, int]:
    top, left = (int(side) for side in layer.padding)
    return top, left


def _convolution(
    kernel: Tensor, stride: tuple[int, ...] = (1, 1), padding: tuple[int, ...] = (0, 0), bias: Tensor | None = None
) -> nn.Conv2d:
    """A convolution with this kernel (C_out, C_in, k_h, k_w)."""
    outputs, inputs, height, width = kernel.shape
    made = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=bias is not None)  # type: ignore[arg-type]
    made.weight.copy_(kernel)
    if bias is not None and made.bias is not None:
        made.bias.copy_(bias)
    return made


_METHODS: dict[str, Callable[[nn.Conv2d, float], tuple[nn.Module | None, int]]] = {
    "cp": _cp, "svd": _svd, "tucker2": _tucker2, "tt": _tt,
}  # fmt: skip
