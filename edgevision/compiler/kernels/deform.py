"""Bilinear sampling of a deformable convolution: columns of taps for the pointwise convolution behind it, in NHWC.

For every output pixel and tap four scalar weights and addresses, then vectors along channels. A corner outside the
image counts as zero, so a point less than one pixel outside is interpolated towards zero (ONNX DeformConv, opset 19).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.simd import Simd
from edgevision.graph.geometry import Window


@dataclass(frozen=True)
class Deform:
    """One sampling.

    Attributes:
        window: of the convolution; its taps are shifted by the offsets.
        channels, group, offset_group: of the input; of the convolution behind; of the offsets.
        masked: whether every tap is also multiplied by a mask.
        pitches, offsets: elements from one pixel to the next and of the first: input, offsets, mask.
        elements: of the input, offsets and mask buffers.
    """

    window: Window
    channels: int
    group: int
    offset_group: int
    masked: bool
    pitches: tuple[int, ...]
    offsets: tuple[int, ...]
    elements: tuple[int, ...]


def segments(channels: int, group: int, offset_group: int) -> list[list[tuple[int, int, int]]]:
    """For each offset group, the runs of its channels that lie in one convolution group: (first channel, count, group).

    >>> segments(8, 2, 1)
    [[(0, 4, 0), (4, 4, 1)]]
    """
    size, found = channels // offset_group, []
    per_group = channels // group
    for index in range(offset_group):
        runs, first = [], index * size
        while first < (index + 1) * size:
            count = min((index + 1) * size, (first // per_group + 1) * per_group) - first
            runs.append((first, count, first // per_group))
            first += count
        found.append(runs)
    return found


def build(name: str, spec: Deform, simd: Simd) -> Any:
    """Return the kernel as a TIR function over input, offsets, [mask], output."""
    window = spec.window
    taps = window.kernel[0] * window.kernel[1]
    pixels = window.images * window.out_height * window.out_width
    names = ["left", "shifts", "mask"][: len(spec.elements)]
    parameters = [(n, elements, "float32") for n, elements in zip(names, spec.elements, strict=True)]
    parameters.append(("output", pixels * taps * spec.channels, "float32"))
    with emit.kernel(name, parameters) as (buffers, made):
        body = _Body(spec, buffers, simd)
        with T.parallel(window.images * window.out_height) as line:
            image = emit.named(T.floordiv(line, window.out_height))
            row = emit.named(line - image * window.out_height)
            with T.serial(window.out_width) as column:
                pixel = emit.named(line * window.out_width + column)
                with T.serial(window.kernel[0]) as ky, T.serial(window.kernel[1]) as kx:
                    y = emit.named(row * window.stride[0] + ky * window.dilation[0] - window.top)
                    x = emit.named(column * window.stride[1] + kx * window.dilation[1] - window.left)
                    tap = emit.named(ky * window.kernel[1] + kx)
                    for index, runs in enumerate(segments(spec.channels, spec.group, spec.offset_group)):
                        body.tap(image, pixel, (y, x), tap, index, runs)
    return made[0]


class _Body:
    def __init__(self, spec: Deform, buffers: list[Any], simd: Simd) -> None:
        self._spec, self._simd = spec, simd
        self._left, self._shifts, self._output = buffers[0], buffers[1], buffers[-1]
        self._mask = buffers[2] if spec.masked else None

    def tap(
        self, image: Any, pixel: Any, place: tuple[Any, Any], tap: Any, index: int, runs: list[tuple[int, int, int]]
    ) -> None:
        """One tap of one output pixel, for the channels of one offset group."""
        spec, window = self._spec, self._spec.window
        taps = window.kernel[0] * window.kernel[1]
        start = emit.named(pixel * spec.pitches[1] + spec.offsets[1] + (index * taps + tap) * 2)
        sizes = (window.height, window.width)
        points = [emit.named(emit.cast(place[axis], "float32", 1) + self._shifts[start + axis]) for axis in (0, 1)]
        inside = [T.And(p > T.float32(-1), p < T.float32(size)) for p, size in zip(points, sizes, strict=True)]
        both = emit.named(T.And(inside[0], inside[1]))
        # Far outside, or not a number: any place does, since the weight is zero.
        axes = [
            self._axis(emit.named(T.Select(both, p, T.float32(0))), size) for p, size in zip(points, sizes, strict=True)
        ]
        share: Any = T.Select(both, T.float32(1), T.float32(0))
        if self._mask is not None:
            share = share * self._mask[pixel * spec.pitches[2] + spec.offsets[2] + index * taps + tap]
        share = emit.named(share)
        corners = []
        for y, wy in axes[0]:
            scaled = emit.named(wy * share)
            for x, wx in axes[1]:
                source = (image * window.height + y) * window.width + x
                corners.append((emit.named(source * spec.pitches[0] + spec.offsets[0]), emit.named(scaled * wx)))
        per_group = spec.channels // spec.group
        for first, count, group in runs:
            inner = first - group * per_group
            base = emit.named(pixel * taps * spec.channels + (group * taps + tap) * per_group + inner)
            full, tail = divmod(count, self._simd.lanes)
            if full:
                with T.serial(full) as v:
                    self._blend(corners, first + v * self._simd.lanes, base + v * self._simd.lanes, self._simd.lanes)
            for offset, width in emit.powers_of_two(tail, self._simd.lanes):
                done = full * self._simd.lanes + offset
                self._blend(corners, first + done, base + done, width)

    def _axis(self, point: Any, size: int) -> list[tuple[Any, Any]]:
        """The two positions around `point`, within the image, and their weights, zero for one outside it."""
        floor = emit.named(T.floor(point))
        low = emit.named(emit.cast(floor, "int32", 1))
        high_weight = emit.named(point - floor)
        low_weight = T.Select(low >= 0, T.float32(1) - high_weight, T.float32(0))
        high_weight = T.Select(low + 1 < size, high_weight, T.float32(0))
        return [
            (emit.named(T.max(low, 0)), emit.named(low_weight)),
            (emit.named(T.min(low + 1, size - 1)), emit.named(high_weight)),
        ]

    def _blend(self, corners: list[tuple[Any, Any]], channel: Any, position: Any, width: int) -> None:
        total = None
        for address, weight in corners:
            part = emit.load(self._left, address + channel, width) * emit.splat(weight, width)
            total = part if total is None else total + part
        emit.store(self._output, position, total, width)
