"""From a network of integers to calls of the engine: where every channel lies, and what is split.

A depthwise layer and the 1x1 layer behind it (or ahead of it) are one call where nobody else needs what is between
them. A layer that is too large for what is on chip becomes several calls, each with some of its planes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgevision.engine.bands import band_reasons, banded, bands_of, needs_bands, without_rows
from edgevision.engine.calls import IM2COL, Buffer, Call, Pointwise, Scale, Spatial
from edgevision.engine.checks import checked, tensors_of
from edgevision.engine.fusion import Fusion, is_spatial
from edgevision.engine.limits import pointwise_reasons, spatial_reasons
from edgevision.engine.network import INPUT, Convolution, IntegerNetwork, Layer, Upsample
from edgevision.engine.placement import Placement, PlaneRef, packed
from edgevision.engine.readers import MOVING, moved, readers_of_channels, readers_of_tensors, sources
from edgevision.engine.stages import (
    CELL_SLOTS,
    Shape,
    cell_pointwise,
    cell_windows,
    pointwise_of,
    spatial_of,
    thinned,
    windows,
)
from edgevision.errors import Unsupported
from edgevision.graph.sampling import LARGEST_DILATION
from edgevision.target import Engine


@dataclass
class Lowered:
    """Calls in order, the buffers they use, and where every tensor that reaches memory lies.

    Attributes:
        cells: whether the image lies in cells, several pixels to a vector.
    """

    calls: list[Call] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    tensors: dict[str, Placement] = field(default_factory=dict)
    cells: bool = False


def lower(network: IntegerNetwork, engine: Engine, *, fuse: bool = True) -> Lowered:
    """The calls for `network` on `engine`.

    Args:
        fuse: whether a depthwise and a 1x1 layer may share a call; without it every tensor reaches memory.

    Raises:
        UsageError: the network contradicts itself.
        Unsupported: a layer does not fit the engine however it is split; every such layer is named.
    """
    return _Lowering(checked(network), engine, fuse).run()


class _Lowering:
    def __init__(self, network: IntegerNetwork, engine: Engine, fuse: bool) -> None:
        self.network, self.header, self.engine, self.fuse = network, network.header, engine, fuse
        self.made = tensors_of(self.header)
        channels = {name: tensor.shape[0] for name, tensor in self.made.items()}
        self.channel_readers = readers_of_channels(self.header, channels)
        self.layers = {layer.name: layer for layer in self.header.layers}
        self.done = Lowered()
        self.leaves = Fusion(self.header, self.made, engine).leaves() if fuse else set()
        self.reasons: list[str] = []

    def run(self) -> Lowered:
        self._place_image()
        for layer in self.header.layers:
            if isinstance(layer, MOVING):
                self._move(layer)
            elif layer.name not in self.leaves:
                # The others are done with the one layer that reads them.
                self._compute(layer)
        if self.reasons:
            raise Unsupported("layers do not fit the engine", reasons=list(dict.fromkeys(self.reasons)),
                              fix="a target with a larger engine, or fewer channels")  # fmt: skip
        return self.done

    # Placement

    def _place_image(self) -> None:
        channels, height, width = self.header.input_shape
        zero = self.header.groups[self.header.input_group].zero
        readers = [self.layers.get(name) for name in readers_of_tensors(self.header)[INPUT]]
        self.done.cells = channels <= CELL_SLOTS and all(
            isinstance(layer, Convolution) and self._fits_cells(layer, width) for layer in readers
        )
        if self.done.cells:
            cell = self.engine.lanes // CELL_SLOTS
            self.done.buffers[INPUT] = Buffer(INPUT, 1, height, -(-width // cell))
            places = [(PlaneRef(INPUT, 0), channel) for channel in range(channels)]
            self.done.tensors[INPUT] = Placement(height, width, zero, tuple(places))
        else:
            self._place(INPUT, packed(self.channel_readers[INPUT], self.engine.lanes))

    def _fits_cells(self, layer: Convolution, width: int) -> bool:
        if -(-width // (self.engine.lanes // CELL_SLOTS)) > self.engine.line_vectors:
            return False
        own = max(1, self.engine.lanes // CELL_SLOTS // layer.stride)
        return layer.kernel == 3 and not layer.depthwise and -(-width // layer.stride) % own == 0

    def _place(self, name: str, places: list[tuple[int, int]]) -> None:
        """Give tensor `name` a buffer, with its channels at (plane, lane) `places`."""
        _, height, width = self.made[name].shape
        planes = max(plane for plane, _ in places) + 1
        self.done.buffers[name] = Buffer(name, planes, height, width)
        channels = tuple((PlaneRef(name, plane), lane) for plane, lane in places)
        self.done.tensors[name] = Placement(height, width, self._outside(name), channels)

    def _outside(self, name: str) -> int:
        group = self.made[name].group
        return 0 if group is None else self.header.groups[group].zero

    def _move(self, layer: Layer) -> None:
        _, height, width = self.made[layer.name].shape
        given = [self.done.tensors[name] for name in sources(layer)]
        channels = moved(layer, [one.channels for one in given])
        if isinstance(layer, Upsample):
            if any(plane.twice for plane, _ in given[0].channels):
                given = [self._copied(layer.input, given[0], f"{layer.input} copied")]
                channels = list(given[0].channels)
            channels = [(plane._replace(twice=True), lane) for plane, lane in channels]
        self.done.tensors[layer.name] = Placement(height, width, given[0].outside, tuple(channels))

    def _copied(self, name: str, x: Placement, copy: str) -> Placement:
        """`x` written out pixel by pixel, because the engine reads a pixel twice but not four times."""
        planes, where = x.gathered()
        self.done.buffers[copy] = Buffer(copy, len(planes), x.height, x.width)
        shape = Shape(len(planes), x.height, x.width, x.outside, where)
        self._emit_spatial((name,), x, planes, thinned(shape, 1, self.engine.lanes), None, copy)
        return Placement(x.height, x.width, x.outside, tuple((PlaneRef(copy, int(p)), int(lane)) for p, lane in where))

    # Fusion

    def _compute(self, layer: Layer) -> None:
        before = self.layers.get(sources(layer)[0])
        if before is not None and before.name in self.leaves:
            call = self._fused(before, layer)
            if call is not None:
                self._emit(call)
                return
            self._alone(before)
        self._alone(layer)

    def _fused(self, first: Layer, second: Layer) -> Call | None:
        """One call for both, or None where it would not fit."""
        x = self.done.tensors[sources(first)[0]]
        planes, shape = self._shape(x)
        spatial_first = is_spatial(first)
        if spatial_first:
            spatial = self._spatial(first, shape)
            pointwise, places = self._pointwise(second, shape.where, spatial.groups, spatial.pixels)
        else:
            pointwise, places = self._pointwise(first, shape.where, shape.planes, x.height * x.width)
            between = Shape(pointwise.planes, x.height, x.width, self._outside(first.name), np.array(places))
            spatial = self._spatial(second, between)
        if spatial_reasons(spatial, self.engine) or pointwise_reasons(pointwise, self.engine):
            return None
        if len(planes) > self.engine.planes or spatial.planes > self.engine.planes:
            return None
        self._place(second.name, places)
        return self._call((first.name, second.name), x, planes, spatial, pointwise, not spatial_first, second.name,
                          self._dilation(first if spatial_first else second))  # fmt: skip

    # One layer

    def _alone(self, layer: Layer) -> None:
        x = self.done.tensors[sources(layer)[0]]
        planes, shape = self._shape(x)
        lanes = self.engine.lanes
        if is_spatial(layer):
            spatial = self._spatial(layer, shape)
            self._place(layer.name, [(int(p), int(lane)) for p, lane in shape.where])
            # Planes behind the last channel may exist too.
            self._emit_spatial((layer.name,), x, planes, spatial, self._dilation(layer), layer.name)
            return
        assert isinstance(layer, Convolution)
        given, pixels = self.network.parameters[layer.name], int(np.prod(self.made[layer.name].shape[1:]))
        front: Spatial | None = None
        if layer.kernel == 3 and layer.input == INPUT and self.done.cells:
            planes = [PlaneRef(INPUT, 0)]
            front = cell_windows(x.height, x.width, x.outside, layer.stride, lanes)
            places = packed(self.channel_readers[layer.name], lanes)
            out = np.array(places)
            pointwise = cell_pointwise(layer, given, front, out, int(out[:, 0].max()) + 1, lanes)
        elif layer.kernel == 3:
            front = windows(shape, layer.stride, lanes)
            taps = np.array([v * 3 + u for u in range(3) for v in range(3)])
            groups = np.stack(np.broadcast_arrays(shape.where[:, :1] * 9 + taps, shape.where[:, 1:]), axis=2)
            pointwise, places = self._pointwise(layer, groups, front.groups, pixels)
        else:
            front = thinned(shape, layer.stride, lanes) if layer.stride > 1 else None
            pointwise, places = self._pointwise(layer, shape.where, shape.planes, pixels)
        self._place(layer.name, places)
        self._emit_pointwise((layer.name,), x, planes, front, pointwise, layer.name)

    def _shape(self, x: Placement) -> tuple[list[PlaneRef], Shape]:
        planes, where = x.gathered()
        return planes, Shape(len(planes), x.height, x.width, x.outside, where)

    def _spatial(self, layer: Layer, x: Shape) -> Spatial:
        given, reach = self.network.parameters.get(layer.name), LARGEST_DILATION
        if isinstance(layer, Convolution) and layer.dilation is not None:
            made = self.layers[layer.dilation]
            reach = made.limits[1] if isinstance(made, Convolution) and made.limits is not None else reach
        return spatial_of(layer, given, x, self.engine.lanes, reach)

    def _pointwise(
        self, layer: Layer, where: np.ndarray, group_count: int, pixels: int
    ) -> tuple[Pointwise, list[tuple[int, int]]]:
        assert isinstance(layer, Convolution)
        places = packed(self.channel_readers[layer.name], self.engine.lanes)
        out = np.array(places)
        groups = where if where.ndim == 3 else where[:, None]
        planes = int(out[:, 0].max()) + 1
        given = self.network.parameters[layer.name]
        return pointwise_of(layer, given, groups, group_count, out, planes, pixels, self.engine.lanes), places

    def _dilation(self, layer: Layer) -> tuple[PlaneRef, int] | None:
        if not isinstance(layer, Convolution) or layer.dilation is None:
            return None
        return self.done.tensors[layer.dilation].channels[0]

    # Calls, split where they must be

    def _call(
        self, names: tuple[str, ...], x: Placement, planes: list[PlaneRef], spatial: Spatial | None,
        pointwise: Pointwise | None, pointwise_first: bool, into: str, dilation: tuple[PlaneRef, int] | None = None,
        first: int = 0,
    ) -> Call:  # fmt: skip
        """A call that writes planes of buffer `into` from `first` on."""
        cells = planes[0].buffer == INPUT and self.done.cells
        buffer = self.done.buffers[into]
        last = pointwise if pointwise is not None and not (pointwise_first and spatial is not None) else spatial
        assert last is not None
        pixels = buffer.height * buffer.width
        count = last.planes * last.pixels // pixels
        return Call(
            names, tuple(planes), x.height, self.done.buffers[INPUT].width if cells else x.width, dilation, spatial,
            pointwise, pointwise_first, tuple(PlaneRef(into, first + plane) for plane in range(count)), pixels,
        )  # fmt: skip

    def _emit(self, call: Call) -> None:
        reasons = [] if len(call.reads) <= self.engine.planes else [
            f"reads {len(call.reads)} planes, the engine has room for {self.engine.planes}"]  # fmt: skip
        reasons += [] if call.spatial is None else spatial_reasons(call.spatial, self.engine)
        reasons += [] if call.pointwise is None else pointwise_reasons(call.pointwise, self.engine)
        self.reasons += [f"layer '{call.layers[-1]}': {reason}" for reason in reasons]
        self.done.calls.append(call)

    def _emit_spatial(
        self, names: tuple[str, ...], x: Placement, planes: list[PlaneRef], spatial: Spatial,
        dilation: tuple[PlaneRef, int] | None, into: str,
    ) -> None:  # fmt: skip
        if needs_bands(spatial, self.engine):
            if spatial.mode != IM2COL and spatial.reach == 0 and spatial.row_stride == 1:
                spatial = without_rows(spatial)
            else:
                self._emit_bands(names, x, planes, spatial, None, dilation, into)
                return
        most = max(1, min(self.engine.planes, self.engine.line_vectors // spatial.width))
        for first in range(0, spatial.planes, most):
            part = slice(first, first + most)
            self._emit(self._call(names, x, planes[part], _spatial_part(spatial, part), None, False, into, dilation,
                                  first))  # fmt: skip

    def _emit_pointwise(
        self, names: tuple[str, ...], x: Placement, planes: list[PlaneRef], spatial: Spatial | None,
        pointwise: Pointwise, into: str,
    ) -> None:  # fmt: skip
        step = self.engine.columns // self.engine.lanes
        blocks = pointwise.groups * (2 if pointwise.halves else 1)
        most = max(1, self.engine.weight_blocks // blocks) * step
        cells = planes[0].buffer == INPUT and self.done.cells
        most = pointwise.planes if cells else min(most, self.engine.planes // step * step)
        wide = spatial is not None and spatial.width * spatial.planes > self.engine.line_vectors
        if wide and spatial is not None:
            # As many planes of results as rows of a band leave room for.
            bands = bands_of(spatial, len(planes), 1, self.engine)
            rows = 1 if bands is None else bands.useful + bands.halo
            most = max(step, min(most, self.engine.planes // rows // step * step))
        for first in range(0, pointwise.planes, most):
            part = slice(first, first + most)
            one = Pointwise(pointwise.weight[part], pointwise.halves, pointwise.pixels,
                            _scale_part(pointwise.scale, part))  # fmt: skip
            if wide and spatial is not None:
                self._emit_bands(names, x, planes, spatial, one, None, into, first)
            else:
                self._emit(self._call(names, x, planes, spatial, one, False, into, None, first))

    def _emit_bands(
        self, names: tuple[str, ...], x: Placement, planes: list[PlaneRef], spatial: Spatial,
        pointwise: Pointwise | None, dilation: tuple[PlaneRef, int] | None, into: str, first: int = 0,
    ) -> None:  # fmt: skip
        """Rows longer than the line buffer."""
        if any(plane.twice for plane in planes):
            # Of planes that are read twice only whole rows can be read.
            self._copied(names[-1], x, f"{into} input")
            planes = [PlaneRef(f"{into} input", index) for index in range(len(planes))]
        parts = [slice(at, at + 1) for at in range(len(planes))] if pointwise is None else [slice(0, len(planes))]
        for part in parts:
            one = _spatial_part(spatial, part) if pointwise is None else spatial
            made = one.planes if pointwise is None else pointwise.planes
            reasons = band_reasons(one, len(planes[part]), made, self.engine)
            if reasons:
                self.reasons += [f"layer '{names[-1]}': {reason}" for reason in reasons]
                return
            at = first + part.start if pointwise is None else first
            calls, buffers = banded(names, planes[part], one, pointwise, into, at, dilation, self.engine)
            self.done.buffers |= {buffer.name: buffer for buffer in buffers}
            for call in calls:
                self._emit(call)


def _scale_part(scale: Scale, part: slice) -> Scale:
    return Scale(
        scale.multiplier[part], scale.bias[part], scale.shift, scale.offset, scale.low, scale.high
    )  # fmt: skip


def _spatial_part(spatial: Spatial, part: slice) -> Spatial:
    kernel = None if spatial.kernel is None else spatial.kernel[part]
    scale = _scale_part(spatial.scale, part)
    return Spatial(
        spatial.mode, len(scale.bias), spatial.rows, spatial.width, spatial.rows_out, spatial.width_out,
        spatial.row_stride, spatial.column_stride, spatial.reach, spatial.columns, spatial.outside, kernel, scale,
    )  # fmt: skip
