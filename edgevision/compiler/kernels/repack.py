"""Packing at run time: operands computed by the network, put into the panels of the register tile.

Same layout as `panel.pack`: per panel [K / group][lane][group]. Bytes become signed by taking 128 off.
"""

from __future__ import annotations

from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.gemm import panel_runs
from edgevision.compiler.kernels.panel import Panel
from edgevision.compiler.kernels.rows import RowReduction
from edgevision.compiler.kernels.tile import SIGN_BITS


def row_sum(buffer: Any, address: Any, count: int, lanes: int) -> Any:
    """Sum of `count` adjacent bytes as int32."""
    total = RowReduction(1, lanes, T.int32(0), lambda a, b, _w: a + b, "int32")
    total.over(count, lambda _r, c, w: emit.cast(emit.load(buffer, address + c, w), "int32", w), 1)
    return emit.named(total.result(0))


def pack_columns(
    source: Any, base: Any, key_stride: int, depth_stride: int, depth: int, found: list[Panel],
    packed: Any, packed_base: Any, group: int, *, paired: bool = False,
) -> None:  # fmt: skip
    """Pack a right operand stored column by column: channel n of the product is the row of `depth` elements at n.

    `paired` as `inner.paired` says of the core.
    """
    groups = -(-depth // group)
    integer = str(source.dtype) != "float32"
    for panel, count in panel_runs(found):
        with T.serial(count) as p, T.serial(panel.valid) as lane:
            key = panel.channel + p * panel.valid + lane
            read = emit.named(base + key * key_stride)
            place = T.floordiv(lane, 4) * 16 + T.floormod(lane, 4) * 2 if paired else lane * group
            write = emit.named(packed_base + (panel.weight_offset + p * panel.lanes) * groups * group + place)
            pitch = panel.lanes * group
            if not integer:
                with T.serial(depth) as c:
                    T.buffer_store(packed, source[read + c * depth_stride], [write + c * pitch])
                continue
            whole = depth // group
            if whole:
                with T.serial(whole) as g:
                    at = read + g * (group * depth_stride)
                    _word(source, at, depth_stride, packed, write + g * pitch, group, group, paired)
            if depth % group:
                at = read + whole * group * depth_stride
                _word(source, at, depth_stride, packed, write + whole * pitch, depth % group, group, paired)


def _word(source: Any, read: Any, stride: int, packed: Any, write: Any, count: int, group: int, paired: bool) -> None:
    """One k-group of one lane: `count` bytes, zeros behind them."""
    if group % 4 == 0 and count == group and stride == 1:
        words = emit.reinterpret(emit.load(source, read, group), "int32", group // 4)
        _store_words(packed, write, words ^ emit.i32(SIGN_BITS, group // 4), group // 4, paired)
        return
    for index in range(group):
        value = emit.cast(emit.cast(source[read + index * stride], "int32", 1) - 128, "int8", 1)
        place = index + 6 if paired and index >= 2 else index
        T.buffer_store(packed, value if index < count else T.int8(0), [write + place])


def _store_words(packed: Any, write: Any, words: Any, width: int, paired: bool) -> None:
    """Four bytes of each of `width` lanes; `paired`, first those of the first two places (`inner.pair_order`)."""
    if not paired:
        emit.store(packed, write, T.reinterpret(f"int8x{4 * width}", words), 4 * width)
        return
    halves = emit.named(T.reinterpret(f"int16x{2 * width}", words))
    for half in (0, 1):
        taken = T.Shuffle([halves], [T.int32(2 * lane + half) for lane in range(width)])
        emit.store(packed, write + 8 * half, T.reinterpret(f"int8x{2 * width}", taken), 2 * width)


def pack_rows(
    source: Any, base: Any, key_stride: int, keys: int, found: list[Panel], packed: Any, packed_base: Any, group: int,
    *, paired: bool = False,
) -> None:  # fmt: skip
    """Pack a right operand of bytes stored row by row: depth k is `key_stride` bytes after depth k - 1."""
    groups = -(-keys // group)
    for panel, count in panel_runs(found):
        with T.serial(count) as p, T.serial(groups) as g:
            column = panel.channel + p * panel.valid
            write = packed_base + ((panel.weight_offset + p * panel.lanes) * groups + g * panel.lanes) * group
            for offset, width in emit.powers_of_two(panel.valid, panel.widths[0]):
                read = emit.named(base + (g * group) * key_stride + column + offset)
                target = emit.named(write + (offset // 4 * 16 + offset % 4 * 2 if paired else offset * group))
                if keys % group == 0:
                    _interleaved(source, read, key_stride, group, packed, target, width, group, paired)
                    continue
                with T.If(g < keys // group):
                    with T.Then():
                        _interleaved(source, read, key_stride, group, packed, target, width, group, paired)
                    with T.Else():
                        _interleaved(source, read, key_stride, keys % group, packed, target, width, group, paired)


def _interleaved(
    source: Any, read: Any, stride: int, count: int, packed: Any, write: Any, width: int, group: int, paired: bool
) -> None:
    """`width` lanes of one k-group: byte i of a lane comes from row i, zeros behind the last row."""
    if group == 1:
        value = emit.cast(emit.load(source, read, width), "int32", width) - emit.i32(128, width)
        emit.store(packed, write, emit.cast(value, "int8", width), width)
        return
    if group % 4:
        for index in range(group):
            value = T.int8(0) if index >= count else None
            for lane in range(width):
                byte = emit.cast(emit.cast(source[read + index * stride + lane], "int32", 1) - 128, "int8", 1)
                T.buffer_store(packed, byte if value is None else value, [write + lane * group + index])
        return
    words = [_word_of_rows(source, read + f * stride, stride, count - f, width) for f in range(0, group, 4)]
    if len(words) == 1:
        _store_words(packed, write, words[0], width, paired)
        return
    for lane in range(width):
        pair = T.Shuffle(words, [lane, width + lane])
        emit.store(packed, write + lane * group, emit.reinterpret(pair, "int8", group), group)


def _word_of_rows(source: Any, read: Any, stride: int, count: int, width: int) -> Any:
    """int32 lanes of the bytes of up to four of `count` rows, less 128 each; zeros behind the last row."""
    word: Any = emit.i32(0, width)
    for index in range(min(count, 4)):
        row = emit.cast(emit.load(source, read + index * stride, width), "int32", width)
        row = row if index == 0 else T.shift_left(row, emit.i32(8 * index, width))
        word = row if index == 0 else T.bitwise_or(word, row)
    signs = SIGN_BITS if count >= 4 else sum(0x80 << 8 * index for index in range(count))
    return emit.named(T.bitwise_xor(word, emit.i32(signs, width)))


def column_sums(
    source: Any,
    base: Any,
    key_stride: int,
    keys: int,
    found: list[Panel],
    sums: Any,
    sums_base: Any,
    factor: Any,
    constant: Any,
) -> None:
    """For each column of bytes: factor * sum(byte - 128) + constant, in the lanes of the panels."""
    for panel, count in panel_runs(found):
        with T.serial(count) as p:
            column = panel.channel + p * panel.valid
            for offset, width in emit.powers_of_two(panel.valid, panel.widths[0]):
                acc = emit.Tile(1, width, "int32")
                acc.set(0, emit.i32(-128 * keys, width))
                with T.serial(keys) as key:
                    row = emit.load(source, base + key * key_stride + column + offset, width)
                    acc.add(0, emit.cast(row, "int32", width))
                value = acc.get(0) * emit.splat(factor, width) + emit.splat(constant, width)
                emit.store(sums, sums_base + panel.weight_offset + p * panel.lanes + offset, value, width)


def strided_sum(buffer: Any, address: Any, stride: int, count: int, lanes: int) -> Any:
    """Sum of `count` bytes that lie `stride` apart, as int32."""
    if stride == 1:
        return row_sum(buffer, address, count, lanes)
    total = emit.Tile(1, 1, "int32")
    total.set(0, T.int32(0))
    with T.serial(count) as index:
        total.add(0, emit.cast(buffer[address + index * stride], "int32", 1))
    return emit.named(total.get(0))
