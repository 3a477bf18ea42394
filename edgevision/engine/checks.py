"""Whether an integer network makes sense: names, shapes, groups and ranges; every reason at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from edgevision.engine.network import (
    INPUT,
    SCHEMA,
    Channels,
    Concat,
    Convolution,
    Header,
    IntegerNetwork,
    Layer,
    MaxPool,
    Parameters,
    Requantise,
    Shuffle,
    Upsample,
)
from edgevision.errors import UsageError
from edgevision.graph.sampling import LARGEST_DILATION

#: Largest channels, height or width, and bytes of one tensor.
LARGEST_SIZE, LARGEST_TENSOR = 1 << 14, 1 << 28
#: Most layers, and largest shift.
MOST_LAYERS, LARGEST_SHIFT = 4096, 31


@dataclass(frozen=True)
class Tensor:
    """Shape (channels, height, width) of a tensor, and its group; None of a map of dilations."""

    shape: tuple[int, int, int]
    group: int | None


def checked(network: IntegerNetwork, where: str = "integer network") -> IntegerNetwork:
    """Return `network` when its parameters fit its header.

    Raises:
        UsageError: they do not, or the header contradicts itself; every reason is named.
    """
    tensors = tensors_of(network.header, where)
    reasons = []
    wanted = {layer.name: parameter_shapes(layer, tensors) for layer in network.header.layers}
    for name, shapes in wanted.items():
        given = network.parameters.get(name)
        if (given is not None) != bool(shapes):
            reasons.append(f"layer '{name}': expected {'parameters' if shapes else 'none'}, got the contrary")
        elif given is not None:
            reasons += _parameter_reasons(name, given, shapes, network.header)
    reasons += [f"parameters of '{name}', which is no layer" for name in network.parameters if name not in wanted]
    if reasons:
        _refuse(reasons, where)
    return network


def tensors_of(header: Header, where: str = "integer network") -> dict[str, Tensor]:
    """Shape and group of the image and of what every layer makes.

    Raises:
        UsageError: the header contradicts itself; every reason is named.
    """
    reasons = [*_header_reasons(header)]
    if reasons:
        _refuse(reasons, where)
    tensors = {INPUT: Tensor(header.input_shape, header.input_group)}
    for layer in header.layers:
        sources = _sources(layer)
        missing = [source for source in sources if source not in tensors]
        if layer.name in tensors or not layer.name:
            reasons.append(f"layer '{layer.name}': expected a name of its own")
        elif missing:
            reasons.append(f"layer '{layer.name}': reads {', '.join(missing)}, which nothing before it makes")
        else:
            found = _made(layer, [tensors[source] for source in sources], header)
            if isinstance(found, Tensor) and not _bounded(found.shape):
                found = f"makes {found.shape}, expected sizes of 1 to {LARGEST_SIZE}, {LARGEST_TENSOR} bytes in all"
            if isinstance(found, Tensor):
                tensors[layer.name] = found
            else:
                reasons.append(f"layer '{layer.name}': {found}")
        if reasons:
            # What follows reads what could not be made.
            _refuse(reasons, where)
    unknown = [name for name in header.outputs if name not in tensors or tensors[name].group is None]
    if unknown or not header.outputs:
        _refuse([f"expected outputs that are activations, got {unknown or 'none'}"], where)
    return tensors


def parameter_shapes(layer: Layer, tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes of a layer's parameters in the order of the file; empty where it has none."""
    if isinstance(layer, Convolution):
        weight = (layer.channels, layer.depth, layer.kernel, layer.kernel)
        return {"weight": weight, "multiplier": (layer.channels,), "bias": (layer.channels,)}
    if isinstance(layer, Requantise):
        channels = tensors[layer.name].shape[0]
        return {"multiplier": (channels,), "bias": (channels,)}
    return {}


def _sources(layer: Layer) -> list[str]:
    if isinstance(layer, Concat):
        return list(layer.inputs)
    also = [layer.dilation] if isinstance(layer, Convolution) and layer.dilation is not None else []
    return [layer.input, *also]


def _bounded(shape: tuple[int, ...]) -> bool:
    return all(1 <= size <= LARGEST_SIZE for size in shape) and math.prod(shape) <= LARGEST_TENSOR


def _header_reasons(header: Header) -> list[str]:
    reasons = []
    if header.schema != SCHEMA:
        reasons.append(f"expected schema {SCHEMA}, got {header.schema!r}")
    if not _bounded(header.input_shape):
        reasons.append(f"image {header.input_shape}: expected sizes of 1 to {LARGEST_SIZE}")
    if not 0 <= header.input_group < len(header.groups):
        reasons.append(f"image: group {header.input_group} of {len(header.groups)}")
    if len(header.layers) > MOST_LAYERS:
        reasons.append(f"expected at most {MOST_LAYERS} layers, got {len(header.layers)}")
    for index, group in enumerate(header.groups):
        if not (math.isfinite(group.scale) and group.scale > 0 and -128 <= group.zero <= 127):
            reasons.append(f"group {index}: expected a scale above 0 and a zero point of int8, got {group}")
    return reasons


def _made(layer: Layer, sources: list[Tensor], header: Header) -> Tensor | str:
    """What a layer makes, or why it cannot."""
    first = sources[0] if sources else None
    if first is None:
        return "expected something to read"
    (channels, height, width), group = first.shape, first.group
    if group is None:
        return "reads a map of dilations as activations"
    if isinstance(layer, Convolution):
        return _convolved(layer, sources, header)
    if isinstance(layer, Requantise):
        return _final(layer, header) or Tensor(first.shape, layer.group)
    if isinstance(layer, Concat):
        if any(s.group != group or s.shape[1:] != (height, width) for s in sources):
            return f"joins tensors of different groups or sizes: {[(s.group, s.shape) for s in sources]}"
        return Tensor((sum(s.shape[0] for s in sources), height, width), group)
    if isinstance(layer, Channels):
        if not (layer.first >= 0 and layer.count >= 1 and layer.first + layer.count <= channels):
            return f"takes channels {layer.first} to {layer.first + layer.count} of {channels}"
        return Tensor((layer.count, height, width), group)
    if isinstance(layer, Shuffle):
        if layer.parts < 1 or channels % layer.parts:
            return f"shuffles {channels} channels in {layer.parts} parts"
        return first
    if isinstance(layer, Upsample):
        return Tensor((channels, 2 * height, 2 * width), group)
    assert isinstance(layer, MaxPool)
    return Tensor((channels, -(-height // 2), -(-width // 2)), group)


def _convolved(layer: Convolution, sources: list[Tensor], header: Header) -> Tensor | str:
    channels, height, width = sources[0].shape
    depth = 1 if layer.depthwise else channels
    if layer.kernel not in (1, 3) or layer.stride not in (1, 2, 4) or layer.bits not in (4, 8):
        return (
            f"expected kernel 1 or 3, stride 1, 2 or 4, 4 or 8 bits, got {layer.kernel}, {layer.stride}, {layer.bits}"
        )
    if layer.depth != depth or layer.channels < 1 or (layer.depthwise and layer.channels != channels):
        return f"expected depth {depth} of {channels} input channels, got {layer.depth} and {layer.channels} channels"
    shape = (layer.channels, -(-height // layer.stride), -(-width // layer.stride))
    if layer.dilation is not None:
        dilations = sources[1]
        if dilations.group is not None or dilations.shape != (1, *shape[1:]):
            return f"expected a map of dilations (1, {shape[1]}, {shape[2]}), got {dilations}"
        if not layer.depthwise or layer.kernel != 3 or layer.stride == 4:
            return "expected a depthwise 3x3 layer of stride 1 or 2 to read a dilation map"
    return _final(layer, header) or Tensor(shape, layer.group)


def _final(layer: Convolution | Requantise, header: Header) -> str | None:
    """What is wrong with how a layer requantises."""
    if not 0 <= layer.shift <= LARGEST_SHIFT:
        return f"expected a shift of 0 to {LARGEST_SHIFT}, got {layer.shift}"
    limits = layer.limits if isinstance(layer, Convolution) else None
    if (limits is None) == (layer.group is None):
        return "expected either a group or, for a map of dilations, limits"
    if limits is not None:
        whole = isinstance(layer, Convolution) and layer.channels == 1 and 0 <= limits[0] <= limits[1]
        if not whole or limits[1] > LARGEST_DILATION:
            return f"expected one channel and limits within 0 to {LARGEST_DILATION} of a map of dilations, got {limits}"
        return None
    if layer.group is None or not 0 <= layer.group < len(header.groups):
        return f"group {layer.group} of {len(header.groups)}"
    if layer.relu and header.groups[layer.group].zero != -128:
        return f"expected zero point -128 behind a ReLU, got {header.groups[layer.group].zero}"
    return None


def _parameter_reasons(name: str, given: Parameters, shapes: dict[str, tuple[int, ...]], header: Header) -> list[str]:
    reasons = []
    layer = next(item for item in header.layers if item.name == name)
    for kind, shape in shapes.items():
        array, dtype = getattr(given, kind), "int8" if kind == "weight" else "int16"
        got = None if array is None else (tuple(array.shape), str(array.dtype))
        if got != (shape, dtype):
            reasons.append(f"layer '{name}': expected {kind} {shape} {dtype}, got {got}")
        elif kind == "weight" and isinstance(layer, Convolution):
            low, high = -(2 ** (layer.bits - 1)), 2 ** (layer.bits - 1) - 1
            if np.any((array < low) | (array > high)):
                reasons.append(
                    f"layer '{name}': expected weights of {low} to {high}, got {array.min()} to {array.max()}"
                )
    return reasons


def _refuse(reasons: list[str], where: str) -> NoReturn:
    raise UsageError("the integer network contradicts itself", where=where, reasons=reasons,
                     fix="export it again from the quantised network")  # fmt: skip
