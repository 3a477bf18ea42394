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
    """

    lanes: int
    registers: int
    dot: str = "none"

    @property
    def uses_vpdpbusd(self) -> bool:
        """Whether four u8 x s8 products are summed into each 32-bit lane by one instruction."""
        return self.dot == "vnni"


def simd_of(target: Target) -> Simd:
    """Read the vector facts of a target."""
    cpu = target.cpu
    return Simd(lanes=max(1, cpu.simd_bits // 32), registers=cpu.simd_registers, dot=cpu.dot)


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
