"""Product of one-bit rows and one-bit weights: differing bits are counted (`vpopcntd`, `cnt`), 32 products a word.

The sum over k of x w is depth - 2 c, where c counts the bits in which both words differ; unused bits are zero in both.
It leaves as scale (depth - 2 c) + bias through a chain, or, where only its sign is wanted, as one bit per channel:
whatever function of c decides it, the counts whose bit is set are one interval, if need be across the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import bits, emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.kernels.gemm import in_chunks, panel_runs
from edgevision.compiler.kernels.panel import Panel, packed_lanes, panels
from edgevision.compiler.simd import Simd

#: Words of activations one chunk of rows may hold.
CHUNK_WORDS = 4096


@dataclass(frozen=True)
class Xnor:
    """Shape of one product: (rows, depth) x (depth, channels).

    Attributes:
        tile: rows and vectors of the register tile.
        chain: what follows scale and bias; None where the result is bits.
        extras: (elements, dtype) of the chain's operand buffers.
        images: for operands with one value per image.
    """

    rows: int
    depth: int
    channels: int
    tile: tuple[int, int]
    output_elements: int
    chain: Chain | None
    extras: tuple[tuple[int, str], ...] = ()
    images: int = 1


def tile_shape(simd: Simd, rows: int, channels: int, *, to_bits: bool) -> tuple[int, int]:
    """Rows and vectors of the register tile; the vectors of a panel of bits make one word.

    >>> tile_shape(Simd(16, 32, counts_words=True), 197, 192, to_bits=False)
    (12, 2)
    """
    vectors = bits.WORD // simd.lanes if to_bits else min(2 if simd.lanes > 4 or simd.registers < 32 else 4,
                                                          -(-channels // simd.lanes))  # fmt: skip
    # Counting bytes needs registers for the tables and for the halves of a byte.
    spare = vectors + (2 if simd.counts_words else 6)
    return max(1, min(rows, 12, (simd.registers - spare) // vectors)), vectors


def build(name: str, spec: Xnor, simd: Simd) -> Any:
    """Return the kernel as a TIR function over (words, weights, factor and bias or bounds, extras, output)."""
    count = bits.words(spec.depth)
    lanes = packed_lanes(spec.channels, simd.lanes, spec.tile[1])
    bounds = "float32" if spec.chain is not None else "uint32"
    parameters = [
        ("left", spec.rows * count, "uint32"), ("weights", lanes * count, "uint32"),
        ("factor", lanes, bounds), ("bias", lanes, bounds),
    ]  # fmt: skip
    parameters += [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("output", spec.output_elements, "uint32" if spec.chain is None else spec.chain.store.dtype))
    with emit.kernel(name, parameters) as (buffers, made):
        writer = None
        if spec.chain is not None:
            pixels = spec.rows // spec.images
            writer = ChainWriter(spec.chain, buffers[4:-1], buffers[-1], pixels_per_image=pixels, images=spec.images)
        _loops(spec, simd, _Body(spec, simd, buffers, writer, count))
    return made[0]


class _Body:
    def __init__(self, spec: Xnor, simd: Simd, buffers: list[Any], writer: ChainWriter | None, words: int) -> None:
        self._spec, self._simd, self._writer, self._words = spec, simd, writer, words
        self._left, self._weights, self._factor, self._bias = buffers[:4]
        self._output = buffers[-1]

    def tile(self, panel: Panel, lane: Any, channel: Any, row: Any, rows: int) -> None:
        """Count and finish `rows` rows of one panel."""
        starts = [0]
        for width in panel.widths:
            starts.append(starts[-1] + width)
        counters = [bits.Counter(rows, width, self._words, self._simd) for width in panel.widths]
        for counter in counters:
            counter.start()

        def step(word: Any) -> None:
            at = lane * self._words + word * panel.lanes
            weights = [emit.named(emit.load(self._weights, at + s, w)) for s, w in zip(starts, panel.widths)]  # noqa: B905
            for index in range(rows):
                left = emit.named(self._left[(row + index) * self._words + word])
                for counter, weight, width in zip(counters, weights, panel.widths, strict=True):
                    counter.add(index, emit.splat(left, width) ^ weight)

        bits.over_words(self._words, counters, step)
        for index in range(rows):
            if self._writer is None:
                self._bits(panel, counters, starts, lane, channel, row + index, index)
            else:
                self._values(self._writer, panel, counters, starts, lane, channel, row + index, index)

    def _bits(
        self, panel: Panel, counters: list[Any], starts: list[int], lane: Any, channel: Any, row: Any, index: int
    ) -> None:
        widest = max(panel.widths)
        word: Any = None
        held = [c for c, w in zip(counters, panel.widths, strict=True) if w == widest]
        inside = [self._inside(c.result(index), lane + s, widest) for c, s in zip(held, starts, strict=False)]
        word = bits.gathered(inside, widest, self._simd)
        for counter, first, width in list(zip(counters, starts, panel.widths, strict=False))[len(held) :]:
            part = bits.gathered([self._inside(counter.result(index), lane + first, width)], width, self._simd)
            word = word | T.shift_left(part, T.uint32(first))
        pitch = bits.words(self._spec.channels)
        T.buffer_store(self._output, word, [row * pitch + T.floordiv(channel, bits.WORD)])

    def _inside(self, count: Any, lane: Any, width: int) -> Any:
        """Whether a count is in its channel's interval."""
        away = emit.reinterpret(count, "uint32", width) - emit.load(self._factor, lane, width)
        return away <= emit.load(self._bias, lane, width)

    def _values(
        self, writer: ChainWriter, panel: Panel, counters: list[Any], starts: list[int], lane: Any, channel: Any,
        row: Any, index: int,
    ) -> None:  # fmt: skip
        for counter, first, width in zip(counters, starts, panel.widths, strict=False):
            # Both are exact: halves of whole numbers, doubled again by the factor of -2 scale.
            halves = emit.cast(counter.result(index), "float32", width) - emit.f32(self._spec.depth / 2, width)
            scaled = emit.fence(halves * emit.load(self._factor, lane + first, width), width)
            value = scaled + emit.load(self._bias, lane + first, width)
            valid = min(width, panel.valid - first)
            if valid == width:
                writer.finish(emit.named(emit.fence(value, width)), row, channel + first, width)
                continue
            held = emit.Tile(1, width, "float32")
            held.set(0, value)
            for piece, size in emit.powers_of_two(valid, width):
                writer.finish(emit.named(held.get(0, piece, size)), row, channel + first + piece, size)


def _loops(spec: Xnor, simd: Simd, body: _Body) -> None:
    """Every tile, at most `CHUNK_WORDS` of activations to a chunk of rows."""
    runs = panel_runs(panels(spec.channels, simd.lanes, spec.tile[1]))
    for first, block_count, size in emit.balanced(spec.rows, spec.tile[0]):
        words = size * bits.words(spec.depth)
        per_chunk = max(1, min(CHUNK_WORDS // words, -(-block_count // 4)))
        in_chunks(runs, first, block_count, size, per_chunk, body.tile)
