"""Who reads what: which layers read each channel a layer makes, through the layers that only move channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from edgevision.engine.network import INPUT, Channels, Concat, Convolution, Header, Layer, Shuffle, Upsample

Item = TypeVar("Item")
#: Layers that are done by placement alone.
MOVING = (Concat, Channels, Shuffle, Upsample)


def sources(layer: Layer) -> list[str]:
    """Names of the activations a layer reads, without a map of dilations."""
    return list(layer.inputs) if isinstance(layer, Concat) else [layer.input]


def shuffled(channels: int, parts: int) -> list[int]:
    """The channel of the input that each channel of the result is."""
    size = channels // parts
    return [(position % parts) * size + position // parts for position in range(channels)]


def moved(layer: Layer, inputs: Sequence[Sequence[Item]]) -> list[Item]:
    """What `layer`, one of MOVING, makes of lists with one item per channel."""
    if isinstance(layer, Concat):
        return [item for one in inputs for item in one]
    (items,) = inputs
    if isinstance(layer, Channels):
        return list(items[layer.first : layer.first + layer.count])
    if isinstance(layer, Shuffle):
        return [items[index] for index in shuffled(len(items), layer.parts)]
    return list(items)


def readers_of_channels(header: Header, channels: dict[str, int]) -> dict[str, list[tuple[int, ...]]]:
    """For the image and every layer that computes: for each of its channels, the layers that read it, by index.

    Args:
        channels: of every tensor.

    An output of the network counts as read by the layer after the last.
    """
    origin = {INPUT: [(INPUT, channel) for channel in range(channels[INPUT])]}
    found: dict[str, list[list[int]]] = {INPUT: [[] for _ in range(channels[INPUT])]}
    for index, layer in enumerate(header.layers):
        if isinstance(layer, MOVING):
            origin[layer.name] = moved(layer, [origin[name] for name in sources(layer)])
            continue
        for producer, channel in origin[sources(layer)[0]]:
            found[producer][channel].append(index)
        found[layer.name] = [[] for _ in range(channels[layer.name])]
        origin[layer.name] = [(layer.name, channel) for channel in range(channels[layer.name])]
    for name in header.outputs:
        for producer, channel in origin[name]:
            found[producer][channel].append(len(header.layers))
    return {name: [tuple(sorted(set(one))) for one in readers] for name, readers in found.items()}


def readers_of_tensors(header: Header) -> dict[str, list[str]]:
    """Names of the layers that read each tensor as it is, and "" where it is an output."""
    found: dict[str, list[str]] = {name: [] for name in (INPUT, *(layer.name for layer in header.layers))}
    for layer in header.layers:
        also = [layer.dilation] if isinstance(layer, Convolution) and layer.dilation is not None else []
        for name in [*sources(layer), *also]:
            found[name].append(layer.name)
    for name in header.outputs:
        found[name].append("")
    return found
