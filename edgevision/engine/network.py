"""Networks of integers alone: the contract between training, the CPU, and the engine (quant/INTEGER_NETWORKS.md).

Activations are int8, weights int4 or int8, and every layer with weights ends in the engine's own requantisation. Every
layer makes one tensor, which has the layer's name; the image is "input". Tensors of one quantisation *group* share a
scale and a zero point, so those that are concatenated or shuffled are moved as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np

SCHEMA = "edgevision.integer_network/1"
INPUT = "input"


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Quantisation of the tensors of one group: value = scale (q - zero)."""

    scale: float
    zero: int


class _Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    name: str


class Convolution(_Layer, frozen=True, forbid_unknown_fields=True, tag="convolution", kw_only=True):
    """1x1 or 3x3 convolution, dense or depthwise, zero padded so that the result is ceil(size / stride).

    Attributes:
        channels: of the result.
        depth: input channels of one output channel; 1 where `depthwise`.
        bits: of the weights, 4 or 8.
        shift: of the requantisation.
        group: of the result; None where it is a map of dilations.
        limits: smallest and largest value of a map of dilations, in place of a group.
        dilation: the map a depthwise 3x3 layer reads its dilation from, pixel by pixel; None of an ordinary layer.
    """

    input: str
    channels: int
    depth: int
    kernel: int
    stride: int = 1
    depthwise: bool = False
    bits: int = 4
    shift: int = 16
    relu: bool = False
    group: int | None = None
    limits: tuple[int, int] | None = None
    dilation: str | None = None


class Requantise(_Layer, frozen=True, forbid_unknown_fields=True, tag="requantise", kw_only=True):
    """The same activations in another group: the requantisation of each byte as it is, channel by channel."""

    input: str
    shift: int
    group: int
    relu: bool = False


class Concat(_Layer, frozen=True, forbid_unknown_fields=True, tag="concat", kw_only=True):
    """Channels of several tensors of one group, one tensor after another."""

    inputs: tuple[str, ...]


class Channels(_Layer, frozen=True, forbid_unknown_fields=True, tag="channels", kw_only=True):
    """`count` channels from `first`."""

    input: str
    first: int
    count: int


class Shuffle(_Layer, frozen=True, forbid_unknown_fields=True, tag="shuffle", kw_only=True):
    """Channel g (C / parts) + i becomes channel i parts + g (ShuffleNet, arXiv 1707.01083)."""

    input: str
    parts: int = 2


class Upsample(_Layer, frozen=True, forbid_unknown_fields=True, tag="upsample", kw_only=True):
    """Every pixel twice in each direction."""

    input: str


class MaxPool(_Layer, frozen=True, forbid_unknown_fields=True, tag="max_pool", kw_only=True):
    """Largest of 3x3 at stride 2, result ceil(size / 2); what is outside the frame does not count."""

    input: str


Layer = Convolution | Requantise | Concat | Channels | Shuffle | Upsample | MaxPool


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of a network but the numbers of its layers; `input_shape` is (channels, height, width)."""

    schema: str = SCHEMA
    input_shape: tuple[int, int, int]
    input_group: int
    groups: tuple[Group, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Parameters:
    """Numbers of one layer.

    Attributes:
        weight: int8, (channels, depth, kernel, kernel); None of a Requantise.
        multiplier, bias: int16, one per channel of the result.
    """

    multiplier: np.ndarray
    bias: np.ndarray
    weight: np.ndarray | None = None


@dataclass(frozen=True)
class IntegerNetwork:
    """A header and the parameters of its layers by name; `edgevision.engine.checks.checked` makes sure they fit."""

    header: Header
    parameters: dict[str, Parameters] = field(repr=False)
