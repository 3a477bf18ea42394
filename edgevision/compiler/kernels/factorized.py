"""Factorized convolution in one kernel: 1x1 to R products per output, k x 1 down the rows, 1 x k along the columns.

Worked on is a group of output channels with all their products. The 1x1 products of an input row come out of the dense
register tile into a ring of k_h rows that stays in the cache; both thin filters then run in registers, over a block of
output columns, as soon as the ring holds the rows of an output row. So nothing in between is ever written to memory as
a tensor, and no product is computed twice but where a strip of rows begins. Format: `zoo.factorized`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.kernels.conv import Block, column_blocks
from edgevision.compiler.kernels.functions import Arithmetic
from edgevision.compiler.kernels.inner import k_group, pack, tile_shape
from edgevision.compiler.kernels.panel import Panel, panels
from edgevision.compiler.kernels.parameters import Buffers, kernel
from edgevision.compiler.kernels.tile import DenseTile, Operands
from edgevision.compiler.simd import Simd
from edgevision.graph.geometry import Window

#: Vectors of products one group has at most, unless one output channel has more: what the register tile takes at once.
MOST_VECTORS = 4
#: Output columns whose sums are in registers, at most: beyond, the halo of the block is no longer what costs.
MOST_COLUMNS = 14


@dataclass(frozen=True)
class Cut:
    """How output channels are cut: `width` of them in a vector, `blocks` vectors in each of `groups` groups."""

    width: int
    blocks: int
    groups: int


def cut(channels: int, rank: int, lanes: int) -> Cut:
    """Cut `channels` of `rank` products each.

    >>> cut(64, 1, 16), cut(64, 4, 16), cut(3, 2, 16)
    (Cut(width=16, blocks=4, groups=1), Cut(width=16, blocks=1, groups=4), Cut(width=4, blocks=1, groups=1))
    """
    width = lanes
    while width > 4 and width // 2 >= channels:
        width //= 2
    vectors = -(-channels // width)
    blocks = max(n for n in range(1, vectors + 1) if vectors % n == 0 and (n == 1 or n * rank <= MOST_VECTORS))
    return Cut(width, blocks, vectors // blocks)


@dataclass(frozen=True)
class Factorized:
    """One factorized convolution of an image in NHWC.

    Attributes:
        depth, channels: of input and output.
        rank: products per output channel.
        dtype: float32, or uint8 with int8 channel factors and products of int32, taken as float32 from there on.
        cut: of the output channels.
        pitch, offset: elements from one input pixel to the next, and of the first.
        full_range: whether a byte factor may be -128.
        strips: parts each image is cut into, for more tasks.
        tasks: parallel tasks, each with a ring of its own; none without a job.
    """

    window: Window
    depth: int
    channels: int
    rank: int
    dtype: str
    cut: Cut
    pitch: int
    offset: int
    left_elements: int
    output_elements: int
    chain: Chain
    extras: tuple[tuple[int, str], ...] = ()
    full_range: bool = True
    strips: int = 1
    tasks: int = 1

    @property
    def integer(self) -> bool:
        """Whether the 1x1 products are sums of bytes."""
        return self.dtype != "float32"

    @property
    def vectors(self) -> int:
        """Vectors of products of a group."""
        return self.cut.blocks * self.rank

    @property
    def row(self) -> int:
        """Elements of one row of the ring."""
        return self.window.width * self.vectors * self.cut.width

    @property
    def ring(self) -> int:
        """Elements of one task's ring, whole cache lines of them."""
        return -(-self.window.kernel[0] * self.row // 16) * 16


def packed(spec: Factorized, simd: Simd, channel: np.ndarray) -> np.ndarray:
    """Channel factors (C_out, R, C_in) group by group, as the register tile reads them."""
    narrow, padded = _narrow(spec, simd), _in_blocks(spec, channel)
    products = padded.transpose(0, 2, 1, 3).reshape(spec.cut.groups, -1, spec.depth)
    vectors = _tile(spec, narrow)[1]
    return np.concatenate([pack(narrow, group, vectors, integer=spec.integer) for group in products])


def in_lanes(spec: Factorized, factor: np.ndarray) -> np.ndarray:
    """Factors of a way (C_out, R, k) as (block, r, tap, lane), flat; channels beyond the last are zero.

    >>> spec = Factorized(Window(1, 1, 1, 1, 1, (2, 2), (1, 1), (1, 1), 0, 0), 1, 2, 1, "float32", cut(2, 1, 4), 1, 0,
    ...                   1, 2, Chain())
    >>> in_lanes(spec, np.array([[[1, 2]], [[3, 4]]])).tolist()
    [1, 3, 0, 0, 2, 4, 0, 0]
    """
    return np.ascontiguousarray(_in_blocks(spec, factor).transpose(0, 2, 3, 1)).reshape(-1)


def _in_blocks(spec: Factorized, factor: np.ndarray) -> np.ndarray:
    """(C_out, R, n) as (blocks, lane, R, n)."""
    count = spec.cut.blocks * spec.cut.groups
    found = np.zeros((count * spec.cut.width, *factor.shape[1:]), factor.dtype)
    found[: spec.channels] = factor
    return found.reshape(count, spec.cut.width, *factor.shape[1:])


def _narrow(spec: Factorized, simd: Simd) -> Simd:
    return replace(simd, lanes=spec.cut.width)


def _tile(spec: Factorized, narrow: Simd) -> tuple[int, int]:
    return tile_shape(narrow, spec.window.width, spec.vectors * spec.cut.width, integer=spec.integer)


def build(name: str, spec: Factorized, simd: Simd) -> Any:
    """Return the kernel as a TIR function.

    Its parameters are the input, the `packed` channel factors, the row and column factors and the bias `in_lanes`, for
    bytes what each product starts from (int32) as well, then extras, ring, output.
    """
    width, kernel_rows, kernel_columns = spec.cut.width, *spec.window.kernel
    products = spec.cut.groups * spec.vectors * width
    group = k_group(simd, integer=spec.integer)
    operands = [
        ("left", spec.left_elements, spec.dtype),
        ("weights", products * -(-spec.depth // group) * group, "int8" if spec.integer else "float32"),
        ("rows", products * kernel_rows, "float32"),
        ("columns", products * kernel_columns, "float32"),
        ("bias", products // spec.rank, "float32"),
    ]
    if spec.integer:
        operands.append(("start", products, "int32"))
    jobs = spec.window.images * spec.strips * spec.cut.groups
    each = -(-jobs // spec.tasks)
    with kernel(name, spec, operands, [(spec.tasks * spec.ring, "float32")]) as (buffers, made):
        writer = buffers.writer(
            pixels_per_image=spec.window.out_height * spec.window.out_width, images=spec.window.images
        )
        with T.parallel(spec.tasks) as task:
            body = _Body(spec, simd, buffers, writer, task * spec.ring)
            count = each if jobs % each == 0 else T.min(each, jobs - task * each)
            with T.serial(count) as step:
                body.job(emit.named(task * each + step))
    return made[0]


class _Body:
    """Emits the jobs of one task: each a strip of output rows of one group of channels."""

    def __init__(self, spec: Factorized, simd: Simd, buffers: Buffers, writer: ChainWriter, ring: Any) -> None:
        self._spec, self._simd, self._writer, self._ring = spec, _narrow(spec, simd), writer, ring
        found = buffers.operands
        self._rows, self._columns, self._bias = found["rows"], found["columns"], found["bias"]
        self._held = buffers.scratch[0]
        self._math = Arithmetic(exact=spec.chain.exact)
        self._operands = Operands(
            found["left"], found["weights"], found.get("start"), None, spec.integer, full_range=spec.full_range
        )
        self._groups = -(-spec.depth // k_group(simd, integer=spec.integer))
        self._mr, vectors = _tile(spec, self._simd)
        self._panels = panels(spec.vectors * spec.cut.width, spec.cut.width, vectors)

    def job(self, job: Any) -> None:
        spec, window = self._spec, self._spec.window
        image = emit.named(T.floordiv(job, spec.strips * spec.cut.groups))
        rest = emit.named(job - image * (spec.strips * spec.cut.groups))
        group = emit.named(T.floordiv(rest, spec.strips))
        strip = emit.named(rest - group * spec.strips)
        first = emit.named(T.floordiv(strip * window.out_height, spec.strips))
        last = emit.named(T.floordiv((strip + 1) * window.out_height, spec.strips))
        fresh = min(window.stride[0], window.kernel[0])
        carried = window.kernel[0] - fresh
        begin = emit.named(first * window.stride[0])
        # One loop over the rows of the ring, a line whenever its last one is there: the code of a row stands once.
        with T.serial(carried + (last - first) * fresh) as step:
            if window.stride[0] == fresh:
                self._fill(group, image, emit.named(begin + step))
            else:
                self._fill(
                    group,
                    image,
                    emit.named(begin + T.floordiv(step, fresh) * window.stride[0] + T.floormod(step, fresh)),
                )
            whole = T.floormod(step - carried, fresh) == fresh - 1
            with T.If(T.And(step >= carried, whole) if carried else whole), T.Then():
                self._line(group, image, emit.named(first + T.floordiv(step - carried, fresh)))

    def _slot(self, row: Any) -> Any:
        """First element of the ring that holds row `row`, counted from the first of the padding."""
        return emit.named(self._ring + T.floormod(row, self._spec.window.kernel[0]) * self._spec.row)

    def _fill(self, group: Any, image: Any, row: Any) -> None:
        """Put the products of one input row into the ring; those of a row outside the image are zero."""
        spec, window, width = self._spec, self._spec.window, self._spec.cut.width
        slot, source = self._slot(row), emit.named(row - window.top)
        if window.rows_always_inside:
            self._products(group, emit.named((image * window.height + source) * window.width), slot)
            return
        with T.If(T.And(source >= 0, source < window.height)):
            with T.Then():
                self._products(group, emit.named((image * window.height + source) * window.width), slot)
            with T.Else(), T.serial(window.width * spec.vectors) as vector:
                emit.store(self._held, slot + vector * width, emit.f32(0.0, width), width)

    def _products(self, group: Any, pixel: Any, slot: Any) -> None:
        spec, width = self._spec, self._spec.cut.width
        for panel in self._panels:
            lane = emit.named(group * (spec.vectors * width) + panel.weight_offset)
            for first, count, size in emit.balanced(spec.window.width, self._mr):
                with T.serial(count) as block:
                    self._block(panel, lane, pixel, slot, emit.named(first + block * size), size)

    def _block(self, panel: Panel, lane: Any, pixel: Any, slot: Any, column: Any, size: int) -> None:
        spec, width = self._spec, self._spec.cut.width
        tile = DenseTile(self._operands, self._simd, panel, lane, size)
        tile.start()
        base = emit.named((pixel + column) * spec.pitch + spec.offset)
        tile.accumulate(range(size), lambda i, k: base + i * spec.pitch + k, lane * self._groups, self._groups)
        for i, first, lanes, value in tile.accumulators():
            value = emit.cast(value, "float32", lanes) if spec.integer else value
            at = slot + (column + i) * (spec.vectors * width) + panel.weight_offset + first
            emit.store(self._held, at, value, lanes)

    def _line(self, group: Any, image: Any, line: Any) -> None:
        """Both thin filters over one output row of every block of channels of the group."""
        spec, window = self._spec, self._spec.window
        slots = [self._slot(line * window.stride[0] + tap) for tap in range(window.kernel[0])]
        largest = max(1, min(MOST_COLUMNS, self._simd.registers - sum(window.kernel) - 3))
        with T.serial(spec.cut.blocks) as block:
            for columns in column_blocks(window, largest):
                with T.serial(columns.count) as b:
                    column = emit.named(columns.first + b * columns.size)
                    self._columns_of(group, image, line, block, columns, column, slots)

    def _columns_of(
        self, group: Any, image: Any, line: Any, block: Any, columns: Block, column: Any, slots: list[Any]
    ) -> None:
        spec, window, width = self._spec, self._spec.window, self._spec.cut.width
        whole = emit.named(group * spec.cut.blocks + block)
        sums = emit.Tile(columns.size, width, "float32")
        bias = emit.named(emit.load(self._bias, whole * width, width))
        for i in range(columns.size):
            sums.set(i, bias)
        # Input columns the block reads, from the first output column times the stride, and the sums each goes into.
        uses: dict[int, list[tuple[int, int]]] = {}
        for tap in range(window.kernel[1]):
            for i in range(columns.size):
                if columns.count > 1 or window.columns_inside(columns.first + i, tap):
                    uses.setdefault(i * window.stride[1] + tap, []).append((i, tap))
        with T.serial(spec.rank) as r:
            product = emit.named(whole * spec.rank + r)
            down = self._taps(self._rows, product, window.kernel[0])
            along = self._taps(self._columns, product, window.kernel[1])
            vector = emit.named((column * window.stride[1] - window.left) * spec.vectors + block * spec.rank + r)
            for position in sorted(uses):
                at = [slot + (vector + position * spec.vectors) * width for slot in slots]
                value = self._weighted([emit.load(self._held, one, width) for one in at], down)
                for i, tap in uses[position]:
                    sums.set(i, self._math.add(sums.get(i), self._math.mul(value, along[tap], width), width))
        pixel = (image * window.out_height + line) * window.out_width + column
        channel = emit.named(whole * width)
        valid = spec.channels % width
        if not valid:
            self._finish(sums, pixel, channel, columns.size, width)
            return
        with T.If(channel + width <= spec.channels):
            with T.Then():
                self._finish(sums, pixel, channel, columns.size, width)
            with T.Else():
                self._finish(sums, pixel, channel, columns.size, valid)

    def _taps(self, factors: Any, product: Any, count: int) -> list[Any]:
        width = self._spec.cut.width
        return [emit.named(emit.load(factors, (product * count + tap) * width, width)) for tap in range(count)]

    def _weighted(self, values: list[Any], taps: list[Any]) -> Any:
        width = self._spec.cut.width
        total = self._math.mul(values[0], taps[0], width)
        for value, tap in zip(values[1:], taps[1:], strict=True):
            total = self._math.add(total, self._math.mul(value, tap, width), width)
        return emit.named(total)

    def _finish(self, sums: emit.Tile, pixel: Any, channel: Any, count: int, valid: int) -> None:
        pieces = emit.powers_of_two(valid, self._spec.cut.width)
        values, positions = [], []
        for i in range(count):
            for first, part in pieces:
                values.append(emit.named(sums.get(i, first, part)))
                positions.append((pixel + i, channel + first))
        if len(pieces) == 1:
            self._writer.finish_all(values, positions, pieces[0][1], self._simd)
            return
        for value, (at, first), (_, part) in zip(values, positions, pieces * count, strict=True):
            self._writer.finish(value, at, first, part)
