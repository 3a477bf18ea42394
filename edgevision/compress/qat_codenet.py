"""A trained CoDeNet (arXiv 2006.08357) as a network that trains quantised: W4A8, first layer 8 bit.

The optimiser is to be made of the result's parameters, which are copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from edgevision.compress.fake_quantize import ActivationQuantizer, Signs
from edgevision.compress.qat import INPUT, QatNetwork, QatSettings, Step
from edgevision.compress.quantized_conv import QuantizedConv
from edgevision.data.preprocess import Preprocessing
from edgevision.errors import Unsupported, UsageError
from edgevision.zoo.codenet import CoDeNet
from edgevision.zoo.deform import DeformConv2d
from edgevision.zoo.shufflenet_v2 import Unit
from edgevision.zoo.square import LARGEST_DILATION

_Path = tuple[str, nn.Module]


def quantised_codenet(
    module: CoDeNet, images: Iterable[Tensor], settings: QatSettings | None = None, *,
    preprocessing: Preprocessing | None = None,
) -> QatNetwork:  # fmt: skip
    """The network that trains quantised, with ranges from `images`, in eval mode; `module` is not changed.

    Args:
        module: trained; its batch norms are used as in eval mode.
        images: batches (N, C, H, W), normalised.
        settings: of the quantisation.
        preprocessing: of the images; the range of the input is then all it can give, and not that of `images`.

    Raises:
        Unsupported: a layer the engine does not have, each named with its reason.
        UsageError: no images, or bits out of reach.
    """
    reasons = [reason for name, layer in module.named_modules() for reason in _reasons(name, layer)]
    if reasons:
        raise Unsupported(
            "the network has layers that the integer engine cannot compute",
            fix="train the decoder with conv='square' (limits within 0 to 7) or conv='plain'",
            reasons=reasons,
        )
    network = _Converter(settings or QatSettings()).converted(module).eval()
    if preprocessing is not None:
        network.quantizer(INPUT).observe(_extremes(preprocessing))
    count = 0

    def counted() -> Iterator[Tensor]:
        nonlocal count
        for batch in images:
            count += len(batch)
            yield batch

    network.calibrate(counted())
    if not count:
        raise UsageError("expected images to set the ranges with, got none", fix="give images of the training data")
    return network


class _Converter:
    """Collects steps, layers and groups while it walks a network."""

    def __init__(self, settings: QatSettings) -> None:
        self._settings = settings
        self._groups: list[ActivationQuantizer] = []
        self._layers: dict[str, QuantizedConv] = {}
        self._steps: list[Step] = []

    def converted(self, module: CoDeNet) -> QatNetwork:
        self._group("asymmetric")
        x = INPUT
        for name, part in module.backbone.named_children():
            x = self._stage(f"backbone.{name}", part, x)
        x = self._chain(_flat("decoder", module.decoder), x)
        outputs = [self._chain(_flat(name, getattr(module, name)), x) for name in ("hm", "wh", "reg")]
        return QatNetwork(self._steps, self._layers, self._groups, outputs, self._settings)

    def _stage(self, path: str, part: nn.Module, x: str) -> str:
        """A part of the backbone; the units of a stage share one group, since every one passes half of its input on."""
        units = [unit for unit in part.children() if isinstance(unit, Unit)]
        if not units:
            return self._chain(_flat(path, part), x)
        group = self._group("positive")
        for index, unit in enumerate(units):
            x = self._unit(f"{path}.{index}", unit, x, group)
        return x

    def _unit(self, path: str, unit: Unit, x: str, group: int) -> str:
        if unit.stride == 1:
            half = next(part for part in unit.branch2 if isinstance(part, nn.Conv2d)).in_channels
            passed = self._add(Step("channels", f"{path}.passed", (x,), group, count=half))
            worked = self._add(Step("channels", f"{path}.worked", (x,), group, first=half, count=half))
        else:
            passed, worked = self._chain(_flat(f"{path}.branch1", unit.branch1), x, group), x
        worked = self._chain(_flat(f"{path}.branch2", unit.branch2), worked, group)
        joined = self._add(Step("concat", f"{path}.joined", (passed, worked), group))
        return self._add(Step("shuffle", f"{path}.shuffled", (joined,), group))

    def _chain(self, parts: Sequence[_Path], x: str, last: int | None = None) -> str:
        """Layers one after another; the last convolution's result belongs to group `last` where one is given."""
        convolutions = [index for index, (_, part) in enumerate(parts) if _is_layer(part)]
        for index, (path, part) in enumerate(parts):
            if _is_layer(part):
                behind = [following for _, following in parts[index + 1 : index + 3]]
                norm = behind[0] if behind and isinstance(behind[0], nn.BatchNorm2d) else None
                after = behind[1:] if norm is not None else behind
                relu = bool(after) and isinstance(after[0], nn.ReLU)
                joins = last is not None and index == convolutions[-1]
                group = last if joins else self._group("positive" if relu else "asymmetric")
                x = self._convolution(path, part, norm, x, relu, group)
            elif isinstance(part, nn.MaxPool2d):
                x = self._add(Step("max_pool", path, (x,), self._group_of(x)))
            elif not isinstance(part, nn.BatchNorm2d | nn.ReLU | nn.Identity):
                x = self._add(Step("upsample", path, (x,), self._group_of(x)))
        return x

    def _convolution(
        self, path: str, part: nn.Module, norm: nn.Module | None, x: str, relu: bool, group: int | None
    ) -> str:
        assert isinstance(part, nn.Conv2d | DeformConv2d) and isinstance(norm, nn.BatchNorm2d | None)
        learned = self._settings.ranges == "learned"
        bits = self._settings.weight_bits if self._layers else self._settings.first_bits
        inputs: tuple[str, ...] = (x,)
        if isinstance(part, DeformConv2d):
            name, limits = f"{path}.predictor", (int(part.limits[0]), int(part.limits[1]))
            self._layers[name] = QuantizedConv(part.predictor, None, bits, learned=learned, limits=limits)
            inputs = (x, self._add(Step("conv", name, (x,), None)))
        self._layers[path] = QuantizedConv(part, norm, bits, learned=learned)
        return self._add(Step("conv", path, inputs, group, relu))

    def _add(self, step: Step) -> str:
        self._steps.append(step)
        return step.name

    def _group(self, signs: Signs) -> int:
        self._groups.append(ActivationQuantizer(signs, learned=self._settings.ranges == "learned"))
        return len(self._groups) - 1

    def _group_of(self, tensor: str) -> int | None:
        return next(step.group for step in self._steps if step.name == tensor)


def _is_layer(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d | DeformConv2d)


def _flat(path: str, part: nn.Module) -> list[_Path]:
    """The layers of nested sequences, in order, with their paths."""
    if not isinstance(part, nn.Sequential):
        return [(path, part)]
    return [item for name, child in part.named_children() for item in _flat(f"{path}.{name}", child)]


def _reasons(name: str, layer: nn.Module) -> list[str]:
    if not isinstance(layer, DeformConv2d):
        return []
    if layer.variant != "square" or not layer.depthwise:
        kind = "depthwise" if layer.depthwise else "full"
        return [f"layer '{name}': expected a square depthwise deformable convolution, got {layer.variant}, {kind}"]
    low, high = layer.limits
    if not (low <= high and layer.limits_fit and low == int(low) and high == int(high)):
        return [f"layer '{name}': expected whole limits of the dilation within 0 to {LARGEST_DILATION}, "
                f"got {low:g} to {high:g}"]  # fmt: skip
    return []


def _extremes(preprocessing: Preprocessing) -> Tensor:
    """The values that black and white become."""
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    return torch.stack([(0 - mean) / std, (1 - mean) / std])
