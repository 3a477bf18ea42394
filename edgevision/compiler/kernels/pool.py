"""Pooling in NHWC, vectors along channels: global average, and sliding maximum or average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.simd import Simd
from edgevision.graph.geometry import Window

#: Independent partial sums of a global average, to hide the latency of the adder.
PARTIALS = 4


@dataclass(frozen=True)
class Pool:
    """One pooling.

    Attributes:
        kind: "global_average" (`window.kernel` covers the image), "average" or "max".
        dtype: float32 or uint8.
        pitch, offset: of the input.
        per_channel: whether the factor of a global average is one per channel. `extras[0]` is that factor, and for
            bytes `extras[1]` the one int32 subtracted from the sum: pixels times zero point. An average of bytes has
            the factor of every number of taps in `extras[0]`, and the zero point, int32, in `extras[1]`.
        counted: (rows, columns) an average counts taps up to, when it counts those in the padding: the image's height
            and width and the padding after them. None counts taps inside the image alone.
    """

    kind: Literal["global_average", "average", "max"]
    window: Window
    channels: int
    dtype: str
    pitch: int
    offset: int
    left_elements: int
    output_elements: int
    chain: Chain
    extras: tuple[tuple[int, str], ...] = ()
    per_channel: bool = False
    counted: tuple[int, int] | None = None


def build(name: str, spec: Pool, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    window = spec.window
    parameters = [("left", spec.left_elements, spec.dtype)]
    parameters += [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("output", spec.output_elements, spec.chain.store.dtype))
    with emit.kernel(name, parameters) as (buffers, made):
        writer = ChainWriter(
            spec.chain,
            buffers[1:-1],
            buffers[-1],
            pixels_per_image=window.out_height * window.out_width,
            images=window.images,
        )
        body = _Body(spec, buffers, writer)
        step = body.average if spec.kind == "global_average" else body.slide
        full, tail = divmod(spec.channels, simd.lanes)
        with T.parallel(window.images * window.out_height * window.out_width) as pixel:
            if full:
                with T.serial(full) as v:
                    step(pixel, v * simd.lanes, simd.lanes)
            for first, width in emit.powers_of_two(tail, simd.lanes):
                step(pixel, full * simd.lanes + first, width)
    return made[0]


class _Body:
    def __init__(self, spec: Pool, buffers: list[Any], writer: ChainWriter) -> None:
        self._spec, self._left, self._extras, self._writer = spec, buffers[0], buffers[1:-1], writer
        self._integer = spec.dtype != "float32"

    def average(self, image: Any, channel: Any, width: int) -> None:
        spec, count = self._spec, self._spec.window.height * self._spec.window.width
        acc = emit.Tile(PARTIALS, width, "int32" if self._integer else "float32")
        zero = emit.i32(0, width) if self._integer else emit.f32(0.0, width)
        for part in range(PARTIALS):
            acc.set(part, zero)
        whole, rest = divmod(count, PARTIALS)

        def take(pixel: Any, part: int) -> None:
            loaded = emit.load(self._left, (image * count + pixel) * spec.pitch + spec.offset + channel, width)
            acc.add(part, emit.cast(loaded, "int32", width) if self._integer else loaded)

        if whole:
            with T.serial(whole) as step:
                for part in range(PARTIALS):
                    take(step * PARTIALS + part, part)
        for part in range(rest):
            take(whole * PARTIALS + part, part)
        total = (acc.get(0) + acc.get(1)) + (acc.get(2) + acc.get(3))
        if self._integer:
            total = emit.cast(total - emit.splat(self._extras[1][0], width), "float32", width)
        value = emit.fence(emit.named(total) * self._scale(channel, width), width)
        self._writer.finish(emit.named(value), image, channel, width)

    def _scale(self, channel: Any, width: int) -> Any:
        if self._spec.per_channel:
            return emit.load(self._extras[0], channel, width)
        return emit.splat(self._extras[0][0], width)

    def slide(self, pixel: Any, channel: Any, width: int) -> None:
        spec, window = self._spec, self._spec.window
        maximum = spec.kind == "max"
        summed_bytes = self._integer and not maximum
        acc = emit.Tile(1, width, "int32" if summed_bytes else spec.dtype)
        taken = emit.Tile(1, 1, "int32" if summed_bytes else "float32")
        one = T.int32(1) if summed_bytes else T.float32(1.0)
        if maximum:
            lowest = T.uint8(0) if self._integer else T.float32(-3.4028234663852886e38)
            acc.set(0, emit.splat(lowest, width))
        else:
            acc.set(0, emit.i32(0, width) if summed_bytes else emit.f32(0.0, width))
        taken.set(0, one - one)
        zero = emit.named(emit.splat(self._extras[1][0], width)) if summed_bytes else None
        column = emit.named(T.floormod(pixel, window.out_width))
        line = emit.named(T.floordiv(pixel, window.out_width))
        image = emit.named(T.floordiv(line, window.out_height))
        row = line - image * window.out_height
        with T.serial(window.kernel[0]) as ky, T.serial(window.kernel[1]) as kx:
            y = emit.named(row * window.stride[0] + ky * window.dilation[0] - window.top)
            x = emit.named(column * window.stride[1] + kx * window.dilation[1] - window.left)
            inside = T.And(T.And(y >= 0, y < window.height), T.And(x >= 0, x < window.width))
            with T.If(inside), T.Then():
                source = (image * window.height + y) * window.width + x
                loaded = emit.load(self._left, source * spec.pitch + spec.offset + channel, width)
                if summed_bytes:
                    loaded = emit.cast(loaded, "int32", width) - zero
                acc.set(0, T.max(acc.get(0), loaded) if maximum else acc.get(0) + loaded)
                if spec.counted is None and not maximum:
                    taken.set(0, taken.get(0) + one)
            if spec.counted is not None:
                with T.If(T.And(y < spec.counted[0], x < spec.counted[1])), T.Then():
                    taken.set(0, taken.get(0) + one)
        value = acc.get(0)
        if maximum and self._integer:
            self._writer.put(value, pixel, channel, width)
            return
        if summed_bytes:
            factor = emit.splat(emit.named(self._extras[0][taken.get(0)]), width)
            value = emit.fence(emit.cast(emit.named(value), "float32", width) * factor, width)
        elif not maximum:
            value = value / emit.splat(taken.get(0), width)
        self._writer.finish(emit.named(value), pixel, channel, width)
