"""Weights of one bit each as the bytes an integer product reads: done once, when a program is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import bits, emit
from edgevision.compiler.simd import Simd

#: Words one parallel task expands at least.
TASK_WORDS = 512


@dataclass(frozen=True)
class Expand:
    """`elements` int8 of +1 and -1 from words of 32 bits, the least significant first, 1 for +1.

    Attributes:
        masked: whether as many words again follow, whose zeros are elements that are 0.
    """

    elements: int
    masked: bool


def encode(values: np.ndarray, *, masked: bool) -> np.ndarray:
    """The words of int8 `values` of -1, 0 and +1, flat; without `masked` a zero comes back as -1.

    >>> encode(np.array([1, -1, 0, 1], np.int8), masked=True).tolist()
    [9, 11]
    """
    planes = (values > 0, values != 0) if masked else (values > 0,)
    found = []
    for plane in planes:
        padded = np.zeros(bits.words(values.size) * bits.WORD, bool)
        padded[: values.size] = plane.reshape(-1)
        found.append(np.packbits(padded, bitorder="little").view("<u4"))
    return np.concatenate(found)


def build(name: str, spec: Expand, simd: Simd) -> Any:
    """Return the kernel as a TIR function over (words, output)."""
    count = bits.words(spec.elements)
    parameters = [("words", count * (2 if spec.masked else 1), "uint32"), ("output", spec.elements, "int8")]
    full, rest = divmod(spec.elements, bits.WORD)
    with emit.kernel(name, parameters) as (buffers, made):
        tasks = -(-full // TASK_WORDS)
        if full:
            with T.parallel(tasks) as task:
                inner = TASK_WORDS if full % TASK_WORDS == 0 else T.min(TASK_WORDS, full - task * TASK_WORDS)
                with T.serial(inner) as step:
                    _word(spec, simd, buffers, emit.named(task * TASK_WORDS + step), bits.WORD, count)
        if rest:
            _word(spec, simd, buffers, full, rest, count)
    return made[0]


def _word(spec: Expand, simd: Simd, buffers: list[Any], word: Any, elements: int, count: int) -> None:
    planes = [emit.named(buffers[0][word + count * plane]) for plane in range(2 if spec.masked else 1)]
    for first, width in emit.powers_of_two(elements, simd.lanes):
        places = [T.uint32(1 << (first + lane)) for lane in range(width)]
        mask = places[0] if width == 1 else T.Shuffle(places, list(range(width)))
        none = emit.splat(T.uint32(0), width)
        value = emit.i32(-1, width)
        if spec.masked:
            value = T.Select((emit.splat(planes[1], width) & mask) != none, value, emit.i32(0, width))
        value = T.Select((emit.splat(planes[0], width) & mask) != none, emit.i32(1, width), value)
        emit.store(buffers[1], word * bits.WORD + first, emit.cast(value, "int8", width), width)
