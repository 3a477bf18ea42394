"""Resize of images in NHWC, nearest and bilinear, vectors along channels.

Which rows and columns an output pixel reads, and with what weights, are inputs of the kernel (`graph.resampling`), so
every coordinate convention is one kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.simd import Simd


@dataclass(frozen=True)
class Resize:
    """One resize.

    Attributes:
        source: images, height and width of the input.
        size: height and width of the output.
        taps: rows and columns each output pixel reads.
        dtype: float32 or uint8.
        integer: whether bytes are interpolated in fixed point; else bytes move as they are.
        pitch, offset: of the input.
        extras: row indices, row weights, column indices, column weights; with `integer` the multiplier of the sum and
            the one int32 subtracted from it; then the chain's.
    """

    source: tuple[int, int, int]
    size: tuple[int, int]
    taps: tuple[int, int]
    channels: int
    dtype: str
    integer: bool
    pitch: int
    offset: int
    left_elements: int
    output_elements: int
    chain: Chain
    extras: tuple[tuple[int, str], ...]


def build(name: str, spec: Resize, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    (images, _, _), (rows, columns) = spec.source, spec.size
    parameters = [("left", spec.left_elements, spec.dtype)]
    parameters += [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("output", spec.output_elements, spec.chain.store.dtype))
    with emit.kernel(name, parameters) as (buffers, made):
        writer = ChainWriter(spec.chain, buffers[1:-1], buffers[-1], pixels_per_image=rows * columns, images=images)
        body = _Body(spec, buffers, writer)
        full, tail = divmod(spec.channels, simd.lanes)
        with T.parallel(images * rows) as line:
            image = emit.named(T.floordiv(line, rows))
            starts = body.rows(line, image)
            with T.serial(columns) as column:
                places = body.pixels(starts, column)
                pixel = emit.named(line * columns + column)
                if full:
                    with T.serial(full) as v:
                        body.point(places, pixel, v * simd.lanes, simd.lanes)
                for first, width in emit.powers_of_two(tail, simd.lanes):
                    body.point(places, pixel, full * simd.lanes + first, width)
    return made[0]


class _Body:
    def __init__(self, spec: Resize, buffers: list[Any], writer: ChainWriter) -> None:
        self._spec, self._left, self._extras, self._writer = spec, buffers[0], buffers[1:-1], writer
        self._weighted = (spec.taps[0] > 1, spec.taps[1] > 1)

    def rows(self, line: Any, image: Any) -> list[tuple[Any, Any]]:
        """First pixel and weight of every input row this output row reads."""
        (_, height, width), taps = self._spec.source, self._spec.taps[0]
        row = line - image * self._spec.size[0]
        found = []
        for tap in range(taps):
            y = self._extras[0][row * taps + tap]
            weight = emit.named(self._extras[1][row * taps + tap]) if taps > 1 else None
            found.append((emit.named((image * height + y) * width), weight))
        return found

    def pixels(self, starts: list[tuple[Any, Any]], column: Any) -> list[tuple[list[tuple[Any, Any]], Any]]:
        """For every input row: (first element, weight) of each pixel in it, and the row's weight."""
        spec, taps = self._spec, self._spec.taps[1]
        columns = [emit.named(self._extras[2][column * taps + tap]) for tap in range(taps)]
        weights = [emit.named(self._extras[3][column * taps + tap]) if taps > 1 else None for tap in range(taps)]
        return [
            ([(emit.named((start + x) * spec.pitch + spec.offset), w) for x, w in zip(columns, weights, strict=True)],
             weight)
            for start, weight in starts
        ]  # fmt: skip

    def point(self, places: list[tuple[list[tuple[Any, Any]], Any]], pixel: Any, channel: Any, width: int) -> None:
        spec = self._spec
        if not spec.integer and spec.dtype == "uint8":
            address = places[0][0][0][0] + channel
            self._writer.put(emit.load(self._left, address, width), pixel, channel, width)
            return
        total = None
        for pixels, weight in places:
            line = None
            for first, share in pixels:
                loaded = emit.load(self._left, first + channel, width)
                loaded = emit.cast(loaded, "int32", width) if spec.integer else loaded
                line = _plus(line, _times(loaded, share, width))
            total = _plus(total, _times(emit.named(line), weight, width))
        if spec.integer:
            steps = emit.cast(emit.named(total - emit.splat(self._extras[5][0], width)), "float32", width)
            total = emit.fence(steps * emit.splat(self._extras[4][0], width), width)
        self._writer.finish(emit.named(total), pixel, channel, width)


def _times(value: Any, weight: Any, width: int) -> Any:
    return value if weight is None else value * emit.splat(weight, width)


def _plus(total: Any, value: Any) -> Any:
    return value if total is None else total + value
