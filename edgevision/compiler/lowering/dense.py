"""Rules for convolutions and linear layers, float and integer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgevision.compiler.kernels import conv, depthwise, depthwise_bytes, expand, gemm, rowdot
from edgevision.compiler.kernels.chain import Chain
from edgevision.compiler.kernels.grid import Grid
from edgevision.compiler.kernels.inner import k_group, left_shift, pack, tile_shape
from edgevision.compiler.kernels.panel import pack_channels
from edgevision.compiler.lowering import tail as tails
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.tail import Tail
from edgevision.compiler.lowering.values import Value
from edgevision.graph.geometry import Window, window_of
from edgevision.graph.ir import Node
from edgevision.graph.numerics import GeluSteps
from edgevision.graph.qdq import Quant
from edgevision.graph.transposed import channels_first

#: Weights of one bit are stored as bits from this many on; fewer fill no more than a line of 64 bytes.
FEWEST_BITS = 128
#: A grouped convolution is run group by group; float ones with more groups than this go to TVM's own lowering.
MOST_GROUPS = 32


@dataclass(frozen=True)
class Layer:
    """Parameters of a dense layer, whatever operator they came from.

    Attributes:
        weight: (channels, depth / group, kernel rows, kernel columns), float32 or int8.
        bias: float32, or int32 when the activations are bytes.
        scale: multiplier of the accumulator per channel; None for float32 weights.
        x_zero: zero point of the bytes read, 0-d or one per channel (depthwise).
        out: quantisation of the bytes written with (low, high), when the layer itself requantises.
        gelu: how the GELU ahead of those bytes is taken; None without one.
    """

    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray | None
    group: int
    x_zero: np.ndarray
    integer: bool
    out: Quant | None = None
    low: int = 0
    high: int = 255
    gelu: GeluSteps | None = None


def layer_of(node: Node, graph_constants: dict[str, np.ndarray], *, linear: bool) -> Layer | None:
    """Read the parameters of a Conv, Gemm or MatMul and their integer forms; None when the weight is not constant."""
    if node.domain == "edgevision.integer":
        weight = node.attributes["weight"]
        integer = node.op.startswith("Int")
        return Layer(
            weight=weight[:, :, None, None] if linear else weight,
            bias=node.attributes["bias"],
            scale=node.attributes["scale"],
            group=int(node.get("group", 1)),
            x_zero=np.asarray(node.get("x_zero", 0), np.int32),
            integer=integer,
            out=node.get("out"),
            low=int(node.get("low", 0)),
            high=int(node.get("high", 255)),
            gelu=node.get("gelu"),
        )
    weight = graph_constants.get(node.inputs[1])
    if weight is None or weight.dtype != np.float32:
        return None
    bias = graph_constants.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if bias is None and len(node.inputs) > 2 and node.inputs[2]:
        return None
    if linear:
        if weight.ndim != 2 or node.get("transA"):
            return None
        weight = weight * np.float32(node.get("alpha", 1.0))
        weight = weight if node.get("transB") else weight.T
        if bias is not None and bias.size > 1 and bias.size != bias.shape[-1]:
            return None
        bias = None if bias is None else np.broadcast_to(bias.reshape(-1), (weight.shape[0],)) * node.get("beta", 1.0)
        weight = weight[:, :, None, None]
    if node.op == "ConvTranspose":
        weight = channels_first(weight, int(node.get("group", 1)))
    bias = np.zeros(weight.shape[0], np.float32) if bias is None else bias.astype(np.float32)
    return Layer(weight, bias, None, int(node.get("group", 1)), np.zeros((), np.int32), integer=False)


def image_layer(builder: Builder, node: Node) -> tuple[Layer, bool] | None:
    """The layer of a convolution of images, and whether it is depthwise; None where no kernel of ours takes it."""
    x = builder.graph.shape(node.inputs[0])
    layer = layer_of(node, builder.graph.constants, linear=False)
    if layer is None or len(x) != 4:
        return None
    depthwise_layer = layer.group == layer.weight.shape[0] == x[1] and layer.group > 1
    if not depthwise_layer and layer.group > MOST_GROUPS and layer.scale is None:
        return None
    return layer, depthwise_layer


def lower_conv(builder: Builder, node: Node) -> bool:
    """Conv, IntConv and ByteWeightConv on images."""
    found = image_layer(builder, node)
    if found is None:
        return False
    layer, depthwise_layer = found
    x, y = builder.graph.shape(node.inputs[0]), builder.graph.shape(node.outputs[0])
    window = window_of(node.attributes, x, y, (layer.weight.shape[2], layer.weight.shape[3]))
    finish = Finish(builder, node, layer, window.out_height * window.out_width)
    if depthwise_layer:
        emit_depthwise(builder, node, layer, window, finish)
    elif layer.group == 1 and _is_pointwise(window):
        _gemm(builder, node, layer, finish, window.images * window.height * window.width)
    else:
        emit_conv(builder, node, layer, window, finish)
    return True


def lower_linear(builder: Builder, node: Node) -> bool:
    """Gemm, MatMul with a constant right side, and their integer forms."""
    layer = layer_of(node, builder.graph.constants, linear=True)
    if layer is None or (len(builder.graph.shape(node.inputs[0])) == 4 and node.op == "MatMul"):
        return False
    finish = Finish(builder, node, layer, builder.extent(node.outputs[0]).pixels)
    _gemm(builder, node, layer, finish, builder.extent(node.inputs[0]).rows)
    return True


class Finish:
    """The end every dense kernel shares: its chain, its output storage, its call."""

    def __init__(self, builder: Builder, node: Node, layer: Layer, pixels: int) -> None:
        self._builder, self._node, self._layer = builder, node, layer
        self.tail = Tail(builder, node.outputs[0])
        if layer.out is None:
            self.tail.extend()
        channels = layer.weight.shape[0]
        self.chain = self._chain(channels)
        self.elements = builder.extent(node.outputs[0]).elements
        self.output = builder.new(self.elements, self.chain.store.dtype)
        self.macs = self.elements * int(np.prod(layer.weight.shape[1:]))

    def _chain(self, channels: int) -> Chain:
        out = self._layer.out
        if out is None:
            return self.tail.chain(channels)
        scale = self._layer.scale
        most = math.inf if scale is None else 2.0**31 * float(np.max(scale))
        store = self.tail.byte_store(out, self._layer.low, self._layer.high, channels, most=most, gelu=self._layer.gelu)
        return Chain((), store, exact=True)

    def group_chain(self, first: int) -> Chain:
        """The chain of the group of channels starting at `first`, writing into its slice of the output."""
        store = replace(self.chain.store, offset=first, zero_offset=first)
        operations = tuple(
            replace(op, operand=replace(op.operand, offset=op.operand.offset + first))
            if op.operand is not None and op.operand.index in ("channel", "tensor", "image")
            else op
            for op in self.chain.operations
        )
        return Chain(operations, store, self.chain.exact)

    def call(
        self, family: str, make: Any, spec: Any, weights: Sequence[np.ndarray | int], left: int, share: float = 1.0
    ) -> None:
        """Append the call: left, weights (constants, or storages), extras, output."""
        builder = self._builder
        constants = [builder.constant(array) if isinstance(array, np.ndarray) else array for array in weights]
        builder.call(
            family,
            make,
            spec,
            [left, *constants, *self.tail.storages, self.output],
            tails.label(self._node, self.tail),
            macs=round(self.macs * share),
            integer=self._layer.integer,
        )

    def done(self) -> None:
        """Record where the result is."""
        channels = self._layer.weight.shape[0]
        dtype = self.chain.store.dtype
        self._builder.put(self.tail.tensor, Value(self.output, dtype, "rows", channels))


def _is_pointwise(window: Window) -> bool:
    same = (window.height, window.width) == (window.out_height, window.out_width)
    return window.kernel == (1, 1) and window.stride == (1, 1) and (window.top, window.left) == (0, 0) and same


def _full_range(layer: Layer) -> bool:
    return bool(layer.scale is not None and layer.weight.min(initial=0) < -127)


def _input(builder: Builder, node: Node, layer: Layer, *, tabled: bool = False) -> Value:
    value = builder.rows(node.inputs[0], tabled=tabled)
    return value if layer.integer or value.quant is None else builder.float_rows(node.inputs[0])


def _stored(builder: Builder, layer: Layer, packed: np.ndarray, name: str) -> np.ndarray | int:
    """Packed weights as a constant; those of one bit as bits, which become bytes when the program is opened."""
    if layer.weight.dtype != np.int8 or layer.weight.size < FEWEST_BITS or np.abs(layer.weight).max() > 1:
        return packed
    # Behind the last of K lie bytes of another row: only a weight of 0 keeps them out. Those of channels that are not
    # there are never looked at.
    whole = layer.weight[0].size % k_group(builder.simd, integer=layer.integer) == 0
    masked = not (whole and np.all(layer.weight))
    words = expand.encode(packed, masked=masked)
    spec = expand.Expand(packed.size, masked)
    return builder.prepare("expand", expand.build, spec, [words], (packed.size, "int8"), f"bits of {name}")


def _dense_constants(layer: Layer, bias: np.ndarray, lanes: int, nr: int) -> list[np.ndarray]:
    found = [pack_channels(bias, lanes, nr)]
    if layer.scale is not None:
        found.append(pack_channels(layer.scale.astype(np.float32), lanes, nr))
    return found


def shifted_bias(layer: Layer, weight: np.ndarray, bias: np.ndarray, shift: int = 0) -> np.ndarray:
    """Integer bias less the zero point's share of every product, so kernels multiply the bytes as they are.

    Args:
        shift: what the kernel itself subtracts from each byte (`tile.left_shift`).
    """
    if not layer.integer:
        return bias
    total = weight.astype(np.int64).sum(axis=(1, 2, 3))
    return (bias.astype(np.int64) - (layer.x_zero.astype(np.int64) - shift) * total).astype(np.int32)


def _gemm(builder: Builder, node: Node, layer: Layer, finish: Finish, rows: int) -> None:
    channels, depth = layer.weight.shape[:2]
    value = _input(builder, node, layer, tabled=channels > 1)
    table = None if value.table is None else finish.tail.extra(value.table)
    images = builder.extent(node.outputs[0]).images
    dtype = "uint8" if layer.integer else "float32"
    weights = "float32" if layer.scale is None else "int8"
    shift = 0 if channels == 1 else left_shift(builder.simd)
    bias = shifted_bias(layer, layer.weight, layer.bias, shift)
    matrix = layer.weight.reshape(channels, depth)
    if channels == 1:
        spec: Any = rowdot.RowDot(
            rows, depth, dtype, weights, value.pitch, value.offset, builder.elements(value), finish.elements,
            finish.chain, finish.tail.shapes(), images,
        )  # fmt: skip
        packed = rowdot.pack(matrix.reshape(-1), builder.simd, integer=layer.integer)
        constants = [packed, bias] + ([layer.scale.astype(np.float32)] if layer.scale is not None else [])
        finish.call("rowdot", rowdot.build, spec, constants, value.storage)
    else:
        simd = builder.simd
        tile = tile_shape(simd, rows, channels, integer=layer.integer)
        spec = gemm.Gemm(
            rows, depth, channels, dtype, weights, tile, value.pitch, value.offset, builder.elements(value),
            finish.elements, finish.chain, finish.tail.shapes(), images, table, _full_range(layer),
        )  # fmt: skip
        packed = pack(simd, matrix, tile[1], integer=layer.integer)
        stored = _stored(builder, layer, packed, node.name)
        constants = _dense_constants(layer, bias, simd.lanes, tile[1])
        finish.call("gemm", gemm.build, spec, [stored, *constants], value.storage)
    finish.done()


def emit_conv(
    builder: Builder, node: Node, layer: Layer, window: Window, finish: Finish, grid: Grid | None = None,
    share: float = 1.0,
) -> None:  # fmt: skip
    """Append the calls of a dense convolution, one per group.

    Args:
        grid: where its output pixels go, when they are not all of the result.
        share: of the layer's MACs this is.
    """
    x = builder.graph.shape(node.inputs[0])
    simd, group_channels = builder.simd, layer.weight.shape[0] // layer.group
    depth = layer.weight.shape[1]
    known = builder.values.get(node.inputs[0], {})
    if not layer.integer and "rows" not in known and "planes" in known and known["planes"].quant is None:
        value, pixel_pitch, channel_pitch, image_pitch = known["planes"], 1, x[2] * x[3], x[1] * x[2] * x[3]
    else:
        value = _input(builder, node, layer)
        pixel_pitch, channel_pitch, image_pitch = value.pitch, 1, x[2] * x[3] * value.pitch
    tile = tile_shape(simd, window.out_width, group_channels, integer=layer.integer)
    corrected = bool(layer.integer and window.leaves_frame and int(layer.x_zero) != left_shift(simd))
    for index in range(layer.group):
        rows = slice(index * group_channels, (index + 1) * group_channels)
        chain = finish.chain if layer.group == 1 else finish.group_chain(index * group_channels)
        spec = conv.Conv(
            window, depth, group_channels, "uint8" if layer.integer else "float32",
            "float32" if layer.scale is None else "int8", tile, pixel_pitch, channel_pitch, image_pitch,
            value.offset + index * depth * channel_pitch, builder.elements(value), finish.elements, chain,
            finish.tail.shapes(), corrected, _full_range(layer), grid,
        )  # fmt: skip
        constants = _conv_constants(layer, layer.weight[rows], layer.bias[rows], rows, simd, tile[1], corrected)
        finish.call("conv", conv.build, spec, constants, value.storage, share / layer.group)
    finish.done()


def _conv_constants(
    layer: Layer, weight: np.ndarray, bias: np.ndarray, rows: slice, simd: Any, nr: int, corrected: bool
) -> list[np.ndarray]:
    channels, depth = weight.shape[:2]
    group = k_group(simd, integer=layer.integer)
    padded = np.zeros((channels, *weight.shape[2:], -(-depth // group) * group), weight.dtype)
    padded[..., :depth] = weight.transpose(0, 2, 3, 1)
    found = [
        pack(simd, padded.reshape(channels, -1), nr, integer=layer.integer),
        pack_channels(shifted_bias(layer, weight, bias, left_shift(simd)), simd.lanes, nr),
    ]
    if layer.scale is not None:
        found.append(pack_channels(layer.scale[rows].astype(np.float32), simd.lanes, nr))
    if corrected:
        sums = weight.astype(np.int64).sum(axis=1).reshape(channels, -1)
        sums *= int(layer.x_zero) - left_shift(simd)
        found.append(np.stack([pack_channels(tap.astype(np.int32), simd.lanes, nr) for tap in sums.T]))
    return found


def emit_depthwise(
    builder: Builder, node: Node, layer: Layer, window: Window, finish: Finish, grid: Grid | None = None,
    share: float = 1.0,
) -> None:  # fmt: skip
    """Append the call of a depthwise convolution; arguments as for `emit_conv`."""
    value = _input(builder, node, layer)
    channels = layer.weight.shape[0]
    packs = layer.weight.dtype == np.int8 and depthwise_bytes.suits(channels, builder.simd)
    if layer.integer and layer.scale is not None and packs and grid is None:
        _depthwise_bytes(builder, layer, layer.scale, window, finish, value)
        return
    corrected = bool(layer.integer and window.leaves_frame and np.any(layer.x_zero))
    spec = depthwise.Depthwise(
        window, channels, "uint8" if layer.integer else "float32", str(layer.weight.dtype), value.pitch, value.offset,
        builder.elements(value), finish.elements, finish.chain, finish.tail.shapes(), corrected, grid,
    )  # fmt: skip
    taps = np.ascontiguousarray(layer.weight.reshape(channels, -1).T)
    constants = [taps, shifted_bias(layer, layer.weight, layer.bias)]
    if layer.scale is not None:
        constants.append(layer.scale.astype(np.float32))
    if corrected:
        constants.append((taps.astype(np.int64) * layer.x_zero.astype(np.int64)).astype(np.int32))
    finish.call("depthwise", depthwise.build, spec, constants, value.storage, share)
    finish.done()


def _depthwise_bytes(
    builder: Builder, layer: Layer, scale: np.ndarray, window: Window, finish: Finish, value: Value
) -> None:
    channels = layer.weight.shape[0]
    spec = depthwise_bytes.DepthwiseBytes(
        window, channels, value.pitch, value.offset, builder.elements(value), finish.elements, finish.chain,
        finish.tail.shapes(),
    )  # fmt: skip
    constants = [
        depthwise_bytes.pack(layer.weight[:, 0], builder.simd),
        shifted_bias(layer, layer.weight, layer.bias),
        np.broadcast_to(scale, (channels,)).astype(np.float32),
    ]
    if window.leaves_frame:
        constants.append(np.broadcast_to(layer.x_zero, (channels,)).astype(np.uint8))
    finish.call("depthwise", depthwise_bytes.build, spec, constants, value.storage)
    finish.done()
