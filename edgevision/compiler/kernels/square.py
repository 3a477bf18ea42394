"""Square deformable convolution in NHWC: depthwise 3x3, the dilation of every output pixel read as a byte.

A pixel costs nine addresses, which all follow from its dilation, and one branch, for every run of some vectors of its
channels.
Where a tap leaves the frame the nearest pixel is loaded and masked away: integer layers put the zero point in its
place, whose share the bias already takes off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit, square_bytes
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.kernels.square_bytes import TAPS, Run, Samples
from edgevision.compiler.simd import Simd
from edgevision.graph.geometry import Window

#: Largest sum of one sign of the weights whose sum of bytes stays within an int16.
NARROW = 32767 // 255
#: Vectors of results worked on together.
VECTORS = 4


@dataclass(frozen=True)
class Square:
    """One layer.

    Attributes:
        window: its images, sizes and stride; kernel, dilation and padding are not read.
        channels: of input and output.
        dtype: float32, or uint8 with an int32 accumulator.
        narrow: whether sums of bytes are proved to fit an int16 (`NARROW`).
        pitch, offset: elements from one input pixel to the next, and of the first.
        map_parameter: position of the dilations (uint8, 0 to 7) among the extra inputs.
        map_pitch, map_offset: as pitch and offset, of the dilations.
    """

    window: Window
    channels: int
    dtype: str
    narrow: bool
    pitch: int
    offset: int
    left_elements: int
    map_parameter: int
    map_pitch: int
    map_offset: int
    output_elements: int
    chain: Chain
    extras: tuple[tuple[int, str], ...]


def build(name: str, spec: Square, simd: Simd) -> Any:
    """Return the kernel over input, weights, bias, [scale, zero: uint8 per channel], extras, output.

    Weights, bias and scale are in the order of `square_bytes.packed` where that suits, else weights are (tap,
    channel), int16 beside bytes.
    """
    window, channels = spec.window, spec.channels
    integer = spec.dtype != "float32"
    quads = integer and square_bytes.suits(channels, simd)
    size = square_bytes.stored(channels) if quads else channels
    weights = (size * square_bytes.DEPTH, "int8") if quads else (size * len(TAPS), "int16" if integer else "float32")
    parameters = [
        ("left", spec.left_elements, spec.dtype),
        ("weights", *weights),
        ("bias", size, "int32" if integer else "float32"),
    ]
    if integer:
        parameters += [("scale", size, "float32"), ("zero", channels, "uint8")]
    used = len(parameters)
    parameters += [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("output", spec.output_elements, spec.chain.store.dtype))
    with emit.kernel(name, parameters) as (buffers, made):
        pixels = window.out_height * window.out_width
        extras = buffers[used:-1]
        writer = ChainWriter(spec.chain, extras, buffers[-1], pixels_per_image=pixels, images=window.images)
        sums = (
            square_bytes.Quads(channels, simd, buffers[1:4], writer)
            if quads
            else _Sums(spec, simd, buffers[1:used], writer)
        )
        zero = buffers[4] if integer else None
        lines = window.images * window.out_height
        for run in sums.runs:
            # Lines within runs of channels: what windows share of so few channels stays in the nearest cache.
            with T.parallel(run.count * lines) as item:
                index = emit.named(T.floordiv(item, lines)) if run.count > 1 else 0
                line = emit.named(item - index * lines)
                work = sums.block(run, index)
                _line(spec, buffers[0], zero, extras[spec.map_parameter], work, line)
    return made[0]


def _line(spec: Square, left: Any, zero: Any, dilations: Any, work: Callable[[Samples, Any], None], line: Any) -> None:
    window = spec.window
    image = emit.named(T.floordiv(line, window.out_height)) if window.images > 1 else 0
    row = emit.named((line - image * window.out_height) * window.stride[0])
    with T.serial(window.out_width) as column:
        pixel = emit.named(line * window.out_width + column)
        d = emit.named(emit.cast(dilations[pixel * spec.map_pitch + spec.map_offset], "int32", 1))
        x = emit.named(column * window.stride[1])
        rows, columns = _Axis(row, d, window.height), _Axis(x, d, window.width)
        with T.If(T.And(T.And(*rows.fits), T.And(*columns.fits))):
            with T.Then():
                work(Samples(left, _addresses(spec, image, rows.places, columns.places)), pixel)
            with T.Else():
                addresses = _addresses(spec, image, rows.nearest(), columns.nearest())
                work(Samples(left, addresses, _masks(spec, rows, columns), zero), pixel)


class _Axis:
    """Places of the taps along one axis: before, at and after the middle, which is always inside the frame."""

    def __init__(self, middle: Any, d: Any, size: int) -> None:
        self._size = size
        self.places = [emit.named(middle - d), middle, emit.named(middle + d)]
        self.fits = [emit.named(self.places[0] >= 0), emit.named(self.places[2] < size)]

    def nearest(self) -> list[Any]:
        """The places, brought into the frame."""
        before, middle, after = self.places
        return [emit.named(T.max(before, 0)), middle, emit.named(T.min(after, self._size - 1))]


def _addresses(spec: Square, image: Any, rows: list[Any], columns: list[Any]) -> list[Any]:
    """Element before channel 0, tap by tap."""
    pitch = spec.window.width * spec.pitch
    lines = [emit.named((image * spec.window.height + row) * pitch + spec.offset) for row in rows]
    across = [emit.named(column * spec.pitch) for column in columns]
    return [emit.named(line + place) for line in lines for place in across]


def _masks(spec: Square, rows: _Axis, columns: _Axis) -> list[Any]:
    """All bits of a tap inside the frame, none of one outside; None of the middle."""
    kind, ones = ("uint8", T.uint8(255)) if spec.dtype != "float32" else ("int32", T.int32(-1))
    none = emit.cast(T.int32(0), kind, 1)
    found = []
    for row in (rows.fits[0], None, rows.fits[1]):
        for column in (columns.fits[0], None, columns.fits[1]):
            fits = [fit for fit in (row, column) if fit is not None]
            inside = T.And(*fits) if len(fits) == 2 else fits[0] if fits else None
            found.append(None if inside is None else emit.named(T.Select(inside, ones, none)))
    return found


def _runs(channels: int, largest: int) -> list[Run]:
    full, rest = divmod(channels, largest)
    tail = [Run(full * largest + first, 1, size, 0) for first, size in emit.powers_of_two(rest, largest)]
    return [*([Run(0, full, largest, 0)] if full else []), *tail]


class _Sums:
    """Products one by one: of floats, or of bytes and weights as words."""

    def __init__(self, spec: Square, simd: Simd, buffers: list[Any], writer: ChainWriter) -> None:
        self._spec, self._simd, self._writer = spec, simd, writer
        self._weights, self._bias = buffers[:2]
        self._integer = spec.dtype != "float32"
        self._scale: Any = buffers[2] if self._integer else None
        self._vector = simd.lanes * (2 if spec.narrow else 1)
        held = (simd.registers - 5) // len(TAPS)
        self.runs = _runs(spec.channels, (2 if held > 1 else 1) * self._vector)

    def block(self, run: Run, index: Any) -> Callable[[Samples, Any], None]:
        """What computes block `index` of a run for one pixel; weights and the bias of floats stay in registers."""
        channel = run.first + index * run.size
        weights = [
            [emit.named(emit.load(self._weights, tap * self._spec.channels + channel + first, count))
             for tap in range(len(TAPS))]
            for first, count in emit.powers_of_two(run.size, self._vector)
        ]  # fmt: skip
        if not self._integer:
            for vector, (first, count) in zip(weights, emit.powers_of_two(run.size, self._vector), strict=True):
                vector.append(emit.named(emit.load(self._bias, channel + first, count)))
        return lambda samples, pixel: self._pixel(samples, pixel, channel, run.size, weights)

    def _pixel(self, samples: Samples, pixel: Any, channel: Any, size: int, weights: list[list[Any]]) -> None:
        values, positions = [], []
        for vector, (first, count) in zip(weights, emit.powers_of_two(size, self._vector), strict=True):
            total = emit.Tile(1, count, "float32" if not self._integer else "int16" if self._spec.narrow else "int32")
            total.set(0, self._total(samples, vector, channel + first, count))
            for inner, lanes in emit.powers_of_two(count, self._simd.lanes):
                at = channel + first + inner
                values.append(emit.named(self._result(total.get(0, inner, lanes), at, lanes)))
                positions.append((pixel, at))
        together = VECTORS if len(values) == VECTORS else 1
        self._writer.finish_all(values, positions, min(size, self._simd.lanes), self._simd, together=together)

    def _total(self, samples: Samples, weights: list[Any], channel: Any, width: int) -> Any:
        total = None if self._integer else weights[-1]
        for tap, weight in enumerate(weights[: len(TAPS)]):
            sample = samples.load(tap, channel, width)
            if self._integer:
                sample = emit.cast(sample, "int16", width)
                if not self._spec.narrow:
                    sample, weight = (emit.cast(v, "int32", width) for v in (sample, weight))
            part = sample * weight
            total = part if total is None else total + part
        return total

    def _result(self, total: Any, channel: Any, width: int) -> Any:
        if not self._integer:
            return total
        bias = emit.load(self._bias, channel, width)
        wide = emit.cast(total, "int32", width) if self._spec.narrow else total
        scale = emit.load(self._scale, channel, width)
        return emit.fence(emit.cast(wide + bias, "float32", width) * scale, width)
