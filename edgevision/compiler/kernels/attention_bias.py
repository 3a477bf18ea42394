"""Biases of binary attention written out from their parts (`graph.binarybias`): once, when a program is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import bits, emit
from edgevision.compiler.simd import Simd


@dataclass(frozen=True)
class AttentionBias:
    """float32 (windows, heads, queries, padded keys) from a table; -inf where a mask says so and beyond the last key.

    Attributes:
        entries: of the table, each of `heads` values.
        kinds: of masks, each of `queries` rows of words, 1 where a key is masked or is not there.
        index: dtype of the entry of each pair (queries, keys).
    """

    windows: int
    heads: int
    queries: int
    keys: int
    entries: int
    kinds: int
    index: str

    @property
    def elements(self) -> int:
        """Of the result."""
        return self.windows * self.heads * self.queries * bits.words(self.keys) * bits.WORD


def build(name: str, spec: AttentionBias, simd: Simd) -> Any:
    """Return the kernel as a TIR function over (table by head, index, mask words, kind of each window, output)."""
    words = bits.words(spec.keys)
    parameters = [
        ("table", spec.entries * spec.heads, "float32"), ("index", spec.queries * spec.keys, spec.index),
        ("masks", spec.kinds * spec.queries * words, "uint32"), ("kind", spec.windows, "int32"),
        ("output", spec.elements, "float32"),
    ]  # fmt: skip
    none = T.float32(-np.inf)
    with emit.kernel(name, parameters) as (buffers, made):
        table, index, masks, kind, output = buffers
        with T.parallel(spec.windows * spec.heads) as job:
            window, head = emit.named(T.floordiv(job, spec.heads)), emit.named(T.floormod(job, spec.heads))
            mask = emit.named(kind[window] * (spec.queries * words))
            with T.serial(spec.queries) as query:
                at = emit.named((job * spec.queries + query) * (words * bits.WORD))
                with T.serial(spec.keys) as key:
                    word = masks[mask + query * words + T.floordiv(key, bits.WORD)]
                    out = T.bitwise_and(T.shift_right(word, T.Cast("uint32", T.floormod(key, bits.WORD))), T.uint32(1))
                    entry = T.Cast("int32", index[query * spec.keys + key])
                    value = table[head * spec.entries + entry]
                    T.buffer_store(output, T.Select(out != T.uint32(0), none, value), [at + key])
                for key in range(spec.keys, words * bits.WORD):
                    T.buffer_store(output, none, [at + key])
    return made[0]
