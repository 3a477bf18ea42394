"""Dense convolution without an im2col buffer: the register tile walks the taps of a block of output pixels.

A block is a run of pixels of one output row. Taps that fall outside the frame are left out at build time to the left
and right (edge blocks are emitted apart) and skipped by one comparison per kernel row above and below; in integer
convolutions the zero-point correction of a left-out tap is added instead (NUMERICS.md section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.kernels.gemm import dense_operands, panel_runs
from edgevision.compiler.kernels.grid import Grid, pixel, pixels_per_image
from edgevision.compiler.kernels.inner import k_group
from edgevision.compiler.kernels.panel import Panel, packed_lanes, panels
from edgevision.compiler.kernels.parameters import kernel, weighted
from edgevision.compiler.kernels.tile import DenseTile, Operands
from edgevision.compiler.simd import Simd
from edgevision.graph.geometry import Window


@dataclass(frozen=True)
class Conv:
    """One dense convolution over an input addressed by strides, so NHWC and NCHW inputs both work.

    Attributes:
        depth, channels: input and output channels.
        dtype, weights, tile, full_range: as in `gemm.Gemm`.
        pixel_pitch, channel_pitch, image_pitch, offset: elements of the input from one pixel, channel, image to the
            next, and of the first.
        grid: where the output pixels go, when they are not an image of their own.
    """

    window: Window
    depth: int
    channels: int
    dtype: str
    weights: str
    tile: tuple[int, int]
    pixel_pitch: int
    channel_pitch: int
    image_pitch: int
    offset: int
    left_elements: int
    output_elements: int
    chain: Chain
    extras: tuple[tuple[int, str], ...] = ()
    corrected: bool = False
    full_range: bool = True
    grid: Grid | None = None


@dataclass(frozen=True)
class Block:
    """`count` neighbouring blocks of `size` output columns from `first`, with the same taps inside."""

    first: int
    count: int
    size: int


def column_blocks(window: Window, largest: int) -> list[Block]:
    """Cut an output row into blocks; only blocks whose every tap is inside share a loop.

    >>> w = Window(1, 8, 8, 8, 8, (3, 3), (1, 1), (1, 1), 1, 1)
    >>> [(b.first, b.count, b.size) for b in column_blocks(w, 2)]
    [(0, 1, 2), (2, 2, 2), (6, 1, 2)]
    """
    found: list[Block] = []
    for first, count, size in emit.balanced(window.out_width, largest):
        for index in range(count):
            start = first + index * size
            inside = all(
                window.columns_inside(column, tap)
                for column in range(start, start + size)
                for tap in range(window.kernel[1])
            )
            last = found[-1] if found else None
            if inside and last and last.size == size and last.count and _interior(window, last):
                found[-1] = Block(last.first, last.count + 1, size)
            else:
                found.append(Block(start, 1, size))
    return found


def _interior(window: Window, block: Block) -> bool:
    ends = (block.first, block.first + block.count * block.size - 1)
    return all(window.columns_inside(column, tap) for column in ends for tap in (0, window.kernel[1] - 1))


def build(name: str, spec: Conv, simd: Simd) -> Any:
    """Return the kernel as a TIR function.

    Weights are packed (`panel.pack`) from (channels, kernel rows, kernel columns, depth padded to the k-group).
    """
    group = k_group(simd, integer=spec.dtype != "float32")
    groups = -(-spec.depth // group)
    taps = spec.window.kernel[0] * spec.window.kernel[1]
    mr, nr = spec.tile
    lanes = packed_lanes(spec.channels, simd.lanes, nr)
    weights = (lanes * taps * groups * group, spec.weights)
    rest = [("correction", lanes * taps, "int32")] if spec.corrected else []
    with kernel(name, spec, weighted((spec.left_elements, spec.dtype), weights, lanes, *rest)) as (buffers, made):
        operands = dense_operands(spec, buffers.operands, contiguous=spec.channel_pitch == 1)
        window = spec.window
        writer = buffers.writer(pixels_per_image=pixels_per_image(window, spec.grid), images=window.images)
        body = _Body(spec, simd, operands, writer, groups, lanes)
        with T.parallel(window.images * window.out_height) as line:
            for panel, count in panel_runs(panels(spec.channels, simd.lanes, nr)):
                with T.serial(count) as p:
                    for block in column_blocks(window, mr):
                        with T.serial(block.count) as b:
                            body.tile(panel, p, line, block, b)
    return made[0]


class _Body:
    def __init__(
        self, spec: Conv, simd: Simd, operands: Operands, writer: ChainWriter, groups: int, lanes: int
    ) -> None:
        self._spec, self._simd, self._operands, self._writer = spec, simd, operands, writer
        self._groups, self._lanes = groups, lanes

    def tile(self, panel: Panel, p: Any, line: Any, block: Block, b: Any) -> None:
        window = self._spec.window
        lane_offset = emit.named(panel.weight_offset + p * panel.lanes)
        column = emit.named(block.first + b * block.size)
        tile = DenseTile(self._operands, self._simd, panel, lane_offset, block.size)
        tile.start()
        image = emit.named(T.floordiv(line, window.out_height)) if window.images > 1 else 0
        row = line - image * window.out_height
        with T.serial(window.kernel[0]) as ky:
            source = emit.named(row * window.stride[0] + ky * window.dilation[0] - window.top)
            weight_row = lane_offset * window.kernel[0] * window.kernel[1] * self._groups
            if window.rows_always_inside:
                self._kernel_row(tile, panel, block, column, image, source, ky, weight_row)
            else:
                with T.If(T.And(source >= 0, source < window.height)):
                    with T.Then():
                        self._kernel_row(tile, panel, block, column, image, source, ky, weight_row)
                    with T.Else():
                        for kx in range(window.kernel[1]):
                            tile.correct(range(block.size), ky * window.kernel[1] + kx, self._lanes)
                        T.evaluate(0)
        tile.finish(
            self._writer,
            lambda i: pixel(window, self._spec.grid, line, image, column + i),
            panel.channel + p * panel.valid,
        )

    def _kernel_row(
        self, tile: DenseTile, panel: Panel, block: Block, column: Any, image: Any, source: Any, ky: Any, base: Any
    ) -> None:
        spec, window = self._spec, self._spec.window
        for kx in range(window.kernel[1]):
            if block.count > 1:
                inside = list(range(block.size))
            else:
                inside = [i for i in range(block.size) if window.columns_inside(block.first + i, kx)]
            outside = [i for i in range(block.size) if i not in inside]
            tap = ky * window.kernel[1] + kx
            if outside:
                tile.correct(outside, tap, self._lanes)
            if not inside:
                continue

            def address(i: int, k: Any, kx: int = kx) -> Any:
                x = (column + i) * window.stride[1] + (kx * window.dilation[1] - window.left)
                pixel = source * window.width + x
                return image * spec.image_pitch + pixel * spec.pixel_pitch + k * spec.channel_pitch + spec.offset

            tile.accumulate(inside, address, base + tap * self._groups * panel.lanes, self._groups)
