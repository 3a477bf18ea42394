"""Product with a single output channel: vectors run along the depth and are summed at the end of each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.simd import Simd

#: Rows worked on together, so that one row's sum across lanes overlaps the next row's products.
ROWS = 4


@dataclass(frozen=True)
class RowDot:
    """(rows, depth) x (depth, 1); fields as in `gemm.Gemm`, parameters left, weights, bias, [scale], extras, output."""

    rows: int
    depth: int
    dtype: str
    weights: str
    pitch: int
    offset: int
    left_elements: int
    output_elements: int
    chain: Chain
    extras: tuple[tuple[int, str], ...] = ()
    images: int = 1


def build(name: str, spec: RowDot, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    scaled = spec.weights == "int8"
    parameters = [
        ("left", spec.left_elements, spec.dtype),
        ("weights", spec.depth, spec.weights),
        ("bias", 1, "float32" if spec.dtype == "float32" else "int32"),
    ]
    if scaled:
        parameters.append(("scale", 1, "float32"))
    used = len(parameters)
    parameters += [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("output", spec.output_elements, spec.chain.store.dtype))
    with emit.kernel(name, parameters) as (buffers, made):
        writer = ChainWriter(
            spec.chain,
            buffers[used:-1],
            buffers[-1],
            pixels_per_image=spec.rows // spec.images,
            images=spec.images,
        )
        body = _Body(spec, simd, buffers, writer)
        blocks, rest = divmod(spec.rows, ROWS)
        per_task = 16
        if blocks:
            tasks = -(-blocks // per_task)
            with T.parallel(tasks) as task:
                count = per_task if blocks % per_task == 0 else T.min(per_task, blocks - task * per_task)
                with T.serial(count) as block:
                    body.rows((task * per_task + block) * ROWS, ROWS)
        if rest:
            body.rows(blocks * ROWS, rest)
    return made[0]


class _Body:
    def __init__(self, spec: RowDot, simd: Simd, buffers: list[Any], writer: ChainWriter) -> None:
        self._spec, self._simd, self._buffers, self._writer = spec, simd, buffers, writer
        self._integer = spec.dtype != "float32"

    def rows(self, first: Any, count: int) -> None:
        spec, lanes = self._spec, self._simd.lanes
        left, weights, bias = self._buffers[:3]
        scaled = spec.weights == "int8"
        kind = "int32" if self._integer else "float32"
        full, tail = divmod(spec.depth, lanes)
        sums = emit.Tile(count, 1, kind)
        for row in range(count):
            sums.set(row, T.float32(0) if scaled and not self._integer else bias[0])
        start = emit.named(first * spec.pitch + spec.offset)

        def products(k: Any, width: int, acc: emit.Tile) -> None:
            weight = emit.named(self._as(emit.load(weights, k, width), kind, width))
            for row in range(count):
                value = self._as(emit.load(left, start + row * spec.pitch + k, width), kind, width)
                acc.add(row, value * weight)

        if full:
            acc = emit.Tile(count, lanes, kind)
            for row in range(count):
                acc.set(row, emit.splat(T.int32(0) if self._integer else T.float32(0), lanes))
            with T.serial(full) as step:
                products(step * lanes, lanes, acc)
            for row in range(count):
                sums.add(row, _across(acc, row, lanes))
        for piece, width in emit.powers_of_two(tail, lanes):
            acc = emit.Tile(count, width, kind)
            for row in range(count):
                acc.set(row, emit.splat(T.int32(0) if self._integer else T.float32(0), width))
            products(full * lanes + piece, width, acc)
            for row in range(count):
                sums.add(row, _across(acc, row, width))
        for row in range(count):
            value = sums.get(row)
            if scaled:
                scale = self._buffers[3][0]
                if self._integer:
                    value = emit.fence(emit.cast(value, "float32", 1) * scale, 1)
                else:
                    value = value * scale + bias[0]
            self._writer.finish(emit.named(value), first + row, 0, 1)

    def _as(self, value: Any, kind: str, width: int) -> Any:
        return value if kind == "float32" and self._spec.weights == "float32" else emit.cast(value, kind, width)


def _across(acc: emit.Tile, row: int, width: int) -> Any:
    """Sum of the lanes of one accumulator, halving each time."""
    while width > 1:
        width //= 2
        folded = emit.Tile(1, width, acc.dtype)
        folded.set(0, acc.get(row, 0, width) + acc.get(row, width, width))
        acc, row = folded, 0
    return acc.get(row)
