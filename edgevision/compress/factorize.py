"""Dense convolutions replaced by factorized ones before a network is trained, where the format pays.

A dense kernel has C_in k_h k_w weights per output, each of R products C_in + k_h + k_w; at the break-even rank the
factors are as many. That is what decides here. Whether a layer is computed from its factors or from the kernel they
make is a matter of time, chosen for the target when it is compiled (`factorized_cost`).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from edgevision.errors import UsageError
from edgevision.recipe import Factorize, Recipe
from edgevision.zoo.factorized import (
    FACTORIZED,
    FactorizedConv1d,
    FactorizedConv2d,
    FactorizedConv3d,
    FactorizedConvTranspose2d,
    largest_rank,
)
from edgevision.zoo.family import Alteration

_KINDS: dict[type, Any] = {
    nn.Conv1d: FactorizedConv1d,
    nn.Conv2d: FactorizedConv2d,
    nn.Conv3d: FactorizedConv3d,
    nn.ConvTranspose2d: FactorizedConvTranspose2d,
}


@dataclass(frozen=True)
class LayerChoice:
    """What becomes of one convolution.

    Attributes:
        rank: products per output filter; None where it stays dense.
        reason: why it stays dense; "" where it does not.
        dense, factored: weights of the kernel and of its factors, without the bias.
    """

    path: str
    rank: int | None
    reason: str
    dense: int
    factored: int


def break_even(in_channels: int, kernel: tuple[int, ...]) -> float:
    """The rank whose factors are as many as the weights of the kernel.

    >>> round(break_even(64, (3, 3)), 1), round(break_even(64, (5, 5)), 1)
    (8.2, 21.6)
    """
    return in_channels * math.prod(kernel) / (in_channels + sum(kernel))


def plan(module: nn.Module, step: Factorize) -> tuple[LayerChoice, ...]:
    """What `factorize` does with each convolution of `module`, in the order of its modules.

    Of a network that is factorized already it says what was done.
    """
    choices = []
    for path, layer in module.named_modules():
        if isinstance(layer, FACTORIZED):
            ways = sum(layer.kernel_size) + layer.in_channels
            dense = layer.out_channels * layer.in_channels * math.prod(layer.kernel_size)
            choices.append(LayerChoice(path, layer.rank, "", dense, layer.out_channels * layer.rank * ways))
        elif isinstance(layer, nn.modules.conv._ConvNd):
            choices.append(_choice(path, layer, step))
    return tuple(choices)


def _choice(path: str, layer: Any, step: Factorize) -> LayerChoice:
    dense = layer.weight.numel()
    reason = unsuited(layer)
    if reason:
        return LayerChoice(path, None, reason, dense, dense)
    even, most = break_even(layer.in_channels, layer.kernel_size), largest_rank(layer.in_channels, layer.kernel_size)
    rank = math.floor(even * step.share + 1e-9) if step.rank == "auto" else step.rank
    if rank < 1:
        reason = f"rank 1 leaves {100 / even:.0f} % of its weights, more than the {100 * step.share:g} % asked for"
    elif rank >= even:
        reason = f"rank {rank} has no fewer weights than the kernel (break-even {even:.1f})"
    elif rank > most:
        reason = f"rank {rank} is above {most}, which makes every kernel of this shape"
    if reason:
        return LayerChoice(path, None, reason, dense, dense)
    ways = layer.in_channels + sum(layer.kernel_size)
    return LayerChoice(path, rank, "", dense, layer.out_channels * rank * ways)


def unsuited(layer: Any) -> str:
    """Why a convolution cannot be factorized; "" where it can."""
    if type(layer) not in _KINDS:
        return f"there is no factorized {type(layer).__name__}"
    if layer.groups > 1:
        kind = "depthwise" if layer.groups == layer.in_channels else "grouped"
        return f"it is {kind}, its filters see {layer.in_channels // layer.groups} channels"
    if max(layer.kernel_size) == 1:
        return "its kernel is 1x1"
    if set(layer.dilation) != {1}:
        return "it is dilated"
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return f"its padding is '{layer.padding if isinstance(layer.padding, str) else layer.padding_mode}'"
    return ""


def factorize(module: nn.Module, step: Factorize) -> nn.Module:
    """Return a copy of `module` with its convolutions factorized where that pays; their weights are drawn anew.

    Raises:
        UsageError: none can be, each with its reason.

    >>> network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 8, 1))
    >>> [type(layer).__name__ for layer in factorize(network, Factorize(rank=2))]
    ['FactorizedConv2d', 'FactorizedConv2d', 'Conv2d']
    """
    choices = plan(module, step)
    if not any(choice.rank for choice in choices):
        raise UsageError(
            f"no convolution of {type(module).__name__} can be factorized as {step.label}",
            reasons=[f"{choice.path}: {choice.reason}" for choice in choices][:20] or ["it has none"],
            fix="a lower rank, or a recipe without the step 'factorize'",
        )
    made = copy.deepcopy(module)
    for choice in choices:
        if choice.rank and not isinstance(made.get_submodule(choice.path), FACTORIZED):
            made.set_submodule(choice.path, _twin(made.get_submodule(choice.path), choice.rank))
    return made.train(module.training)


def _twin(layer: Any, rank: int) -> nn.Module:
    """The factorized layer of the shape of a dense one."""
    extra = {"output_padding": layer.output_padding} if isinstance(layer, nn.ConvTranspose2d) else {}
    made: nn.Module = _KINDS[type(layer)](
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, rank,
        bias=layer.bias is not None, **extra,
    )  # fmt: skip
    return made


def alteration_of(recipe: Recipe) -> Alteration | None:
    """What `recipe` changes of a network before it is trained."""
    step = recipe.before_training
    return None if step is None else Alteration(step.label, lambda module: factorize(module, step))


def told(choices: tuple[LayerChoice, ...], when: str = "before training") -> tuple[str, tuple[str, ...]]:
    """What a plan changes, in a line and notes, for the ledger."""
    done = [choice for choice in choices if choice.rank]
    dense, factored = sum(c.dense for c in done), sum(c.factored for c in done)
    change = (
        f"{len(done)} of {len(choices)} convolutions factorized {when}: {factored:,} weights in place of "
        f"{dense:,} ({100 * factored / max(dense, 1):.1f} %)"
    )
    ranks = [f"{c.path}: rank {c.rank}, {100 * c.factored / c.dense:.0f} % of the weights" for c in done]
    return change, (*ranks, *(f"{c.path} stays dense: {c.reason}" for c in choices if not c.rank))
