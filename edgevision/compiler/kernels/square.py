"""Square deformable convolution in NHWC: depthwise 3x3, the dilation of every output pixel read as a byte.

A run of channels keeps its nine weights in registers while the pixels of a line pass by; a pixel costs nine addresses,
which all follow from its dilation. Where a tap leaves the frame the nearest pixel is loaded and masked away: integer
layers put the zero point in its place, whose share the bias already takes off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.simd import Simd
from edgevision.graph.geometry import Window

#: Taps, row by row.
TAPS = [(u, v) for u in (-1, 0, 1) for v in (-1, 0, 1)]
#: Largest sum of one sign of the weights whose sum of bytes stays within an int16.
NARROW = 32767 // 255


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
    """Return the kernel over input, weights (tap, channel), bias, [scale, zero: uint8 per channel], extras, output."""
    window, channels = spec.window, spec.channels
    integer = spec.dtype != "float32"
    parameters = [
        ("left", spec.left_elements, spec.dtype),
        ("weights", len(TAPS) * channels, "int8" if integer else "float32"),
        ("bias", channels, "int32" if integer else "float32"),
    ]
    if integer:
        parameters += [("scale", channels, "float32"), ("zero", channels, "uint8")]
    used = len(parameters)
    parameters += [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("output", spec.output_elements, spec.chain.store.dtype))
    with emit.kernel(name, parameters) as (buffers, made):
        pixels = window.out_height * window.out_width
        extras = buffers[used:-1]
        writer = ChainWriter(spec.chain, extras, buffers[-1], pixels_per_image=pixels, images=window.images)
        with T.parallel(window.images * window.out_height) as line:
            body = _Line(spec, simd, buffers[:used], extras[spec.map_parameter], writer, line)
            for first, count, width in _runs(spec, simd):
                with T.serial(count) as run:
                    body.channels(first + run * width, width)
    return made[0]


def _runs(spec: Square, simd: Simd) -> Iterator[tuple[int, int, int]]:
    """(first channel, how many runs, channels of one run)."""
    largest = _vector(spec, simd) * (2 if simd.registers >= 32 else 1)
    full, rest = divmod(spec.channels, largest)
    if full:
        yield 0, full, largest
    for first, width in emit.powers_of_two(rest, largest):
        yield full * largest + first, 1, width


def _vector(spec: Square, simd: Simd) -> int:
    """Channels of one register of sums."""
    return simd.lanes * (2 if spec.narrow else 1)


class _Line:
    """One output line."""

    def __init__(
        self, spec: Square, simd: Simd, buffers: list[Any], dilations: Any, writer: ChainWriter, line: Any
    ) -> None:
        self._spec, self._simd, self._writer, self._line, self._dilations = spec, simd, writer, line, dilations
        self._left, self._weights, self._bias = buffers[:3]
        self._integer = len(buffers) > 3
        self._scale, self._zero = buffers[3:] if self._integer else (None, None)
        self._sum = "float32" if not self._integer else "int16" if spec.narrow else "int32"
        window = spec.window
        self._image = emit.named(T.floordiv(line, window.out_height) * window.height) if window.images > 1 else 0
        row = line - T.floordiv(line, window.out_height) * window.out_height if window.images > 1 else line
        self._row = emit.named(row * window.stride[0])

    def channels(self, channel: Any, width: int) -> None:
        """Every pixel of the line, for `width` channels."""
        spec, window = self._spec, self._spec.window
        vectors = emit.powers_of_two(width, _vector(spec, self._simd))
        weights = [[self._weight(tap, channel + first, count) for first, count in vectors] for tap in range(len(TAPS))]
        with T.serial(window.out_width) as column:
            pixel = emit.named(self._line * window.out_width + column)
            d = emit.named(emit.cast(self._dilations[pixel * spec.map_pitch + spec.map_offset], "int32", 1))
            x = emit.named(column * window.stride[1])
            sums = [emit.Tile(1, count, self._sum) for _, count in vectors]
            rows, columns = (
                [emit.named(at + step * d) if step else at for step in (-1, 0, 1)] for at in (self._row, x)
            )
            inside = T.And(
                T.And(rows[0] >= 0, rows[2] < window.height), T.And(columns[0] >= 0, columns[2] < window.width)
            )
            with T.If(inside):
                with T.Then():
                    self._add_all(sums, vectors, weights, channel, self._addresses(rows, columns), None)
                with T.Else():
                    near = [[T.max(T.min(at, size - 1), 0) for at in axis]
                            for axis, size in ((rows, window.height), (columns, window.width))]  # fmt: skip
                    masks = self._masks(rows, columns)
                    self._add_all(sums, vectors, weights, channel, self._addresses(*near), masks)
            self._finish(sums, vectors, channel, pixel, width)

    def _weight(self, tap: int, channel: Any, width: int) -> Any:
        loaded = emit.load(self._weights, tap * self._spec.channels + channel, width)
        return emit.named(emit.cast(loaded, self._sum, width) if self._integer else loaded)

    def _addresses(self, rows: list[Any], columns: list[Any]) -> list[Any]:
        """Element before channel 0, tap by tap."""
        spec = self._spec
        lines = [emit.named((self._image + row) * (spec.window.width * spec.pitch) + spec.offset) for row in rows]
        across = [emit.named(column * spec.pitch) for column in columns]
        return [emit.named(line + place) for line in lines for place in across]

    def _masks(self, rows: list[Any], columns: list[Any]) -> list[Any]:
        """All bits of a tap inside the frame, none of one outside."""
        kind, ones = ("uint8", T.uint8(255)) if self._integer else ("int32", T.int32(-1))
        window = self._spec.window
        fits = [[T.And(at >= 0, at < size) for at in axis]
                for axis, size in ((rows, window.height), (columns, window.width))]  # fmt: skip
        return [
            emit.named(T.Select(T.And(row, column), ones, emit.cast(T.int32(0), kind, 1)))
            for row in fits[0]
            for column in fits[1]
        ]

    def _add_all(
        self, sums: list[emit.Tile], vectors: list[tuple[int, int]], weights: list[list[Any]], channel: Any,
        addresses: list[Any], masks: list[Any] | None,
    ) -> None:  # fmt: skip
        for index, (first, width) in enumerate(vectors):
            total = None
            for tap, address in enumerate(addresses):
                # The middle of the nine is always inside.
                mask = None if masks is None or TAPS[tap] == (0, 0) else masks[tap]
                part = self._sample(address, channel + first, width, mask) * weights[tap][index]
                total = part if total is None else total + part
            sums[index].set(0, total)

    def _sample(self, address: Any, channel: Any, width: int, mask: Any) -> Any:
        loaded = emit.load(self._left, address + channel, width)
        if mask is None:
            return emit.cast(loaded, self._sum, width) if self._integer else loaded
        kept = emit.splat(mask, width)
        if self._integer:
            loaded = (loaded & kept) | (emit.load(self._zero, channel, width) & ~kept)
            return emit.cast(loaded, self._sum, width)
        return emit.reinterpret(emit.reinterpret(loaded, "int32", width) & kept, "float32", width)

    def _finish(
        self, sums: list[emit.Tile], vectors: list[tuple[int, int]], channel: Any, pixel: Any, width: int
    ) -> None:
        values, positions = [], []
        for tile, (first, count) in zip(sums, vectors, strict=True):
            for inner, lanes in emit.powers_of_two(count, self._simd.lanes):
                at = channel + first + inner
                values.append(emit.named(self._result(tile.get(0, inner, lanes), at, lanes)))
                positions.append((pixel, at))
        lanes = min(width, self._simd.lanes)
        together = min(4, len(values)) if len(values) in (1, 2) or len(values) % 4 == 0 else 1
        self._writer.finish_all(values, positions, lanes, self._simd, together=together)

    def _result(self, total: Any, channel: Any, width: int) -> Any:
        bias = emit.load(self._bias, channel, width)
        if not self._integer:
            return total + bias
        wide = emit.cast(total, "int32", width) if self._spec.narrow else total
        scale = emit.load(self._scale, channel, width)
        return emit.fence(emit.cast(wide + bias, "float32", width) * scale, width)
