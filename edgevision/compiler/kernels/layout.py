"""Layout changes at the borders of the network: NCHW to NHWC and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.simd import Simd


@dataclass(frozen=True)
class Layout:
    """Between (images, channels, pixels) planes and (images, pixels, channels) rows.

    Attributes:
        to_rows: from planes to rows, else back.
        pitch, offset: of the rows' side; the planes are dense.
    """

    to_rows: bool
    images: int
    pixels: int
    channels: int
    dtype: str
    pitch: int
    offset: int
    row_elements: int


def build(name: str, spec: Layout, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    planes = spec.images * spec.pixels * spec.channels
    parameters = [("source", planes if spec.to_rows else spec.row_elements, spec.dtype)]
    parameters.append(("output", spec.row_elements if spec.to_rows else planes, spec.dtype))
    if _interleaves(spec):
        return _interleaved(name, parameters, spec, simd)
    with emit.kernel(name, parameters) as (buffers, made), T.parallel(spec.images * spec.channels) as plane:
        image = emit.named(T.floordiv(plane, spec.channels))
        channel = emit.named(plane - image * spec.channels)
        for first, count, width in _runs(spec.pixels, simd.lanes):
            with T.serial(count) as step:
                pixel = emit.named(first + step * width)
                _move(spec, buffers, image, channel, pixel, width)
    return made[0]


def _interleaves(spec: Layout) -> bool:
    """Whether rows are made of few whole planes, as of an image's colours: then one store writes several rows."""
    return spec.to_rows and 2 <= spec.channels <= 4 and spec.pitch == spec.channels and spec.offset == 0


def _interleaved(name: str, parameters: list[tuple[str, int, str]], spec: Layout, simd: Simd) -> Any:
    size = 1 if spec.dtype == "uint8" else 4
    lanes = simd.lanes * 4 // size
    with emit.kernel(name, parameters) as (buffers, made), T.parallel(spec.images) as image:
        for first, count, width in _runs(spec.pixels, lanes):
            with T.serial(count) as step:
                pixel = emit.named(first + step * width)
                planes = [
                    emit.named(emit.load(buffers[0], (image * spec.channels + c) * spec.pixels + pixel, width))
                    for c in range(spec.channels)
                ]
                order = [T.int32(c * width + lane) for lane in range(width) for c in range(spec.channels)]
                start = (image * spec.pixels + pixel) * spec.channels
                emit.store(buffers[1], start, T.Shuffle(planes, order), width * spec.channels)
    return made[0]


def _runs(pixels: int, lanes: int) -> list[tuple[int, int, int]]:
    full, tail = divmod(pixels, lanes)
    runs = [(0, full, lanes)] if full else []
    return runs + [(full * lanes + offset, 1, width) for offset, width in emit.powers_of_two(tail, lanes)]


def _move(spec: Layout, buffers: list[Any], image: Any, channel: Any, pixel: Any, width: int) -> None:
    source, output = buffers
    plane = (image * spec.channels + channel) * spec.pixels + pixel
    row = image * spec.pixels + pixel

    def rows_at(first: Any) -> Any:
        start = first * spec.pitch + spec.offset + channel
        return start if width == 1 else T.ramp(start, spec.pitch, width)

    if spec.to_rows:
        T.buffer_store(output, emit.load(source, plane, width), [rows_at(row)])
    else:
        emit.store(output, plane, source[rows_at(row)], width)
