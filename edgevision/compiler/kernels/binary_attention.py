"""Attention of signs: no softmax, no exponential (`graph.binary`, BinaryAttention).

Per head the signs of the keys are packed along their width and those of the values along the keys. Per query the bits
that differ from each key are counted; without a bias a key is kept where that count is at most `reach` above the least
of the row, with one where the score, in binary32, is at most `margin` below the largest. The kept keys are a row of
bits, and what is kept of a value channel is the count of both bits, twice, less the count of the kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import bits, emit
from edgevision.compiler.kernels.attention_spec import Strided
from edgevision.compiler.kernels.chain import Chain, ChainWriter
from edgevision.compiler.simd import Simd

#: What a lane beyond the last key differs by: more than any reach.
FAR = 1 << 24
LEAST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class BinaryAttention:
    """`batches` x `heads` attentions of `queries` on `keys`.

    Attributes:
        q, k, v: where the floats lie; strides of batch, head and token, elements of a token are adjacent.
        bias: of the scores, strides of batch, head and query; keys are padded to whole words with -inf. None for none.
        reach, margin: how far from the best of its row a count and a score may be.
        extras: (elements, dtype) of the chain's operands.
        tasks: parallel tasks, each with its own part of the scratch buffers.
        packed: whether q, k and v are bits: words of 32, in which strides and offsets are counted then.
        to_bits: whether the result is written as bits, for a reader of signs; then the chain does nothing.
    """

    batches: int
    heads: int
    queries: int
    keys: int
    depth: int
    width: int
    q: Strided
    k: Strided
    v: Strided
    bias: Strided | None
    reach: int
    margin: float
    chain: Chain
    extras: tuple[tuple[int, str], ...]
    tasks: int
    packed: tuple[bool, bool, bool] = (False, False, False)
    to_bits: bool = False


def padded_keys(keys: int) -> int:
    """Keys in whole words."""
    return bits.words(keys) * bits.WORD


def scratch_of(spec: BinaryAttention, simd: Simd) -> list[tuple[int, str]]:
    """(elements, dtype) of the scratch buffers: packed keys, packed values, scores of a row, its kept keys."""
    each = [(bits.words(spec.depth) * padded_keys(spec.keys), "uint32")]
    each.append((bits.words(spec.keys) * _lanes(spec.width, simd), "uint32"))
    each.append((padded_keys(spec.keys), "int32" if spec.bias is None else "float32"))
    each.append((-(-bits.words(spec.keys) // 16) * 16, "uint32"))
    return [(spec.tasks * count, dtype) for count, dtype in each]


def _lanes(width: int, simd: Simd) -> int:
    return -(-width // simd.lanes) * simd.lanes


def build(name: str, spec: BinaryAttention, simd: Simd) -> Any:
    """Return the kernel as a TIR function over (q, k, v, [bias], extras, scratch, output)."""
    operands = zip(("q", "k", "v"), (spec.q, spec.k, spec.v), spec.packed, strict=True)
    parameters = [(key, each.elements, "uint32" if packed else "float32") for key, each, packed in operands]
    if spec.bias is not None:
        parameters.append(("bias", spec.bias.elements, "float32"))
    given = len(parameters)
    parameters += [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters += [(f"scratch{i}", count, dtype) for i, (count, dtype) in enumerate(scratch_of(spec, simd))]
    elements = spec.batches * spec.queries * spec.heads * spec.width
    if spec.to_bits:
        parameters.append(("output", elements // bits.WORD, "uint32"))
    else:
        parameters.append(("output", elements, spec.chain.store.dtype))
    jobs = spec.batches * spec.heads
    each = -(-jobs // spec.tasks)
    with emit.kernel(name, parameters) as (buffers, made):
        extras, scratch = buffers[given : given + len(spec.extras)], buffers[given + len(spec.extras) : -1]
        writer = ChainWriter(spec.chain, extras, buffers[-1], pixels_per_image=spec.queries, images=spec.batches)
        with T.parallel(spec.tasks) as task:
            count = each if jobs % each == 0 else T.min(each, jobs - task * each)
            with T.serial(count) as step:
                _Head(spec, simd, buffers[:given], scratch, writer, task).run(emit.named(task * each + step))
    return made[0]


def _halved(value: Any, width: int, best: Callable[[Any, Any], Any]) -> Any:
    """The best lane of a vector, half by half: LLVM's own reduction of floats minds NaNs, lane by lane."""
    while width > 1:
        width //= 2
        value = emit.named(value)
        halves = [T.Shuffle([value], list(range(first, first + width))) for first in (0, width)]
        value = best(*halves)
    return value


class _Head:
    """One head of one batch entry."""

    def __init__(
        self, spec: BinaryAttention, simd: Simd, given: list[Any], scratch: list[Any], writer: ChainWriter, task: Any
    ) -> None:
        self._spec, self._simd, self._given, self._writer = spec, simd, given, writer
        self._keys, self._values, self._row, self._kept = scratch
        sizes = [count // spec.tasks for count, _ in scratch_of(spec, simd)]
        self._at = [task * size for size in sizes]
        self._padded, self._value_pitch = padded_keys(spec.keys), _lanes(spec.width, simd)
        self._words = bits.words(spec.keys)

    def run(self, job: Any) -> None:
        """Pack keys and values, then take query by query."""
        spec = self._spec
        batch, head = (job, 0) if spec.heads == 1 else (T.floordiv(job, spec.heads), T.floormod(job, spec.heads))
        batch, head = emit.named(batch), emit.named(head)

        def start(place: Strided) -> Any:
            return emit.named(place.offset + batch * place.strides[0] + head * place.strides[1])

        starts = [start(place) for place in (spec.q, spec.k, spec.v)]
        self._pack_keys(starts[1])
        self._pack_values(starts[2])
        bias = None if spec.bias is None else start(spec.bias)
        with T.serial(spec.queries) as query:
            words = self._query(starts[0] + query * spec.q.strides[2])
            best = self._scores(words, None if bias is None else bias + query * spec.bias.strides[2])  # type: ignore[union-attr]
            total = self._keep(best)
            self._sum(total, batch * spec.queries + query, head * spec.width)

    def _signs_at(self, buffer: Any, first: Any) -> Any:
        return lambda at, width: bits.positive(emit.load(buffer, first + at, width), width)

    def _words_of(self, operand: int, first: Any) -> list[Any]:
        """The words of a token of q (0) or k (1)."""
        buffer = self._given[operand]
        if self._spec.packed[operand]:
            return [buffer[first + word] for word in range(bits.words(self._spec.depth))]
        found = []
        for at in range(0, self._spec.depth, bits.WORD):
            count = min(bits.WORD, self._spec.depth - at)
            found.append(bits.word_of(self._signs_at(buffer, first), at, count, self._simd))
        return found

    def _pack_keys(self, start: Any) -> None:
        with T.serial(self._spec.keys) as key:
            for word, value in enumerate(self._words_of(1, start + key * self._spec.k.strides[2])):
                T.buffer_store(self._keys, value, [self._at[0] + word * self._padded + key])

    def _pack_values(self, start: Any) -> None:
        spec, lanes = self._spec, self._simd.lanes
        full, rest = divmod(spec.keys, bits.WORD)

        def word_at(word: Any, count: int) -> None:
            for first, width in emit.powers_of_two(spec.width, lanes):
                total: Any = None
                for key in range(count):
                    set_ = self._value_signs(start + (word * bits.WORD + key) * spec.v.strides[2], first, width)
                    part = T.Select(set_, emit.splat(T.uint32(1 << key), width), emit.splat(T.uint32(0), width))
                    total = part if total is None else total | part
                emit.store(self._values, self._at[1] + word * self._value_pitch + first, total, width)

        if full:
            with T.serial(full) as word:
                word_at(word, bits.WORD)
        if rest:
            word_at(full, rest)

    def _value_signs(self, token: Any, first: int, width: int) -> Any:
        """Which of `width` channels of a token of v, from `first`, are +1."""
        if not self._spec.packed[2]:
            return bits.positive(emit.load(self._given[2], token + first, width), width)
        word = emit.named(self._given[2][token + first // bits.WORD])
        places = [T.uint32(1 << (first % bits.WORD + lane)) for lane in range(width)]
        mask = places[0] if width == 1 else T.Shuffle(places, list(range(width)))
        return (emit.splat(word, width) & mask) != emit.splat(T.uint32(0), width)

    def _query(self, first: Any) -> list[Any]:
        return [emit.named(word) for word in self._words_of(0, first)]

    def _scores(self, query: list[Any], bias: Any) -> Any:
        """Counts of differing bits, or scores, of every key into the scratch row; returns the best of them."""
        spec, lanes = self._spec, self._simd.lanes
        best = emit.Tile(1, lanes, "int32" if bias is None else "float32")
        best.set(0, emit.i32(FAR, lanes) if bias is None else emit.f32(-np.inf, lanes))
        vectors = -(-spec.keys // lanes)
        whole = spec.keys // lanes

        def vector(index: Any, valid: int) -> None:
            counter = bits.Counter(1, lanes, len(query), self._simd)
            counter.start()
            for word, value in enumerate(query):
                at = self._at[0] + word * self._padded + index * lanes
                counter.add(0, emit.splat(value, lanes) ^ emit.load(self._keys, at, lanes))
                if (word + 1) % bits.BYTE_WORDS == 0:
                    counter.flush()
            counter.flush()
            found = counter.result(0)
            if bias is not None:
                found = emit.cast(emit.i32(spec.depth, lanes) - found - found, "float32", lanes)
                found = emit.named(found + emit.load(self._given[3], bias + index * lanes, lanes))
                best.set(0, T.max(best.get(0), found))
            else:
                if valid < lanes:
                    beyond = [T.int32(FAR if lane >= valid else 0) for lane in range(lanes)]
                    found = found | T.Shuffle(beyond, list(range(lanes)))
                found = emit.named(found)
                best.set(0, T.min(best.get(0), found))
            emit.store(self._row, self._at[2] + index * lanes, found, lanes)

        if whole:
            with T.serial(whole) as index:
                vector(index, lanes)
        if vectors > whole:
            vector(whole, spec.keys - whole * lanes)
        beyond = emit.i32(FAR, lanes) if bias is None else emit.f32(-np.inf, lanes)
        for index in range(vectors, self._padded // lanes):
            emit.store(self._row, self._at[2] + index * lanes, beyond, lanes)
        if bias is None:
            return emit.named(_halved(best.get(0), lanes, T.min) + spec.reach)
        limit = _halved(best.get(0), lanes, T.max) + T.float32(spec.margin)
        # A row of masked entries alone keeps none.
        return emit.named(T.max(limit, T.float32(LEAST)))

    def _keep(self, limit: Any) -> Any:
        """The kept keys of the row as words; returns their number."""
        lanes = self._simd.lanes
        total = emit.Tile(1, 1, "int32")
        total.set(0, T.int32(0))
        with T.serial(self._words) as word:
            conditions = []
            for first in range(0, bits.WORD, lanes):
                found = emit.load(self._row, self._at[2] + word * bits.WORD + first, lanes)
                bound = emit.splat(limit, lanes)
                conditions.append(found <= bound if self._spec.bias is None else found >= bound)
            kept = emit.named(bits.gathered(conditions, lanes, self._simd))
            T.buffer_store(self._kept, kept, [self._at[3] + word])
            total.add(0, emit.cast(T.popcount(kept), "int32", 1))
        return emit.named(total.get(0))

    def _sum(self, total: Any, row: Any, channel: Any) -> None:
        """Sums of the kept values' signs, channel by channel."""
        spec, lanes = self._spec, self._simd.lanes
        pieces = emit.powers_of_two(spec.width, lanes)
        counters = [bits.Counter(1, width, self._words, self._simd) for _, width in pieces]
        for counter in counters:
            counter.start()

        def step(word: Any) -> None:
            kept = emit.named(self._kept[self._at[3] + word])
            for counter, (first, width) in zip(counters, pieces, strict=True):
                at = self._at[1] + word * self._value_pitch + first
                counter.add(0, emit.splat(kept, width) & emit.load(self._values, at, width))

        bits.over_words(self._words, counters, step)
        if spec.to_bits:
            self._store_signs(counters, total, row, channel)
            return
        for counter, (first, width) in zip(counters, pieces, strict=True):
            found = emit.named(counter.result(0))
            value = emit.cast(found + found - emit.splat(total, width), "float32", width)
            self._writer.finish(emit.named(value), row, channel + first, width)

    def _store_signs(self, counters: list[Any], total: Any, row: Any, channel: Any) -> None:
        """The signs of the sums as words: twice a count against the number of kept keys."""
        spec, lanes = self._spec, self._simd.lanes
        start = T.floordiv(row * (spec.heads * spec.width) + channel, bits.WORD)
        for word in range(spec.width // bits.WORD):
            conditions = []
            for counter in counters[word * (bits.WORD // lanes) : (word + 1) * (bits.WORD // lanes)]:
                found = emit.named(counter.result(0))
                conditions.append(found + found >= emit.splat(total, lanes))
            T.buffer_store(self._writer.output, bits.gathered(conditions, lanes, self._simd), [start + word])
