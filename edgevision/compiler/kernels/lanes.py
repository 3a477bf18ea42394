"""Inner loop for cores that multiply by element: four 32-bit words of a row are loaded at once and used lane by lane.

Arm has `fmla v, v, v.s[lane]` and `sdot v, v, v.4b[lane]` (vmla.f32 by scalar on 32-bit Arm), so nothing is broadcast:
one load of a row serves four k-steps. LLVM selects the lane forms from a splat of an extracted lane.
"""

from __future__ import annotations

import contextlib

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import arm, emit, nibbles
from edgevision.compiler.kernels.emit import Expr
from edgevision.compiler.kernels.inner import Walk
from edgevision.compiler.simd import DOT_INSTRUCTIONS, Simd

#: Words of one 128-bit register.
WORDS = 4


def accumulate(walk: Walk, simd: Simd) -> None:
    """Add the walk's products: float32, or four bytes a word where the core has `sdot`."""
    full, rest = divmod(walk.groups, WORDS)
    if full:
        written = not walk.integer and arm.writes_out(simd)
        with arm.written_out(simd) if written else contextlib.nullcontext(), T.serial(full) as step:
            _steps(walk, simd, step * WORDS, WORDS)
    if rest:
        # Not one load of four words: a float beyond the row may be a NaN, which no zero weight hides.
        for group in range(full * WORDS, walk.groups):
            _steps(walk, simd, group, 1)


def _steps(walk: Walk, simd: Simd, group: Expr, words: int) -> None:
    written = words == WORDS and not walk.integer and arm.writes_out(simd)
    left = [_left(walk, simd, walk.address(row, group * _bytes(walk)), words) for row in walk.rows]
    for word in range(words):
        weights = []
        first = 0
        for width in walk.panel.widths:
            weights.append(_weights(walk, walk.weight_lanes(group + word, first), width))
            first += width
        for row, vector in zip(walk.rows, left, strict=True):
            # A lane for each multiplication: shared, it would be broadcast once and kept in a register of its own.
            for tile, weight, width in zip(walk.accumulators, weights, walk.panel.widths, strict=True):
                if written:
                    tile.set(row, arm.multiply_add(tile.get(row), weight, vector, word))
                    continue
                lane = vector if words == 1 else T.Shuffle([vector], [T.int32(word)])
                _multiply(walk, simd, tile, row, emit.splat(lane, width), weight, width)


def _bytes(walk: Walk) -> int:
    return 4 if walk.integer else 1


def _left(walk: Walk, simd: Simd, address: Expr, words: int) -> Expr:
    if not walk.integer:
        return emit.named(emit.load(walk.left, address, words))
    loaded = emit.load(walk.left, address, 4 * words)
    # Flipping the top bit of a byte subtracts 128 from it, read as signed.
    return emit.named(emit.reinterpret(loaded ^ emit.splat(T.uint8(128), 4 * words), "int32", words))


def _weights(walk: Walk, lane: Expr, width: int) -> Expr:
    loaded = nibbles.load(walk.weights, lane * _bytes(walk), width * _bytes(walk))
    if walk.integer or walk.weights.dtype == "float32":
        return emit.named(loaded)
    return emit.named(emit.cast(loaded, "float32", width))


def _multiply(walk: Walk, simd: Simd, tile: emit.Tile, row: int, left: Expr, weight: Expr, width: int) -> None:
    if not walk.integer:
        tile.add(row, left * weight)
        return
    four = emit.reinterpret(left, "int8", 4 * width)
    # `sdot` takes only its last operand by element.
    name = T.llvm_lookup_intrinsic_id(DOT_INSTRUCTIONS[simd.dot])
    tile.set(row, T.call_llvm_pure_intrin(f"int32x{width}", name, tile.get(row), weight, four))
