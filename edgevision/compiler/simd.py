"""What the kernel generators need to know of a core: lanes, registers, dot products, and TVM's words for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgevision.target import Target


@dataclass(frozen=True)
class Simd:
    """Vector facts of a core, in the units kernels are written in.

    Attributes:
        lanes: 32-bit lanes of one vector register.
        registers: vector registers the compiler may use.
        dot: integer dot product the kernels may use; "none" multiplies widened bytes.
        neon: whether the core is an Arm one, whose inner loops multiply by element or in pairs.
        in_order: whether the core issues instructions in the order of the program.
        counts_words: whether one instruction counts the bits of every 32-bit lane (`vpopcntd`); others count bytes.
    """

    lanes: int
    registers: int
    dot: str = "none"
    neon: bool = False
    in_order: bool = False
    counts_words: bool = False

    @property
    def sums_four(self) -> bool:
        """Whether one instruction sums four byte products into each 32-bit lane."""
        return self.dot in DOT_INSTRUCTIONS

    @property
    def multiplies_matrices(self) -> bool:
        """Whether one instruction multiplies two rows of eight bytes by two others (`usmmla`)."""
        return self.dot == "i8mm"

    @property
    def sums_two(self) -> bool:
        """Whether one instruction sums two word products into each 32-bit lane (`vpmaddwd`)."""
        return self.dot in ("avx2", "avx512")

    @property
    def signed_left(self) -> bool:
        """Whether that instruction takes signed bytes on both sides, so activations are shifted by 128 as they load."""
        return self.dot == "sdot"


#: LLVM intrinsic of the four-way byte product by `Simd.dot`; `bits` is the width of the vector.
DOT_INSTRUCTIONS = {
    "vnni": "llvm.x86.avx512.vpdpbusd.{bits}",
    "sdot": "llvm.aarch64.neon.sdot.v4i32.v16i8",
}


def simd_of(target: Target) -> Simd:
    """Read the vector facts of a target."""
    cpu = target.cpu
    return Simd(
        lanes=max(1, cpu.simd_bits // 32),
        registers=cpu.simd_registers,
        dot=cpu.dot,
        neon=target.arch != "x86_64",
        in_order=cpu.in_order,
        counts_words=cpu.simd_bits == 512 and "avx512_vpopcntdq" in cpu.requires,
    )


def tvm_target(target: Target) -> Any:
    """TVM's target object for `target`.

    A dict, because TVM 0.27 no longer takes strings; `num-cores` only bounds its own heuristics.
    """
    import tvm

    # "native" is accepted by TVM but LLVM then silently falls back to the generic core.
    mcpu = tvm.target.codegen.llvm_get_system_cpu() if target.cpu.llvm == "native" else target.cpu.llvm
    described: dict[str, Any] = {
        "kind": "llvm",
        "mcpu": mcpu,
        "mtriple": target.triple,
        "num-cores": target.cpu.cores,
    }
    if target.cpu.features:
        described["mattr"] = list(target.cpu.features)
    if target.float_abi:
        described["mfloat-abi"] = target.float_abi
    return tvm.target.Target(described)
