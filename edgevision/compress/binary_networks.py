"""Which layers of a network become one bit.

==========  =====================================================  ====================================================
network     attention                                              mlp
==========  =====================================================  ====================================================
DeiT, Swin  `attn`: qkv, q, k, v, the attention matrix, proj        `mlp.fc1`, `mlp.fc2`
CAS-ViT     `attn.qkv`, a pointwise convolution; there is no        `mlp.fc1`, `mlp.fc2`, and the two pointwise
            softmax and nothing else to binarise                    convolutions of `local_perception`
==========  =====================================================  ====================================================

Everything else keeps its bits, for the 8-bit step behind: the first layer (patch embedding, stem) and the head, which
the paper keeps, are binarised only when they are named; so is Swin's `reduction` (patch merging), which the paper keeps
in float too. In CAS-ViT the depthwise convolutions stay (nine weights per channel, of which signs leave a box or an
edge; all of them are 2 % of the parameters), the gates (a sigmoid of a sign says nothing, and its convolution runs on
one pixel or makes one channel) and the 3x3 embeddings between stages, which change the resolution as merging does.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

from torch import nn

from edgevision.compress.binarize import (
    BinaryConv2d,
    BinaryLayer,
    BinaryLinear,
    BinaryWeightConv2d,
    BinaryWeightLinear,
)
from edgevision.compress.binary_attention import BinarySelfAttention
from edgevision.config import nearest
from edgevision.errors import Unsupported, UsageError
from edgevision.recipe import Binarize
from edgevision.zoo import attention, cas_vit


def binarised(module: nn.Module, step: Binarize) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy of `module` with the layers of `step` replaced, and the paths of what was replaced.

    What an earlier step replaced stays as it is. Weights must be loaded: the scales are set from them.

    Raises:
        Unsupported: the network has no layers of that part.
        UsageError: a named layer is not there or cannot be binarised, or weights hold NaN or infinity; all of them.
    """
    made = copy.deepcopy(module)
    # q, k and v are signs whatever the bits of other activations.
    signed = {part: part == "attention" or step.activation_bits == 1 for part in _parts(step)}
    chosen = {name: signed[part] for part in signed for name in _found(made, part)}
    already = any(isinstance(layer, BinaryLayer) for layer in made.modules())
    if not chosen and not step.layers:
        raise Unsupported(
            f"there is nothing to binarise in the part '{step.part}' of this network"
            + (": an earlier step has done it" if already else ""),
            where=type(module).__name__,
            fix="binary recipes are for DeiT, Swin and CAS-ViT; for other networks use w8a8",
        )
    _refuse(made, [*chosen, *step.layers], step)
    named = dict.fromkeys(step.layers, step.activation_bits == 1)
    chosen = {**named, **chosen}
    for name, signs in chosen.items():
        _replace(made, name, _binary(made.get_submodule(name), step, signs))
    return made, tuple(chosen)


def _parts(step: Binarize) -> tuple[str, ...]:
    if step.part == "named":
        return ()
    return ("attention", "mlp") if step.part == "all" else (step.part,)


def _found(module: nn.Module, part: str) -> Iterator[str]:
    for name, layer in module.named_modules():
        if part == "attention" and isinstance(layer, attention.Attention):
            yield name
        elif part == "attention" and isinstance(layer, cas_vit.AdditiveTokenMixer) and _float(layer.qkv):
            yield f"{name}.qkv"
        elif part == "mlp" and isinstance(layer, attention.Mlp | cas_vit.Mlp) and _float(layer.fc1):
            yield from (f"{name}.fc1", f"{name}.fc2")
        elif part == "mlp" and isinstance(layer, cas_vit.LocalIntegration) and _float(layer.network[0]):
            yield from (f"{name}.network.0", f"{name}.network.4")


def _float(layer: nn.Module) -> bool:
    return not isinstance(layer, BinaryLayer)


def _refuse(module: nn.Module, names: list[str], step: Binarize) -> None:
    layers = dict(module.named_modules())
    able = [name for name, layer in layers.items() if _pointwise(layer)]
    reasons = []
    for name in step.layers:
        if name not in layers:
            reasons.append(f"no layer is called '{name}'{nearest(name, able)}")
        elif not _pointwise(layers[name]):
            reasons.append(f"{name}: expected a linear layer or a pointwise convolution, got {layers[name]}")
    for name in names:
        for key, tensor in layers[name].named_parameters() if name in layers else ():
            if not tensor.isfinite().all():
                reasons.append(f"{name}.{key}: holds NaN or infinity, which have no sign")
    if reasons:
        raise UsageError(
            "the network cannot be binarised", where=type(module).__name__, reasons=reasons,
            fix="change `layers` in the recipe's binarize step, or load other weights",
        )  # fmt: skip


def _pointwise(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size == layer.stride == (1, 1) and layer.groups == 1 and layer.padding in (0, (0, 0))
    return isinstance(layer, nn.Linear)


def _binary(layer: nn.Module, step: Binarize, signed: bool) -> nn.Module:
    learned = step.scales == "learned"
    if isinstance(layer, attention.Attention):
        return BinarySelfAttention(layer, kind=step.attention, row_scale=step.row_scale, learned=learned)
    if isinstance(layer, nn.Conv2d):
        return (BinaryConv2d if signed else BinaryWeightConv2d).of(layer, learned=learned)
    if isinstance(layer, nn.Linear):
        return (BinaryLinear if signed else BinaryWeightLinear).of(layer, learned=learned)
    raise TypeError(f"{layer} was not refused")


def _replace(module: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, new.train(module.training))
