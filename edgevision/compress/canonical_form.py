"""Canonical (CP) form of many small tensors at once, by alternating least squares.

K[o, c, i, j] is approximated by the sum over r < R of a[o, r, c] b[o, r, i] d[o, r, j], each o for itself (Kolda and
Bader, "Tensor decompositions and applications", SIAM Review 2009, section 3.4). All filters of a layer are solved
together: one of them alone is too small to be worth a call.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Alternations and starts.
SWEEPS, STARTS = 40, 2
#: Added to the normal equations, relative to their largest entry: products may become parallel.
RIDGE = 1e-9


def canonical(kernel: Tensor, rank: int, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Channel, row and column factors (O, R, C), (O, R, I), (O, R, J) of `kernel` (O, C, I, J), float64 inside.

    With R >= I J the result is exact. Starts are drawn from `seed`; the best of them is kept for each filter.

    >>> a, b, d = canonical(torch.ones(2, 3, 2, 2), 1)
    >>> float((torch.einsum("orc,ori,orj->ocij", a, b, d) - 1).abs().max()) < 1e-6
    True
    """
    outputs, _, height, width = kernel.shape
    wide = kernel.double()
    if rank >= height * width:
        return _exact(wide, rank)
    # Along the channels a filter spans at most I J directions: the same problem with a shorter first way.
    left, values, right = torch.linalg.svd(wide.flatten(2), full_matrices=False)
    core = (values.unsqueeze(-1) * right).unflatten(2, (height, width))
    generator = torch.Generator().manual_seed(seed)
    best: list[Tensor] = []
    error = torch.full((outputs,), torch.inf, dtype=torch.float64)
    for _ in range(STARTS):
        found = _alternate(core, rank, generator)
        lost = (_product(*found) - core).flatten(1).square().sum(1)
        better = (lost < error).view(-1, 1, 1)
        best = list(found) if not best else [torch.where(better, n, o) for n, o in zip(found, best, strict=True)]
        error = torch.minimum(error, lost)
    first, rows, columns = best
    channel = torch.einsum("ocm,orm->orc", left, first)
    return tuple(factor.to(kernel.dtype) for factor in (channel, rows, columns))  # type: ignore[return-value]


def _product(first: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return torch.einsum("orc,ori,orj->ocij", first, rows, columns)


def _exact(kernel: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every tap is a product of its channels and two unit filters; what is left of the rank is zero."""
    outputs, channels, height, width = kernel.shape
    taps = height * width
    first = kernel.new_zeros(outputs, rank, channels)
    first[:, :taps] = kernel.flatten(2).transpose(1, 2)
    rows, columns = kernel.new_zeros(outputs, rank, height), kernel.new_zeros(outputs, rank, width)
    rows[:, :taps] = torch.eye(height, dtype=kernel.dtype).repeat_interleave(width, 0)
    columns[:, :taps] = torch.eye(width, dtype=kernel.dtype).repeat(height, 1)
    return first.float(), rows.float(), columns.float()


def _alternate(core: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    outputs, _, height, width = core.shape
    rows, columns = (torch.randn(outputs, rank, n, dtype=core.dtype, generator=generator) for n in (height, width))
    first = _solved("ocij,ori,orj->orc", core, rows, columns)
    for _ in range(SWEEPS):
        first = _solved("ocij,ori,orj->orc", core, rows, columns)
        rows = _unit(_solved("ocij,orc,orj->ori", core, first, columns))
        columns = _unit(_solved("ocij,orc,ori->orj", core, first, rows))
    return _solved("ocij,ori,orj->orc", core, rows, columns), rows, columns


def _unit(factor: Tensor) -> Tensor:
    """Of length 1: only products have a length, which the other factor then takes."""
    return torch.nn.functional.normalize(factor, dim=-1)


def _solved(equation: str, core: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """The factor that fits best with the two others held."""
    gram = (one @ one.transpose(1, 2)) * (other @ other.transpose(1, 2))
    largest = gram.diagonal(dim1=1, dim2=2).amax(1).clamp_min(torch.finfo(gram.dtype).tiny)
    ridge = (RIDGE * largest).view(-1, 1, 1) * torch.eye(gram.shape[1], dtype=gram.dtype)
    return torch.linalg.solve(gram + ridge, torch.einsum(equation, core, one, other))
