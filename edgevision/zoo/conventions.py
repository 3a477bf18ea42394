"""What public code of CoDeNet means by the value its square layers predict, and how such layers are taken over.

The publication (arXiv 2006.08357) and its repositories disagree. All sample at d k, k from (-1, -1) to (1, 1):

==========  ==========================  =========  =====================================================================
name        value v of the predictor    d lies in  where
==========  ==========================  =========  =====================================================================
paper       d = clamp(v, 0, 7)          0 to 7     the text, and the published accelerator (whole numbers only)
quantized   d = clamp(v, -7, 8)         -7 to 8    the training code on CenterNet; a negative d mirrors the filter
ablation    d = 1 + clamp(v, 0, 8)      1 to 9     the training code on detectron2
==========  ==========================  =========  =====================================================================

None rounds d in training. So a layer taken over computes what it did there, bit for bit but for the order of sums, as
long as `rounded` is off; the deployed operator needs whole dilations from 0 to 7, which `fit` brings about when asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from edgevision.config import nearest
from edgevision.errors import Unsupported, UsageError
from edgevision.zoo.deform import DeformConv2d
from edgevision.zoo.square import LARGEST_DILATION


@dataclass(frozen=True)
class Convention:
    """One meaning of the predicted value.

    Attributes:
        limits: smallest and largest dilation.
        added: to the predictor's bias, so that its value is the dilation before the clamp.
    """

    limits: tuple[float, float]
    added: float


CONVENTIONS = {
    "paper": Convention((0, 7), 0),
    "quantized": Convention((-7, 8), 0),
    "ablation": Convention((1, 9), 1),
}


def adopt(module: nn.Module, convention: str) -> tuple[str, ...]:
    """Read the weights just loaded into the square layers of `module` by a convention of `CONVENTIONS`, in place.

    Returns:
        What differs from the code the weights come from, a sentence each; empty when nothing does.

    Raises:
        UsageError: an unknown convention, or a network without square layers.

    >>> layer = DeformConv2d(4, 4, rounded=False)
    >>> adopt(layer, "ablation"), layer.limits
    ((), (1, 9))
    """
    if convention not in CONVENTIONS:
        raise UsageError(
            f"unknown convention '{convention}'{nearest(convention, list(CONVENTIONS))}",
            fix=f"one of {', '.join(CONVENTIONS)}",
        )
    how = CONVENTIONS[convention]
    notes = []
    for name, layer in _square_layers(module):
        layer.limits = how.limits
        if layer.predictor.bias is not None:
            with torch.no_grad():
                layer.predictor.bias += how.added
        if layer.rounded:
            notes.append(f"{name}: dilations are rounded, in the code of the weights they are not")
    return tuple(notes)


def fit(module: nn.Module, *, clamp: bool = False) -> tuple[str, ...]:
    """Bring the square layers of `module` to what is deployed: whole dilations from 0 to 7; in place.

    Args:
        clamp: cut limits that reach further; without it they are refused.

    Returns:
        What changed, a sentence for each layer; empty when nothing did.

    Raises:
        Unsupported: limits beyond 0 to 7 without `clamp`; every layer is named.
    """
    beyond = {name: layer for name, layer in _square_layers(module) if not layer.limits_fit}
    if beyond and not clamp:
        raise Unsupported(
            f"expected dilations from 0 to {LARGEST_DILATION}, got layers whose limits reach further",
            fix="fit(module, clamp=True) cuts them off, which changes the network where they are reached",
            reasons=[f"{name}: from {layer.limits[0]:g} to {layer.limits[1]:g}" for name, layer in beyond.items()],
        )
    notes = []
    for name, layer in _square_layers(module):
        if name in beyond:
            low, high = layer.limits
            layer.limits = (max(low, 0), min(high, LARGEST_DILATION))
            notes.append(
                f"{name}: dilations from {low:g} to {high:g} are cut to {layer.limits[0]:g} to {layer.limits[1]:g}"
            )
        if not layer.rounded:
            layer.rounded = True
            notes.append(f"{name}: dilations are rounded from here on")
    return tuple(notes)


def _square_layers(module: nn.Module) -> Iterator[tuple[str, DeformConv2d]]:
    """Every square layer with its path.

    Raises:
        UsageError: there is none.
    """
    found = [
        (name or "layer", layer)
        for name, layer in module.named_modules()
        if isinstance(layer, DeformConv2d) and layer.variant == "square"
    ]
    if not found:
        raise UsageError("expected a network with square deformable layers, got one without")
    yield from found
