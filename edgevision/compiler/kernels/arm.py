"""Arm instructions that LLVM has to be given as text, and those that saturate.

LLVM 22 selects `vmla.f32` for no core unless a function is optimised for size, and for cores that issue in order its
scheduler puts multiplications that depend on each other side by side to save registers. There the instruction is
written out: such instructions stay in the order they are emitted in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.emit import Expr
from edgevision.compiler.simd import Simd

#: 32-bit lanes of a register.
LANES = 4
_NAME = "ev_multiply_add_{form}"
_FUNCTION = """define linkonce_odr <4 x float> @{name}(<4 x float> %a, <4 x float> %w, <4 x float> %v) alwaysinline nounwind {{
  %r = call <4 x float> asm sideeffect "{instruction}", "=w,0,w,{scalar}"(
    <4 x float> %a, <4 x float> %w, <4 x float> %v) memory(none)
  ret <4 x float> %r
}}
"""  # noqa: E501
#: By registers of the core: the instruction by vector and by each lane of the last operand, and the registers that
#: operand may be in when one lane is taken.
_INSTRUCTIONS = {
    32: ("fmla $0.4s, $2.4s, $3.4s", [f"fmla $0.4s, $2.4s, $3.s[{lane}]" for lane in range(LANES)], "w"),
    16: (
        "vmla.f32 ${0:q}, ${2:q}, ${3:q}",
        [f"vmla.f32 ${{0:q}}, ${{2:q}}, ${{3:{'ef'[lane // 2]}}}[{lane % 2}]" for lane in range(LANES)],
        "t",
    ),
}


def writes_out(simd: Simd) -> bool:
    """Whether float multiplications with addition are written out for this core."""
    return simd.neon and (simd.in_order or simd.registers < 32)


@contextlib.contextmanager
def written_out(simd: Simd) -> Iterator[None]:
    """Define what `multiply_add` calls; every call of it has to stand inside."""
    vector, lanes, scalar = _INSTRUCTIONS[simd.registers]
    text = _FUNCTION.format(name=_NAME.format(form="vector"), instruction=vector, scalar="w")
    for lane, instruction in enumerate(lanes):
        text += _FUNCTION.format(name=_NAME.format(form=lane), instruction=instruction, scalar=scalar)
    with T.attr(T.int32(0), "pragma_import_llvm", text):
        yield


def multiply_add(acc: Expr, weights: Expr, left: Expr, lane: int | None = None) -> Expr:
    """`acc` plus `weights` times `left`, or times one lane of it; four float32 each."""
    return T.call_extern("float32x4", _NAME.format(form="vector" if lane is None else lane), acc, weights, left)


def product(left: Expr, weights: Expr, first: int) -> Expr:
    """Four int32 products of lanes `first` to `first + 4` of two vectors of int16 lanes, on 32-bit Arm."""
    parts = [T.Shuffle([v], [T.int32(first + lane) for lane in range(LANES)]) for v in (left, weights)]
    return emit.intrinsic("llvm.arm.neon.vmulls.v4i32", "int32", 4, *parts)


def packed(values: Sequence[Expr], finish: Callable[[Expr, int], Expr], low: Expr, high: Expr) -> Expr:
    """Bytes clamp(finish(rint(value)), low, high) of four vectors, one after another, as four int32; 64-bit Arm.

    As `saturate.packed`: the narrowing instructions saturate, so they are the clamp.
    """
    words = []
    for first in (0, 2):
        steps = [
            emit.intrinsic("llvm.aarch64.neon.fcvtns.v4i32.v4f32", "int32", 4, v) for v in values[first : first + 2]
        ]
        halves = [emit.named(emit.intrinsic("llvm.aarch64.neon.sqxtn.v4i16", "int16", 4, s)) for s in steps]
        pair = T.Shuffle(halves, [T.int32(i) for i in range(2 * LANES)])
        words.append(finish(emit.named(pair), 2 * LANES))
    stored = [emit.named(emit.intrinsic("llvm.aarch64.neon.sqxtun.v8i8", "uint8", 8, w)) for w in words]
    count = 4 * LANES
    together = T.Shuffle(stored, [T.int32(i) for i in range(count)])
    together = T.max(T.min(together, emit.splat(high, count)), emit.splat(low, count))
    return emit.named(emit.reinterpret(together, "int32", LANES))
