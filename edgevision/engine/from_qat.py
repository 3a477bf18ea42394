"""A network trained quantised as one of integers alone (quant/INTEGER_NETWORKS.md)."""

from __future__ import annotations

from edgevision.compress.qat import INPUT, QatNetwork, Step
from edgevision.engine.bounds import require_bounds
from edgevision.engine.checks import checked
from edgevision.engine.network import (
    Channels,
    Concat,
    Convolution,
    Group,
    Header,
    IntegerNetwork,
    Layer,
    MaxPool,
    Parameters,
    Shuffle,
    Upsample,
)
from edgevision.engine.scaling import scaled
from edgevision.errors import Unsupported


def integer_network(network: QatNetwork, height: int, width: int) -> IntegerNetwork:
    """The integers `network` computes with, for images of one size; its bytes are those of `QatNetwork.integers`.

    Raises:
        Unsupported: the engine's numbers cannot hold a layer, or an image could overflow its sums; every such layer is
            named.
        UsageError: the size is not one the network takes.
    """
    layers: list[Layer] = []
    parameters: dict[str, Parameters] = {}
    reasons: list[str] = []
    for step in network.steps:
        if step.kind != "conv":
            layers.append(_moving(step))
            continue
        try:
            layer, parameters[step.name] = _convolution(network, step)
        except Unsupported as error:
            reasons += error.reasons
            continue
        layers.append(layer)
    if reasons:
        raise Unsupported(
            "the engine's int16 numbers cannot hold this network",
            fix="train longer with moving ranges, or leave channels that are always zero out",
            reasons=reasons,
        )
    groups = tuple(Group(float(group.scale().detach()), group.zero_point) for group in network.quantizers)
    header = Header(
        input_shape=(network.input_channels, height, width), input_group=network.group_of(INPUT), groups=groups,
        layers=tuple(layers), outputs=network.outputs,
    )  # fmt: skip
    made = checked(IntegerNetwork(header, parameters), "quantised network")
    require_bounds(made)
    return made


def _convolution(network: QatNetwork, step: Step) -> tuple[Convolution, Parameters]:
    layer, source = network.layer(step.name), network.quantizer(step.inputs[0])
    after = None if step.group is None else network.quantizer(step.name)
    numbers = layer.numbers(source, after)
    zeros = source.zero_point, None if after is None else after.zero_point
    given, shift = scaled(step.name, numbers.weight, numbers.ratio, numbers.constant, zeros)
    channels, depth = numbers.weight.shape[:2]
    made = Convolution(
        name=step.name, input=step.inputs[0], channels=channels, depth=depth, kernel=layer.kernel, stride=layer.stride,
        depthwise=layer.depthwise, bits=4 if layer.bits <= 4 else 8, shift=shift, relu=step.relu, group=step.group,
        limits=layer.limits, dilation=step.inputs[1] if layer.deformable else None,
    )  # fmt: skip
    return made, given


def _moving(step: Step) -> Layer:
    if step.kind == "concat":
        return Concat(name=step.name, inputs=step.inputs)
    if step.kind == "channels":
        return Channels(name=step.name, input=step.inputs[0], first=step.first, count=step.count)
    kinds: dict[str, type[Shuffle | Upsample | MaxPool]] = {
        "shuffle": Shuffle, "upsample": Upsample, "max_pool": MaxPool,
    }  # fmt: skip
    return kinds[step.kind](name=step.name, input=step.inputs[0])
