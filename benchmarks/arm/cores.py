"""The cores whose models are asked, and the kernel families each of them runs."""

from __future__ import annotations

from dataclasses import dataclass

#: In the order of the table.
FAMILIES = ("fp32 gemm", "int8 gemm", "fp32 depthwise 3x3", "int8 depthwise 3x3")


@dataclass(frozen=True)
class Core:
    """One core.

    Attributes:
        name: what people call it.
        target: the target file whose kernels are compiled.
        triple, cpu, features: what llvm-mca is told.
        int8: how byte products are made: "pairs", "sdot" or "usmmla".
        remark: what the model gets wrong.
    """

    name: str
    target: str
    triple: str
    cpu: str
    features: str
    int8: str
    remark: str = ""


CORES = (
    Core("Cortex-A53", "rpi3", "aarch64-linux-gnu", "cortex-a53", "+neon", "pairs"),
    Core("Cortex-A72", "rpi4", "aarch64-linux-gnu", "cortex-a72", "+neon", "pairs", "LLVM uses its model of the A57"),
    Core(
        "Cortex-A76", "rpi5", "aarch64-linux-gnu", "cortex-a76", "+neon,+dotprod", "sdot",
        "LLVM uses its model of the A57 with sdot added; a real A76 starts two fmla a cycle, the model one",
    ),
    Core("Cortex-A9", "zynq7020-ps", "armv7a-linux-gnueabihf", "cortex-a9", "+neon,+vfp3", "pairs"),
    Core("Neoverse V1", "arm64-i8mm", "aarch64-linux-gnu", "neoverse-v1", "+neon,+dotprod,+i8mm", "usmmla"),
    Core(
        "Cortex-A710", "arm64-i8mm", "aarch64-linux-gnu", "cortex-a710", "+neon,+dotprod,+i8mm", "usmmla",
        "LLVM uses its model of the Neoverse N2; the loops are those for the Neoverse V1",
    ),
)  # fmt: skip
