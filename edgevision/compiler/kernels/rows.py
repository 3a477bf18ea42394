"""Sums and maxima over the elements of a row, in a fixed order (quant/NUMERICS.md section 9).

Sixteen running values, element i into value i mod 16, folded by halves at the end: the same order whatever the width of
the vector unit, so that a float sum has the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit

#: Running values of a reduction over a row.
RUNNING = 16


class RowReduction:
    """`count` rows reduced together, so that one row's additions overlap the next one's.

    Args:
        combine: of two vectors of a width, e.g. their sum.
        start: first value of every running one.
    """

    def __init__(
        self, count: int, lanes: int, start: Any, combine: Callable[[Any, Any, int], Any], dtype: str = "float32"
    ) -> None:
        self._lanes = min(lanes, RUNNING)
        self._combine = combine
        self._tile = emit.Tile(count * (RUNNING // self._lanes), self._lanes, dtype)
        for index in range(count * (RUNNING // self._lanes)):
            self._tile.set(index, emit.splat(start, self._lanes))

    def over(self, elements: int, value: Callable[[int, Any, int], Any], rows: int) -> None:
        """Take in `elements` elements of every row; `value(row, element, width)` is a vector of them."""
        full, tail = divmod(elements, RUNNING)
        parts = RUNNING // self._lanes
        if full:
            with T.serial(full) as step:
                for part in range(parts):
                    for row in range(rows):
                        self._take(
                            row, part, 0, self._lanes, value(row, step * RUNNING + part * self._lanes, self._lanes)
                        )
        for offset, width in emit.powers_of_two(tail, self._lanes):
            part, first = divmod(offset, self._lanes)
            for row in range(rows):
                self._take(row, part, first, width, value(row, full * RUNNING + offset, width))

    def _take(self, row: int, part: int, first: int, width: int, value: Any) -> None:
        index = row * (RUNNING // self._lanes) + part
        known = self._tile.get(index, first, width)
        at = index * self._lanes + first
        emit.store(self._tile.buffer, at, self._combine(known, value, width), width)

    def result(self, row: int) -> Any:
        """The value of one row: halves folded onto each other until one is left."""
        parts = RUNNING // self._lanes
        vectors = [self._tile.get(row * parts + part) for part in range(parts)]
        while len(vectors) > 1:
            half = len(vectors) // 2
            vectors = [
                emit.named(self._combine(a, b, self._lanes)) for a, b in zip(vectors, vectors[half:], strict=False)
            ]
        width, vector = self._lanes, vectors[0]
        while width > 1:
            width //= 2
            folded = emit.Tile(1, 2 * width, self._tile.dtype)
            folded.set(0, vector)
            vector = emit.named(self._combine(folded.get(0, 0, width), folded.get(0, width, width), width))
        return vector
